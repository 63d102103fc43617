// One pod's placing: filter, score, choose. Synchronous and without side effects.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "cache.h"
#include "framework.h"

namespace brume::scheduler {

/// Why a pod fits nowhere.
struct Diagnosis {
  std::size_t nodes = 0;
  std::map<ReasonId, std::size_t> reasons = {};  ///< to how many nodes
  std::size_t unresolvable = 0;                  ///< nodes where nobody's going would help
  std::size_t no_victims = 0;                    ///< others, without a pod of lower priority
  std::size_t with_victims = 0;

  /// As kube-scheduler words it: "0/1 nodes are available: 1 Insufficient cpu. preemption: ...".
  [[nodiscard]] std::string message(const PodInfo& pod) const;
};

struct Choice {
  const NodeInfo* node = nullptr;  ///< null: none, see `diagnosis`
  std::size_t feasible = 0;
  Diagnosis diagnosis = {};
};

class Cycle {
 public:
  Cycle(const Profile& profile, int percentage);
  /// Nodes are looked at in turn, going on where the last pod's search ended, so that all get their share.
  Choice choose(const PodInfo& pod, const NodeCache& cache);
  [[nodiscard]] std::size_t nodes_to_find(std::size_t all) const;

 private:
  [[nodiscard]] Verdict filter(const CycleState& state, const PodInfo& pod, const NodeInfo& node) const;
  const NodeInfo* best(CycleState& state, const PodInfo& pod);
  bool pre_filter(CycleState& state, const PodInfo& pod, Diagnosis& diagnosis) const;

  const Profile& profile_;
  int percentage_;
  std::size_t next_ = 0;
  std::uint64_t dice_;  // state of the generator that breaks ties
  // Kept between pods for their memory.
  std::vector<const FilterPlugin*> filters_;
  std::vector<const NodeInfo*> feasible_;
  std::vector<std::int64_t> totals_, scores_;
};

}  // namespace brume::scheduler
