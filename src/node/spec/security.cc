#include "spec/security.h"

#include <set>

#include "brume/base/json.h"
#include "brume/linux/fd.h"
#include "brume/runtime/defaults.h"

namespace brume::node {

namespace {

std::string full_name(std::string_view name) {
  return name.starts_with("CAP_") ? std::string(name) : "CAP_" + std::string(name);
}

bool has_all(const Json& list) {
  for (const Json& name : list) {
    if (str(name) == "ALL" || str(name) == "CAP_ALL") return true;
  }
  return false;
}

}  // namespace

bool is_privileged(const Json& container) { return flag(at(container, "securityContext"), "privileged"); }

bool no_new_privileges(const Json& container) {
  const Json& allow = at(container, "securityContext", "allowPrivilegeEscalation");
  return allow.is_boolean() && !allow.get<bool>();
}

std::vector<std::string> container_capabilities(const Json& container) {
  std::set<std::string> set;
  const auto fill_all = [&] {
    for (const std::string& name : runtime::all_capabilities()) set.insert(name);
  };
  if (is_privileged(container)) {
    fill_all();
    return {set.begin(), set.end()};
  }
  const Json& add = at(container, "securityContext", "capabilities", "add");
  const Json& drop = at(container, "securityContext", "capabilities", "drop");
  for (const std::string& name : runtime::default_capabilities()) set.insert(name);
  if (has_all(add)) fill_all();
  if (has_all(drop)) set.clear();
  for (const Json& name : add) {
    if (str(name) != "ALL" && str(name) != "CAP_ALL") set.insert(full_name(str(name)));
  }
  for (const Json& name : drop) set.erase(full_name(str(name)));
  return {set.begin(), set.end()};
}

Result<Json> seccomp_profile(const Json& pod, const Json& container, const std::vector<std::string>& capabilities,
                             const std::string& profile_dir) {
  if (is_privileged(container)) return Json();
  const Json& own = at(container, "securityContext", "seccompProfile");
  const Json& profile = own.is_object() ? own : at(pod, "spec", "securityContext", "seccompProfile");
  const std::string_view type = str(profile, "type");
  if (type == "Unconfined") return Json();
  if (type.empty() || type == "RuntimeDefault") return runtime::default_seccomp(capabilities);
  if (type != "Localhost") return fail(Code::kInvalid, "seccomp profile type " + std::string(type) + " is not known");
  const std::string name(str(profile, "localhostProfile"));
  if (name.empty() || name.starts_with('/') || name.find("..") != std::string::npos) {
    return fail(Code::kInvalid,
                "localhostProfile must be a relative path below the seccomp directory: \"" + name + "\"");
  }
  auto text = linux_os::read_file(profile_dir + "/" + name, 4U << 20);
  if (!text) return fail(wrap(text.error(), "cannot load seccomp profile \"" + profile_dir + "/" + name + "\""));
  auto json = parse_json(*text);
  if (!json) return fail(wrap(json.error(), "seccomp profile \"" + name + "\""));
  return *std::move(json);
}

}  // namespace brume::node
