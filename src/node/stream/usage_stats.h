// What the node's endpoint tells of processors and memory: /stats/summary and /metrics/resource, as the kubelet has
// them.
#pragma once

#include <string>
#include <vector>

#include "brume/base/json.h"
#include "brume/base/rate_history.h"
#include "brume/base/time.h"
#include "brume/runtime/runtime.h"

namespace brume::node {

/// The machine as a whole.
struct MachineUse {
  runtime::ResourceUse use;
  std::int64_t available_bytes = 0;  ///< of memory
  std::uint64_t page_faults = 0, major_page_faults = 0;
  WallTime started;
};
/// Blocks briefly: reads /proc.
[[nodiscard]] MachineUse read_machine_use();

struct ContainerStats {
  std::string name, id;
  WallTime started;
  runtime::ResourceUse use;
};

struct PodStats {
  std::string ns, name, uid;
  std::string started;  ///< RFC 3339
  runtime::ResourceUse use;
  std::vector<ContainerStats> containers;  ///< those that run
};

struct NodeStats {
  std::string node_name;
  MachineUse machine;
  std::vector<PodStats> pods;
};

/// stats.k8s.io/v1alpha1 Summary. Rates (usageNanoCores) come from `history`, which gets the new readings too, and are
/// left out where it has none yet.
[[nodiscard]] Json summary(const NodeStats& stats, RateHistory& history);

/// Lines in the Prometheus text format.
[[nodiscard]] std::string resource_metrics(const NodeStats& stats);

}  // namespace brume::node
