// NodeCache: nodes and what is placed on them, pods that are being bound included.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "types.h"

namespace brume::scheduler {

/// Kept by events, one change at a time; since scheduling is synchronous on the same loop, it is the snapshot too.
/// Owner: the scheduler's loop.
class NodeCache {
 public:
  /// Whether pods that did not fit may fit now.
  bool set_node(const ObjectPtr& node);
  void remove_node(const std::string& name);

  /// A pod that the API shows on a node. Replaces what was assumed of it. Whether it takes less than before, so that
  /// pods that did not fit may fit now.
  bool set_pod(const ObjectPtr& pod, const std::string& node);
  /// The pod is gone or has finished; whether it had been placed.
  bool remove_pod(const std::string& uid);
  /// Counts the pod on the node before its binding is written.
  void assume(const PodInfo& pod, const std::string& node);
  /// The binding failed.
  void forget(const std::string& uid);
  [[nodiscard]] bool is_placed(const std::string& uid) const { return placed_.contains(uid); }

  /// Nodes that are there, in a stable order.
  [[nodiscard]] const std::vector<NodeInfo*>& nodes() const { return nodes_; }
  [[nodiscard]] const NodeInfo* find(const std::string& name) const;

 private:
  struct Placed {
    std::string node;
    Footprint footprint;
    std::int64_t priority = 0;
    std::int64_t generation = 0;  ///< of the pod; a resize raises it
    bool resizing = false;        ///< it takes more than its spec says, until its status says otherwise
    bool assumed = false;
  };
  NodeInfo& node(const std::string& name);
  void place(const std::string& uid, Placed placed);

  std::unordered_map<std::string, std::unique_ptr<NodeInfo>> by_name_;
  std::vector<NodeInfo*> nodes_;
  std::unordered_map<std::string, Placed> placed_;
};

}  // namespace brume::scheduler
