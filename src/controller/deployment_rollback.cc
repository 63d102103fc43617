// Rollback by the annotation deprecated.deployment.rollback.to, which stands for the field spec.rollbackTo of older
// APIs: its value is a revision, or 0 for the one before. (kubectl rollout undo writes the old template itself.)
#include <algorithm>
#include <functional>

#include "brume/base/strings.h"
#include "deployment.h"

namespace brume::controller {

namespace {

// The second highest revision; 0 when there is none.
std::int64_t last_revision(const ReplicaSets& sets) {
  std::vector<std::int64_t> revisions = {0, 0};
  for (const auto& set : sets) revisions.push_back(set.revision());
  std::ranges::sort(revisions, std::greater<>());
  return revisions[1];
}

}  // namespace

std::optional<std::int64_t> DeploymentController::rollback_revision(const World& world) {
  return parse_int(str(at(world.deployment.value, "metadata", "annotations"), kRollbackTo));
}

Task<Status> DeploymentController::roll_back(World& world) {
  BRUME_CO_CHECK(co_await find_or_create_new(world, true));
  const auto& deployment = world.deployment;
  const std::string name = deployment.object->name();
  Json value = deployment.value;
  std::int64_t revision = rollback_revision(world).value_or(0);
  if (revision == 0) revision = last_revision(world.sets);
  if (revision == 0) {
    events_.warning(*deployment.object, "DeploymentRollbackRevisionNotFound", "Unable to find last revision.");
    co_return co_await end_rollback(world, std::move(value));
  }
  const auto found = std::ranges::find_if(world.sets, [&](const auto& set) { return set.revision() == revision; });
  if (found == world.sets.end()) {
    events_.warning(*deployment.object, "DeploymentRollbackRevisionNotFound",
                    "Unable to find the revision to rollback to.");
    co_return co_await end_rollback(world, std::move(value));
  }
  if (same_template(at(deployment.spec(), "template"), at(found->value, "spec", "template"))) {
    events_.warning(*deployment.object, "DeploymentRollbackTemplateUnchanged",
                    "The rollback revision contains the same template as current deployment \"" + name + "\"");
    co_return co_await end_rollback(world, std::move(value));
  }
  become(value, *found);
  BRUME_CO_CHECK(co_await end_rollback(world, std::move(value)));
  events_.normal(*deployment.object, "DeploymentRollback",
                 "Rolled back deployment \"" + name + "\" to revision " + std::to_string(revision));
  co_return Status{};
}

// Writes the Deployment without the annotation; its change brings it here again. Where somebody has changed it
// meanwhile, the next reconcile decides anew.
Task<Status> DeploymentController::end_rollback(World& world, Json value) {
  const auto& object = world.deployment.object;
  value["metadata"]["annotations"].erase(std::string(kRollbackTo));
  auto written = co_await client().update(deployments_.resource(), object->ns(), object->name(), std::move(value));
  if (!written) co_return fail(written.error());
  own_writes_.created(object->key(), (*written)->resource_version());
  co_return Status{};
}

}  // namespace brume::controller
