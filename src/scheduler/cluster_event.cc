#include "cluster_event.h"

namespace brume::scheduler {

std::string_view informer_of(EventResource resource) {
  switch (resource) {
    case EventResource::kPersistentVolume: return "persistentvolumes";
    case EventResource::kPersistentVolumeClaim: return "persistentvolumeclaims";
    case EventResource::kStorageClass: return "storageclasses.storage.k8s.io";
    case EventResource::kCsiNode: return "csinodes.storage.k8s.io";
    case EventResource::kCsiDriver: return "csidrivers.storage.k8s.io";
    case EventResource::kCsiStorageCapacity: return "csistoragecapacities.storage.k8s.io";
    case EventResource::kVolumeAttachment: return "volumeattachments.storage.k8s.io";
    default: return "";
  }
}

bool EventInterest::matches(const Change& change) const {
  if ((actions & change.actions) == 0) return false;
  if (resource == EventResource::kAny || change.resource == EventResource::kAny || resource == change.resource) {
    return true;
  }
  return resource == EventResource::kPod &&
         (change.resource == EventResource::kAssignedPod || change.resource == EventResource::kUnscheduledPod);
}

}  // namespace brume::scheduler
