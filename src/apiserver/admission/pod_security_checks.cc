// The checks of the pod security standards (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <set>

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
  if (is_windows(spec)) return {};
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
  if (in_user_namespace(spec)) return {};
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

Found se_linux(const Json&, const Json& spec) {
  constexpr std::array<std::string_view, 5> kTypes = {"", "container_t", "container_init_t", "container_kvm_t",
                                                      "container_engine_t"};
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
Found seccomp_restricted(const Json&, const Json& spec) { return is_windows(spec) ? Found{} : seccomp(spec, true); }

Found sysctls(const Json&, const Json& spec) {
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
  Strings bad;
  for (const auto& sysctl : at(context(spec), "sysctls")) {
    if (std::ranges::find(kSafe, str(sysctl, "name")) == kSafe.end()) bad.emplace_back(str(sysctl, "name"));
  }
  if (bad.empty()) return {};
  return PodViolation{"forbidden sysctls", join(bad, ", ")};
}

Found windows_host_process(const Json&, const Json& spec) {
  const auto is_bad = [](const Json& holder) { return flag(at(context(holder), "windowsOptions"), "hostProcess"); };
  const auto bad = bad_containers(spec, is_bad);
  if (!is_bad(spec) && bad.empty()) return {};
  return PodViolation{"hostProcess",
                      setters(is_bad(spec), bad) + " must not set securityContext.windowsOptions.hostProcess=true"};
}

Found privilege_escalation(const Json&, const Json& spec) {
  if (is_windows(spec)) return {};
  const auto bad =
      bad_containers(spec, [](const Json& c) { return flag(context(c), "allowPrivilegeEscalation", true); });
  if (bad.empty()) return {};
  return PodViolation{"allowPrivilegeEscalation != false",
                      containers_text(bad) + " must set securityContext.allowPrivilegeEscalation=false"};
}

Found run_as_non_root(const Json&, const Json& spec) {
  if (in_user_namespace(spec)) return {};
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
  if (in_user_namespace(spec)) return {};
  const auto is_bad = [](const Json& holder) { return num(context(holder), "runAsUser", -1) == 0; };
  const auto bad = bad_containers(spec, is_bad);
  if (!is_bad(spec) && bad.empty()) return {};
  return PodViolation{"runAsUser=0", setters(is_bad(spec), bad) + " must not set runAsUser=0"};
}

using Check = Found (*)(const Json& metadata, const Json& spec);
struct Entry {
  Check baseline;  ///< null: the level does not look
  Check restricted;
};

/// In the order in which violations are reported: by the checks' names.
constexpr Entry kChecks[] = {{nullptr, privilege_escalation},
                             {app_armor, app_armor},
                             {capabilities_baseline, capabilities_restricted},
                             {host_namespaces, host_namespaces},
                             {host_path_volumes, nullptr},
                             {host_ports, host_ports},
                             {probe_hosts, probe_hosts},
                             {privileged, privileged},
                             {proc_mount, proc_mount},
                             {nullptr, restricted_volumes},
                             {nullptr, run_as_non_root},
                             {nullptr, run_as_user},
                             {se_linux, se_linux},
                             {seccomp_baseline, seccomp_restricted},
                             {sysctls, sysctls},
                             {windows_host_process, windows_host_process}};

}  // namespace

std::vector<PodViolation> pod_violations(const Json& metadata, const Json& spec, PodLevel level) {
  std::vector<PodViolation> out;
  if (level == PodLevel::kPrivileged) return out;
  for (const auto& entry : kChecks) {
    const Check check = level == PodLevel::kBaseline ? entry.baseline : entry.restricted;
    if (check == nullptr) continue;
    if (auto found = check(metadata, spec)) out.push_back(std::move(*found));
  }
  return out;
}

}  // namespace brume::apiserver
