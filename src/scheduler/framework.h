// The scheduling framework: a plugin, and the points at which it takes part in placing one pod.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/task_fwd.h"
#include "cluster_event.h"
#include "cycle_state.h"
#include "types.h"
#include "verdict.h"

namespace brume::scheduler {

inline constexpr std::int64_t kMaxScore = 100;

/// The points of a pod's way, in order. Bits, so that a plugin can say where it takes part.
using Points = std::uint32_t;
namespace point {
inline constexpr Points kPreEnqueue = 1U << 0;  ///< may the pod be tried at all?
inline constexpr Points kQueueSort = 1U << 1;   ///< which of two is tried first?
inline constexpr Points kPreFilter = 1U << 2;   ///< once a pod: prepare, or say that it fits nowhere
inline constexpr Points kFilter = 1U << 3;      ///< once a node: does it fit there?
inline constexpr Points kPostFilter = 1U << 4;  ///< it fits nowhere: can room be made?
inline constexpr Points kPreScore = 1U << 5;    ///< once a pod that has a choice of nodes: prepare
inline constexpr Points kScore = 1U << 6;       ///< how good is each node?
inline constexpr Points kReserve = 1U << 7;     ///< a node is chosen: hold what it needs (and let go again)
inline constexpr Points kPermit = 1U << 8;      ///< bind it now, later or not at all?
inline constexpr Points kPreBind = 1U << 9;     ///< make ready what must be there first
inline constexpr Points kBind = 1U << 10;       ///< write the binding
inline constexpr Points kPostBind = 1U << 11;   ///< it is bound
inline constexpr Points kCount = 12;
}  // namespace point

/// Of pre_filter: a verdict, and the only nodes that come into question, if they are known (empty set: none).
struct PreFilterResult {
  Verdict verdict = {};
  std::optional<std::set<std::string>> nodes = {};
};

/// How one node answered, in order of asking.
struct NodeVerdict {
  const NodeInfo* node;
  Verdict verdict;
};

/// Why a pod fits nowhere. What it points to is valid during the cycle.
struct Diagnosis {
  std::size_t nodes = 0;                  ///< in the cluster
  std::vector<NodeVerdict> answers = {};  ///< of the nodes that were asked
  /// Of all the others: pre_filter's verdict, or that they are none of the nodes it named.
  Verdict absent = {.code = Verdict::Code::kUnresolvable};
  std::string pre_filter_message = {};  ///< when pre_filter ended it
  std::string post_filter_message = {};
  std::uint64_t plugins = 0;          ///< that rejected it, as bits of their places in the profile
  std::uint64_t pending_plugins = 0;  ///< of these, those that wait for something under way

  /// The node's answer, or `absent`.
  [[nodiscard]] const Verdict& of(const NodeInfo* node) const;
  /// As kube-scheduler words it: "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable. ...".
  [[nodiscard]] std::string message() const;
};

/// Of post_filter.
struct PostFilterResult {
  Verdict verdict = {};  ///< success: room is being made on `node`
  /// The node that the pod is nominated to; "" takes a nomination away; nothing leaves it as it is.
  std::optional<std::string> node = {};
};

/// Of permit: success, kWait (then for no longer than `timeout`) or a rejection.
struct PermitResult {
  Verdict verdict = {};
  std::chrono::steady_clock::duration timeout = {};
};

/// A scheduling plugin. To add one: derive from it, name the points where it takes part in points(), override their
/// functions, and list it in registry.cc. One object serves all pods of a profile for the life of the scheduler, so
/// what it knows of one pod goes into the CycleState.
///
/// All functions run on the scheduler's loop. Those that are no Task are synchronous: between pre_filter and reserve of
/// one pod nothing else happens, so references to nodes and pods stay valid that long. filter and score are the hot
/// ones: they run for hundreds of nodes a pod and must not allocate, parse or look up by text what pre_filter could
/// have prepared.
class Plugin {
 public:
  virtual ~Plugin() = default;
  /// As KubeSchedulerConfiguration names it.
  [[nodiscard]] virtual std::string_view name() const = 0;
  [[nodiscard]] virtual Points points() const = 0;

  /// The changes that may let in a pod that this plugin rejected; any, unless overridden. Asked once. The resources
  /// named are watched.
  [[nodiscard]] virtual std::vector<EventInterest> events() { return {EventInterest{}}; }

