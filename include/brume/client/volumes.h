// Persistent volumes, claims and storage classes as values: what controllers, scheduler and node agent agree on.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/api/object.h"
#include "brume/api/quantity.h"
#include "brume/api/selector.h"
#include "brume/base/json_fwd.h"
#include "brume/client/node_selector.h"

namespace brume::client {

// Annotations by which the parts of storage speak with each other (component-helpers' storage/volume).
inline constexpr std::string_view kBindCompleted = "pv.kubernetes.io/bind-completed";
inline constexpr std::string_view kBoundByController = "pv.kubernetes.io/bound-by-controller";
inline constexpr std::string_view kProvisionedBy = "pv.kubernetes.io/provisioned-by";
inline constexpr std::string_view kSelectedNode = "volume.kubernetes.io/selected-node";
inline constexpr std::string_view kStorageProvisioner = "volume.kubernetes.io/storage-provisioner";
inline constexpr std::string_view kBetaStorageProvisioner = "volume.beta.kubernetes.io/storage-provisioner";
inline constexpr std::string_view kBetaStorageClass = "volume.beta.kubernetes.io/storage-class";

inline constexpr std::string_view kClaimProtection = "kubernetes.io/pvc-protection";
inline constexpr std::string_view kVolumeProtection = "kubernetes.io/pv-protection";

/// The provisioner that nobody is: volumes of its classes are made by hand.
inline constexpr std::string_view kNoProvisioner = "kubernetes.io/no-provisioner";

/// The name of a volume's directory: <volume>_<namespace>_<claim>. Names of API objects have neither '_' nor '/'.
[[nodiscard]] std::string local_path_name(std::string_view volume, std::string_view ns, std::string_view claim);

/// What spec.claimRef of a volume says.
struct ClaimRef {
  std::string ns, name;
  std::string uid;  ///< empty: kept by a user for a claim of that name
  [[nodiscard]] std::string key() const { return ns + "/" + name; }
};

/// What loops read of a PersistentVolume.
struct VolumeView {
  std::string storage_class = {};
  std::string attributes_class = {};
  std::string phase = {};  ///< "" before the controller has seen it
  std::string reclaim_policy = {};
  std::string provisioned_by = {};
  std::string csi_driver = {};
  std::vector<std::string> modes = {};
  api::Quantity capacity = {};
  bool block = false;
  bool bound_by_controller = false;
  std::optional<ClaimRef> claim = {};
  std::optional<std::vector<NodeSelectorTerm>> nodes = {};  ///< spec.nodeAffinity.required

  /// Kept for this claim, or bound to it.
  [[nodiscard]] bool is_for(const api::Object& claim) const;
  [[nodiscard]] bool allows(const api::Object& node) const;
};

/// What loops read of a PersistentVolumeClaim.
struct ClaimView {
  std::optional<std::string> storage_class = {};  ///< "" is a choice, too: volumes without class
  std::string attributes_class = {};
  std::string phase = {};
  std::string volume_name = {};
  std::string selected_node = {};
  std::string provisioner = {};
  std::vector<std::string> modes = {};
  api::Quantity request = {};
  std::optional<api::LabelSelector> selector = {};
  bool block = false;
  bool bind_completed = false;
  bool bound_by_controller = false;

  [[nodiscard]] std::string class_name() const { return storage_class.value_or(""); }
  /// Bound for good: a pod can use it.
  [[nodiscard]] bool bound() const { return !volume_name.empty() && bind_completed; }
  [[nodiscard]] bool has_mode(std::string_view mode) const;
};

/// What loops read of a StorageClass.
struct ClassView {
  struct TopologyTerm {
    std::vector<NodeRequirement> labels = {};
  };
  std::string provisioner = {};
  std::string reclaim_policy = {};
  bool delayed = false;     ///< WaitForFirstConsumer
  bool expandable = false;  ///< allowVolumeExpansion
  bool is_default = false;
  bool mount_options = false;  ///< has some
  std::vector<TopologyTerm> topologies = {};

  /// Whether volumes may be made for this node.
  [[nodiscard]] bool allows(const api::Object& node) const;
};

[[nodiscard]] VolumeView decode_volume(const api::Object& volume);
[[nodiscard]] ClaimView decode_claim(const api::Object& claim);
[[nodiscard]] ClassView decode_class(const api::Object& storage_class);

/// Of several default classes the newest counts; of the same second, the first by name. Null when there is none.
[[nodiscard]] api::ObjectPtr default_class(const std::vector<api::ObjectPtr>& classes);

/// A volume with its view; both must outlive the use.
struct VolumeChoice {
  api::ObjectPtr volume;
  const VolumeView* view = nullptr;
};

/// What a claim asks of a volume, beside the volumes themselves.
struct MatchOptions {
  const api::Object* node = nullptr;                          ///< where the pod is to run; null: anywhere
  bool delayed = false;                                       ///< the class waits for a first consumer
  std::function<bool(const std::string& volume)> taken = {};  ///< volumes promised to others already
};

/// The volume for a claim: the one that is kept for it, or the smallest free one that satisfies it. Null: none. Of
/// volumes whose access modes differ the fewest modes win when no node is given, as in Kubernetes.
[[nodiscard]] api::ObjectPtr find_volume(const api::Object& claim, const ClaimView& view,
                                         const std::vector<VolumeChoice>& volumes, const MatchOptions& options);

/// Why a volume that a claim names cannot be bound to it, in Kubernetes' words; "" when it can.
[[nodiscard]] std::string unfit(const api::Object& volume, const VolumeView& volume_view, const ClaimView& claim_view);

/// The claim that a volume of a pod needs: of persistentVolumeClaim, or of a generic ephemeral volume <pod>-<volume>.
/// "" for volumes of other types.
[[nodiscard]] std::string claim_of(std::string_view pod_name, const Json& volume);
/// Why the claim of a generic ephemeral volume is not the pod's, in Kubernetes' words; "" when it is.
[[nodiscard]] std::string foreign_claim(const api::Object& pod, const api::Object& claim);

/// The index of pods by the claims that they use, ns/name.
inline constexpr std::string_view kByClaim = "claim";
void index_by_claim(const api::Object& pod, std::vector<std::string>& values);

}  // namespace brume::client
