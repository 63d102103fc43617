// One pod's placing: filter, score, choose. Synchronous and without side effects.
#pragma once

#include <cstdint>
#include <vector>

#include "profile.h"

namespace brume::scheduler {

struct Choice {
  const NodeInfo* node = nullptr;  ///< null: none, see `verdict` and `diagnosis`
  std::size_t feasible = 0;
  Verdict verdict = {};  ///< kUnschedulable, or kError
  Diagnosis diagnosis = {};
};

/// Shared by the profiles. Owner: the scheduler's loop.
class Cycle {
 public:
  explicit Cycle(const NodeCache& cache);
  /// Nodes are looked at in turn, going on where the last pod's search ended, so that all get their share.
  Choice choose(Profile& profile, CycleState& state, const PodInfo& pod);
  /// How many feasible nodes of `all` are enough to choose from: `percentage` of them, 0 by their number; all of few.
  [[nodiscard]] static std::size_t nodes_to_find(std::size_t all, int percentage);

 private:
  /// Whether the search is over: enough found, or an error.
  bool try_node(Profile& profile, CycleState& state, const PodInfo& pod, const NodeInfo& node, Choice& out);
  void search(Profile& profile, CycleState& state, const PodInfo& pod, const PreFilterResult& narrowed, Choice& out);
  std::size_t best();

  const NodeCache& cache_;
  std::size_t next_ = 0;
  std::uint64_t dice_;  // state of the generator that breaks ties
  // Kept between pods for their memory.
  std::vector<const NodeInfo*> feasible_;
  std::vector<std::int64_t> totals_;
};

}  // namespace brume::scheduler
