// The checks of the pod security standards (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <set>
#include <span>

#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "pod_security.h"

namespace brume::apiserver {
namespace {

using Strings = std::vector<std::string>;
using Found = std::optional<PodViolation>;
using Names = std::set<std::string>;

std::string in_quotes(const auto& names) {
  Strings out;
  for (const auto& name : names) out.push_back("\"" + std::string(name) + "\"");
  return join(out, ", ");
}

std::string counted(const std::string& noun, std::size_t count) { return count == 1 ? noun : noun + "s"; }
std::string containers_text(const Strings& names) {
  return counted("container", names.size()) + " " + in_quotes(names);
}

/// Names of the containers, of all three kinds, for which `is_bad` holds.
Strings bad_containers(const Json& spec, const std::function<bool(const Json&)>& is_bad) {
  Strings out;
  for (const auto* kind : {"initContainers", "containers", "ephemeralContainers"}) {
    for (const auto& container : at(spec, kind)) {
      if (is_bad(container)) out.emplace_back(str(container, "name"));
    }
  }
  return out;
}

/// "pod and containers "a", "b"": who set something at either level.
std::string setters(bool pod, const Strings& containers) {
  Strings parts;
  if (pod) parts.emplace_back("pod");
  if (!containers.empty()) parts.push_back(containers_text(containers));
  return join(parts, " and ");
}

const Json& context(const Json& holder) { return at(holder, "securityContext"); }
bool in_user_namespace(const Json& spec) {
  return at(spec, "hostUsers").is_boolean() && !flag(spec, "hostUsers", true);
}
bool is_windows(const Json& spec) { return str(at(spec, "os"), "name") == "windows"; }

Found host_namespaces(const Json&, const Json& spec) {
  Strings used;
  for (const auto* field : {"hostNetwork", "hostPID", "hostIPC"}) {
    if (flag(spec, field)) used.push_back(std::string(field) + "=true");
  }
  if (used.empty()) return {};
  return PodViolation{"host namespaces", join(used, ", ")};
}

Found privileged(const Json&, const Json& spec) {
  const auto bad = bad_containers(spec, [](const Json& c) { return flag(context(c), "privileged"); });
  if (bad.empty()) return {};
  return PodViolation{"privileged", containers_text(bad) + " must not set securityContext.privileged=true"};
}

Found capabilities_baseline(const Json&, const Json& spec) {
  constexpr std::array<std::string_view, 13> kAllowed = {
      "AUDIT_WRITE",      "CHOWN",   "DAC_OVERRIDE", "FOWNER",  "FSETID", "KILL",      "MKNOD",
      "NET_BIND_SERVICE", "SETFCAP", "SETGID",       "SETPCAP", "SETUID", "SYS_CHROOT"};
  Names wrong;
  const auto bad = bad_containers(spec, [&](const Json& c) {
    bool any = false;
    for (const auto& capability : at(context(c), "capabilities", "add")) {
      if (std::ranges::find(kAllowed, str(capability)) != kAllowed.end()) continue;
      wrong.emplace(str(capability));
      any = true;
    }
    return any;
  });
  if (bad.empty()) return {};
  return PodViolation{"non-default capabilities", containers_text(bad) + " must not include " + in_quotes(wrong) +
                                                      " in securityContext.capabilities.add"};
}

Found capabilities_restricted(const Json&, const Json& spec) {
  Names wrong;
  const auto keeping = bad_containers(spec, [](const Json& c) {
    const Json& drop = at(context(c), "capabilities", "drop");
    return std::ranges::none_of(drop, [](const Json& capability) { return str(capability) == "ALL"; });
  });
  const auto adding = bad_containers(spec, [&](const Json& c) {
    bool any = false;
    for (const auto& capability : at(context(c), "capabilities", "add")) {
      if (str(capability) == "NET_BIND_SERVICE") continue;
      wrong.emplace(str(capability));
      any = true;
    }
    return any;
  });
  Strings details;
  if (!keeping.empty())
    details.push_back(containers_text(keeping) + " must set securityContext.capabilities.drop=[\"ALL\"]");
  if (!adding.empty()) {
    details.push_back(containers_text(adding) + " must not include " + in_quotes(wrong) +
                      " in securityContext.capabilities.add");
  }
  if (details.empty()) return {};
  return PodViolation{"unrestricted capabilities", join(details, "; ")};
}

Found host_path_volumes(const Json&, const Json& spec) {
  Strings bad;
  for (const auto& volume : at(spec, "volumes")) {
    if (volume.contains("hostPath")) bad.emplace_back(str(volume, "name"));
  }
  if (bad.empty()) return {};
  return PodViolation{"hostPath volumes", counted("volume", bad.size()) + " " + in_quotes(bad)};
}

Found restricted_volumes(const Json&, const Json& spec) {
  constexpr std::array<std::string_view, 9> kAllowed = {"configMap", "csi",   "downwardAPI",           "emptyDir",
                                                        "ephemeral", "image", "persistentVolumeClaim", "projected",
                                                        "secret"};
  Strings bad;
  Names types;
  for (const auto& volume : at(spec, "volumes")) {
    if (std::ranges::any_of(kAllowed, [&](std::string_view type) { return volume.contains(type); })) continue;
    bad.emplace_back(str(volume, "name"));
    std::string type = "unknown";
    for (const auto& [key, value] : volume.items()) {
      if (key != "name" && value.is_object()) type = key;
    }
    types.insert(type);
  }
  if (bad.empty()) return {};
  return PodViolation{"restricted volume types",
                      counted("volume", bad.size()) + " " + in_quotes(bad) + (bad.size() == 1 ? " uses " : " use ") +
                          counted("restricted volume type", types.size()) + " " + in_quotes(types)};
}

Found host_ports(const Json&, const Json& spec) {
  Names ports;
  const auto bad = bad_containers(spec, [&](const Json& c) {
    bool any = false;
    for (const auto& port : at(c, "ports")) {
      if (num(port, "hostPort") == 0) continue;
      ports.insert(std::to_string(num(port, "hostPort")));
      any = true;
    }
    return any;
  });
  if (bad.empty()) return {};
  const Strings list(ports.begin(), ports.end());
  return PodViolation{"hostPort", containers_text(bad) + (bad.size() == 1 ? " uses " : " use ") +
                                      counted("hostPort", ports.size()) + " " + join(list, ", ")};
}

/// A probe or hook that names a host makes the node connect anywhere (a way around network policy).
Found probe_hosts(const Json&, const Json& spec) {
  Names hosts;
  const auto note = [&](const Json& handler) {
    bool any = false;
    for (const auto* kind : {"httpGet", "tcpSocket"}) {
      if (str(at(handler, kind), "host").empty()) continue;
      hosts.emplace(str(at(handler, kind), "host"));
      any = true;
    }
    return any;
  };
  const auto bad = bad_containers(spec, [&](const Json& c) {
    bool any = false;
    for (const auto* probe : {"livenessProbe", "readinessProbe", "startupProbe"}) any = note(at(c, probe)) || any;
    for (const auto* hook : {"postStart", "preStop"}) any = note(at(c, "lifecycle", hook)) || any;
    return any;
  });
  if (bad.empty()) return {};
  return PodViolation{"probe or lifecycle host", containers_text(bad) + (bad.size() == 1 ? " uses " : " use ") +
                                                     counted("probe or lifecycle host", hosts.size()) + " " +
                                                     in_quotes(hosts)};
}

Found proc_mount(const Json&, const Json& spec) {
  Names wrong;
  const auto bad = bad_containers(spec, [&](const Json& c) {
    const auto type = str(context(c), "procMount");
    if (type.empty() || type == "Default") return false;
    wrong.emplace(type);
    return true;
  });
  if (bad.empty()) return {};
  return PodViolation{"procMount",
                      containers_text(bad) + " must not set securityContext.procMount to " + in_quotes(wrong)};
}

/// `types` of the list are allowed.
Found se_linux(const Json& spec, std::size_t types_allowed) {
  constexpr std::array<std::string_view, 5> kAll = {"", "container_t", "container_init_t", "container_kvm_t",
                                                    "container_engine_t"};
  const std::span kTypes(kAll.data(), types_allowed);
  Names types;
  bool user = false;
  bool role = false;
  const auto is_bad = [&](const Json& holder) {
    const Json& options = at(context(holder), "seLinuxOptions");
    const bool type_bad = std::ranges::find(kTypes, str(options, "type")) == kTypes.end();
    if (type_bad) types.emplace(str(options, "type"));
    user = user || !str(options, "user").empty();
    role = role || !str(options, "role").empty();
    return type_bad || !str(options, "user").empty() || !str(options, "role").empty();
  };
  const bool pod = is_bad(spec);
  const auto bad = bad_containers(spec, is_bad);
  if (!pod && bad.empty()) return {};
  Strings what;
  if (!types.empty()) what.push_back(counted("type", types.size()) + " " + in_quotes(types));
  if (user) what.emplace_back("user may not be set");
  if (role) what.emplace_back("role may not be set");
  return PodViolation{"seLinuxOptions",
                      setters(pod, bad) + " set forbidden securityContext.seLinuxOptions: " + join(what, "; ")};
}

Found se_linux_1_0(const Json&, const Json& spec) { return se_linux(spec, 4); }
Found se_linux_1_31(const Json&, const Json& spec) { return se_linux(spec, 5); }

Found app_armor(const Json& metadata, const Json& spec) {
  Names wrong;
  const auto is_bad = [&](const Json& holder) {
    const Json& profile = at(context(holder), "appArmorProfile");
    const auto type = str(profile, "type");
    if (!profile.is_object() || type == "RuntimeDefault" || type == "Localhost") return false;
    wrong.emplace(type);
    return true;
  };
  const bool pod = is_bad(spec);
  std::string who = setters(pod, bad_containers(spec, is_bad));
  std::size_t annotations = 0;
  for (const auto& [key, value] : at(metadata, "annotations").items()) {
    const auto profile = str(value);
    if (!key.starts_with("container.apparmor.security.beta.kubernetes.io/") || profile.empty() ||
        profile == "runtime/default" || profile.starts_with("localhost/")) {
      continue;
    }
    wrong.insert(key + "=\"" + std::string(profile) + "\"");
    ++annotations;
  }
  if (annotations > 0) who += (who.empty() ? "" : " and ") + counted("annotation", annotations);
  if (who.empty()) return {};
  return PodViolation{counted("forbidden AppArmor profile", wrong.size()),
                      who + " must not set AppArmor profile type to " + in_quotes(wrong)};
}

bool good_seccomp(std::string_view type) { return type == "RuntimeDefault" || type == "Localhost"; }

/// Explicitly wrong profiles; with `required` also absent ones.
Found seccomp(const Json& spec, bool required) {
  Names wrong;
  const auto is_bad = [&](const Json& holder) {
    const Json& profile = at(context(holder), "seccompProfile");
    if (!profile.is_object() || good_seccomp(str(profile, "type"))) return false;
    wrong.emplace(str(profile, "type"));
    return true;
  };
  const bool pod = is_bad(spec);
  const auto bad = bad_containers(spec, is_bad);
  if (pod || !bad.empty()) {
    return PodViolation{"seccompProfile",
                        setters(pod, bad) + " must not set securityContext.seccompProfile.type to " + in_quotes(wrong)};
  }
  if (!required || at(context(spec), "seccompProfile").is_object()) return {};
  const auto without =
      bad_containers(spec, [](const Json& c) { return !at(context(c), "seccompProfile").is_object(); });
  if (without.empty()) return {};
  return PodViolation{"seccompProfile",
                      "pod or " + containers_text(without) +
                          " must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""};
}

Found seccomp_baseline(const Json&, const Json& spec) { return seccomp(spec, false); }
Found seccomp_restricted(const Json&, const Json& spec) { return seccomp(spec, true); }

/// Before the field there were annotations.
Found seccomp_annotations(const Json& metadata, const Json& spec) {
  Names wrong;
  const auto look = [&](const std::string& key) {
    const Json& value = at(metadata, "annotations", key);
    const auto profile = str(value);
    if (value.is_null() || profile == "runtime/default" || profile == "docker/default" ||
        profile.starts_with("localhost/")) {
      return;
    }
    wrong.insert(key + "=\"" + std::string(profile) + "\"");
  };
  look("seccomp.security.alpha.kubernetes.io/pod");
  (void)bad_containers(spec, [&](const Json& c) {
    look("container.seccomp.security.alpha.kubernetes.io/" + std::string(str(c, "name")));
    return false;
  });
  if (wrong.empty()) return {};
  const Strings list(wrong.begin(), wrong.end());
  return PodViolation{"seccompProfile", "forbidden " + counted("annotation", list.size()) + " " + join(list, ", ")};
}

/// The first `count` of the list, which has grown, are safe.
Found sysctls(const Json& spec, std::size_t count) {
  constexpr std::array<std::string_view, 12> kSafe = {"kernel.shm_rmid_forced",
                                                      "net.ipv4.ip_local_port_range",
                                                      "net.ipv4.tcp_syncookies",
                                                      "net.ipv4.ping_group_range",
                                                      "net.ipv4.ip_unprivileged_port_start",
                                                      "net.ipv4.ip_local_reserved_ports",
                                                      "net.ipv4.tcp_keepalive_time",
                                                      "net.ipv4.tcp_fin_timeout",
                                                      "net.ipv4.tcp_keepalive_intvl",
                                                      "net.ipv4.tcp_keepalive_probes",
                                                      "net.ipv4.tcp_rmem",
                                                      "net.ipv4.tcp_wmem"};
  const std::span safe(kSafe.data(), count);
  Strings bad;
  for (const auto& sysctl : at(context(spec), "sysctls")) {
    if (std::ranges::find(safe, str(sysctl, "name")) == safe.end()) bad.emplace_back(str(sysctl, "name"));
  }
  if (bad.empty()) return {};
  return PodViolation{"forbidden sysctls", join(bad, ", ")};
}

template <std::size_t count>
Found sysctls(const Json&, const Json& spec) {
  return sysctls(spec, count);
}

Found windows_host_process(const Json&, const Json& spec) {
  const auto is_bad = [](const Json& holder) { return flag(at(context(holder), "windowsOptions"), "hostProcess"); };
  const auto bad = bad_containers(spec, is_bad);
  if (!is_bad(spec) && bad.empty()) return {};
  return PodViolation{"hostProcess",
                      setters(is_bad(spec), bad) + " must not set securityContext.windowsOptions.hostProcess=true"};
}

Found privilege_escalation(const Json&, const Json& spec) {
  const auto bad =
      bad_containers(spec, [](const Json& c) { return flag(context(c), "allowPrivilegeEscalation", true); });
  if (bad.empty()) return {};
  return PodViolation{"allowPrivilegeEscalation != false",
                      containers_text(bad) + " must set securityContext.allowPrivilegeEscalation=false"};
}

Found run_as_non_root(const Json&, const Json& spec) {
  const auto says_false = [](const Json& holder) {
    return at(context(holder), "runAsNonRoot").is_boolean() && !flag(context(holder), "runAsNonRoot");
  };
  const auto bad = bad_containers(spec, says_false);
  if (says_false(spec) || !bad.empty()) {
    return PodViolation{"runAsNonRoot != true",
                        setters(says_false(spec), bad) + " must not set securityContext.runAsNonRoot=false"};
  }
  if (flag(context(spec), "runAsNonRoot")) return {};
  const auto silent = bad_containers(spec, [](const Json& c) { return !at(context(c), "runAsNonRoot").is_boolean(); });
  if (silent.empty()) return {};
  return PodViolation{"runAsNonRoot != true",
                      "pod or " + containers_text(silent) + " must set securityContext.runAsNonRoot=true"};
}

Found run_as_user(const Json&, const Json& spec) {
  const auto is_bad = [](const Json& holder) { return num(context(holder), "runAsUser", -1) == 0; };
  const auto bad = bad_containers(spec, is_bad);
  if (!is_bad(spec) && bad.empty()) return {};
  return PodViolation{"runAsUser=0", setters(is_bad(spec), bad) + " must not set runAsUser=0"};
}

using Check = Found (*)(const Json& metadata, const Json& spec);

/// The check, but for pods of Windows, which have nothing of the kind.
template <Check check>
Found unless_windows(const Json& metadata, const Json& spec) {
  return is_windows(spec) ? Found() : check(metadata, spec);
}

/// The check, but for pods whose root is nobody on the node (KEP-127).
template <Check check>
Found unless_user_namespace(const Json& metadata, const Json& spec) {
  return in_user_namespace(spec) ? Found() : check(metadata, spec);
}

struct Version {
  int from = 0;  ///< minor version 1.x from which on the standard checks so
  Check check = nullptr;
};

struct Entry {
  std::string_view id;
  std::vector<Version> versions;        ///< rising
  std::string_view stricter_than = "";  ///< the baseline check in whose place this one comes
};

/// In the order in which violations are reported: by the checks' ids.
const std::vector<Entry>& baseline_checks() {
  static const std::vector<Entry> kChecks = {
      {"appArmorProfile", {{0, app_armor}}},
      {"capabilities_baseline", {{0, capabilities_baseline}}},
      {"hostNamespaces", {{0, host_namespaces}}},
      {"hostPathVolumes", {{0, host_path_volumes}}},
      {"hostPorts", {{0, host_ports}}},
      {"hostProbesAndHostLifecycle", {{34, probe_hosts}}},
      {"privileged", {{0, privileged}}},
      {"procMount", {{0, proc_mount}, {35, unless_user_namespace<proc_mount>}}},
      {"seLinuxOptions", {{0, se_linux_1_0}, {31, se_linux_1_31}}},
      {"seccompProfile_baseline", {{0, seccomp_annotations}, {19, seccomp_baseline}}},
      {"sysctls", {{0, sysctls<5>}, {27, sysctls<6>}, {29, sysctls<10>}, {32, sysctls<12>}}},
      {"windowsHostProcess", {{0, windows_host_process}}},
  };
  return kChecks;
}

const std::vector<Entry>& restricted_checks() {
  static const std::vector<Entry> kChecks = {
      {"allowPrivilegeEscalation", {{8, privilege_escalation}, {25, unless_windows<privilege_escalation>}}},
      {"capabilities_restricted",
       {{22, capabilities_restricted}, {25, unless_windows<capabilities_restricted>}},
       "capabilities_baseline"},
      {"procMount_restricted", {{35, proc_mount}}, "procMount"},
      {"restrictedVolumes", {{0, restricted_volumes}}, "hostPathVolumes"},
      {"runAsNonRoot", {{0, run_as_non_root}, {35, unless_user_namespace<run_as_non_root>}}},
      {"runAsUser", {{23, run_as_user}, {35, unless_user_namespace<run_as_user>}}},
      {"seccompProfile_restricted",
       {{19, seccomp_restricted}, {25, unless_windows<seccomp_restricted>}},
       "seccompProfile_baseline"},
  };
  return kChecks;
}

/// How the check is made in the version; null: not at all.
Check check_in(const Entry& entry, int minor) {
  Check found = nullptr;
  for (const auto& version : entry.versions) {
    if (version.from <= minor) found = version.check;
  }
  return found;
}

}  // namespace

std::vector<PodViolation> pod_violations(const Json& metadata, const Json& spec, PodLevel level, int minor) {
  std::vector<PodViolation> out;
  if (level == PodLevel::kPrivileged) return out;
  const bool restricted = level == PodLevel::kRestricted;
  const auto apply = [&](const Entry& entry) {
    const Check check = check_in(entry, minor);
    if (check == nullptr) return;
    if (auto found = check(metadata, spec)) out.push_back(std::move(*found));
  };
  for (const auto& entry : baseline_checks()) {
    const bool replaced = restricted && std::ranges::any_of(restricted_checks(), [&](const Entry& stricter) {
                            return stricter.stricter_than == entry.id && check_in(stricter, minor) != nullptr;
                          });
    if (!replaced) apply(entry);
  }
  if (restricted) std::ranges::for_each(restricted_checks(), apply);
  return out;
}

}  // namespace brume::apiserver
