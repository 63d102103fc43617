// Nominations: pods that wait for a node on which preemption makes room for them.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "types.h"

namespace brume::scheduler {

/// Pods of lower priority must not take the room meanwhile, so filters count these as if they were there. Owner: the
/// scheduler's loop.
class Nominations {
 public:
  /// Replaces what was known of the pod; an empty node takes it away.
  void set(const PodPtr& pod, const std::string& node);
  void remove(const std::string& uid);
  [[nodiscard]] bool empty() const { return node_of_.empty(); }
  /// Empty: none.
  [[nodiscard]] const std::vector<PodPtr>& on(const std::string& node) const;
  /// The node or "".
  [[nodiscard]] const std::string& node_of(const std::string& uid) const;

 private:
  std::unordered_map<std::string, std::string> node_of_;          // by pod uid
  std::unordered_map<std::string, std::vector<PodPtr>> by_node_;  // by node name
};

}  // namespace brume::scheduler
