// Security contexts of pods and containers.
#include <algorithm>
#include <set>

#include "api/validation/pod.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

void check_id(Errors& errors, const Path& path, const Json& id) {
  if (!id.is_number()) return;
  for (const auto& fault : id_number(id.get<std::int64_t>())) errors.invalid(path, id, fault);
}

void check_seccomp(Errors& errors, const Path& path, const Json& profile) {
  if (!profile.is_object()) return;
  const auto type = str(profile, "type");
  const Json& file = at(profile, "localhostProfile");
  if (type.empty()) {
    errors.required(path / "type", "type is required when seccompProfile is set");
  } else {
    check_enum(errors, path / "type", type, {"Localhost", "RuntimeDefault", "Unconfined"});
  }
  if (type != "Localhost") {
    if (!file.is_null()) {
      errors.invalid(path / "localhostProfile", profile, "can only be set when seccomp type is Localhost");
    }
  } else if (file.is_null()) {
    errors.required(path / "localhostProfile", "must be set when seccomp type is Localhost");
  } else {
    check_descending_path(errors, path / "localhostProfile", str(file));
  }
}

void check_app_armor(Errors& errors, const Path& path, const Json& profile) {
  constexpr std::size_t kLongest = 4095;  // PATH_MAX less the NUL, limits.h
  if (!profile.is_object()) return;
  const auto type = str(profile, "type");
  const Json& name = at(profile, "localhostProfile");
  const Path here = path / "localhostProfile";
  if (type == "Localhost") {
    if (name.is_null()) return errors.required(here, "must be set when AppArmor type is Localhost");
    const auto text = str(name);
    if (trim(text) != text) {
      errors.invalid(here, text, "must not be padded with whitespace");
    } else if (text.empty()) {
      errors.required(here, "must be set when AppArmor type is Localhost");
    }
    if (text.size() > kLongest) errors.too_long(here, kLongest);
  } else if (type == "RuntimeDefault" || type == "Unconfined") {
    if (!name.is_null()) errors.invalid(here, name, "can only be set when AppArmor type is Localhost");
  } else if (type.empty()) {
    errors.required(path / "type", "type is required when appArmorProfile is set");
  } else {
    errors.not_supported(path / "type", type, {"Localhost", "RuntimeDefault", "Unconfined"});
  }
}

bool is_sysctl_name(std::string_view name) {
  const auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (name.empty() || name.size() > 253) return false;
  char before = '.';
  for (const char c : name) {
    const bool separator = c == '.' || c == '/';
    const bool at_start = before == '.' || before == '/';
    if (at_start && !alnum(c)) return false;
    if (separator && !alnum(before)) return false;
    if (!separator && !alnum(c) && c != '-' && c != '_') return false;
    before = c;
  }
  return alnum(before);
}

// The namespace that a sysctl belongs to, by its name: "net", "ipc" or neither.
std::string_view sysctl_namespace(std::string_view name) {
  std::string dotted(name);
  std::replace(dotted.begin(), dotted.end(), '/', '.');
  if (dotted.starts_with("net.")) return "net";
  for (const char* prefix : {"kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue."}) {
    if (dotted.starts_with(prefix)) return "ipc";
  }
  return {};
}

void check_sysctls(Errors& errors, const Path& path, const Json& list, const Json& spec) {
  std::set<std::string_view> names;
  std::size_t i = 0;
  for (const Json& sysctl : items(list)) {
    const Path here = path[i++] / "name";
    const auto name = str(sysctl, "name");
    if (name.empty()) {
      errors.required(here);
    } else if (!is_sysctl_name(name)) {
      errors.invalid(here, name,
                     "must have at most 253 characters and match regex "
                     "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$");
    } else if (names.contains(name)) {
      errors.duplicate(here, name);
    }
    const auto space = sysctl_namespace(name);
    if (flag(spec, "hostNetwork") && space == "net") {
      errors.invalid(here, name, "may not be specified when 'hostNetwork' is true");
    }
    if (flag(spec, "hostIPC") && space == "ipc") {
      errors.invalid(here, name, "may not be specified when 'hostIPC' is true");
    }
    names.insert(name);
  }
}

}  // namespace

void check_security_context(Errors& errors, const Path& path, const Json& context, bool host_users) {
  if (!context.is_object()) return;
  check_id(errors, path / "runAsUser", at(context, "runAsUser"));
  check_id(errors, path / "runAsGroup", at(context, "runAsGroup"));
  if (has(context, "procMount")) {
    const auto type = str(context, "procMount");
    check_enum(errors, path / "procMount", type, {"Default", "Unmasked"});
    if (host_users && type == "Unmasked") {
      errors.invalid(path / "procMount", type, "`hostUsers` must be false to use `Unmasked`");
    }
  }
  check_seccomp(errors, path / "seccompProfile", at(context, "seccompProfile"));
  if (!flag(context, "allowPrivilegeEscalation", true)) {
    if (flag(context, "privileged")) {
      errors.invalid(path, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    }
    for (const Json& capability : items(at(context, "capabilities", "add"))) {
      if (str(capability) == "CAP_SYS_ADMIN") {
        errors.invalid(path, context,
                       "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
      }
    }
  }
  check_app_armor(errors, path / "appArmorProfile", at(context, "appArmorProfile"));
}

void check_pod_security_context(Errors& errors, const Path& path, const Json& context, const Json& spec) {
  if (flag(spec, "shareProcessNamespace") && flag(spec, "hostPID")) {
    errors.invalid(path / "shareProcessNamespace", Json(true),
                   "ShareProcessNamespace and HostPID cannot both be enabled");
  }
  if (!context.is_object()) return;
  for (const char* key : {"fsGroup", "runAsUser", "runAsGroup"}) check_id(errors, path / key, at(context, key));
  std::size_t i = 0;
  for (const Json& group : items(at(context, "supplementalGroups"))) {
    check_id(errors, (path / "supplementalGroups")[i++], group);
  }
  check_sysctls(errors, path / "sysctls", at(context, "sysctls"), spec);
  if (has(context, "fsGroupChangePolicy")) {
    check_enum(errors, path / "fsGroupChangePolicy", str(context, "fsGroupChangePolicy"), {"Always", "OnRootMismatch"});
  }
  check_seccomp(errors, path / "seccompProfile", at(context, "seccompProfile"));
  check_app_armor(errors, path / "appArmorProfile", at(context, "appArmorProfile"));
  if (has(context, "supplementalGroupsPolicy")) {
    check_enum(errors, path / "supplementalGroupsPolicy", str(context, "supplementalGroupsPolicy"),
               {"Merge", "Strict"});
  }
  if (has(context, "seLinuxChangePolicy")) {
    check_enum(errors, path / "seLinuxChangePolicy", str(context, "seLinuxChangePolicy"), {"MountOption", "Recursive"});
  }
}

}  // namespace brume::api::validation
