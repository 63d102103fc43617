// What happens in the cluster that may let a rejected pod in, and how plugins say which of it concerns them.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "types.h"

namespace brume::scheduler {

enum class EventResource : std::uint8_t {
  kPod,             ///< of interests: pods with and without a node
  kAssignedPod,     ///< of changes: a pod that has a node
  kUnscheduledPod,  ///< of changes: one that has none
  kNode,
  kPersistentVolume,
  kPersistentVolumeClaim,
  kStorageClass,
  kCsiNode,
  kCsiDriver,
  kCsiStorageCapacity,
  kVolumeAttachment,
  kCount,
  kAny = kCount,
};

/// The informer's name of a resource that the scheduler watches because a plugin registered it, such as
/// "persistentvolumeclaims"; empty for pods and nodes, which it always watches.
std::string_view informer_of(EventResource resource);

/// What happened, as bits: an interest may name several. kUpdate stands for any change of an object.
using Actions = std::uint32_t;
namespace action {
inline constexpr Actions kAdd = 1U << 0;
inline constexpr Actions kDelete = 1U << 1;
inline constexpr Actions kUpdateNodeAllocatable = 1U << 2;
inline constexpr Actions kUpdateNodeLabel = 1U << 3;
inline constexpr Actions kUpdateNodeTaint = 1U << 4;  ///< uncordoning too
inline constexpr Actions kUpdateNodeCondition = 1U << 5;
inline constexpr Actions kUpdateNodeAnnotation = 1U << 6;
inline constexpr Actions kUpdatePodLabel = 1U << 7;
inline constexpr Actions kUpdatePodScaleDown = 1U << 8;  ///< it asks for less than before
inline constexpr Actions kUpdatePodToleration = 1U << 9;
inline constexpr Actions kUpdatePodGatesGone = 1U << 10;
inline constexpr Actions kUpdateOther = 1U << 11;  ///< a change of none of the kinds above
inline constexpr Actions kUpdate = ((1U << 12) - 1) & ~(kAdd | kDelete);
inline constexpr Actions kAll = (1U << 12) - 1;
}  // namespace action

/// A change of one object. Only what fits its resource is set; nothing of it may be kept beyond the call.
struct Change {
  EventResource resource = EventResource::kAny;
  Actions actions = action::kAll;
  ObjectPtr before = {};  ///< null when added
  ObjectPtr after = {};   ///< null when deleted
  PodPtr pod_before = {};
  PodPtr pod_after = {};
  const NodeInfo* node_before = nullptr;  ///< its own part only: no pods
  const NodeInfo* node_after = nullptr;
};

/// Whether the change may let `waiting` in, which this plugin rejected. When in doubt, true: a false "no" leaves the
/// pod waiting for five minutes. It must be cheap: it is asked for each waiting pod.
using QueueingHint = std::function<bool(const PodInfo& waiting, const Change& change)>;

/// Changes that concern a plugin. Without a hint each of them brings back the pods that it rejected.
struct EventInterest {
  EventResource resource = EventResource::kAny;
  Actions actions = action::kAll;
  QueueingHint hint = {};

  [[nodiscard]] bool matches(const Change& change) const;
};

}  // namespace brume::scheduler
