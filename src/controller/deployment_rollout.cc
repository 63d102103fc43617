// The two strategies.
#include <algorithm>

#include "deployment.h"

namespace brume::controller {

// Rolling update
// ---------------------------------------------------------------------------------------------------------

Task<Status> DeploymentController::roll(World& world) {
  BRUME_CO_CHECK(co_await find_or_create_new(world, true));
  BRUME_CO_TRY(const bool grown, co_await grow_new(world));
  if (!grown) {
    BRUME_CO_TRY(const bool shrunk, co_await shrink_old(world));
    if (!shrunk && complete(world.deployment, world.deployment.status)) BRUME_CO_CHECK(co_await cleanup(world));
  }
  co_return co_await report_rollout(world);
}

Task<Result<bool>> DeploymentController::grow_new(World& world) {
  const auto& set = *world.newest();
  const auto wanted = world.deployment.replicas();
  if (set.replicas() == wanted) co_return false;
  const auto size =
      set.replicas() > wanted ? wanted : new_size(world.deployment, sum_replicas(world.sets), set.replicas());
  co_return co_await scale(world, set.name(), size);
}

Task<Result<bool>> DeploymentController::shrink_old(World& world) {
  if (sum_replicas(world.old()) == 0) co_return false;
  const auto least = world.deployment.replicas() - world.deployment.max_unavailable();
  const auto* newest = world.newest();
  const auto not_yet = newest->replicas() - newest->available();
  // What is not available counts as gone already: only so much more may go.
  const auto limit = sum_replicas(world.sets) - least - not_yet;
  if (limit <= 0) co_return false;
  BRUME_CO_TRY(const auto unhealthy, co_await drop_unhealthy(world, limit));
  BRUME_CO_TRY(const auto healthy, co_await drop_available(world));
  co_return unhealthy + healthy > 0;
}

// Old replicas that are not available go first: they serve nobody and could block the rollout for ever.
Task<Result<std::int64_t>> DeploymentController::drop_unhealthy(World& world, std::int64_t limit) {
  std::int64_t dropped = 0;
  for (const auto& set : with_replicas(world.old())) {
    if (dropped >= limit) break;
    const auto count = std::min(limit - dropped, set.replicas() - set.available());
    if (count <= 0) continue;
    BRUME_CO_CHECK(co_await scale(world, set.name(), set.replicas() - count));
    dropped += count;
  }
  co_return dropped;
}

Task<Result<std::int64_t>> DeploymentController::drop_available(World& world) {
  const auto least = world.deployment.replicas() - world.deployment.max_unavailable();
  const auto limit = sum_available(world.sets) - least;
  std::int64_t dropped = 0;
  for (const auto& set : with_replicas(world.old())) {
    if (dropped >= limit) break;
    const auto count = std::min(set.replicas(), limit - dropped);
    BRUME_CO_CHECK(co_await scale(world, set.name(), set.replicas() - count));
    dropped += count;
  }
  co_return dropped;
}

// Recreate
// ---------------------------------------------------------------------------------------------------------------

Task<Status> DeploymentController::recreate(World& world) {
  BRUME_CO_CHECK(co_await find_or_create_new(world, false));
  bool scaled = false;
  for (const auto& set : with_replicas(world.old())) {
    BRUME_CO_TRY(const bool changed, co_await scale(world, set.name(), 0));
    scaled = scaled || changed;
  }
  if (scaled || old_pods_run(world)) co_return co_await report_rollout(world);
  if (world.newest() == nullptr) BRUME_CO_CHECK(co_await find_or_create_new(world, true));
  const std::string name = world.newest()->name();
  BRUME_CO_CHECK(co_await scale(world, name, world.deployment.replicas()));
  if (complete(world.deployment, world.deployment.status)) BRUME_CO_CHECK(co_await cleanup(world));
  co_return co_await report_rollout(world);
}

bool DeploymentController::old_pods_run(const World& world) {
  for (const auto& set : world.old()) {
    if (set.actual() > 0) return true;
    for (const auto& pod : pods_.index(kByController, set.object->uid())) {
      if (!context_.pods.of(pod).finished()) return true;
    }
  }
  return false;
}

}  // namespace brume::controller
