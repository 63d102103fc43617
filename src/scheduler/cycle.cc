#include "cycle.h"

#include <algorithm>

#include "brume/base/random.h"

namespace brume::scheduler {

namespace {

// kube-scheduler's minFeasibleNodesToFind and minFeasibleNodesPercentageToFind.
constexpr std::size_t kMinNodes = 100;
constexpr int kMinPercentage = 5;

std::string joined(std::vector<std::string> parts) {
  std::sort(parts.begin(), parts.end());
  std::string out;
  for (const auto& part : parts) out += (out.empty() ? "" : ", ") + part;
  return out;
}

}  // namespace

std::string Diagnosis::message(const PodInfo& pod) const {
  if (nodes == 0) return "no nodes available to schedule pods";
  const std::string head = "0/" + std::to_string(nodes) + " nodes are available:";
  std::vector<std::string> parts;
  for (const auto& [reason, count] : reasons) parts.push_back(std::to_string(count) + " " + reason_text(reason));
  std::string out = head + " " + joined(std::move(parts)) + ".";
  if (!pod.may_preempt) return out + " preemption: not eligible due to preemptionPolicy=Never.";
  std::vector<std::string> why;
  if (unresolvable > 0) why.push_back(std::to_string(unresolvable) + " Preemption is not helpful for scheduling");
  if (no_victims > 0) why.push_back(std::to_string(no_victims) + " No preemption victims found for incoming pod");
  if (with_victims > 0) why.push_back(std::to_string(with_victims) + " Preemption is not supported by this scheduler");
  return out + " preemption: " + head + " " + joined(std::move(why)) + ".";
}

Cycle::Cycle(const Profile& profile, int percentage)
    : profile_(profile), percentage_(percentage), dice_(random_u64() | 1) {}

bool Cycle::pre_filter(CycleState& state, const PodInfo& pod, Diagnosis& diagnosis) const {
  for (const auto& plugin : profile_.pre_filters) {
    const auto verdict = plugin->pre_filter(state, pod);
    if (verdict.fits()) continue;
    for (std::size_t i = 0; i < verdict.count; ++i) diagnosis.reasons[verdict.reasons[i]] = diagnosis.nodes;
    (verdict.kind == Verdict::Kind::kUnresolvable ? diagnosis.unresolvable : diagnosis.no_victims) = diagnosis.nodes;
    return false;
  }
  return true;
}

std::size_t Cycle::nodes_to_find(std::size_t all) const {
  if (all < kMinNodes) return all;
  int percentage = percentage_;
  if (percentage == 0) percentage = std::max(kMinPercentage, 50 - static_cast<int>(all) / 125);
  return std::max(kMinNodes, all * static_cast<std::size_t>(std::min(percentage, 100)) / 100);
}

Verdict Cycle::filter(const CycleState& state, const PodInfo& pod, const NodeInfo& node) const {
  for (const auto* plugin : filters_) {
    const auto verdict = plugin->filter(state, pod, node);
    if (!verdict.fits()) return verdict;
  }
  return {};
}

Choice Cycle::choose(const PodInfo& pod, const NodeCache& cache) {
  const auto& nodes = cache.nodes();
  Choice out;
  out.diagnosis.nodes = nodes.size();
  if (nodes.empty()) return out;
  CycleState state;
  filters_.clear();
  feasible_.clear();
  for (const auto& plugin : profile_.filters) {
    if (plugin->concerns(pod)) filters_.push_back(plugin.get());
  }
  if (!pre_filter(state, pod, out.diagnosis)) return out;
  const auto wanted = nodes_to_find(nodes.size());
  std::size_t seen = 0;
  for (; seen < nodes.size() && feasible_.size() < wanted; ++seen) {
    const auto& node = *nodes[(next_ + seen) % nodes.size()];
    const auto verdict = filter(state, pod, node);
    if (verdict.fits()) {
      feasible_.push_back(&node);
      continue;
    }
    auto& diagnosis = out.diagnosis;
    for (std::size_t i = 0; i < verdict.count; ++i) ++diagnosis.reasons[verdict.reasons[i]];
    const bool lower = std::any_of(node.priorities.begin(), node.priorities.end(),
                                   [&](const auto& entry) { return entry.first < pod.priority; });
    ++(verdict.kind == Verdict::Kind::kUnresolvable ? diagnosis.unresolvable
       : lower                                      ? diagnosis.with_victims
                                                    : diagnosis.no_victims);
  }
  next_ = (next_ + seen) % nodes.size();
  out.feasible = feasible_.size();
  if (feasible_.size() == 1) out.node = feasible_.front();
  if (feasible_.size() > 1) out.node = best(state, pod);
  return out;
}

// The highest sum of weighted scores; of equal ones, any with the same chance.
const NodeInfo* Cycle::best(CycleState& state, const PodInfo& pod) {
  for (const auto& plugin : profile_.pre_scores) plugin->pre_score(state, pod, feasible_);
  totals_.assign(feasible_.size(), 0);
  for (const auto& [plugin, weight] : profile_.scores) {
    if (!plugin->scores(pod)) continue;
    scores_.resize(feasible_.size());
    for (std::size_t i = 0; i < feasible_.size(); ++i) scores_[i] = plugin->score(state, pod, *feasible_[i]);
    plugin->normalize(scores_);
    for (std::size_t i = 0; i < feasible_.size(); ++i) totals_[i] += scores_[i] * weight;
  }
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
  return feasible_[chosen];
}

}  // namespace brume::scheduler
