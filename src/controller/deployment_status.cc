// Counts and conditions of Deployments.
#include <algorithm>

#include "deployment.h"

namespace brume::controller {

Json DeploymentController::count_status(const World& world) const {
  const auto& deployment = world.deployment;
  Json status = deployment.status;
  std::int64_t actual = 0;
  std::int64_t ready = 0;
  for (const auto& set : world.sets) {
    actual += set.actual();
    ready += set.ready();
  }
  const auto available = sum_available(world.sets);
  status["observedGeneration"] = deployment.object->generation();
  set_count(status, "replicas", actual);
  set_count(status, "updatedReplicas",
            world.fresh < 0 ? 0 : world.sets[static_cast<std::size_t>(world.fresh)].actual());
  set_count(status, "readyReplicas", ready);
  set_count(status, "availableReplicas", available);
  set_count(status, "unavailableReplicas", std::max<std::int64_t>(0, sum_replicas(world.sets) - available));
  if (const auto terminating = sum_terminating(world.sets)) {
    status["terminatingReplicas"] = *terminating;
  } else {
    status.erase("terminatingReplicas");
  }
  if (available >= deployment.replicas() - deployment.max_unavailable()) {
    set_deployment_condition(status, "Available", "True", "MinimumReplicasAvailable",
                             "Deployment has minimum availability.", clock().now());
  } else {
    set_deployment_condition(status, "Available", "False", "MinimumReplicasUnavailable",
                             "Deployment does not have minimum availability.", clock().now());
  }
  return status;
}

Task<Status> DeploymentController::report_counts(World& world) { co_return co_await write(world, count_status(world)); }

Task<Status> DeploymentController::report_rollout(World& world) {
  auto& deployment = world.deployment;
  const Json before = deployment.status;
  Json status = count_status(world);
  const auto* newest = world.newest();
  const std::string subject =
      newest != nullptr ? "ReplicaSet \"" + newest->name() + "\"" : "Deployment \"" + deployment.object->name() + "\"";
  const Json current = client::find_condition(before, "Progressing");
  const bool was_complete =
      num(status, "replicas") == num(status, "updatedReplicas") && str(current, "reason") == "NewReplicaSetAvailable";
  const auto now = clock().now();
  if (!deployment.has_deadline()) {
    client::remove_condition(status, "Progressing");
  } else if (!was_complete) {
    if (complete(deployment, status)) {
      set_deployment_condition(status, "Progressing", "True", "NewReplicaSetAvailable",
                               subject + " has successfully progressed.", now);
    } else if (progressing(before, status)) {
      // Each step renews lastUpdateTime, from which the deadline counts.
      client::remove_condition(status, "Progressing");
      Json condition = {{"type", "Progressing"},
                        {"status", "True"},
                        {"reason", "ReplicaSetUpdated"},
                        {"message", subject + " is progressing."},
                        {"lastUpdateTime", format_rfc3339(now)}};
      if (const auto& since = at(current, "lastTransitionTime"); str(current, "status") == "True" && !since.is_null()) {
        condition["lastTransitionTime"] = since;
      }
      client::set_condition(status, std::move(condition), now);
    } else if (timed_out(deployment, status, now)) {
      set_deployment_condition(status, "Progressing", "False", "ProgressDeadlineExceeded",
                               subject + " has timed out progressing.", now);
    }
  }
  // What keeps a set from creating pods is the Deployment's trouble too; the newest set's before the others'.
  Json failure = newest != nullptr ? client::find_condition(at(newest->value, "status"), "ReplicaFailure") : Json();
  for (const auto& set : world.sets) {
    if (failure.is_null()) failure = client::find_condition(at(set.value, "status"), "ReplicaFailure");
  }
  const auto& had = client::find_condition(status, "ReplicaFailure");
  if (failure.is_null()) {
    client::remove_condition(status, "ReplicaFailure");
  } else if (str(had, "status") != str(failure, "status") || str(had, "reason") != str(failure, "reason")) {
    failure["lastUpdateTime"] = failure["lastTransitionTime"];
    client::set_condition(status, std::move(failure), now);
  }
  look_again(world, status);
  co_return co_await write(world, std::move(status));
}

Task<Status> DeploymentController::write(World& world, Json status) {
  auto& deployment = world.deployment;
  auto written = co_await write_status(client(), deployments_.resource(), deployment.object,
                                       at(deployment.value, "status"), std::move(status));
  if (!written) co_return fail(written.error());
  own_writes_.created(deployment.object->key(), *written);
  co_return Status{};
}

// No event tells that the deadline has passed.
void DeploymentController::look_again(const World& world, const Json& status) {
  const auto& deployment = world.deployment;
  const auto& condition = client::find_condition(status, "Progressing");
  if (!deployment.has_deadline() || condition.is_null() || complete(deployment, status)) return;
  if (str(condition, "reason") == "ProgressDeadlineExceeded") return;
  const auto since = parse_rfc3339(str(condition, "lastUpdateTime"));
  if (!since) return;
  const auto left = *since + deployment.deadline() - clock().now();
  queue_.add_after(deployment.object->key(),
                   std::max<WallTime::duration>(left, std::chrono::seconds(0)) + std::chrono::seconds(1));
}

}  // namespace brume::controller
