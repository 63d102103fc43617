// The pod's spec as a whole.
#include <algorithm>
#include <set>

#include "api/validation/pod.h"
#include "brume/api/pod_resources.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

constexpr std::int64_t kMaxInt32 = 2147483647;

void check_dns(Errors& errors, const Path& path, const Json& config, std::string_view policy) {
  // glibc's resolver: MAXNS 3 (resolv.h); search paths as Kubernetes 1.28 and later.
  constexpr std::size_t kServers = 3, kSearches = 32, kSearchBytes = 2048;
  if (policy == "None") {
    if (!config.is_object()) return errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
    if (items(at(config, "nameservers")).empty()) {
      return errors.required(path / "nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
  }
  const auto& servers = items(at(config, "nameservers"));
  if (servers.size() > kServers) {
    errors.invalid(path / "nameservers", at(config, "nameservers"), "must not have more than 3 nameservers");
  }
  for (std::size_t i = 0; i < servers.size(); ++i) check_ip(errors, (path / "nameservers")[i], str(servers[i]));
  const auto& searches = items(at(config, "searches"));
  if (searches.size() > kSearches) {
    errors.invalid(path / "searches", at(config, "searches"), "must not have more than 32 search paths");
  }
  std::size_t bytes = searches.empty() ? 0 : searches.size() - 1;
  for (std::size_t i = 0; i < searches.size(); ++i) {
    auto search = str(searches[i]);
    bytes += search.size();
    if (search == ".") continue;
    if (search.ends_with('.')) search.remove_suffix(1);
    check_format(errors, (path / "searches")[i], search, dns1123_subdomain_underscore);
  }
  if (bytes > kSearchBytes) {
    errors.invalid(path / "searches", at(config, "searches"),
                   "must not have more than 2048 characters (including spaces) in the search list");
  }
  const auto& options = items(at(config, "options"));
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (str(options[i], "name").empty()) errors.required((path / "options")[i], "must not be empty");
  }
}

// On the host's network a container's port is the host's.
void check_host_network(Errors& errors, const Path& path, const Json& spec, bool is_pod) {
  if (!flag(spec, "hostNetwork")) return;
  std::size_t c = 0;
  for (const Json& container : items(at(spec, "containers"))) {
    const Path here = (path / "containers")[c++] / "ports";
    std::size_t p = 0;
    for (const Json& port : items(at(container, "ports"))) {
      const Path where = here[p++];
      const auto host = num(port, "hostPort");
      if ((is_pod || host != 0) && host != num(port, "containerPort")) {
        errors.invalid(where / "hostPort", host, "must match `containerPort` when `hostNetwork` is true");
      }
    }
  }
}

void check_host_users(Errors& errors, const Path& path, const Json& spec) {
  constexpr std::string_view kWhen = "when `hostUsers` is false";
  if (flag(spec, "hostUsers", true)) return;
  if (flag(spec, "hostNetwork")) errors.forbidden(path / "hostNetwork", kWhen);
  if (flag(spec, "hostPID")) errors.forbidden(path / "HostPID", kWhen);
  if (flag(spec, "hostIPC")) errors.forbidden(path / "HostIPC", kWhen);
  for (const char* key : {"initContainers", "containers", "ephemeralContainers"}) {
    std::size_t i = 0;
    for (const Json& container : items(at(spec, key))) {
      const Path here = (path / key)[i++];
      if (!blank(at(container, "volumeDevices"))) errors.forbidden(here / "volumeDevices", kWhen);
    }
  }
}

void check_host_name(Errors& errors, const Path& path, const Json& spec) {
  if (const auto name = str(spec, "hostname"); !name.empty())
    check_format(errors, path / "hostname", name, dns1123_label);
  if (const auto name = str(spec, "subdomain"); !name.empty()) {
    check_format(errors, path / "subdomain", name, dns1123_label);
  }
  if (!has(spec, "hostnameOverride")) return;
  const auto name = str(spec, "hostnameOverride");
  const Path here = path / "hostnameOverride";
  if (flag(spec, "setHostnameAsFQDN")) errors.forbidden(here, "may not be specified when setHostnameAsFQDN is true");
  if (flag(spec, "hostNetwork")) errors.forbidden(here, "may not be specified when hostNetwork is true");
  if (name.size() > 64) errors.too_long(here, 64);  // HOST_NAME_MAX, limits.h
  check_format(errors, here, name, dns1123_subdomain);
}

void check_gates(Errors& errors, const Path& path, const Json& spec) {
  std::size_t i = 0;
  for (const Json& gate : items(at(spec, "readinessGates"))) {
    check_format(errors, (path / "readinessGates")[i++] / "conditionType", str(gate, "conditionType"), qualified_name);
  }
  std::set<std::string_view> seen;
  i = 0;
  for (const Json& gate : items(at(spec, "schedulingGates"))) {
    const Path here = (path / "schedulingGates")[i++];
    check_format(errors, here, str(gate, "name"), qualified_name);
    if (!seen.insert(str(gate, "name")).second) errors.duplicate(here, str(gate, "name"));
  }
}

void check_host_aliases(Errors& errors, const Path& path, const Json& list) {
  std::size_t i = 0;
  for (const Json& alias : items(list)) {
    const Path here = path[i++];
    check_ip(errors, here / "ip", str(alias, "ip"));
    const auto& names = items(at(alias, "hostnames"));
    for (std::size_t n = 0; n < names.size(); ++n) {
      check_format(errors, (here / "hostnames")[n], str(names[n]), dns1123_subdomain);
    }
  }
}

// Fields of the other system.
void check_os(Errors& errors, const Path& path, const Json& spec) {
  const Json& os = at(spec, "os");
  if (!os.is_object()) return;
  const auto name = str(os, "name");
  if (name.empty()) return errors.required(path / "os" / "name");
  if (name != "linux" && name != "windows") return errors.not_supported(path / "os", name, {"linux", "windows"});
  const auto refuse = [&](const Path& where, const Json& object, std::initializer_list<const char*> keys,
                          std::string_view why) {
    for (const char* key : keys) {
      if (has(object, key) && at(object, key) != Json(false)) errors.forbidden(where / key, why);
    }
  };
  constexpr std::string_view kNotLinux = "windows options cannot be set for a linux pod";
  constexpr std::string_view kNotWindows = "cannot be set for a windows pod";
  const bool linux = name == "linux";
  const Path context = path / "securityContext";
  if (linux) {
    refuse(context, at(spec, "securityContext"), {"windowsOptions"}, kNotLinux);
  } else {
    refuse(context, at(spec, "securityContext"),
           {"appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls",
            "runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy"},
           kNotWindows);
    refuse(path, spec, {"hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"}, kNotWindows);
  }
  for (const char* key : {"initContainers", "containers", "ephemeralContainers"}) {
    std::size_t i = 0;
    for (const Json& container : items(at(spec, key))) {
      const Path here = (path / key)[i++] / "securityContext";
      const Json& own = at(container, "securityContext");
      if (linux) {
        refuse(here, own, {"windowsOptions"}, kNotLinux);
      } else {
        refuse(here, own,
               {"appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem",
                "privileged", "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup"},
               kNotWindows);
      }
    }
  }
}

void check_pod_resources(Errors& errors, const Path& path, const Json& spec) {
  const Json& resources = at(spec, "resources");
  if (!resources.is_object()) return;
  if (str(at(spec, "os"), "name") == "windows") return errors.forbidden(path, "may not be set for a windows pod");
  if (has(resources, "claims")) {
    errors.forbidden(path / "claims", "claims may not be set for Resources at pod-level");
  }
  check_resources(errors, path, resources, true);
  const Json& requests = at(resources, "requests");
  if (requests.is_object()) {
    Amounts totals = container_amounts(spec, "requests");
    for (const auto& [name, amount] : requests.items()) {
      const Quantity& total = totals[name];
      if (total > quantity_of(amount)) {
        errors.invalid((path / "requests").key(name), quantity_of(amount).to_string(),
                       "must be greater than or equal to aggregate container requests of " + total.to_string());
      }
    }
  }
  const Json& limits = at(resources, "limits");
  std::size_t i = 0;
  for (const Json& container : items(at(spec, "containers"))) {
    const Path here = (path / "containers")[i++];
    const Json& own = at(container, "resources", "limits");
    if (!own.is_object()) continue;
    for (const auto& [name, amount] : own.items()) {
      const Json& limit = at(limits, name);
      if (limit.is_null() || quantity_of(amount) <= quantity_of(limit)) continue;
      errors.invalid(here.key(name) / "limits", quantity_of(amount).to_string(),
                     "must be less than or equal to pod limits of " + quantity_of(limit).to_string());
    }
  }
}

void check_pod_claims(Errors& errors, const Path& path, const Json& list) {
  std::set<std::string_view> names;
  std::size_t i = 0;
  for (const Json& claim : items(list)) {
    const Path here = path[i++];
    const auto name = str(claim, "name");
    if (!names.insert(name).second) {
      errors.duplicate(here / "name", name);
    } else {
      check_format(errors, here / "name", name, dns1123_label);
    }
    const auto claim_name = str(claim, "resourceClaimName");
    const auto claim_template = str(claim, "resourceClaimTemplateName");
    if (has(claim, "resourceClaimName") && has(claim, "resourceClaimTemplateName")) {
      errors.invalid(here, claim, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified");
    }
    if (!has(claim, "resourceClaimName") && !has(claim, "resourceClaimTemplateName")) {
      errors.invalid(here, claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`");
    }
    if (has(claim, "resourceClaimName"))
      check_format(errors, here / "resourceClaimName", claim_name, dns1123_subdomain);
    if (has(claim, "resourceClaimTemplateName")) {
      check_format(errors, here / "resourceClaimTemplateName", claim_template, dns1123_subdomain);
    }
  }
}

void check_enums(Errors& errors, const Path& path, const Json& spec) {
  if (const auto policy = str(spec, "restartPolicy"); policy.empty()) {
    errors.required(path / "restartPolicy");
  } else {
    check_enum(errors, path / "restartPolicy", policy, {"Always", "OnFailure", "Never"});
  }
  if (const auto policy = str(spec, "dnsPolicy"); policy.empty()) {
    errors.required(path / "dnsPolicy");
  } else {
    check_enum(errors, path / "dnsPolicy", policy, {"ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"});
  }
  if (has(spec, "preemptionPolicy")) {
    check_enum(errors, path / "preemptionPolicy", str(spec, "preemptionPolicy"), {"PreemptLowerPriority", "Never"});
  }
}

void check_names(Errors& errors, const Path& path, const Json& spec) {
  for (const char* key : {"serviceAccountName", "nodeName", "priorityClassName"}) {
    if (const auto name = str(spec, key); !name.empty()) check_format(errors, path / key, name, dns1123_subdomain);
  }
  if (has(spec, "runtimeClassName")) {
    check_format(errors, path / "runtimeClassName", str(spec, "runtimeClassName"), dns1123_subdomain);
  }
}

// A variable read from a file needs a volume that the pod itself writes.
void check_file_volumes(Errors& errors, const Path& path, const Json& spec) {
  const auto& volumes = items(at(spec, "volumes"));
  for (const char* key : {"initContainers", "containers", "ephemeralContainers"}) {
    std::size_t c = 0;
    for (const Json& container : items(at(spec, key))) {
      const Path here = (path / key)[c++] / "env";
      std::size_t e = 0;
      for (const Json& variable : items(at(container, "env"))) {
        const Path where = here[e++] / "valueFrom" / "fileKeyRef" / "volumeName";
        const Json& ref = at(variable, "valueFrom", "fileKeyRef");
        if (!ref.is_object()) continue;
        const auto name = str(ref, "volumeName");
        const auto volume =
            std::find_if(volumes.begin(), volumes.end(), [&](const Json& item) { return str(item, "name") == name; });
        if (volume == volumes.end()) {
          errors.not_found(where, name);
        } else if (!has(*volume, "emptyDir")) {
          errors.invalid(where, name, "referenced volume must be of type emptyDir");
        }
      }
    }
  }
}

}  // namespace

void check_pod_spec(Errors& errors, const Path& path, const Json& spec, std::string_view pod_name, bool is_pod) {
  if (!has(spec, "terminationGracePeriodSeconds")) errors.required(path / "terminationGracePeriodSeconds");
  PodScope scope{&spec, check_volumes(errors, path / "volumes", at(spec, "volumes"), pod_name), is_pod};
  check_pod_claims(errors, path / "resourceClaims", at(spec, "resourceClaims"));
  check_containers(errors, path / "containers", at(spec, "containers"), scope);
  check_init_containers(errors, path / "initContainers", at(spec, "initContainers"), scope);
  check_ephemeral_containers(errors, path / "ephemeralContainers", at(spec, "ephemeralContainers"), scope);
  check_pod_resources(errors, path / "resources", spec);
  check_host_network(errors, path, spec, is_pod);
  check_enums(errors, path, spec);
  check_labels(errors, path / "nodeSelector", at(spec, "nodeSelector"));
  check_pod_security_context(errors, path / "securityContext", at(spec, "securityContext"), spec);
  check_affinity(errors, path / "affinity", at(spec, "affinity"));
  check_dns(errors, path / "dnsConfig", at(spec, "dnsConfig"), str(spec, "dnsPolicy"));
  check_gates(errors, path, spec);
  check_spread_constraints(errors, path / "topologySpreadConstraints", at(spec, "topologySpreadConstraints"));
  check_host_users(errors, path, spec);
  check_host_name(errors, path, spec);
  check_names(errors, path, spec);
  if (const Json& deadline = at(spec, "activeDeadlineSeconds"); deadline.is_number()) {
    const auto value = deadline.get<std::int64_t>();
    if (value < 1 || value > kMaxInt32)
      errors.invalid(path / "activeDeadlineSeconds", value, range_message(1, kMaxInt32));
  }
  check_tolerations(errors, path / "tolerations", at(spec, "tolerations"));
  check_host_aliases(errors, path / "hostAliases", at(spec, "hostAliases"));
  if (at(spec, "overhead").is_object()) {
    Json overhead = Json::object();
    overhead["limits"] = at(spec, "overhead");
    Errors own;
    check_resources(own, path / "overhead", overhead);
    for (Cause& cause : own.take()) errors.append(std::move(cause));
  }
  check_os(errors, path, spec);
  check_file_volumes(errors, path, spec);
}

void check_pod_template(Errors& errors, const Path& path, const Json& pod_template) {
  const Json& metadata = at(pod_template, "metadata");
  const Json& spec = at(pod_template, "spec");
  check_labels(errors, path / "labels", at(metadata, "labels"));
  check_annotations(errors, path / "annotations", at(metadata, "annotations"));
  check_pod_annotations(errors, path / "annotations", at(metadata, "annotations"), spec);
  check_pod_spec(errors, path / "spec", spec, {}, false);
  if (!blank(at(spec, "ephemeralContainers"))) {
    errors.forbidden(path / "spec" / "ephemeralContainers", "ephemeral containers not allowed in pod template");
  }
}

}  // namespace brume::api::validation
