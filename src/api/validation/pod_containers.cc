// Containers of the three kinds: regular, init (and sidecars among them), ephemeral.
#include <algorithm>
#include <array>
#include <set>

#include "api/validation/pod.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

void check_ports(Errors& errors, const Path& path, const Json& list) {
  std::set<std::string_view> names;
  std::size_t i = 0;
  for (const Json& port : items(list)) {
    const Path here = path[i++];
    if (const auto name = str(port, "name"); !name.empty()) {
      const auto faults = port_name(name);
      errors.invalid_each(here / "name", name, faults);
      if (faults.empty() && !names.insert(name).second) errors.duplicate(here / "name", name);
    }
    const auto number = num(port, "containerPort");
    if (number == 0) {
      errors.required(here / "containerPort");
    } else {
      for (const auto& fault : port_number(number)) errors.invalid(here / "containerPort", number, fault);
    }
    if (const auto host = num(port, "hostPort"); host != 0) {
      for (const auto& fault : port_number(host)) errors.invalid(here / "hostPort", host, fault);
    }
    if (str(port, "protocol").empty()) {
      errors.required(here / "protocol");
    } else {
      check_enum(errors, here / "protocol", str(port, "protocol"), {"SCTP", "TCP", "UDP"});
    }
  }
}

void check_propagation(Errors& errors, const Path& path, const Json& mount, bool privileged) {
  const auto mode = str(mount, "mountPropagation");
  if (!has(mount, "mountPropagation")) return;
  check_enum(errors, path, mode, {"Bidirectional", "HostToContainer", "None"});
  if (mode == "Bidirectional" && !privileged) {
    errors.forbidden(path, "Bidirectional mount propagation is available only to privileged containers");
  }
}

void check_recursive_read_only(Errors& errors, const Path& path, const Json& mount) {
  const auto mode = str(mount, "recursiveReadOnly");
  if (mode.empty() || mode == "Disabled") return;
  if (mode != "Enabled" && mode != "IfPossible") {
    return errors.not_supported(path, mode, {"Disabled", "Enabled", "IfPossible"});
  }
  if (!flag(mount, "readOnly")) errors.forbidden(path, "may only be specified when readOnly is true");
  const auto propagation = str(mount, "mountPropagation");
  if (!propagation.empty() && propagation != "None") {
    errors.forbidden(path, "may only be specified when mountPropagation is None or not specified");
  }
}

bool holds(const Json& list, std::string_view key, std::string_view value) {
  return std::any_of(items(list).begin(), items(list).end(), [&](const Json& item) { return str(item, key) == value; });
}

void check_mounts(Errors& errors, const Path& path, const Json& container, const Volumes& volumes) {
  const bool privileged = flag(at(container, "securityContext"), "privileged");
  const Json& devices = at(container, "volumeDevices");
  std::set<std::string_view> points;
  std::size_t i = 0;
  for (const Json& mount : items(at(container, "volumeMounts"))) {
    const Path here = path[i++];
    const auto name = str(mount, "name");
    const auto point = str(mount, "mountPath");
    if (name.empty()) errors.required(here / "name");
    if (!volumes.contains(name)) errors.not_found(here / "name", name);
    if (point.empty()) errors.required(here / "mountPath");
    if (!points.insert(point).second) errors.invalid(here / "mountPath", point, "must be unique");
    if (holds(devices, "name", name)) errors.invalid(here / "name", name, "must not already exist in volumeDevices");
    if (holds(devices, "devicePath", point)) {
      errors.invalid(here / "mountPath", point, "must not already exist as a path in volumeDevices");
    }
    const auto sub = str(mount, "subPath");
    if (!sub.empty()) check_descending_path(errors, path / "subPath", sub);
    if (const auto expression = str(mount, "subPathExpr"); !expression.empty()) {
      if (!sub.empty()) {
        errors.invalid(here / "subPathExpr", expression, "subPathExpr and subPath are mutually exclusive");
      }
      check_descending_path(errors, path / "subPathExpr", expression);
    }
    check_propagation(errors, path / "mountPropagation", mount, privileged);
    check_recursive_read_only(errors, path / "recursiveReadOnly", mount);
  }
}

void check_devices(Errors& errors, const Path& path, const Json& container, const Volumes& volumes) {
  const Json& mounts = at(container, "volumeMounts");
  std::set<std::string_view> names, points;
  std::size_t i = 0;
  for (const Json& device : items(at(container, "volumeDevices"))) {
    const Path here = path[i++];
    const auto name = str(device, "name");
    const auto point = str(device, "devicePath");
    if (name.empty()) errors.required(here / "name");
    if (names.contains(name)) errors.invalid(here / "name", name, "must be unique");
    const auto volume = volumes.find(name);
    if (volume == volumes.end()) {
      errors.not_found(here / "name", name);
    } else if (!has(*volume->second, "persistentVolumeClaim") && !has(*volume->second, "ephemeral")) {
      errors.invalid(here / "name", name,
                     "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode");
    }
    if (point.empty()) errors.required(here / "devicePath");
    if (points.contains(point)) errors.invalid(here / "devicePath", point, "must be unique");
    const auto parts = split(point, '/');
    if (std::find(parts.begin(), parts.end(), "..") != parts.end()) {
      errors.invalid(here / "devicePath", point, "can not contain backsteps ('..')");
    } else {
      points.insert(point);
    }
    if (holds(mounts, "name", name)) errors.invalid(here / "name", name, "must not already exist in volumeMounts");
    if (holds(mounts, "mountPath", point)) {
      errors.invalid(here / "devicePath", point, "must not already exist as a path in volumeMounts");
    }
    if (!name.empty()) names.insert(name);
  }
}

