#include "profile.h"

#include <algorithm>
#include <bit>
#include <set>

namespace brume::scheduler {

namespace {

// As Go prints a list: [a b].
std::string listed(const std::set<std::string>& names) {
  std::string out = "[";
  for (const auto& name : names) out.append(out.size() > 1 ? " " : "").append(name);
  return out + "]";
}

std::string nodes_missed(const std::set<std::string>& plugins) {
  if (plugins.size() == 1) return "node(s) didn't satisfy plugin " + *plugins.begin();
  return "node(s) didn't satisfy plugin(s) " + listed(plugins) + " simultaneously";
}

}  // namespace

Profile::Profile(std::string name, Handle handle) : name_(std::move(name)), handle_(std::move(handle)) {
  handle_.profile = this;
}

Plugin& Profile::add(std::unique_ptr<Plugin> plugin) {
  plugins_.push_back(std::move(plugin));
  return *plugins_.back();
}

void Profile::enable(Points at, Plugin& plugin, std::int64_t weight) {
  points_[static_cast<std::size_t>(std::countr_zero(at))].push_back(&plugin);
  if (at == point::kScore) weights_.push_back(weight);
}

std::span<Plugin* const> Profile::at(Points one_point) const {
  return points_[static_cast<std::size_t>(std::countr_zero(one_point))];
}

std::size_t Profile::place_of(const Plugin& plugin) const {
  const auto it =
      std::find_if(plugins_.begin(), plugins_.end(), [&](const auto& have) { return have.get() == &plugin; });
  return static_cast<std::size_t>(it - plugins_.begin());
}

PreFilterResult Profile::pre_filter(CycleState& state, const PodInfo& pod, Diagnosis& diagnosis) {
  PreFilterResult out;
  Verdict rejection;
  std::set<std::string> choosers;  // plugins that named nodes
  std::vector<const Plugin*> skipped;
  followers_.clear();
  filters_.clear();
  prepared_ = false;
  const auto end_with = [&](const Verdict& verdict) {
    out.verdict = verdict;
    diagnosis.absent = verdict;
    diagnosis.pre_filter_message = verdict.message();
    return out;
  };
  for (auto* plugin : at(point::kPreFilter)) {
    auto answer = plugin->pre_filter(state, pod);
    const auto bit = std::uint64_t{1} << place_of(*plugin);
    if (answer.verdict.skip()) {
      skipped.push_back(plugin);
      continue;
    }
    if (answer.verdict.rejected()) {
      diagnosis.plugins |= bit;
      if (answer.verdict.code == Verdict::Code::kPending) diagnosis.pending_plugins |= bit;
      if (answer.verdict.code == Verdict::Code::kUnresolvable) return end_with(answer.verdict);
      rejection = answer.verdict;
      continue;
    }
    if (!answer.verdict.ok()) {
      out.verdict = Verdict::error("running PreFilter plugin \"" + std::string(plugin->name()) +
                                   "\": " + answer.verdict.message());
      return out;
    }
    if (plugin->follows_pods()) followers_.push_back(plugin);
    if (!answer.nodes) continue;
    choosers.emplace(plugin->name());
    diagnosis.plugins |= bit;
    if (!out.nodes) {
      out.nodes = std::move(answer.nodes);
    } else {
      std::erase_if(*out.nodes, [&](const std::string& node) { return !answer.nodes->contains(node); });
    }
    if (out.nodes->empty()) {
      return end_with(Verdict::unresolvable(passing_reason(nodes_missed(choosers))));
    }
  }
  choose_filters(skipped);
  if (!rejection.ok()) return end_with(rejection);
  if (out.nodes) {
    diagnosis.absent = Verdict::unresolvable(passing_reason("node(s) didn't satisfy plugin(s) " + listed(choosers)));
  }
  return out;
}

void Profile::choose_filters(const std::vector<const Plugin*>& skipped) {
  for (auto* plugin : at(point::kFilter)) {
    if (std::find(skipped.begin(), skipped.end(), plugin) == skipped.end()) {
      filters_.emplace_back(plugin, place_of(*plugin));
    }
  }
  prepared_ = true;
}

Verdict Profile::filter_once(CycleState& state, const PodInfo& pod, const NodeInfo& node) {
  for (const auto& [plugin, place] : filters_) {
    const auto verdict = plugin->filter(state, pod, node);
    if (verdict.ok()) continue;
    refused_by_ = place;
    if (verdict.rejected() || verdict.code == Verdict::Code::kError) return verdict;
    return Verdict::error("plugin \"" + std::string(plugin->name()) + "\" gave no answer that a filter may give");
  }
  return {};
}

Verdict Profile::filter(CycleState& state, const PodInfo& pod, const NodeInfo& node) {
  if (!prepared_) return Verdict::error("the pod's cycle has ended before its nodes could be filtered");
  if (!handle_.nominations.empty()) {
    const auto& nominated = handle_.nominations.on(node.name);
    std::vector<PodPtr> coming;
    for (const auto& other : nominated) {
      if (other->priority() >= pod.priority() && other->uid() != pod.uid()) coming.push_back(other);
    }
    if (!coming.empty()) {
      NodeInfo trial = node;
      for (const auto& other : coming) {
        trial.place(other);
        add_pod(state, pod, *other, trial);
      }
      const auto verdict = filter_once(state, pod, trial);
      for (const auto& other : coming) remove_pod(state, pod, *other, trial);
      if (!verdict.ok()) return verdict;
    }
  }
  // They may not come, and the pod may need what is there without them.
  return filter_once(state, pod, node);
}

void Profile::add_pod(CycleState& state, const PodInfo& pod, const PodInfo& other, const NodeInfo& node) {
  for (auto* plugin : followers_) plugin->add_pod(state, pod, other, node);
}

void Profile::remove_pod(CycleState& state, const PodInfo& pod, const PodInfo& other, const NodeInfo& node) {
  for (auto* plugin : followers_) plugin->remove_pod(state, pod, other, node);
}

Verdict Profile::score(CycleState& state, const PodInfo& pod, std::span<const NodeInfo* const> nodes,
                       std::vector<std::int64_t>& totals) {
  totals.assign(nodes.size(), 0);
  std::vector<const Plugin*> skipped;
  for (auto* plugin : at(point::kPreScore)) {
    const auto verdict = plugin->pre_score(state, pod, nodes);
    if (verdict.skip()) {
      skipped.push_back(plugin);
    } else if (!verdict.ok()) {
      return Verdict::error("running PreScore plugin \"" + std::string(plugin->name()) + "\": " + verdict.message());
    }
  }
  const auto scorers = at(point::kScore);
  for (std::size_t i = 0; i < scorers.size(); ++i) {
    auto* plugin = scorers[i];
    if (std::find(skipped.begin(), skipped.end(), plugin) != skipped.end()) continue;
    scores_.assign(nodes.size(), 0);
    plugin->score(state, pod, nodes, scores_);
    plugin->normalize(state, pod, nodes, scores_);
    for (std::size_t n = 0; n < nodes.size(); ++n) totals[n] += scores_[n] * weights_[i];
  }
  return {};
}

}  // namespace brume::scheduler
