#include "cycle.h"

#include <algorithm>

#include "brume/base/random.h"

namespace brume::scheduler {

namespace {

// kube-scheduler's minFeasibleNodesToFind and minFeasibleNodesPercentageToFind.
constexpr std::size_t kMinNodes = 100;
constexpr int kMinPercentage = 5;

/// Nodes are asked for from memory so many before their turn: a thousand do not stay in the nearest cache.
constexpr std::size_t kAhead = 4;

void fetch_ahead(const NodeInfo* node) {
  constexpr std::size_t kLine = 64;
  constexpr std::size_t kLines = 4;  // up to the resources
  for (std::size_t i = 0; i < kLines; ++i) __builtin_prefetch(reinterpret_cast<const char*>(node) + i * kLine);
}

}  // namespace

Cycle::Cycle(const NodeCache& cache) : cache_(cache), dice_(random_u64() | 1) {}

std::size_t Cycle::nodes_to_find(std::size_t all, int percentage) {
  if (all < kMinNodes) return all;
  if (percentage == 0) percentage = std::max(kMinPercentage, 50 - static_cast<int>(all) / 125);
  return std::max(kMinNodes, all * static_cast<std::size_t>(std::min(percentage, 100)) / 100);
}

bool Cycle::try_node(Profile& profile, CycleState& state, const PodInfo& pod, const NodeInfo& node, Choice& out) {
  const auto verdict = profile.filter(state, pod, node);
  if (verdict.ok()) {
    feasible_.push_back(&node);
    return false;
  }
  if (!verdict.rejected()) {
    out.verdict = verdict;
    return true;
  }
  const auto bit = std::uint64_t{1} << profile.refused_by();
  out.diagnosis.plugins |= bit;
  if (verdict.code == Verdict::Code::kPending) out.diagnosis.pending_plugins |= bit;
  out.diagnosis.answers.push_back({&node, verdict});
  return false;
}

void Cycle::search(Profile& profile, CycleState& state, const PodInfo& pod, const PreFilterResult& narrowed,
                   Choice& out) {
  // The node where preemption made room is tried by itself: if it fits, that is where the pod goes.
  if (const auto& nominated = profile.handle().nominations.node_of(pod.uid()); !nominated.empty()) {
    if (const auto* node = cache_.find(nominated); node != nullptr) {
      Choice alone;
      try_node(profile, state, pod, *node, alone);
      if (!feasible_.empty()) return;
    }
  }
  const auto& all = cache_.nodes();
  if (narrowed.nodes) {
    for (const auto& name : *narrowed.nodes) {
      const auto* node = cache_.find(name);
      if (node != nullptr && try_node(profile, state, pod, *node, out)) return;
    }
    return;
  }
  const auto wanted = nodes_to_find(all.size(), profile.percentage_of_nodes_to_score);
  std::size_t at = next_ % all.size();
  for (std::size_t seen = 0; seen < all.size() && feasible_.size() < wanted; ++seen) {
    fetch_ahead(all[(at + kAhead) % all.size()]);
    if (try_node(profile, state, pod, *all[at], out)) break;
    if (++at == all.size()) at = 0;
  }
  next_ = at;
}

Choice Cycle::choose(Profile& profile, CycleState& state, const PodInfo& pod) {
  Choice out;
  out.diagnosis.nodes = cache_.nodes().size();
  out.verdict.code = Verdict::Code::kUnschedulable;
  if (cache_.nodes().empty()) return out;
  feasible_.clear();
  const auto narrowed = profile.pre_filter(state, pod, out.diagnosis);
  if (!narrowed.verdict.ok()) {
    if (!narrowed.verdict.rejected()) out.verdict = narrowed.verdict;
    return out;
  }
  search(profile, state, pod, narrowed, out);
  if (out.verdict.code == Verdict::Code::kError) return out;
  out.feasible = feasible_.size();
  if (feasible_.empty()) return out;
  std::size_t chosen = 0;
  if (feasible_.size() > 1) {
    const auto scored = profile.score(state, pod, feasible_, totals_);
    if (!scored.ok()) {
      out.verdict = scored;
      return out;
    }
    chosen = best();
  }
  out.node = feasible_[chosen];
  out.verdict = {};
  return out;
}

// The highest total; of equal ones, any with the same chance.
std::size_t Cycle::best() {
  std::size_t chosen = 0;
  std::uint64_t equal = 1;
  for (std::size_t i = 1; i < totals_.size(); ++i) {
    if (totals_[i] < totals_[chosen]) continue;
    if (totals_[i] > totals_[chosen]) {
      chosen = i;
      equal = 1;
      continue;
    }
    // xorshift64: a fair enough die, without a system call for each of hundreds of nodes.
    dice_ ^= dice_ << 13;
    dice_ ^= dice_ >> 7;
    dice_ ^= dice_ << 17;
    if (dice_ % ++equal == 0) chosen = i;
  }
  return chosen;
}

}  // namespace brume::scheduler
