// The arithmetic of DaemonSets: pure functions on decoded objects.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/client/node_selector.h"
#include "brume/client/taints.h"
#include "controller.h"

namespace brume::controller {

/// Which nodes a DaemonSet's pods may be on.
struct DaemonPlacement {
  std::string node_name;  ///< the template's own spec.nodeName
  client::RequiredNodeAffinity nodes = {};
  std::vector<client::Toleration> tolerations = {};  ///< those that every daemon pod has among them
};
DaemonPlacement decode_placement(const Json& pod_template);

/// Whether a pod is to be started on a node, and whether one that is there may stay.
struct DaemonVerdict {
  bool run = false;
  bool stay = false;
  bool operator==(const DaemonVerdict&) const = default;
};
DaemonVerdict judge(const DaemonPlacement& placement, const Object& node, const std::vector<client::Taint>& taints);

/// Adds the tolerations of daemon pods to a pod spec: problems of a node do not move them.
void add_daemon_tolerations(Json& pod_spec);

/// The pod of a DaemonSet for one node. `hash` is its revision's.
Json make_daemon_pod(const Object& set, const Json& set_value, const std::string& hash, const std::string& node);
/// The node that a daemon pod which is not scheduled yet is for; "" when it is for none.
std::string target_of(const Object& pod);

/// A pod of a DaemonSet.
struct DaemonPod {
  ObjectPtr pod;
  bool scheduled = false;
  bool ready = false;
  bool available = false;
  bool updated = false;  ///< of the current template
  bool of_hash = false;  ///< of the current revision
  PodPhase phase = PodPhase::kPending;
  WallTime created = {};

  [[nodiscard]] bool deleting() const { return pod->deleting(); }
};
/// By node; an empty list for a node that should have one and has none.
using DaemonPods = std::map<std::string, std::vector<DaemonPod>>;
/// Scheduled ones first, then the oldest.
bool older_daemon(const DaemonPod& a, const DaemonPod& b);

/// What to do: whose pods to delete, on which nodes to create one.
struct DaemonPlan {
  std::vector<ObjectPtr> doomed = {};
  std::vector<std::string> nodes = {};
};

/// What one node needs, given those of its pods that live, to have one pod; two while an update surges.
void plan_node(const std::string& node, DaemonVerdict verdict, std::vector<DaemonPod> living, bool surges,
               DaemonPlan& plan);

/// A rolling update's limits, of `desired` nodes.
struct DaemonLimits {
  std::int64_t desired = 0;
  std::int64_t unavailable = 0;
  std::int64_t surge = 0;
};
DaemonLimits limits_of(const Json& update_strategy, std::int64_t desired);
/// The next step of a rolling update. `verdicts` lacks nodes that are gone.
DaemonPlan plan_update(const DaemonPods& pods, const std::map<std::string, DaemonVerdict>& verdicts,
                       const DaemonLimits& limits);

/// How long to wait before a failed pod of a node is deleted: 1 s, doubled at each failure, at most 15 min, forgotten
/// after twice that (kube-controller-manager's values).
class FailureBackoff {
 public:
  /// How long still; nothing when the pod may be deleted now, which counts as a failure.
  std::optional<std::chrono::steady_clock::duration> wait(const std::string& key,
                                                          std::chrono::steady_clock::time_point now);

 private:
  struct Entry {
    std::chrono::steady_clock::duration delay{};
    std::chrono::steady_clock::time_point last;
  };
  std::map<std::string, Entry> entries_;
};

}  // namespace brume::controller
