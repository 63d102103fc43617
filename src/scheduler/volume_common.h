// What the plugins about volumes share: a pod's claims, and the words for what is missing.
#pragma once

#include <string>
#include <string_view>

#include "brume/client/volumes.h"
#include "cluster_event.h"
#include "handle.h"

namespace brume::scheduler {

/// An informer's words for an object that it does not have.
inline std::string not_found(std::string_view resource, std::string_view name) {
  return std::string(resource).append(" \"").append(name).append("\" not found");
}

/// Whether the pod uses the claim.
inline bool uses_claim(const PodInfo& pod, const api::Object& claim) {
  if (pod.ns() != claim.ns()) return false;
  for (const auto& volume : pod.spec->volumes) {
    if (!volume.claim.empty() && volume.claim == claim.name()) return true;
  }
  return false;
}

/// Changes of claims that the waiting pod uses.
inline EventInterest own_claims(Actions actions) {
  return {.resource = EventResource::kPersistentVolumeClaim,
          .actions = actions,
          .hint = [](const PodInfo& waiting, const Change& change) { return uses_claim(waiting, *change.after); }};
}

inline bool has_claims(const PodInfo& pod) {
  for (const auto& volume : pod.spec->volumes) {
    if (!volume.claim.empty()) return true;
  }
  return false;
}

}  // namespace brume::scheduler
