// Profile: the plugins that place the pods of one scheduler name, and how they are run.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework.h"
#include "handle.h"

namespace brume::scheduler {

/// Owner: the scheduler's loop.
class Profile {
 public:
  explicit Profile(std::string name, Handle handle);
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  // Putting it together

  /// Takes part at no point yet. A profile holds at most 64 plugins.
  Plugin& add(std::unique_ptr<Plugin> plugin);
  /// Appends the plugin to those of one point (one bit). `weight` counts for kScore.
  void enable(Points at, Plugin& plugin, std::int64_t weight = 1);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] Handle& handle() { return handle_; }
  [[nodiscard]] std::span<Plugin* const> at(Points one_point) const;
  [[nodiscard]] std::span<const std::unique_ptr<Plugin>> plugins() const { return plugins_; }
  /// The place of a plugin, which is its bit in Diagnosis::plugins.
  [[nodiscard]] std::size_t place_of(const Plugin& plugin) const;
  int percentage_of_nodes_to_score = 0;  ///< 0: by the size of the cluster

  // One pod's cycle. Synchronous: pre_filter() begins one, and what follows belongs to it. Nothing of the cycle before
  // is left then.

  /// The nodes that come into question, none: all. A verdict other than success ends the cycle, and `diagnosis` says
  /// why. After a rejection that others' going may undo (kUnschedulable, kPending) nodes may yet be filtered, as
  /// preemption does; after any other, filter() is an error.
  PreFilterResult pre_filter(CycleState& state, const PodInfo& pod, Diagnosis& diagnosis);
  /// Whether the pod fits on `node`, also when pods of at least its priority that are nominated there have come.
  Verdict filter(CycleState& state, const PodInfo& pod, const NodeInfo& node);
  /// Which plugin refused in the last filter().
  [[nodiscard]] std::size_t refused_by() const { return refused_by_; }
  /// As if `other` were (no longer) on `node`.
  void add_pod(CycleState& state, const PodInfo& pod, const PodInfo& other, const NodeInfo& node);
  void remove_pod(CycleState& state, const PodInfo& pod, const PodInfo& other, const NodeInfo& node);
  /// Of the plugins at kScore, in their order.
  [[nodiscard]] const std::vector<std::int64_t>& weights() const { return weights_; }
  /// Adds each plugin's scores, normalised and weighted, to `totals`. An error ends it.
  Verdict score(CycleState& state, const PodInfo& pod, std::span<const NodeInfo* const> nodes,
                std::vector<std::int64_t>& totals);

 private:
  Verdict filter_once(CycleState& state, const PodInfo& pod, const NodeInfo& node);
  void choose_filters(const std::vector<const Plugin*>& skipped);

  std::string name_;
  Handle handle_;
  std::vector<std::unique_ptr<Plugin>> plugins_;
  std::array<std::vector<Plugin*>, point::kCount> points_;
  std::vector<std::int64_t> weights_;  // of the plugins at kScore
  // Of the cycle in hand; kept between cycles for their memory.
  std::vector<std::pair<Plugin*, std::size_t>> filters_;  // that pre_filter did not skip, with their places
  bool prepared_ = false;                                 // pre_filter asked every plugin: `filters_` are this pod's
  std::vector<Plugin*> followers_;                        // of these and others, whose state follows pods
  std::vector<std::int64_t> scores_;
  std::size_t refused_by_ = 0;
};

}  // namespace brume::scheduler
