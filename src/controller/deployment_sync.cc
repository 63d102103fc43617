// Revisions, the ReplicaSet of the newest template, scaling without rollout, and the history's clean-up.
#include <algorithm>

#include "brume/base/strings.h"
#include "deployment.h"

namespace brume::controller {

namespace {

ReplicaSet* by_name(ReplicaSets& sets, std::string_view name) {
  auto it = std::find_if(sets.begin(), sets.end(), [&](const auto& set) { return set.name() == name; });
  return it == sets.end() ? nullptr : &*it;
}

bool note_sizes(const DeploymentState& deployment, Json& set) {
  const bool desired = set_annotation(set, kDesiredReplicas, std::to_string(deployment.replicas()));
  const bool most = set_annotation(set, kMaxReplicas, std::to_string(deployment.replicas() + deployment.max_surge()));
  return desired || most;
}

std::int64_t next_revision(const ReplicaSets& old) {
  std::int64_t most = 0;
  for (const auto& set : old) most = std::max(most, set.revision());
  return most + 1;
}

}  // namespace

// The new ReplicaSet
// -----------------------------------------------------------------------------------------------------

Task<Status> DeploymentController::find_or_create_new(World& world, bool create) {
  if (world.newest() != nullptr) co_return co_await refresh_new(world);
  if (!create) co_return Status{};
  co_return co_await create_new(world, next_revision(world.old()));
}

// Brings an existing new set's annotations up to date: after an undo it becomes the newest revision again.
Task<Status> DeploymentController::refresh_new(World& world) {
  auto& set = *world.newest();
  auto& deployment = world.deployment;
  Json value = set.value;
  bool changed = inherit_annotations(deployment, value);
  changed = raise_revision(value, next_revision(world.old())) || changed;
  const auto min_ready = num(deployment.spec(), "minReadySeconds");
  if (num(at(value, "spec"), "minReadySeconds") != min_ready) {
    value["spec"]["minReadySeconds"] = min_ready;
    changed = true;
  }
  if (changed) {
    BRUME_CO_TRY(auto written, co_await client().update(sets_.resource(), set.object->ns(), set.name(), value));
    set_writes_.created(deployment.object->key(), written->resource_version());
    set = {.object = written, .value = written->parse()};
  }
  record_revision(world, set.revision());
  if (deployment.has_deadline() && client::find_condition(deployment.status, "Progressing").is_null()) {
    set_deployment_condition(deployment.status, "Progressing", "True", "FoundNewReplicaSet",
                             "Found new replica set \"" + set.name() + "\"", clock().now());
  }
  co_return co_await write_annotations(world);
}

Task<Status> DeploymentController::create_new(World& world, std::int64_t revision) {
  auto& deployment = world.deployment;
  const auto& object = deployment.object;
  Json pod_template = at(deployment.spec(), "template");
  const auto hash = template_hash(pod_template, num(deployment.status, "collisionCount"));
  pod_template["metadata"]["labels"][std::string(kTemplateHash)] = hash;
  Json selector = at(deployment.spec(), "selector");
  selector["matchLabels"][std::string(kTemplateHash)] = hash;
  const auto size = new_size(deployment, sum_replicas(world.sets), 0);
  const std::string name = replica_set_name(object->name(), hash);
  Json set = {{"metadata",
               {{"name", name},
                {"namespace", object->ns()},
                {"labels", pod_template["metadata"]["labels"]},
                {"ownerReferences", Json::array({client::controller_reference(*object)})}}},
              {"spec", {{"replicas", size}, {"selector", std::move(selector)}, {"template", std::move(pod_template)}}}};
  if (const auto min_ready = num(deployment.spec(), "minReadySeconds"); min_ready != 0) {
    set["spec"]["minReadySeconds"] = min_ready;
  }
  inherit_annotations(deployment, set);
  raise_revision(set, revision);
  note_sizes(deployment, set);

  auto created = co_await client().create(sets_.resource(), object->ns(), set);
  if (!created && created.error().code == Code::kAlreadyExists) co_return co_await name_taken(world, name, set);
  if (!created && namespace_goes(created.error())) co_return fail(created.error());
  if (!created) {
    const std::string message = "Failed to create new replica set \"" + name + "\": " + created.error().message;
    if (deployment.has_deadline()) {
      set_deployment_condition(deployment.status, "Progressing", "False", "ReplicaSetCreateError", message,
                               clock().now());
      BRUME_CO_CHECK(co_await write(world, deployment.status));
    }
    events_.warning(*object, "ReplicaSetCreateError", message);
    co_return fail(created.error());
  }
  set_writes_.created(object->key(), (*created)->resource_version());
  world.sets.push_back({.object = *created, .value = (*created)->parse()});
  world.fresh = static_cast<int>(world.sets.size()) - 1;
  if (size > 0) {
    events_.normal(*object, "ScalingReplicaSet",
                   "Scaled up replica set " + name + " from 0 to " + std::to_string(size));
  }
  record_revision(world, revision);
  if (deployment.has_deadline()) {
    set_deployment_condition(deployment.status, "Progressing", "True", "NewReplicaSetCreated",
                             "Created new replica set \"" + name + "\"", clock().now());
  }
  co_return co_await write_annotations(world);
}

// A set of the new one's name is there: our own that the copy lacks, or another template with the same hash.
Task<Status> DeploymentController::name_taken(World& world, std::string name, const Json& wanted) {
  auto& deployment = world.deployment;
  BRUME_CO_TRY(auto there, co_await client().get(sets_.resource(), deployment.object->ns(), name));
  const Json value = there->parse();
  if (client::controlled_by(*there, deployment.object->uid()) &&
      same_template(at(value, "spec", "template"), at(wanted, "spec", "template"))) {
    set_writes_.created(deployment.object->key(), there->resource_version());
    world.sets.push_back({.object = there, .value = value});
    world.fresh = static_cast<int>(world.sets.size()) - 1;
    record_revision(world, world.newest()->revision());
    co_return co_await write_annotations(world);
  }
  deployment.status["collisionCount"] = num(deployment.status, "collisionCount") + 1;
  BRUME_CO_CHECK(co_await write(world, deployment.status));
  co_return fail(Code::kConflict, "the name " + name + " is taken by another template");
}

void DeploymentController::record_revision(World& world, std::int64_t revision) {
  if (revision > 0) set_annotation(world.deployment.value, kRevision, std::to_string(revision));
}

// The Deployment's own revision annotation, where it moved.
Task<Status> DeploymentController::write_annotations(World& world) {
  auto& deployment = world.deployment;
  const Json stored = deployment.object->parse();
  const auto wanted = str(at(deployment.value, "metadata", "annotations"), kRevision);
  if (str(at(stored, "metadata", "annotations"), kRevision) == wanted) co_return Status{};
  Json patch = {
      {"metadata",
       {{"uid", deployment.object->uid()}, {"annotations", {{std::string(kRevision), std::string(wanted)}}}}}};
  auto done = co_await client().patch(deployments_.resource(), deployment.object->ns(), deployment.object->name(),
                                      client::PatchType::kMerge, std::move(patch));
  if (!done) co_return fail(done.error());
  own_writes_.created(deployment.object->key(), (*done)->resource_version());
  co_return Status{};
}

// Scaling
// ----------------------------------------------------------------------------------------------------------------

// The Deployment was scaled since its sets were sized.
bool DeploymentController::rescaled(const World& world) const {
  const auto active = with_replicas(world.sets);
  return std::any_of(active.begin(), active.end(), [&](const ReplicaSet& set) {
    const auto desired = set.size_annotation(kDesiredReplicas);
    return desired && *desired != world.deployment.replicas();
  });
}

Task<Status> DeploymentController::sync_scale(World& world) {
  BRUME_CO_CHECK(co_await find_or_create_new(world, false));
  BRUME_CO_CHECK(co_await scale_all(world));
  if (world.deployment.paused() && !rollback_revision(world)) BRUME_CO_CHECK(co_await cleanup(world));
  co_return co_await report_counts(world);
}

Task<Status> DeploymentController::scale_all(World& world) {
  const auto& deployment = world.deployment;
  const auto active = with_replicas(world.sets);
  if (active.size() <= 1) {
    if (world.sets.empty()) co_return Status{};
    // The only active set; with none, the newest.
    const auto* newest = world.newest();
    const std::string name = !active.empty()     ? active.front().name()
                             : newest != nullptr ? newest->name()
                                                 : world.sets.back().name();
    auto done = co_await scale(world, name, deployment.replicas());
    if (!done) co_return fail(done.error());
    co_return Status{};
  }
  const auto* newest = world.newest();
  const bool saturated = newest != nullptr && newest->replicas() == deployment.replicas() &&
                         newest->available() == deployment.replicas() &&
                         newest->size_annotation(kDesiredReplicas) == deployment.replicas();
  if (saturated) {
    for (const auto& set : with_replicas(world.old())) {
      auto done = co_await scale(world, set.name(), 0);
      if (!done) co_return fail(done.error());
    }
    co_return Status{};
  }
  if (deployment.rolling()) co_return co_await scale_proportionally(world);
  co_return Status{};
}

// In the middle of a rollout both old and new sets take their share, so that the risk stays what the user set.
Task<Status> DeploymentController::scale_proportionally(World& world) {
  const auto& deployment = world.deployment;
  auto active = with_replicas(world.sets);
  const auto allowed = deployment.replicas() > 0 ? deployment.replicas() + deployment.max_surge() : 0;
  const auto to_add = allowed - sum_replicas(active);
  // The largest come first; of equal ones the newest when adding and the oldest when taking away.
  std::sort(active.begin(), active.end(), [to_add](const ReplicaSet& a, const ReplicaSet& b) {
    if (a.replicas() != b.replicas()) return a.replicas() > b.replicas();
    return to_add < 0 ? older(a, b) : older(b, a);
  });
  std::vector<std::int64_t> sizes;
  std::int64_t added = 0;
  for (const auto& set : active) {
    const auto share = to_add != 0 ? proportion(set, deployment, to_add, added) : 0;
    sizes.push_back(set.replicas() + share);
    added += share;
  }
  if (to_add != 0) sizes.front() = std::max<std::int64_t>(0, sizes.front() + to_add - added);
  for (std::size_t i = 0; i < active.size(); ++i) {
    auto done = co_await scale(world, active[i].name(), sizes[i]);
    if (!done) co_return fail(done.error());
  }
  co_return Status{};
}

// Sets one set's size and the annotations that go with it; true when the size changed.
Task<Result<bool>> DeploymentController::scale(World& world, std::string name, std::int64_t size) {
  auto* set = by_name(world.sets, name);
  const auto before = set->replicas();
  Json value = set->value;
  const bool noted = note_sizes(world.deployment, value);
  if (before == size && !noted) co_return false;
  value["spec"]["replicas"] = size;
  auto written = co_await client().update(sets_.resource(), set->object->ns(), name, std::move(value));
  if (!written) co_return fail(written.error());
  const auto& owner = world.deployment.object;
  set_writes_.created(owner->key(), (*written)->resource_version());
  *set = {.object = *written, .value = (*written)->parse()};
  if (before == size) co_return false;
  events_.normal(*owner, "ScalingReplicaSet",
                 std::string("Scaled ") + (size > before ? "up" : "down") + " replica set " + name + " from " +
                     std::to_string(before) + " to " + std::to_string(size));
  co_return true;
}

// History
// ----------------------------------------------------------------------------------------------------------------

Task<Status> DeploymentController::cleanup(World& world) {
  const auto limit = num(world.deployment.spec(), "revisionHistoryLimit", 10);
  auto old = world.old();
  std::erase_if(old, [](const ReplicaSet& set) { return set.object->deleting(); });
  auto excess = static_cast<std::int64_t>(old.size()) - limit;
  std::sort(old.begin(), old.end(), [](const ReplicaSet& a, const ReplicaSet& b) {
    return a.revision() != b.revision() ? a.revision() < b.revision() : older(a, b);
  });
  for (std::size_t i = 0; excess > 0 && i < old.size(); ++i, --excess) {
    const auto& set = old[i];
    const bool settled = num(at(set.value, "status"), "observedGeneration") >= set.object->generation();
    if (set.actual() != 0 || set.replicas() != 0 || !settled) continue;
    auto done = co_await client().remove(sets_.resource(), set.object->ns(), set.name(),
                                         {.propagation_policy = "Background", .uid = set.object->uid()});
    if (!done && done.error().code != Code::kNotFound) co_return fail(done.error());
    set_writes_.deleting(world.deployment.object->key(), set.object);
  }
  co_return Status{};
}

}  // namespace brume::controller
