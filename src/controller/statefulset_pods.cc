// Single pods of a StatefulSet, and the claims that they need.
#include <algorithm>

#include "brume/base/strings.h"
#include "statefulset.h"

namespace brume::controller {

namespace {

// Several failures as one, as Kubernetes' aggregate reads.
Status gather(const std::vector<Error>& errors) {
  if (errors.empty()) return {};
  if (errors.size() == 1) return fail(errors.front());
  std::vector<std::string> texts;
  for (const auto& error : errors) texts.push_back(error.message);
  return fail(errors.front().code, "[" + join(texts, ", ") + "]");
}

ClaimSide side_of(const StatefulSet& set, const Member& member) {
  return {.set = *set.object,
          .pod_name = set.pod_name(member.ordinal),
          .pod_uid = member.uid(),
          .in_range = set.in_range(member.ordinal),
          .retention = set.retention()};
}

}  // namespace

void StatefulSetController::pod_event(const StatefulSet& set, std::string_view verb, const std::string& pod,
                                      const Status& done) {
  const auto what = std::string(verb) + " Pod " + pod + " in StatefulSet " + set.name();
  if (done) {
    events_.normal(*set.object, "Successful" + std::string(verb), what + " successful");
  } else {
    events_.warning(*set.object, "Failed" + std::string(verb), what + " failed error: " + done.error().message);
  }
}

// Pods
// -----------------------------------------------------------------------------------------------------------------

Task<Status> StatefulSetController::create_pod(const World& world, const Member& member) {
  const auto& set = world.set;
  const auto name = set.pod_name(member.ordinal);
  auto claimed = co_await create_claims(set, member);
  if (!claimed) {
    pod_event(set, "Create", name, claimed);
    co_return claimed;
  }
  const auto& revision = member.revision == world.current.name() ? world.current : world.update;
  Json pod = make_pod(set, revision.pod_template(), revision.name(), member.ordinal);
  auto created = co_await client().create(pods_.resource(), set.object->ns(), std::move(pod));
  // Another's pod of that name is waited for; its end brings the set back.
  if (!created && created.error().code == Code::kAlreadyExists) co_return fail(created.error());
  const Status done = created ? Status{} : fail(created.error());
  if (created) pod_writes_.created(set.object->key(), (*created)->resource_version());
  pod_event(set, "Create", name, done);
  co_return done;
}

Task<Status> StatefulSetController::delete_pod(const StatefulSet& set, const Member& member) {
  const auto pod = member.pod;
  auto done = co_await client().remove(pods_.resource(), pod->ns(), pod->name(), {.uid = pod->uid()});
  if (!done && done.error().code != Code::kNotFound) {
    pod_event(set, "Delete", pod->name(), done);
    co_return done;
  }
  pod_writes_.deleting(set.object->key(), pod);
  pod_event(set, "Delete", pod->name(), Status{});
  co_return Status{};
}

// Gives the pod back what makes it a member: labels, volumes and the owners of its claims.
Task<Status> StatefulSetController::repair_pod(const StatefulSet& set, const Member& member) {
  if (!member.in_order) {
    auto claimed = co_await create_claims(set, member);
    if (!claimed) {
      pod_event(set, "Update", set.pod_name(member.ordinal), claimed);
      co_return claimed;
    }
  }
  auto owned = co_await own_claims(set, member);
  if (!owned) co_return owned;
  const auto uid = member.uid();
  const auto change = [&set, &uid, ordinal = member.ordinal](Json& pod) {
    if (str(at(pod, "metadata"), "uid") != uid) return false;
    const bool named = update_identity(set, ordinal, pod);
    return update_storage(set, ordinal, pod) || named;
  };
  auto written = co_await client::retry_on_conflict(client(), pods_.resource(), set.object->ns(),
                                                    set.pod_name(member.ordinal), change);
  if (written) pod_writes_.created(set.object->key(), (*written)->resource_version());
  const Status done = written ? Status{} : fail(written.error());
  pod_event(set, "Update", set.pod_name(member.ordinal), done);
  co_return done;
}

// Claims
// ---------------------------------------------------------------------------------------------------------------

// Makes the claims that the pod lacks. One that is being deleted is waited for.
Task<Status> StatefulSetController::create_claims(const StatefulSet& set, const Member& member) {
  std::vector<Error> errors;
  const auto& templates = set.claim_templates();
  if (!templates.is_array()) co_return Status{};
  for (const auto& claim_template : templates) {
    const auto name = set.claim_name(claim_template, member.ordinal);
    if (const auto there = claims_.get(set.object->ns(), name)) {
      if (there->deleting())
        errors.push_back({.code = Code::kConflict, .message = "pvc " + name + " is being deleted"});
      continue;
    }
    Json claim = make_claim(set, claim_template, member.ordinal);
    for (const auto& owner : wanted_owners({}, side_of(set, member))) {
      claim["metadata"]["ownerReferences"].push_back(client::to_json(owner));
    }
    auto created = co_await client().create(claims_.resource(), set.object->ns(), std::move(claim));
    const auto what = "Create Claim " + name;
    const auto where = "Pod " + set.pod_name(member.ordinal) + " in StatefulSet " + set.name();
    if (created) {
      claim_writes_.created(set.object->key(), (*created)->resource_version());
      events_.normal(*set.object, "SuccessfulCreate", what + " " + where + " success");
      continue;
    }
    errors.push_back(wrap(created.error(), "failed to create PVC " + name));
    if (created.error().code == Code::kAlreadyExists) continue;
    events_.warning(*set.object, "FailedCreate", what + " for " + where + " failed error: " + created.error().message);
  }
  co_return gather(errors);
}

std::vector<ObjectPtr> StatefulSetController::claims_of(const StatefulSet& set, const Member& member) const {
  std::vector<ObjectPtr> out;
  const auto& templates = set.claim_templates();
  if (!templates.is_array()) return out;
  for (const auto& claim_template : templates) {
    auto claim = claims_.get(set.object->ns(), set.claim_name(claim_template, member.ordinal));
    if (claim) out.push_back(std::move(claim));
  }
  return out;
}

bool StatefulSetController::claims_owned(const StatefulSet& set, const Member& member) const {
  const auto side = side_of(set, member);
  const auto claims = claims_of(set, member);
  return std::all_of(claims.begin(), claims.end(), [&](const auto& c) { return owners_match(c->owners(), side); });
}

// A claim that goes with an earlier pod of the name must not be used by the next.
bool StatefulSetController::claims_stale(const StatefulSet& set, const Member& member) const {
  if (!set.retention().when_scaled) return false;
  const auto side = side_of(set, member);
  const auto claims = claims_of(set, member);
  return std::any_of(claims.begin(), claims.end(), [&](const auto& c) { return stale_pod_owner(c->owners(), side); });
}

// Gives the pod's claims the owners that the retention policy wants.
Task<Status> StatefulSetController::own_claims(const StatefulSet& set, const Member& member) {
  const auto side = side_of(set, member);
  const auto claims = claims_of(set, member);
  for (const auto& claim : claims) {
    if (foreign_controller(claim->owners(), side)) {
      events_.warning(*set.object, "ConflictingController",
                      "PersistentVolumeClaim " + claim->name() +
                          " has a conflicting OwnerReference that acts as a manging controller, the retention policy "
                          "is ignored for this claim");
    }
    if (owners_match(claim->owners(), side)) continue;
    Json owners = Json::array();
    for (const auto& owner : wanted_owners(claim->owners(), side)) owners.push_back(client::to_json(owner));
    Json patch = {{"metadata",
                   {{"uid", claim->uid()},
                    {"resourceVersion", std::to_string(claim->resource_version())},
                    {"ownerReferences", std::move(owners)}}}};
    auto written = co_await client().patch(claims_.resource(), claim->ns(), claim->name(), client::PatchType::kMerge,
                                           std::move(patch));
    if (!written) {
      auto failed =
          fail(wrap(written.error(), "could not update claim " + claim->name() + " for delete policy ownerRefs"));
      pod_event(set, "Update", set.pod_name(member.ordinal), failed);
      co_return failed;
    }
    claim_writes_.created(set.object->key(), (*written)->resource_version());
  }
  co_return Status{};
}

}  // namespace brume::controller
