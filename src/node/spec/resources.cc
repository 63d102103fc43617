#include "spec/resources.h"

#include <algorithm>
#include <limits>

#include "brume/api/pod_resources.h"
#include "brume/base/json.h"
#include "pod/pod.h"

namespace brume::node {

namespace {

// Constants of the kubelet's container manager: shares per CPU, the smallest share, and the CFS period in microseconds.
constexpr std::int64_t kSharesPerCpu = 1024;
constexpr std::int64_t kMinShares = 2;
constexpr std::int64_t kPeriodUs = 100'000;
constexpr std::int64_t kMinQuotaUs = 1'000;

api::Quantity quantity(const Json& resources, std::string_view list, std::string_view name) {
  return api::amount_of(at(resources, list), name);
}

api::Quantity request(const Json& resources, std::string_view name) {
  const api::Quantity asked = quantity(resources, "requests", name);
  return at(resources, "requests", name).is_null() ? quantity(resources, "limits", name) : asked;
}

/// The container's own limit, or the pod's.
api::Quantity limit(const Json& pod, const Json& container, std::string_view name) {
  const api::Quantity own = quantity(at(container, "resources"), "limits", name);
  return own.is_zero() ? quantity(at(pod, "spec", "resources"), "limits", name) : own;
}

/// What the whole pod may use: said of it, or what its containers may use if each has a limit; else zero.
api::Quantity pod_limit(const Json& pod, const api::Amounts& limits, std::string_view name) {
  bool declared = !quantity(at(pod, "spec", "resources"), "limits", name).is_zero();
  if (!declared) {
    declared = true;
    for (const ContainerEntry& entry : containers_of(pod)) {
      if (entry.kind == ContainerKind::kEphemeral) continue;
      declared = declared && !quantity(at(*entry.spec, "resources"), "limits", name).is_zero();
    }
  }
  const auto it = limits.find(name);
  return declared && it != limits.end() ? it->second : api::Quantity();
}

/// What each container may count as its own of the memory that the pod asks for beyond its containers.
std::int64_t spare_memory(const Json& pod) {
  if (at(pod, "spec", "resources", "requests", "memory").is_null()) return 0;
  api::Amounts asked = api::container_amounts(at(pod, "spec"), "requests");
  const std::int64_t spare =
      quantity(at(pod, "spec", "resources"), "requests", "memory").value() - asked["memory"].value();
  const auto containers = at(pod, "spec", "containers").size() + at(pod, "spec", "initContainers").size();
  return containers == 0 ? 0 : spare / static_cast<std::int64_t>(containers);
}

Json cpu_json(std::int64_t milli_request, std::int64_t milli_limit) {
  Json cpu = {{"shares", cpu_shares(milli_request)}};
  if (milli_limit > 0) {
    cpu["quota"] = std::max(kMinQuotaUs, milli_limit * kPeriodUs / 1000);
    cpu["period"] = kPeriodUs;
  }
  return cpu;
}

}  // namespace

std::int64_t cpu_shares(std::int64_t milli_cpu) { return std::max(kMinShares, milli_cpu * kSharesPerCpu / 1000); }

Json container_resources(const Json& pod, const Json& container) {
  const Json& resources = at(container, "resources");
  Json out = {{"cpu", cpu_json(request(resources, "cpu").milli_value(), limit(pod, container, "cpu").milli_value())}};
  const std::int64_t memory = limit(pod, container, "memory").value();
  if (memory > 0) out["memory"] = {{"limit", memory}, {"swap", memory}};
  // One process out of memory ends the container, as the kubelet has it unless told singleProcessOOMKill.
  out["unified"] = {{"memory.oom.group", "1"}};
  return out;
}

Json pod_resources(const Json& pod, std::int64_t pids_limit) {
  const api::Amounts limits = api::pod_limits(at(pod, "spec"));
  Json out = {{"cpu", cpu_json(pod_request(pod).milli_cpu, pod_limit(pod, limits, "cpu").milli_value())}};
  if (const auto memory = pod_limit(pod, limits, "memory").value(); memory > 0) out["memory"] = {{"limit", memory}};
  if (pids_limit > 0) out["pids"] = {{"limit", pids_limit}};
  return out;
}

Json pod_effective_resources(const Json& pod) {
  const api::Amounts limits = api::pod_amounts(at(pod, "spec"), "limits");
  Json out = Json::object();
  Json most = Json::object();
  for (const auto& [name, amount] : limits) {
    if ((name != "cpu" && name != "memory") || !pod_limit(pod, limits, name).is_zero()) most[name] = amount.to_string();
  }
  if (!most.empty()) out["limits"] = std::move(most);
  if (Json asked = api::amounts_json(api::pod_amounts(at(pod, "spec"), "requests")); !asked.empty()) {
    out["requests"] = std::move(asked);
  }
  return out;
}

std::string pod_cgroup(std::string_view root, const Json& pod) {
  const std::string qos = qos_class(pod);
  std::string path(root);
  if (qos == "Burstable") path += "/burstable";
  if (qos == "BestEffort") path += "/besteffort";
  return path.append("/pod").append(str(at(pod, "metadata"), "uid"));
}

int oom_score_adj(const Json& pod, const Json& container, std::int64_t node_memory_bytes) {
  // Constants of pkg/kubelet/qos: guaranteed pods and node-critical ones go last, best effort first.
  constexpr int kGuaranteed = -997;
  constexpr int kBestEffort = 1000;
  constexpr std::int64_t kSystemCriticalPriority = 2'000'001'000;
  if (num(at(pod, "spec"), "priority") >= kSystemCriticalPriority) return kGuaranteed;
  const std::string qos = qos_class(pod);
  if (qos == "Guaranteed") return kGuaranteed;
  if (qos == "BestEffort" || node_memory_bytes <= 0) return kBestEffort;
  const auto adjust = [&](std::int64_t memory) {
    const __int128 share = static_cast<__int128>(1000) * memory / node_memory_bytes;
    const int score = 1000 - static_cast<int>(std::min<__int128>(share, 1000));
    if (score < 1000 + kGuaranteed) return 1000 + kGuaranteed;
    return score == kBestEffort ? kBestEffort - 1 : score;
  };
  const std::int64_t spare = spare_memory(pod);
  int score = adjust(request(at(container, "resources"), "memory").value() + spare);
  for (const ContainerEntry& entry : containers_of(pod)) {
    // A sidecar is never killed before the app containers that it serves.
    if (entry.sidecar && str(*entry.spec, "name") == str(container, "name")) {
      for (const Json& app : at(pod, "spec", "containers")) {
        score = std::min(score, adjust(request(at(app, "resources"), "memory").value() + spare));
      }
    }
  }
  return score;
}

PodRequest pod_request(const Json& pod) {
  api::Amounts asked = api::pod_requests(at(pod, "spec"));
  PodRequest out{asked["cpu"].milli_value(), asked["memory"].value(), asked["ephemeral-storage"].value()};
  for (const auto& [name, amount] : asked) {
    if (name == "cpu" || name == "memory" || name == "ephemeral-storage" || amount.is_zero()) continue;
    out.others[name] = amount.value();
  }
  return out;
}

PodRequest& PodRequest::operator+=(const PodRequest& more) {
  milli_cpu += more.milli_cpu;
  memory += more.memory;
  ephemeral_storage += more.ephemeral_storage;
  for (const auto& [name, amount] : more.others) {
    // Those that the Node does not list are not refused, however many they are.
    auto& sum = others[name];
    if (__builtin_add_overflow(sum, amount, &sum)) sum = std::numeric_limits<std::int64_t>::max();
  }
  return *this;
}

}  // namespace brume::node
