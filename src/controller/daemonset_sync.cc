// Which pods of a DaemonSet come and go, and its status.
#include <algorithm>
#include <optional>

#include "daemonset.h"

namespace brume::controller {

namespace {

constexpr std::size_t kBurst = 250;  // creates and deletes of one round, as upstream

template <typename T>
void cut(std::vector<T>& list) {
  if (list.size() > kBurst) list.resize(kBurst);
}

std::string_view annotation(const Json& value, std::string_view key) {
  return str(at(value, "metadata", "annotations"), key);
}

}  // namespace

// The set's pods by the node that they are on or for, as the copy has them now. One that has ended and is being deleted
// is nobody's business any more.
DaemonPods DaemonSetController::pods_of(const World& world) {
  DaemonPods out;
  const auto hash = world.hash();
  const auto generation = annotation(world.value, "deprecated.daemonset.template.generation");
  const auto min_ready = num(world.spec(), "minReadySeconds");
  const auto now = clock().now();
  for (const auto& key : world.claimed) {
    const auto pod = pods_.get(key);
    // One without controller has just been adopted.
    if (!pod || (pod->controller() != nullptr && pod->controller()->uid != world.object->uid())) continue;
    const auto& view = context_.pods.of(pod);
    if (view.finished() && pod->deleting()) continue;
    const auto& target = targets_.of(pod);
    if (target.empty()) continue;
    const bool of_hash = pod->label(kRevisionLabel) == hash;
    const bool of_generation = !generation.empty() && pod->label("pod-template-generation") == generation;
    out[target].push_back({.pod = pod,
                           .scheduled = !view.node_name.empty(),
                           .ready = view.ready,
                           .available = view.available(min_ready, now),
                           .updated = of_hash || of_generation,
                           .of_hash = of_hash,
                           .phase = view.phase,
                           .created = view.created});
  }
  return out;
}

// Pods
// ---------------------------------------------------------------------------------------------------------------

// Makes pods where they lack and deletes those that failed, are too many or may not stay.
Task<Status> DaemonSetController::manage(World& world) {
  const auto pods = pods_of(world);
  DaemonPlan plan;
  for (const auto& [node, verdict] : world.verdicts) {
    const auto on_node = pods.find(node);
    if (verdict.run && on_node == pods.end()) {
      plan.nodes.push_back(node);
    } else if (verdict.stay && on_node != pods.end()) {
      plan_present(world, node, on_node->second, plan);
    } else if (on_node != pods.end()) {
      for (const auto& pod : on_node->second) {
        if (!pod.deleting()) plan.doomed.push_back(pod.pod);
      }
    }
  }
  // For a node that is gone: no scheduler and no garbage collector will ever look at it.
  for (const auto& [node, on_node] : pods) {
    if (world.verdicts.contains(node)) continue;
    for (const auto& pod : on_node) {
      if (!pod.scheduled && !pod.deleting()) plan.doomed.push_back(pod.pod);
    }
  }
  co_return co_await carry_out(world, std::move(plan));
}

void DaemonSetController::plan_present(const World& world, const std::string& node, const std::vector<DaemonPod>& pods,
                                       DaemonPlan& plan) {
  std::vector<DaemonPod> living;
  for (const auto& pod : pods) {
    if (pod.deleting()) continue;
    const auto what = "daemon pod " + pod.pod->key() + " on node " + node + ", will try to ";
    if (pod.phase == PodPhase::kFailed) {
      // The kubelet may refuse the next one too: the two must not race each other.
      const auto failure =
          world.object->uid() + "/" + std::to_string(num(at(world.value, "status"), "observedGeneration")) + "/" + node;
      if (const auto wait = failures_.wait(failure, clock().steady())) {
        queue_.add_after(world.object->key(), *wait);
        continue;
      }
      events_.warning(*world.object, "FailedDaemonPod", "Found failed " + what + "kill it");
      plan.doomed.push_back(pod.pod);
    } else if (pod.phase == PodPhase::kSucceeded) {
      events_.normal(*world.object, "SucceededDaemonPod", "Found succeeded " + what + "delete it");
      plan.doomed.push_back(pod.pod);
    } else {
      living.push_back(pod);
    }
  }
  const bool surges = limits_of(at(world.spec(), "updateStrategy"), 1).surge > 0;
  plan_node(node, world.verdicts.at(node), std::move(living), surges, plan);
}

Task<Status> DaemonSetController::roll(World& world) {
  auto pods = pods_of(world);
  for (const auto& [node, verdict] : world.verdicts) {
    if (verdict.run) pods.try_emplace(node);
  }
  const auto limits = limits_of(at(world.spec(), "updateStrategy"), world.desired());
  co_return co_await carry_out(world, plan_update(pods, world.verdicts, limits));
}

Task<Status> DaemonSetController::carry_out(const World& world, DaemonPlan plan) {
  cut(plan.nodes);
  cut(plan.doomed);
  const auto hash = world.hash();
  const auto create = [&](std::size_t i) {
    return control_.create(world.object, make_daemon_pod(*world.object, world.value, hash, plan.nodes[i]));
  };
  const auto created = co_await slow_start(plan.nodes.size(), create);
  const auto removed = co_await control_.remove_all(world.object, std::move(plan.doomed));
  co_return created ? removed : created;
}

// Status
// ---------------------------------------------------------------------------------------------------------------

/// `processed`: the pods are as the set's generation wants them, as far as this round could see to it.
Task<Status> DaemonSetController::report(const World& world, bool processed) {
  auto pods = pods_of(world);
  std::int64_t current = 0, misplaced = 0, ready = 0, updated = 0, available = 0;
  for (const auto& [node, verdict] : world.verdicts) {
    const auto on_node = pods.find(node);
    if (on_node == pods.end()) continue;
    if (!verdict.run) {
      ++misplaced;
      continue;
    }
    ++current;
    const auto& oldest = *std::min_element(on_node->second.begin(), on_node->second.end(), older_daemon);
    ready += oldest.ready ? 1 : 0;
    available += oldest.available ? 1 : 0;
    updated += oldest.updated ? 1 : 0;
  }
  const auto desired = world.desired();
  const auto& before = at(world.value, "status");
  Json after = before.is_object() ? before : Json::object();
  after["desiredNumberScheduled"] = desired;
  after["currentNumberScheduled"] = current;
  after["numberMisscheduled"] = misplaced;
  after["numberReady"] = ready;
  set_count(after, "updatedNumberScheduled", updated);
  set_count(after, "numberAvailable", available);
  set_count(after, "numberUnavailable", desired - available);
  if (world.collisions > 0) after["collisionCount"] = world.collisions;
  if (processed) after["observedGeneration"] = world.object->generation();
  BRUME_CO_TRY(const auto revision,
               co_await controller::write_status(client(), sets_.resource(), world.object, before, std::move(after)));
  if (revision != 0) own_writes_.created(world.object->key(), revision);
  co_return Status{};
}

// No event will tell that a ready pod has become available.
void DaemonSetController::look_again(const World& world) {
  const auto wait = std::chrono::seconds(num(world.spec(), "minReadySeconds"));
  const auto now = clock().now();
  std::optional<WallTime> next;
  for (const auto& key : world.claimed) {
    const auto pod = pods_.get(key);
    if (!pod) continue;
    const auto& view = context_.pods.of(pod);
    if (!view.ready || view.available(wait.count(), now)) continue;
    next = next ? std::min(*next, view.ready_since + wait) : view.ready_since + wait;
  }
  if (next) queue_.add_after(world.object->key(), std::max<WallTime::duration>(*next - now, std::chrono::seconds(1)));
}

}  // namespace brume::controller
