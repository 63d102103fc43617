// Pods and nodes as the scheduler sees them, decoded once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "brume/api/object.h"
#include "brume/base/time.h"
#include "brume/client/node_selector.h"
#include "brume/client/taints.h"
#include "resources.h"

namespace brume::scheduler {

using api::ObjectPtr;
using client::decode_term;
using client::decode_terms;
using client::NodeRequirement;
using client::NodeSelectorTerm;

struct HostPort {
  std::string ip;        ///< 0.0.0.0 stands for all
  std::string protocol;  ///< TCP, UDP, SCTP
  int port = 0;
  [[nodiscard]] bool conflicts(const HostPort& other) const;
};

/// A term of preferred node affinity.
struct Preference {
  std::int64_t weight = 0;
  NodeSelectorTerm term;
};

/// What a pod takes of its node.
struct Footprint {
  Resources requests = {};
  Resources scoring = {};
  std::vector<HostPort> ports = {};
};

/// A pod that waits for a node. Immutable once decoded.
struct PodInfo {
  ObjectPtr object;
  std::string scheduler;
  std::int64_t priority = 0;
  bool may_preempt = true;
  bool gated = false;
  Footprint footprint;
  NodeSelectorTerm node_selector = {};          ///< spec.nodeSelector; no requirements: none
  std::vector<NodeSelectorTerm> required = {};  ///< any must match
  bool has_required = false;
  std::vector<Preference> preferred = {};
  std::vector<client::Toleration> tolerations = {};
  WallTime created = {};

  [[nodiscard]] std::string key() const { return object->key(); }
};

PodInfo decode_pod(const ObjectPtr& pod);
/// `status` counts for a pod that is on a node; null before.
Footprint decode_footprint(const Json& pod_spec, const Json& status);

/// What a node offers, and what is taken of it.
struct NodeInfo {
  ObjectPtr object;  ///< null: pods of a node that is not known (yet)
  std::string name;
  Resources allocatable = {};
  std::int64_t allowed_pods = 0;
  bool unschedulable = false;
  std::vector<client::Taint> taints = {};

  std::int64_t pods = 0;
  Resources requested = {};
  Resources scoring = {};
  std::vector<HostPort> ports = {};
  std::unordered_map<std::int64_t, std::int64_t> priorities = {};  ///< of its pods, to how many

  void place(const Footprint& footprint, std::int64_t priority);
  void remove(const Footprint& footprint, std::int64_t priority);
  /// Takes the node's own part from its object; whether pods that did not fit may fit now.
  bool update(const ObjectPtr& node);
};

}  // namespace brume::scheduler
