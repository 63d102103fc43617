// Pods and nodes as the scheduler sees them, decoded once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "brume/api/object.h"
#include "brume/api/selector.h"
#include "brume/base/time.h"
#include "brume/client/node_selector.h"
#include "brume/client/taints.h"
#include "resources.h"

namespace brume::scheduler {

using api::ObjectPtr;
using client::decode_term;
using client::decode_terms;
using client::find_label;
using client::NodeRequirement;
using client::NodeSelectorTerm;

struct HostPort {
  std::string ip;        ///< 0.0.0.0 stands for all
  std::string protocol;  ///< TCP, UDP, SCTP
  int port = 0;
  [[nodiscard]] bool conflicts(const HostPort& other) const;
  friend bool operator==(const HostPort&, const HostPort&) = default;
};

/// A term of preferred node affinity.
struct Preference {
  std::int64_t weight = 0;
  NodeSelectorTerm term;
};

struct PodInfo;

/// Which pods are meant: those of some namespaces with some labels.
struct PodSelector {
  std::vector<std::string> namespaces = {};                               ///< sorted
  api::LabelSelector namespace_selector = api::LabelSelector::nothing();  ///< further ones, by their labels
  api::LabelSelector labels = {};
  std::string id = {};  ///< the same for equal selectors

  /// `namespace_labels` are of the pod's namespace.
  [[nodiscard]] bool matches(const PodInfo& pod, const api::StringMap& namespace_labels) const;
  [[nodiscard]] bool by_namespace_labels() const { return !namespace_selector.selects_nothing(); }
};

/// core/v1 PodAffinityTerm, with its weight when it is a preference.
struct AffinityTerm {
  PodSelector pods;
  std::string topology_key;
  std::int64_t weight = 0;
  std::string id = {};  ///< the same for equal terms, whatever their weight
};

/// core/v1 TopologySpreadConstraint. The keys of matchLabelKeys are part of `pods` already.
struct SpreadConstraint {
  std::int64_t max_skew = 1;
  std::int64_t min_domains = 1;
  std::string topology_key;
  bool must = true;  ///< DoNotSchedule; else ScheduleAnyway
  bool honor_affinity = true;
  bool honor_taints = false;
  PodSelector pods = {};  ///< of the pod's own namespace
};

/// A volume that concerns scheduling.
struct PodVolume {
  std::string name;
  std::string claim = {};  ///< of a PersistentVolumeClaim; of a generic ephemeral volume its claim's name
  bool ephemeral = false;  ///< the claim is made for this pod and must be owned by it
  bool read_only = false;
  std::string csi_driver = {};  ///< of an inline CSI volume
  std::string image = {};       ///< reference of an image volume
  /// An inline disk that only one pod may write, as kind and identity, such as "gcePersistentDisk/disk-1"; or empty.
  std::string exclusive = {};
};

/// What a pod takes of its node.
struct Footprint {
  Resources requests = {};
  Resources scoring = {};  ///< with Kubernetes' defaults for containers that ask for nothing
  std::vector<HostPort> ports = {};
};

/// What the scheduler reads of a pod's spec. Pods of one template share one. Immutable.
struct PodSpec {
  std::string scheduler;
  std::string node_name = {};  ///< as the client asked for; a pod in the queue has none
  std::int64_t priority = 0;
  bool may_preempt = true;
  std::vector<std::string> gates = {};
  Footprint footprint = {};
  client::RequiredNodeAffinity nodes = {};
  std::vector<Preference> preferred = {};  ///< of nodes
  std::vector<client::Toleration> tolerations = {};
  std::vector<AffinityTerm> affinity = {}, anti_affinity = {};  ///< required
  std::vector<AffinityTerm> preferred_affinity = {}, preferred_anti_affinity = {};
  std::vector<SpreadConstraint> spread = {};
  std::vector<std::string> images = {};  ///< of init containers and containers, normalised, one each
  std::vector<PodVolume> volumes = {};

