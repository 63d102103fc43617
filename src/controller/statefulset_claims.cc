#include "statefulset_claims.h"

#include <algorithm>

namespace brume::controller {

namespace {

using api::OwnerReference;

bool is_set(const OwnerReference& ref, const ClaimSide& side) {
  return ref.kind == "StatefulSet" && ref.api_version == "apps/v1" && ref.name == side.set.name();
}

bool is_pod(const OwnerReference& ref, const ClaimSide& side) {
  return ref.kind == "Pod" && ref.api_version == "v1" && ref.name == side.pod_name;
}

bool owned_by(const Owners& owners, const std::string& uid) {
  return !uid.empty() && std::any_of(owners.begin(), owners.end(), [&](const auto& ref) { return ref.uid == uid; });
}

bool stale_set_owner(const Owners& owners, const ClaimSide& side) {
  const auto ref = std::find_if(owners.begin(), owners.end(), [&](const auto& r) { return is_set(r, side); });
  return ref != owners.end() && ref->uid != side.set.uid();
}

// An owner of ours that should control the claim and does not.
bool weak_owner(const Owners& owners, const ClaimSide& side) {
  return std::any_of(owners.begin(), owners.end(), [&](const OwnerReference& ref) {
    const bool ours = ref.uid == side.set.uid() || (!side.pod_uid.empty() && ref.uid == side.pod_uid);
    return ours && !ref.controller;
  });
}

// The set keeps a claim while its pod is wanted; once it is scaled away, the pod does, if claims go with pods.
bool wants_set(const ClaimSide& side) {
  return side.retention.when_deleted && (side.in_range || !side.retention.when_scaled);
}
bool wants_pod(const ClaimSide& side) { return side.retention.when_scaled && !side.in_range; }

OwnerReference controller_of(std::string api_version, std::string kind, std::string name, std::string uid) {
  return {.api_version = std::move(api_version),
          .kind = std::move(kind),
          .name = std::move(name),
          .uid = std::move(uid),
          .controller = true,
          .block_owner_deletion = true};
}

}  // namespace

Json make_claim(const StatefulSet& set, const Json& claim_template, std::int64_t ordinal) {
  Json claim = claim_template;
  claim.erase("status");
  auto& meta = claim["metadata"];
  meta["name"] = set.claim_name(claim_template, ordinal);
  meta["namespace"] = set.object->ns();
  const auto& selector = at(set.spec(), "selector", "matchLabels");
  if (selector.is_object()) {
    for (const auto& [key, value] : selector.items()) meta["labels"][key] = value;
  }
  return claim;
}

bool foreign_controller(const Owners& owners, const ClaimSide& side) {
  if (!side.retention.when_deleted && !side.retention.when_scaled) return false;
  return std::any_of(owners.begin(), owners.end(), [&](const OwnerReference& ref) {
    if (is_set(ref, side)) return ref.uid != side.set.uid();
    if (is_pod(ref, side)) return ref.uid != side.pod_uid;
    return ref.controller;
  });
}

bool stale_pod_owner(const Owners& owners, const ClaimSide& side) {
  const auto ref = std::find_if(owners.begin(), owners.end(), [&](const auto& r) { return is_pod(r, side); });
  return ref != owners.end() && ref->uid != side.pod_uid;
}

bool owners_match(const Owners& owners, const ClaimSide& side) {
  // Left by an earlier set or pod of the name: the garbage collector's business.
  if (stale_set_owner(owners, side) || stale_pod_owner(owners, side)) return true;
  const bool by_set = owned_by(owners, side.set.uid());
  const bool by_pod = owned_by(owners, side.pod_uid);
  if (foreign_controller(owners, side)) return !by_set && !by_pod;
  if (weak_owner(owners, side)) return false;
  return by_set == wants_set(side) && by_pod == wants_pod(side);
}

Owners wanted_owners(const Owners& owners, const ClaimSide& side) {
  const bool foreign = foreign_controller(owners, side);
  Owners out;
  std::copy_if(owners.begin(), owners.end(), std::back_inserter(out),
               [&](const OwnerReference& ref) { return !is_set(ref, side) && !is_pod(ref, side); });
  if (foreign) return out;
  if (wants_set(side)) out.push_back(controller_of("apps/v1", "StatefulSet", side.set.name(), side.set.uid()));
  if (wants_pod(side) && !side.pod_uid.empty()) {
    out.push_back(controller_of("v1", "Pod", side.pod_name, side.pod_uid));
  }
  return out;
}

}  // namespace brume::controller
