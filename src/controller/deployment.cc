// Deployments: ReplicaSets of one template each, moved towards the newest as the strategy says.
#include "deployment.h"

#include <algorithm>

#include "make.h"

namespace brume::controller {

ReplicaSets DeploymentController::World::old() const {
  ReplicaSets out;
  std::copy_if(sets.begin(), sets.end(), std::back_inserter(out), [this](const auto& set) { return is_old(set); });
  return out;
}

DeploymentController::View DeploymentController::decode(const Object& deployment) {
  const Json value = deployment.parse();
  auto selector = api::LabelSelector::from_json(at(value, "spec", "selector"));
  return {.selector = selector ? std::move(*selector) : api::LabelSelector::nothing(),
          .recreate = str(at(value, "spec", "strategy"), "type") == "Recreate"};
}

DeploymentController::DeploymentController(Context& context)
    : Controller(context, "deployment-controller"),
      deployments_(watch("deployments.apps")),
      sets_(use("replicasets.apps")),
      pods_(use("pods")),
      views_(deployments_, decode),
      set_writes_(sets_),
      own_writes_(deployments_) {
  sets_.add_index(kByController, index_by_controller);
  pods_.add_index(kByController, index_by_controller);
  watch_dependents(
      {.owners = deployments_,
       .dependents = sets_,
       .selects = [this](const ObjectPtr& deployment,
                         const ObjectPtr& set) { return views_.of(deployment).selector.matches(set->labels()); },
       .enqueue = [this](const ObjectPtr& deployment) { enqueue(deployment); }});
  pods_.add_handler({.added = nullptr,
                     .updated =
                         [this](const ObjectPtr&, const ObjectPtr& now) {
                           if (now->controller() != nullptr && context_.pods.of(now).finished()) pod_gone(now);
                         },
                     .deleted = [this](const ObjectPtr& last) { pod_gone(last); }});
}

// What to reconcile
// ----------------------------------------------------------------------------------------------------

// Only Recreate waits for pods: the last old one has gone.
void DeploymentController::pod_gone(const ObjectPtr& pod) {
  const auto* ref = pod->controller();
  if (ref == nullptr || ref->kind != "ReplicaSet") return;
  const auto set = sets_.get(pod->ns(), ref->name);
  const auto* parent = set ? set->controller() : nullptr;
  if (parent == nullptr) return;
  const auto owner = deployments_.get(pod->ns(), parent->name);
  if (owner && views_.of(owner).recreate) enqueue(owner);
}

// Reconcile
// ------------------------------------------------------------------------------------------------------------

Task<Status> DeploymentController::reconcile(std::string key) {
  auto object = deployments_.get(key);
  if (!object) {
    set_writes_.forget(key);
    own_writes_.forget(key);
    co_return Status{};
  }
  if (!set_writes_.satisfied(key) || !own_writes_.satisfied(key)) {
    // The copies lack what was written last; their events will come. Should they not, look again.
    queue_.add_after(key, std::chrono::seconds(1));
    co_return Status{};
  }
  BRUME_CO_TRY(World world, co_await observe(std::move(object)));
  const auto selector = api::LabelSelector::from_json(at(world.deployment.spec(), "selector"));
  if (!selector || selector->empty()) {
    events_.warning(*world.deployment.object, "SelectingAll",
                    "This deployment is selecting all pods. A non-empty selector is required.");
    Json status = world.deployment.status;
    status["observedGeneration"] = world.deployment.object->generation();
    co_return co_await write(world, std::move(status));
  }
  co_return co_await steer(world);
}

Task<Result<DeploymentController::World>> DeploymentController::observe(ObjectPtr object) {
  World world;
  world.deployment = {.object = object, .value = object->parse(), .status = Json::object()};
  if (at(world.deployment.value, "status").is_object()) world.deployment.status = world.deployment.value["status"];
  const auto selector = views_.of(object).selector;
  BRUME_CO_TRY(auto sets, co_await claim(client(), sets_, deployments_.resource(), object, selector,
                                         [](const ObjectPtr&) { return true; }));
  for (const auto& set : sets) {
    auto now = sets_.get(set->key());
    if (now && now->uid() == set->uid()) world.sets.push_back({.object = now, .value = now->parse()});
  }
  std::sort(world.sets.begin(), world.sets.end(), older);
  world.fresh = find_new(world.deployment, world.sets);
  co_return world;
}

Task<Status> DeploymentController::steer(World& world) {
  if (world.deployment.object->deleting()) co_return co_await report_counts(world);
  note_pause(world);
  if (world.deployment.paused()) co_return co_await sync_scale(world);
  if (rollback_revision(world)) co_return co_await roll_back(world);
  if (rescaled(world)) co_return co_await sync_scale(world);
  if (world.deployment.rolling()) co_return co_await roll(world);
  co_return co_await recreate(world);
}

// A paused rollout makes no progress and must not run into its deadline.
void DeploymentController::note_pause(World& world) {
  auto& deployment = world.deployment;
  if (!deployment.has_deadline()) return;
  const auto reason = std::string(str(client::find_condition(deployment.status, "Progressing"), "reason"));
  if (reason == "ProgressDeadlineExceeded") return;
  const bool noted = reason == "DeploymentPaused";
  if (deployment.paused() && !noted) {
    set_deployment_condition(deployment.status, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused",
                             clock().now());
  } else if (!deployment.paused() && noted) {
    set_deployment_condition(deployment.status, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed",
                             clock().now());
  }
}

std::unique_ptr<Controller> make_deployment(Context& context) {
  return std::make_unique<DeploymentController>(context);
}

}  // namespace brume::controller
