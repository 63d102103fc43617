#include "spec/resources.h"

#include <algorithm>
#include <vector>

#include "brume/api/quantity.h"
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
  const Json& value = at(at(resources, list), name);
  if (value.is_number()) return api::quantity_or_zero(value.dump());
  return api::quantity_or_zero(str(value));
}

api::Quantity request(const Json& resources, std::string_view name) {
  const api::Quantity asked = quantity(resources, "requests", name);
  return at(resources, "requests", name).is_null() ? quantity(resources, "limits", name) : asked;
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

Json container_resources(const Json& container) {
  const Json& resources = at(container, "resources");
  Json out = {
      {"cpu", cpu_json(request(resources, "cpu").milli_value(), quantity(resources, "limits", "cpu").milli_value())}};
  const std::int64_t memory = quantity(resources, "limits", "memory").value();
  if (memory > 0) out["memory"] = {{"limit", memory}, {"swap", memory}};
  // One process out of memory ends the container, as the kubelet has it unless told singleProcessOOMKill.
  out["unified"] = {{"memory.oom.group", "1"}};
  return out;
}

Json pod_resources(const Json& pod, std::int64_t pids_limit) {
  std::int64_t cpu_request = 0;
  std::int64_t cpu_limit = 0;
  std::int64_t memory_limit = 0;
  bool all_cpu = true;
  bool all_memory = true;
  std::int64_t init_cpu = 0;
  std::int64_t init_memory = 0;
  for (const ContainerEntry& entry : containers_of(pod)) {
    if (entry.kind == ContainerKind::kEphemeral) continue;
    const Json& resources = at(*entry.spec, "resources");
    const std::int64_t cpu = quantity(resources, "limits", "cpu").milli_value();
    const std::int64_t memory = quantity(resources, "limits", "memory").value();
    if (cpu == 0) all_cpu = false;
    if (memory == 0) all_memory = false;
    if (entry.kind == ContainerKind::kInit && !entry.sidecar) {
      init_cpu = std::max(init_cpu, cpu);
      init_memory = std::max(init_memory, memory);
    } else {
      cpu_limit += cpu;
      memory_limit += memory;
    }
  }
  cpu_request = pod_request(pod).milli_cpu;
  Json out = {{"cpu", cpu_json(cpu_request, all_cpu ? std::max(cpu_limit, init_cpu) : 0)}};
  if (all_memory && std::max(memory_limit, init_memory) > 0)
    out["memory"] = {{"limit", std::max(memory_limit, init_memory)}};
  if (pids_limit > 0) out["pids"] = {{"limit", pids_limit}};
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
  int score = adjust(request(at(container, "resources"), "memory").value());
  for (const ContainerEntry& entry : containers_of(pod)) {
    // A sidecar is never killed before the app containers that it serves.
    if (entry.sidecar && str(*entry.spec, "name") == str(container, "name")) {
      for (const Json& app : at(pod, "spec", "containers")) {
        score = std::min(score, adjust(request(at(app, "resources"), "memory").value()));
      }
    }
  }
  return score;
}

PodRequest pod_request(const Json& pod) {
  const auto total = [&](std::string_view name, bool milli) {
    const auto of = [&](const Json& resources) {
      const api::Quantity q = request(resources, name);
      return milli ? q.milli_value() : q.value();
    };
    std::int64_t sum = 0;
    std::int64_t sidecars = 0;
    std::int64_t init_peak = 0;
    for (const ContainerEntry& entry : containers_of(pod)) {
      const std::int64_t value = of(at(*entry.spec, "resources"));
      if (entry.kind == ContainerKind::kApp) sum += value;
      if (entry.kind != ContainerKind::kInit) continue;
      if (entry.sidecar) {
        sidecars += value;
        init_peak = std::max(init_peak, sidecars);
      } else {
        init_peak = std::max(init_peak, sidecars + value);
      }
    }
    std::int64_t result = std::max(sum + sidecars, init_peak);
    const Json& whole = at(pod, "spec", "resources");
    if (!at(whole, "requests", name).is_null()) result = of(whole);
    const api::Quantity overhead = api::quantity_or_zero(str(at(pod, "spec", "overhead"), name));
    return result + (milli ? overhead.milli_value() : overhead.value());
  };
  return {total("cpu", true), total("memory", false), total("ephemeral-storage", false)};
}

}  // namespace brume::node