void check_resize_policy(Errors& errors, const Path& path, const Json& list, std::string_view pod_restart) {
  std::set<std::string_view> seen;
  std::size_t i = 0;
  for (const Json& policy : items(list)) {
    const Path here = path[i++];
    const auto resource = str(policy, "resourceName");
    const auto restart = str(policy, "restartPolicy");
    if (!seen.insert(resource).second) errors.duplicate(here, resource);
    if (resource.empty()) {
      errors.required(path);
    } else {
      check_enum(errors, path, resource, {"cpu", "memory"});
    }
    if (restart.empty()) {
      errors.required(path);
    } else {
      check_enum(errors, path, restart, {"NotRequired", "RestartContainer"});
    }
    if (pod_restart == "Never" && restart != "NotRequired") {
      errors.invalid(path, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
    }
  }
}

// The container's own restart policy and its rules on exit codes.
void check_restart(Errors& errors, const Path& path, const Json& container) {
  const auto& rules = items(at(container, "restartPolicyRules"));
  if (has(container, "restartPolicy")) {
    check_enum(errors, path / "restartPolicy", str(container, "restartPolicy"), {"Always", "Never", "OnFailure"});
  } else if (!rules.empty()) {
    errors.required(path / "restartPolicy", "must specify restartPolicy when restart rules are used");
  }
  if (rules.size() > 20) errors.too_many(path / "restartPolicyRules", rules.size(), 20);
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const Path here = (path / "restartPolicyRules")[i];
    check_enum(errors, here / "action", str(rules[i], "action"), {"Restart", "RestartAllContainers"});
    const Json& codes = at(rules[i], "exitCodes");
    if (!codes.is_object()) {
      errors.required(here / "exitCodes", "must be specified");
      continue;
    }
    check_enum(errors, here / "exitCodes" / "operator", str(codes, "operator"), {"In", "NotIn"});
    if (const auto count = items(at(codes, "values")).size(); count > 255) {
      errors.too_many(here / "exitCodes" / "values", count, 255);
    }
  }
}

void check_claims(Errors& errors, const Path& path, const Json& claims, const Json& pod_spec) {
  std::set<std::string> seen;
  std::size_t i = 0;
  for (const Json& claim : items(claims)) {
    const Path here = path[i++];
    const std::string name(str(claim, "name"));
    if (name.empty()) {
      errors.required(here);
      continue;
    }
    const auto request = str(claim, "request");
    if (!request.empty()) check_format(errors, here / "request", request, dns1123_label);
    const std::string key = request.empty() ? name : name + "/" + std::string(request);
    if (seen.contains(name) || !seen.insert(key).second) errors.duplicate(here, key);
    if (!holds(at(pod_spec, "resourceClaims"), "name", name)) {
      std::string names;
      for (const Json& known : items(at(pod_spec, "resourceClaims"))) {
        names.append(names.empty() ? ": " : ", ").append(str(known, "name"));
      }
      errors.add("FieldValueNotFound", "Not found: " + quote(name), here,
                 "must be one of the names in pod.spec.resourceClaims" + (names.empty() ? " which is empty" : names));
    }
  }
}

void check_common(Errors& errors, const Path& path, const Json& container, const PodScope& scope) {
  if (const auto name = str(container, "name"); name.empty()) {
    errors.required(path / "name");
  } else {
    check_format(errors, path / "name", name, dns1123_label);
  }
  const auto image = str(container, "image");
  if (image.empty()) errors.required(path / "image");
  if (scope.is_pod && trim(image).size() != image.size()) {
    errors.invalid(path / "image", image, "must not have leading or trailing whitespace");
  }
  if (const auto policy = str(container, "terminationMessagePolicy"); policy.empty()) {
    errors.required(path / "terminationMessagePolicy");
  } else {
    check_enum(errors, path / "terminationMessagePolicy", policy, {"File", "FallbackToLogsOnError"});
  }
  check_ports(errors, path / "ports", at(container, "ports"));
  check_env(errors, path / "env", at(container, "env"));
  check_env_from(errors, path / "envFrom", at(container, "envFrom"));
  check_mounts(errors, path / "volumeMounts", container, scope.volumes);
  check_devices(errors, path / "volumeDevices", container, scope.volumes);
  if (const auto policy = str(container, "imagePullPolicy"); policy.empty()) {
    errors.required(path / "imagePullPolicy");
  } else {
    check_enum(errors, path / "imagePullPolicy", policy, {"Always", "IfNotPresent", "Never"});
  }
  check_resources(errors, path / "resources", at(container, "resources"));
  check_claims(errors, path / "resources" / "claims", at(container, "resources", "claims"), *scope.spec);
  check_resize_policy(errors, path / "resizePolicy", at(container, "resizePolicy"), str(*scope.spec, "restartPolicy"));
  check_security_context(errors, path / "securityContext", at(container, "securityContext"),
                         flag(*scope.spec, "hostUsers", true));
}