  [[nodiscard]] bool has_affinity_terms() const {
    return !affinity.empty() || !anti_affinity.empty() || !preferred_affinity.empty() ||
           !preferred_anti_affinity.empty();
  }
};

/// A pod, placed or waiting. Immutable; a change makes a new one that shares what stayed.
struct PodInfo {
  ObjectPtr object;  ///< labels, names, uid
  std::shared_ptr<const PodSpec> spec;
  /// What it takes now: its spec's, or more while it is being resized.
  std::shared_ptr<const Footprint> footprint;
  bool resizing = false;     ///< it takes more than its spec says, until its status says otherwise
  std::int64_t started = 0;  ///< status.startTime in seconds since 1970, of pods on nodes; 0: not yet

  [[nodiscard]] const std::string& uid() const { return object->uid(); }
  [[nodiscard]] const std::string& ns() const { return object->ns(); }
  [[nodiscard]] const std::string& name() const { return object->name(); }
  [[nodiscard]] std::string key() const { return object->key(); }
  [[nodiscard]] std::int64_t priority() const { return spec->priority; }
  /// From the object's bytes, without a DOM.
  [[nodiscard]] std::string nominated_node() const;
};
using PodPtr = std::shared_ptr<const PodInfo>;

/// Decodes pods, sharing the specs that are equal. Owner: the scheduler's loop.
class PodDecoder {
 public:
  /// `previous`, if given, is the pod's last version: what its generation shows to be unchanged is not read again.
  PodPtr decode(const ObjectPtr& pod, const PodPtr& previous = nullptr);
  [[nodiscard]] std::size_t specs() const { return specs_.size(); }
  /// Calls for each spec that some pod has.
  template <typename Visit>
  void each_spec(Visit visit) const {
    for (const auto& [text, held] : specs_) {
      if (const auto spec = held.lock()) visit(*spec);
    }
  }

 private:
  std::shared_ptr<const PodSpec> share(const api::Object& pod);
  void sweep();
  std::unordered_map<std::string, std::weak_ptr<const PodSpec>> specs_;  // by the text of what was read
  std::size_t sweep_at_ = 64;
};

/// For tests and hints: without sharing.
PodPtr decode_pod(const ObjectPtr& pod);

/// What a node offers, and what is taken of it.
/// Its members stand in the order in which a search, which goes through hundreds of nodes for each pod, asks for them.
struct NodeInfo {
  std::uint32_t index = 0;  ///< its row in tables by node; small, and used again when it is gone
  bool unschedulable = false;
  std::int64_t allowed_pods = 0;
  std::vector<client::Taint> taints = {};
  std::vector<PodPtr> pods = {};
  std::vector<HostPort> ports = {};
  Resources allocatable = {};
  Resources requested = {};
  Resources scoring = {};

  ObjectPtr object = {};  ///< null: pods of a node that is not known (yet)
  std::string name = {};
  std::unordered_map<std::string, std::int64_t> images = {};  ///< name to size in bytes

  void place(const PodPtr& pod);
  /// False when no pod of this uid is here.
  bool remove(const std::string& uid);
  /// Takes the node's own part from its object; what changed, as action bits, kAdd the first time.
  std::uint32_t update(const ObjectPtr& node);
  /// Its own part without its pods.
  [[nodiscard]] NodeInfo without_pods() const;
  /// Null when it has no such label.
  [[nodiscard]] const std::string* label(std::string_view key) const { return find_label(object->labels(), key); }
};

/// Whether the node is one that the pod's nodeSelector and required node affinity want.
bool node_wanted(const PodInfo& pod, const NodeInfo& node);
/// Whether a taint keeps the pod off the node (NoSchedule or NoExecute, not tolerated).
bool node_repels(const PodInfo& pod, const NodeInfo& node);

}  // namespace brume::scheduler
