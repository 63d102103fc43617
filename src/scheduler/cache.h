// NodeCache: nodes and what is placed on them, pods that are being bound included.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tallies.h"
#include "types.h"

namespace brume::scheduler {

/// Kept by events, one change at a time; since scheduling is synchronous on the same loop, it is the snapshot too.
/// Owner: the scheduler's loop.
class NodeCache {
 public:
  NodeCache() : tallies_(*this) {}
  NodeCache(const NodeCache&) = delete;
  NodeCache& operator=(const NodeCache&) = delete;

  /// What of the node changed, as action bits.
  std::uint32_t set_node(const ObjectPtr& node);
  void remove_node(const std::string& name);

  /// A pod that the API shows on a node. Replaces what was known or assumed of it.
  void set_pod(const PodPtr& pod, const std::string& node);
  /// The pod is gone or has finished; whether it had been placed.
  bool remove_pod(const std::string& uid);
  /// Counts the pod on the node before its binding is written.
  void assume(const PodPtr& pod, const std::string& node);
  /// The binding failed. Does nothing when the API has shown the pod on a node.
  void forget(const std::string& uid);

  /// The node of a pod that is placed or assumed, or null.
  [[nodiscard]] const std::string* node_of(const std::string& uid) const;
  [[nodiscard]] bool is_assumed(const std::string& uid) const;
  /// The pod as it is placed, or null.
  [[nodiscard]] PodPtr pod(const std::string& uid) const;

  /// Nodes that are there, zones taking turns, so that any run of them is spread over zones.
  [[nodiscard]] const std::vector<NodeInfo*>& nodes() const;
  /// Calls for each node, those too that are gone but have pods still.
  template <typename Visit>
  void each(Visit visit) const {
    for (const auto& [name, info] : by_name_) visit(std::as_const(*info));
  }
  /// Null when it is not there.
  [[nodiscard]] const NodeInfo* find(const std::string& name) const;
  /// How many nodes have the image.
  [[nodiscard]] std::size_t nodes_with_image(const std::string& image) const;

  [[nodiscard]] Tallies& tallies() { return tallies_; }

 private:
  struct Placed {
    PodPtr pod;
    NodeInfo* node;
    bool assumed = false;
  };
  NodeInfo& node(const std::string& name);
  void place(const PodPtr& pod, const std::string& node, bool assumed);
  void count_images(const NodeInfo& node, int sign);
  void drop_if_empty(const NodeInfo& info);
  bool refresh(const PodPtr& pod, const std::string& node);

  std::unordered_map<std::string, std::unique_ptr<NodeInfo>> by_name_;
  mutable std::vector<NodeInfo*> nodes_;
  mutable bool in_turn_ = true;  // nodes_ is in the order that nodes() promises
  std::vector<std::uint32_t> free_indexes_;
  std::uint32_t next_index_ = 0;
  std::unordered_map<std::string, Placed> placed_;  // by pod uid
  std::unordered_map<std::string, std::size_t> image_nodes_;
  Tallies tallies_;
};

}  // namespace brume::scheduler