void check_probes(Errors& errors, const Path& path, const Json& container, const PodScope& scope) {
  check_lifecycle(errors, path / "lifecycle", at(container, "lifecycle"), *scope.spec);
  for (const char* kind : {"livenessProbe", "readinessProbe", "startupProbe"}) {
    check_probe(errors, path / kind, at(container, kind), kind);
  }
}

// Two containers of a pod share its address, so they cannot both have a host port.
void check_host_ports(Errors& errors, const Path& path, const Json& container, std::set<std::string>& taken) {
  std::size_t i = 0;
  for (const Json& port : items(at(container, "ports"))) {
    const Path here = (path / "ports")[i++];
    const auto number = num(port, "hostPort");
    if (number == 0) continue;
    const std::string key =
        std::string(str(port, "protocol")) + "/" + std::string(str(port, "hostIP")) + "/" + std::to_string(number);
    if (!taken.insert(key).second) errors.duplicate(here / "hostPort", key);
  }
}

}  // namespace

void check_containers(Errors& errors, const Path& path, const Json& list, const PodScope& scope) {
  if (items(list).empty()) return errors.required(path);
  std::set<std::string_view> names;
  std::set<std::string> host_ports;
  std::size_t i = 0;
  for (const Json& container : items(list)) {
    const Path here = path[i++];
    check_common(errors, here, container, scope);
    if (!names.insert(str(container, "name")).second) errors.duplicate(here / "name", str(container, "name"));
    check_probes(errors, here, container, scope);
    check_restart(errors, here, container);
    check_host_ports(errors, here, container, host_ports);
  }
}

void check_init_containers(Errors& errors, const Path& path, const Json& list, const PodScope& scope) {
  std::set<std::string_view> names;
  for (const Json& container : items(at(*scope.spec, "containers"))) names.insert(str(container, "name"));
  std::size_t i = 0;
  for (const Json& container : items(list)) {
    const Path here = path[i++];
    const auto name = str(container, "name");
    const bool sidecar = str(container, "restartPolicy") == "Always";
    check_common(errors, here, container, scope);
    check_restart(errors, here, container);
    if (!name.empty() && !names.insert(name).second) errors.duplicate(here / "name", name);
    std::set<std::string> host_ports;  // init containers run one by one
    check_host_ports(errors, here, container, host_ports);
    if (sidecar) {
      check_probes(errors, here, container, scope);
      continue;
    }
    for (const char* key : {"lifecycle", "livenessProbe", "readinessProbe", "startupProbe"}) {
      if (has(container, key)) {
        errors.forbidden(here / key, "may not be set for init containers without restartPolicy=Always");
      }
    }
    std::size_t p = 0;
    for (const Json& policy : items(at(container, "resizePolicy"))) {
      const Path where = (here / "resizePolicy")[p++];
      if (str(policy, "restartPolicy") == "RestartContainer") {
        errors.invalid(where / "restartPolicy", "RestartContainer",
                       "must not be set to 'RestartContainer' for non-sidecar initContainers");
      }
    }
  }
}

void check_ephemeral_containers(Errors& errors, const Path& path, const Json& list, const PodScope& scope) {
  constexpr std::string_view kNotHere = "cannot be set for an Ephemeral Container";
  std::set<std::string_view> others;
  for (const char* key : {"containers", "initContainers"}) {
    for (const Json& container : items(at(*scope.spec, key))) others.insert(str(container, "name"));
  }
  std::set<std::string_view> names = others;
  std::size_t i = 0;
  for (const Json& container : items(list)) {
    const Path here = path[i++];
    check_common(errors, here, container, scope);
    if (!names.insert(str(container, "name")).second) errors.duplicate(here / "name", str(container, "name"));
    const auto target = str(container, "targetContainerName");
    if (!target.empty() && !others.contains(target)) errors.not_found(here / "targetContainerName", target);
    for (const char* key : {"ports", "resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle",
                            "resizePolicy", "restartPolicy", "restartPolicyRules"}) {
      if (!blank(at(container, key))) errors.forbidden(here / key, kNotHere);
    }
    std::size_t m = 0;
    for (const Json& mount : items(at(container, "volumeMounts"))) {
      const Path where = (here / "volumeMounts")[m++];
      for (const char* key : {"subPath", "subPathExpr"}) {
        if (!str(mount, key).empty()) errors.forbidden(where / key, kNotHere);
      }
    }
  }
}

}  // namespace brume::api::validation