  /// Success lets the pod into the queue of those to try. Asked whenever it would go there; while it is refused, the
  /// pod waits aside without costing anything, until one of events() or an update of the pod.
  virtual Verdict pre_enqueue(const PodInfo& /*pod*/) { return {}; }

  /// Whether `a` is to be tried before `b`. Times are when each came into the queue.
  [[nodiscard]] virtual bool before(const PodInfo& /*a*/, WallTime /*queued_a*/, const PodInfo& /*b*/,
                                    WallTime /*queued_b*/) const {
    return false;
  }

  /// Skip: filter is not called for this pod.
  virtual PreFilterResult pre_filter(CycleState& /*state*/, const PodInfo& /*pod*/) { return {}; }

  /// Whether the two below are to be called: what pre_filter computed depends on the pods that are placed.
  [[nodiscard]] virtual bool follows_pods() const { return false; }
  /// What pre_filter computed, as if `other` were (no longer) on `node` too: preemption is tried out by this. Each must
  /// undo the other exactly, for states are not copied.
  virtual void add_pod(CycleState& /*state*/, const PodInfo& /*pod*/, const PodInfo& /*other*/,
                       const NodeInfo& /*node*/) {}
  virtual void remove_pod(CycleState& /*state*/, const PodInfo& /*pod*/, const PodInfo& /*other*/,
                          const NodeInfo& /*node*/) {}

  /// Whether the pod fits on the node, given what is on it now (which may be a trial of preemption).
  virtual Verdict filter(CycleState& /*state*/, const PodInfo& /*pod*/, const NodeInfo& /*node*/) { return {}; }

  /// Makes room when no node fits. The first plugin that succeeds ends the round.
  virtual PostFilterResult post_filter(CycleState& /*state*/, const PodPtr& /*pod*/, const Diagnosis& /*diagnosis*/) {
    return {.verdict = Verdict{.code = Verdict::Code::kUnschedulable}};
  }

  /// Skip: score is not called for this pod.
  virtual Verdict pre_score(CycleState& /*state*/, const PodInfo& /*pod*/, std::span<const NodeInfo* const> /*nodes*/) {
    return {};
  }

  /// Fills `scores`, one for each node, higher is better: 0 to kMaxScore after normalize().
  virtual void score(CycleState& /*state*/, const PodInfo& /*pod*/, std::span<const NodeInfo* const> /*nodes*/,
                     std::span<std::int64_t> /*scores*/) {}
  /// Brings what score() filled in to 0..kMaxScore.
  virtual void normalize(CycleState& /*state*/, const PodInfo& /*pod*/, std::span<const NodeInfo* const> /*nodes*/,
                         std::span<std::int64_t> /*scores*/) {}

  /// Holds in memory what the pod needs on the node, before anything is written. A rejection undoes the plugins before.
  virtual Verdict reserve(CycleState& /*state*/, const PodInfo& /*pod*/, const std::string& /*node*/) { return {}; }
  /// Lets go of it: something after reserve failed, or reserve itself did. Must not fail, and may be called twice.
  virtual void unreserve(CycleState& /*state*/, const PodInfo& /*pod*/, const std::string& /*node*/) {}

  /// The last synchronous say. For kWait, Handle::waiting lets the pod go on, or rejects it, later.
  virtual PermitResult permit(CycleState& /*state*/, const PodInfo& /*pod*/, const std::string& /*node*/) { return {}; }

  /// Whether pre_bind has something to do for the pod (skip: it is not called). Where nothing has, the pod is bound at
  /// once; else its status says for which node it waits (KEP-5278).
  virtual Verdict pre_bind_pre_flight(CycleState& /*state*/, const PodInfo& /*pod*/, const std::string& /*node*/) {
    return {};
  }
  /// Prepares what must be there before the pod is bound, such as a volume; may wait. Afterwards the world has moved
  /// on: look again.
  virtual Task<Verdict> pre_bind(std::shared_ptr<CycleState> state, PodPtr pod, std::string node);
  /// Writes the binding, or skips. The first that does not skip has done it.
  virtual Task<Verdict> bind(std::shared_ptr<CycleState> state, PodPtr pod, std::string node);
  virtual void post_bind(CycleState& /*state*/, const PodInfo& /*pod*/, const std::string& /*node*/) {}
};

/// Scales the largest to kMaxScore; `reverse` turns the order round. All zero stays zero (or becomes kMaxScore).
void normalize_by_max(std::span<std::int64_t> scores, bool reverse);

}  // namespace brume::scheduler
