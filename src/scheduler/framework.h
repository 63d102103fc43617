// The scheduling framework: the points at which plugins take part in placing one pod.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "types.h"

namespace brume::scheduler {

/// Why a node does not suit, as an id: thousands of nodes give the same few reasons. Owner: the scheduler's loop.
using ReasonId = std::uint16_t;
ReasonId reason_id(std::string_view text);
const std::string& reason_text(ReasonId id);

/// A filter's answer about one node.
struct Verdict {
  enum class Kind : std::uint8_t {
    kFits,
    kUnschedulable,  ///< might fit if other pods went
    kUnresolvable,   ///< would not fit even then
  };
  Kind kind = Kind::kFits;
  std::uint8_t count = 0;
  std::array<ReasonId, 6> reasons{};

  [[nodiscard]] bool fits() const { return kind == Kind::kFits; }
  static Verdict no(ReasonId reason, Kind kind = Kind::kUnschedulable) {
    return {.kind = kind, .count = 1, .reasons = {reason}};
  }
  /// One more reason; the sixth and later are left out.
  void add(ReasonId reason, Kind kind);
};

/// What plugins keep for the pod in hand between their points: one slot each, by the plugin's place in the profile.
struct CycleState {
  std::vector<std::int64_t> scratch;
};

inline constexpr std::int64_t kMaxScore = 100;

/// Plugins are made once and shared by all cycles; they hold no state of a pod. All points but bind() are synchronous
/// and run on the scheduler's loop.
class Plugin {
 public:
  virtual ~Plugin() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
};

class QueueSortPlugin : public Plugin {
 public:
  /// Whether `a` is to be tried before `b`. Times are when each was queued first.
  [[nodiscard]] virtual bool before(const PodInfo& a, WallTime queued_a, const PodInfo& b, WallTime queued_b) const = 0;
};

class PreFilterPlugin : public Plugin {
 public:
  /// Once a pod; a verdict other than kFits ends the attempt.
  virtual Verdict pre_filter(CycleState& state, const PodInfo& pod) const = 0;
};

class FilterPlugin : public Plugin {
 public:
  /// Whether the plugin has anything to say about this pod; asked once a pod.
  [[nodiscard]] virtual bool concerns(const PodInfo&) const { return true; }
  [[nodiscard]] virtual Verdict filter(const CycleState& state, const PodInfo& pod, const NodeInfo& node) const = 0;
};

/// Makes room when no node fits.
class PostFilterPlugin : public Plugin {
 public:
  /// What to append to the pod's message.
  virtual std::string post_filter(CycleState& state, const PodInfo& pod) = 0;
};

class PreScorePlugin : public Plugin {
 public:
  virtual void pre_score(CycleState& state, const PodInfo& pod, std::span<const NodeInfo* const> nodes) const = 0;
};

class ScorePlugin : public Plugin {
 public:
  /// False: all nodes are the same to it, so it is skipped for this pod.
  [[nodiscard]] virtual bool scores(const PodInfo&) const { return true; }
  [[nodiscard]] virtual std::int64_t score(const CycleState& state, const PodInfo& pod, const NodeInfo& node) const = 0;
  /// Brings raw scores to 0..kMaxScore. As they are, when not overridden.
  virtual void normalize(std::span<std::int64_t>) const {}
};

class ReservePlugin : public Plugin {
 public:
  virtual Status reserve(CycleState& state, const PodInfo& pod, const NodeInfo& node) = 0;
  virtual void unreserve(CycleState& state, const PodInfo& pod, const NodeInfo& node) = 0;
};

class BindPlugin : public Plugin {
 public:
  virtual Task<Status> bind(std::shared_ptr<const PodInfo> pod, std::string node) = 0;
};

/// Scales the largest to kMaxScore; `reverse` turns the order round. All zero stays zero (or becomes kMaxScore).
void normalize_by_max(std::span<std::int64_t> scores, bool reverse);

/// Which plugins take part, in this order.
struct Profile {
  struct Weighted {
    std::unique_ptr<ScorePlugin> plugin;
    std::int64_t weight = 1;
  };
  std::unique_ptr<QueueSortPlugin> queue_sort;
  std::vector<std::unique_ptr<PreFilterPlugin>> pre_filters;
  std::vector<std::unique_ptr<FilterPlugin>> filters;
  std::vector<std::unique_ptr<PostFilterPlugin>> post_filters;
  std::vector<std::unique_ptr<PreScorePlugin>> pre_scores;
  std::vector<Weighted> scores;
  std::vector<std::unique_ptr<ReservePlugin>> reserves;
  std::unique_ptr<BindPlugin> binder;
};

}  // namespace brume::scheduler
