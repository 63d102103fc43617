// Who owns the claims of a StatefulSet's pods, as its retention policy (KEP-1847) says: pure functions.
#pragma once

#include <string>
#include <vector>

#include "statefulset_util.h"

namespace brume::controller {

using Owners = std::vector<api::OwnerReference>;

/// A claim's owners as seen from the set and the pod of its ordinal. `pod_uid` is empty while there is no such pod.
struct ClaimSide {
  const Object& set;
  std::string pod_name;
  std::string pod_uid;
  bool in_range = true;  ///< the pod is not to be scaled away
  ClaimRetention retention;
};

/// The claim that a pod of that ordinal needs; without owners.
Json make_claim(const StatefulSet& set, const Json& claim_template, std::int64_t ordinal);

/// Someone else controls the claim, so the policy does not hold for it.
bool foreign_controller(const Owners& owners, const ClaimSide& side);
/// The claim belongs to a pod of this name that is no more; it is to go before the pod can be made anew.
bool stale_pod_owner(const Owners& owners, const ClaimSide& side);
/// The owners are as the policy wants them, or are none of the set's business.
bool owners_match(const Owners& owners, const ClaimSide& side);
/// The owners as the policy wants them.
Owners wanted_owners(const Owners& owners, const ClaimSide& side);

}  // namespace brume::controller
