// Resource requests and limits as OCI linux.resources, cgroup paths and oom_score_adj, the way the kubelet computes
// them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "brume/base/json_fwd.h"

namespace brume::node {

/// cpu.shares of a milli-CPU request, at least 2 (cgroup v1 scale; the runtime converts it to cpu.weight).
[[nodiscard]] std::int64_t cpu_shares(std::int64_t milli_cpu);
/// OCI linux.resources of one container: cpu shares and quota (period 100 ms), memory limit, and that the kernel kills
/// all of its processes when it kills one for want of memory. The pod's limits hold for a container without its own.
[[nodiscard]] Json container_resources(const Json& pod, const Json& container);
/// OCI linux.resources of the pod's cgroup: what is said of the pod as a whole, or sums over containers; a limit only
/// when every container has one.
[[nodiscard]] Json pod_resources(const Json& pod, std::int64_t pids_limit);
/// The same as ResourceRequirements without the pod's overhead, for status.resources.
[[nodiscard]] Json pod_effective_resources(const Json& pod);
/// <root>/[burstable|besteffort]/pod<uid>, below the cgroup2 mount.
[[nodiscard]] std::string pod_cgroup(std::string_view root, const Json& pod);
/// The kubelet's oom_score_adj: -997 guaranteed, 1000 best effort, between for burstable by memory request.
[[nodiscard]] int oom_score_adj(const Json& pod, const Json& container, std::int64_t node_memory_bytes);

/// What a pod asks of the node, with init containers (max) and sidecars (sum) as the scheduler counts, and overhead.
struct PodRequest {
  std::int64_t milli_cpu = 0;
  std::int64_t memory = 0;
  std::int64_t ephemeral_storage = 0;
  std::map<std::string, std::int64_t, std::less<>> others = {};  ///< huge pages and extended resources, none of them 0

  PodRequest& operator+=(const PodRequest& more);
};
[[nodiscard]] PodRequest pod_request(const Json& pod);

}  // namespace brume::node
