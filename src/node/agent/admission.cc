#include "agent/admission.h"

#include <algorithm>
#include <array>

#include "agent/eviction.h"
#include "brume/api/pod_resources.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "brume/client/node_selector.h"
#include "pod/pod.h"
#include "spec/host_ports.h"

namespace brume::node {

namespace {

Refusal out_of(const std::string& resource, std::int64_t requested, std::int64_t used, std::int64_t capacity) {
  return {"OutOf" + resource, "Pod was rejected: Node didn't have enough resource: " + resource +
                                  ", requested: " + std::to_string(requested) + ", used: " + std::to_string(used) +
                                  ", capacity: " + std::to_string(capacity)};
}

/// Those that have a value for each pod and no effect on others: Kubernetes' safe set, "Using sysctls in a Kubernetes
/// Cluster". Linux 5.14, the oldest that brume runs on, has them all per network or IPC namespace.
constexpr auto kSafeSysctls = std::to_array<std::string_view>(
    {"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
     "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
     "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
     "net.ipv4.tcp_wmem"});

bool matches(std::string_view pattern, std::string_view name) {
  return pattern.ends_with('*') ? name.starts_with(pattern.substr(0, pattern.size() - 1)) : name == pattern;
}

std::optional<Refusal> forbidden_sysctl(const Json& pod, std::span<const std::string> allowed) {
  for (const Json& sysctl : at(pod, "spec", "securityContext", "sysctls")) {
    std::string name(str(sysctl, "name"));
    std::ranges::replace(name, '/', '.');
    const auto covers = [&](std::string_view pattern) { return matches(pattern, name); };
    if (std::ranges::any_of(kSafeSysctls, covers) || std::ranges::any_of(allowed, covers)) continue;
    return Refusal{"SysctlForbidden", "forbidden sysctl: \"" + name + "\" not allowlisted"};
  }
  return std::nullopt;
}

// The pod security standards let pods of Windows off the rules of Linux, so none may run here.
std::optional<Refusal> foreign_system(const Json& pod) {
  const auto system = str(at(pod, "spec", "os"), "name");
  if (system.empty() || system == "linux") return std::nullopt;
  return Refusal{"PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"};
}

/// brume loads no AppArmor profile: a pod that relies on one does not run unprotected.
std::optional<Refusal> needs_app_armor(const Json& pod) {
  const auto confined = [](const Json& holder) {
    const auto type = str(at(holder, "securityContext", "appArmorProfile"), "type");
    return !type.empty() && type != "Unconfined";
  };
  bool any = confined(at(pod, "spec"));
  for (const ContainerEntry& entry : containers_of(pod)) any = any || confined(*entry.spec);
  for (const auto& [key, profile] : at(pod, "metadata", "annotations").items()) {  // how it was said before 1.30
    any = any || (key.starts_with("container.apparmor.security.beta.kubernetes.io/") && str(profile) != "unconfined");
  }
  if (!any) return std::nullopt;
  return Refusal{"AppArmor", "Cannot enforce AppArmor: AppArmor profiles are not supported on this node"};
}

// A node that evicts takes no further pods: but critical ones, and for want of memory only those that ask for none.
std::optional<Refusal> under_pressure(const Json& pod, const AdmissionInputs& in) {
  std::vector<std::string> conditions;
  if (in.memory_pressure) conditions.emplace_back("MemoryPressure");
  if (in.disk_pressure) conditions.emplace_back("DiskPressure");
  if (in.pid_pressure) conditions.emplace_back("PIDPressure");
  if (conditions.empty() || is_critical(pod)) return std::nullopt;
  if (in.memory_pressure && conditions.size() == 1) {
    const client::Taint taint{.key = "node.kubernetes.io/memory-pressure", .effect = std::string(client::kNoSchedule)};
    const auto tolerations = client::decode_tolerations(at(pod, "spec", "tolerations"));
    if (qos_class(pod) != "BestEffort" || client::tolerated(taint, tolerations)) return std::nullopt;
  }
  return Refusal{"Evicted", "The node had condition: [" + join(conditions, " ") + "]. "};
}

// What the scheduler sees to; but a pod may name its node itself.
Refusal failed_predicate(const std::string& name, const char* why, bool by_node) {
  return {
      .reason = name, .message = "Pod was rejected: Predicate " + name + " failed: node(s) " + why, .by_node = by_node};
}

std::optional<Refusal> check_affinity(const Json& pod, const AdmissionInputs& in) {
  if (in.node == nullptr || client::decode_required_node_affinity(at(pod, "spec")).matches(*in.node)) {
    return std::nullopt;
  }
  return failed_predicate("NodeAffinity", "didn't match Pod's node affinity/selector", true);
}

std::optional<Refusal> check_taints(const Json& pod, const AdmissionInputs& in) {
  if (in.taints.empty()) return std::nullopt;
  const auto tolerations = client::decode_tolerations(at(pod, "spec", "tolerations"));
  const auto repels = [&](const client::Taint& taint) {
    return taint.effect == client::kNoExecute && !client::tolerated(taint, tolerations);
  };
  if (std::ranges::none_of(in.taints, repels)) return std::nullopt;
  return failed_predicate("TaintToleration", "had taints that the pod didn't tolerate", true);
}

std::optional<Refusal> check_ports(const Json& pod, const AdmissionInputs& in) {
  const auto taken = [&](const HostPort& port) {
    return std::ranges::any_of(in.ports, [&](const HostPort& have) { return ports_conflict(port, have); });
  };
  if (std::ranges::none_of(host_ports(pod), taken)) return std::nullopt;
  return failed_predicate("NodePorts", "didn't have free ports for the requested pod ports", false);
}

}  // namespace

std::optional<Refusal> admit_pod(const Json& pod, const AdmissionInputs& in) {
  if (auto refusal = forbidden_sysctl(pod, in.allowed_unsafe_sysctls)) return refusal;
  if (auto refusal = foreign_system(pod)) return refusal;
  if (auto refusal = needs_app_armor(pod)) return refusal;
  if (auto refusal = under_pressure(pod, in)) return refusal;
  if (auto refusal = check_room(pod_request(pod), in)) return refusal;
  if (auto refusal = check_affinity(pod, in)) return refusal;
  if (auto refusal = check_ports(pod, in)) return refusal;
  return check_taints(pod, in);
}

std::optional<Refusal> check_room(const PodRequest& request, const AdmissionInputs& in) {
  if (in.pods + 1 > in.max_pods) return out_of("pods", 1, in.pods, in.max_pods);
  const auto over = [](std::int64_t asked, std::int64_t used, std::int64_t capacity) {
    return asked > 0 && asked > capacity - used;
  };
  if (over(request.milli_cpu, in.used.milli_cpu, in.milli_cpu))
    return out_of("cpu", request.milli_cpu, in.used.milli_cpu, in.milli_cpu);
  if (over(request.memory, in.used.memory, in.memory))
    return out_of("memory", request.memory, in.used.memory, in.memory);
  if (over(request.ephemeral_storage, in.used.ephemeral_storage, in.ephemeral_storage)) {
    return out_of("ephemeral-storage", request.ephemeral_storage, in.used.ephemeral_storage, in.ephemeral_storage);
  }
  if (in.node == nullptr || request.others.empty()) return std::nullopt;
  // As the kubelet has it: an extended resource that the Node does not list is another's business.
  const Json node = in.node->parse();
  const Json& allocatable = at(node, "status", "allocatable");
  for (const auto& [name, asked] : request.others) {
    if (name.contains('/') && at(allocatable, name).is_null()) continue;
    const std::int64_t capacity = api::amount_of(allocatable, name).value();
    const auto used = in.used.others.find(name);
    const std::int64_t taken = used == in.used.others.end() ? 0 : used->second;
    if (!over(asked, taken, capacity)) continue;
    auto refusal = out_of(name, asked, taken, capacity);
    refusal.by_node = true;
    return refusal;
  }
  return std::nullopt;
}

}  // namespace brume::node
