// Environment variables and what the downward API offers.
#include <algorithm>
#include <array>

#include "api/validation/pod.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

constexpr std::array<std::string_view, 9> kEnvFields = {
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs",     "status.podIP", "status.podIPs"};
constexpr std::array<std::string_view, 5> kVolumeFields = {"metadata.annotations", "metadata.labels", "metadata.name",
                                                           "metadata.namespace", "metadata.uid"};
constexpr std::array<std::string_view, 6> kResourceFields = {
    "limits.cpu",   "limits.ephemeral-storage",   "limits.memory",
    "requests.cpu", "requests.ephemeral-storage", "requests.memory"};

bool contains(std::span<const std::string_view> list, std::string_view value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

// The fields that a pod has under this name at all; others are no field path.
bool is_pod_field(std::string_view field) {
  return contains(kEnvFields, field) || contains(kVolumeFields, field) || field == "spec.restartPolicy" ||
         field == "spec.schedulerName" || field == "status.phase";
}

void check_key_ref(Errors& errors, const Path& path, const Json& ref) {
  check_format(errors, path / "name", str(ref, "name"), dns1123_subdomain);
  if (str(ref, "key").empty()) {
    errors.required(path / "key");
  } else {
    check_format(errors, path / "key", str(ref, "key"), config_key);
  }
}

void check_file_ref(Errors& errors, const Path& path, const Json& ref) {
  const auto require = [&](const char* key) {
    if (!str(ref, key).empty()) return true;
    errors.required(path / key);
    return false;
  };
  if (require("key")) check_format(errors, path / "key", str(ref, "key"), env_name);
  if (require("volumeName")) check_format(errors, path / "volumeName", str(ref, "volumeName"), dns1123_label);
  if (require("path")) check_no_backsteps(errors, path / "path", str(ref, "path"));
}

void check_value_from(Errors& errors, const Path& path, const Json& variable) {
  const Json& from = at(variable, "valueFrom");
  if (!from.is_object()) return;
  int sources = 0;
  const auto source = [&](const char* key) -> const Json& {
    const Json& value = at(from, key);
    sources += value.is_object() ? 1 : 0;
    return value;
  };
  if (const Json& ref = source("fieldRef"); ref.is_object()) check_field_ref(errors, path / "fieldRef", ref, false);
  if (const Json& ref = source("resourceFieldRef"); ref.is_object()) {
    check_resource_field_ref(errors, path / "resourceFieldRef", ref, false);
  }
  for (const char* key : {"configMapKeyRef", "secretKeyRef"}) {
    if (const Json& ref = source(key); ref.is_object()) check_key_ref(errors, path / key, ref);
  }
  if (const Json& ref = source("fileKeyRef"); ref.is_object()) check_file_ref(errors, path / "fileKeyRef", ref);
  if (sources == 0) {
    errors.invalid(
        path, "",
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`");
  } else if (!str(variable, "value").empty()) {
    errors.invalid(path, "", "may not be specified when `value` is not empty");
  } else if (sources > 1) {
    errors.invalid(path, "", "may not have more than one field specified at a time");
  }
}

void check_divisor(Errors& errors, const Path& path, std::string_view resource, const Json& divisor) {
  constexpr std::array<std::string_view, 13> kSizes = {"1",   "1k",  "1M",  "1G",  "1T",  "1P", "1E",
                                                       "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"};
  const Quantity quantity = quantity_of(divisor);
  if (quantity.is_zero()) return;
  const std::string text = quantity.to_string();
  if (resource.ends_with(".cpu")) {
    if (text != "1" && text != "1m") {
      errors.invalid(path, resource, "only divisor's values 1m and 1 are supported with the cpu resource");
    }
    return;
  }
  std::string_view what;
  if (resource.ends_with(".memory")) what = "memory";
  if (resource.ends_with(".ephemeral-storage")) what = "local ephemeral storage";
  if (resource.find(".hugepages-") != std::string_view::npos) what = "hugepages";
  if (!what.empty() && !contains(kSizes, text)) {
    errors.invalid(
        path, resource,
        "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the " +
            std::string(what) + " resource");
  }
}

}  // namespace

void check_field_ref(Errors& errors, const Path& path, const Json& ref, bool volume) {
  const auto field = str(ref, "fieldPath");
  if (str(ref, "apiVersion").empty()) return errors.required(path / "apiVersion");
  if (field.empty()) return errors.required(path / "fieldPath");
  // metadata.labels['key']
  if (const auto open = field.find("['"); open != std::string_view::npos && field.ends_with("']")) {
    const auto name = field.substr(0, open);
    const auto key = field.substr(open + 2, field.size() - open - 4);
    if (name == "metadata.annotations") {
      errors.invalid_each(path, to_lower(key), qualified_name(to_lower(key)));
    } else if (name == "metadata.labels") {
      check_format(errors, path, key, qualified_name);
    } else {
      errors.invalid(path / "fieldPath", field,
                     "error converting fieldPath: field label does not support subscript: " + std::string(field));
    }
    return;
  }
  const std::span<const std::string_view> allowed =
      volume ? std::span<const std::string_view>(kVolumeFields) : std::span<const std::string_view>(kEnvFields);
  if (!is_pod_field(field)) {
    errors.invalid(path / "fieldPath", field,
                   "error converting fieldPath: field label not supported: " + std::string(field));
  } else if (!contains(allowed, field)) {
    errors.not_supported(path / "fieldPath", field, allowed);
  }
}

void check_resource_field_ref(Errors& errors, const Path& path, const Json& ref, bool volume) {
  const auto resource = str(ref, "resource");
  if (volume && str(ref, "containerName").empty()) {
    errors.required(path / "containerName");
  } else if (resource.empty()) {
    errors.required(path / "resource");
  } else if (!contains(kResourceFields, resource) && !resource.starts_with("limits.hugepages-") &&
             !resource.starts_with("requests.hugepages-")) {
    errors.not_supported(path / "resource", resource, kResourceFields);
  }
  check_divisor(errors, path / "divisor", resource, at(ref, "divisor"));
}

void check_env(Errors& errors, const Path& path, const Json& list) {
  std::size_t i = 0;
  for (const Json& variable : items(list)) {
    const Path here = path[i++];
    if (str(variable, "name").empty()) {
      errors.required(here / "name");
    } else {
      check_format(errors, here / "name", str(variable, "name"), env_name);
    }
    check_value_from(errors, here / "valueFrom", variable);
  }
}

void check_env_from(Errors& errors, const Path& path, const Json& list) {
  std::size_t i = 0;
  for (const Json& from : items(list)) {
    const Path here = path[i++];
    if (const auto prefix = str(from, "prefix"); !prefix.empty()) {
      check_format(errors, here / "prefix", prefix, env_name);
    }
    int sources = 0;
    for (const char* key : {"configMapRef", "secretRef"}) {
      const Json& ref = at(from, key);
      if (!ref.is_object()) continue;
      ++sources;
      if (str(ref, "name").empty()) {
        errors.required(here / key / "name");
      } else {
        check_format(errors, here / key / "name", str(ref, "name"), dns1123_subdomain);
      }
    }
    if (sources == 0) errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`");
    if (sources > 1) errors.invalid(path, "", "may not have more than one field specified at a time");
  }
}

}  // namespace brume::api::validation
