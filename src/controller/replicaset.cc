// ReplicaSets, and ReplicationControllers by the same code: as many active pods as spec.replicas says.
#include <algorithm>
#include <map>

#include "make.h"
#include "pod_control.h"

namespace brume::controller {

namespace {

constexpr std::size_t kBurst = 500;                   // creates and deletes of one reconcile, as upstream
constexpr auto kLookAgain = std::chrono::seconds(1);  // should the event that the copy lacks not come by itself

/// What tells a ReplicationController from a ReplicaSet.
struct Flavor {
  std::string_view resource;
  std::string_view component;  // who reports events
  bool map_selector;           // spec.selector is a plain map
  bool counts_terminating;     // has status.terminatingReplicas
};

constexpr Flavor kReplicaSet{"replicasets.apps", "replicaset-controller", false, true};
constexpr Flavor kReplicationController{"replicationcontrollers", "replication-controller", true, false};

api::LabelSelector decode_selector(const Flavor& flavor, const Object& owner) {
  const Json value = owner.parse();
  const auto& selector = at(value, "spec", "selector");
  if (flavor.map_selector) {
    if (!selector.empty()) return api::LabelSelector::from_map(selector);
    const auto& labels = at(value, "spec", "template", "metadata", "labels");
    return labels.empty() ? api::LabelSelector::nothing() : api::LabelSelector::from_map(labels);
  }
  auto parsed = api::LabelSelector::from_json(selector);
  // An empty selector would claim every pod of the namespace; validation does not let one in.
  return parsed && !parsed->empty() ? *parsed : api::LabelSelector::nothing();
}

class ReplicaSetController final : public Controller {
 public:
  ReplicaSetController(Context& context, const Flavor& flavor);

 private:
  struct Counts {
    std::int64_t replicas = 0, labeled = 0, ready = 0, available = 0, terminating = 0;
  };
  struct World {
    ObjectPtr owner;
    Json value;
    std::vector<ObjectPtr> active;
    std::int64_t terminating = 0;
  };

  Task<Status> reconcile(std::string key) override;
  Task<Status> scale(const World& world, std::int64_t difference);
  Task<Status> create_pods(ObjectPtr owner, Json pod, std::size_t count);
  Task<Status> report(const World& world, Status scaled);
  [[nodiscard]] Counts count(const World& world);
  [[nodiscard]] std::vector<ObjectPtr> victims(const World& world, std::size_t count);
  void refresh(World& world);

  const Flavor& flavor_;
  Informer& owners_;
  Informer& pods_;
  PodControl control_;
  client::Projection<api::LabelSelector> selectors_;
};

ReplicaSetController::ReplicaSetController(Context& context, const Flavor& flavor)
    : Controller(context, std::string(flavor.component)),
      flavor_(flavor),
      owners_(watch(flavor.resource)),
      pods_(use("pods")),
      control_(client(), pods_, events_),
      selectors_(owners_, [&flavor](const Object& owner) { return decode_selector(flavor, owner); }) {
  owners_.add_index(kByController, index_by_controller);
  pods_.add_index(kByController, index_by_controller);
  watch_dependents({.owners = owners_,
                    .dependents = pods_,
                    .selects = [this](const ObjectPtr& owner,
                                      const ObjectPtr& pod) { return selectors_.of(owner).matches(pod->labels()); },
                    .enqueue = [this](const ObjectPtr& owner) { enqueue(owner); }});
}

// Reconcile
// ------------------------------------------------------------------------------------------------------------

// Takes the newest version of each pod that the copy has, and leaves out what is gone or done.
void ReplicaSetController::refresh(World& world) {
  std::vector<ObjectPtr> active;
  for (const auto& pod : world.active) {
    auto now = pods_.get(pod->key());
    if (!now || now->uid() != pod->uid()) continue;
    if (is_active(*now, context_.pods.of(now))) active.push_back(std::move(now));
  }
  world.active = std::move(active);
  world.terminating = 0;
  for (const auto& pod : pods_.index(kByController, world.owner->uid())) {
    world.terminating += pod->deleting() && !context_.pods.of(pod).finished() ? 1 : 0;
  }
}

Task<Status> ReplicaSetController::reconcile(std::string key) {
  World world{.owner = owners_.get(key), .value = {}, .active = {}};
  if (!world.owner) {
    control_.expectations().forget(key);
    co_return Status{};
  }
  const bool may_scale = control_.expectations().satisfied(key);
  if (!may_scale) queue_.add_after(key, kLookAgain);
  const auto selector = selectors_.of(world.owner);
  auto wanted = [this](const ObjectPtr& pod) { return is_active(*pod, context_.pods.of(pod)); };
  auto claimed = co_await claim(client(), pods_, owners_.resource(), world.owner, selector, wanted);
  if (!claimed) co_return fail(claimed.error());
  world.active = std::move(*claimed);
  refresh(world);
  world.value = world.owner->parse();

  Status scaled;
  if (may_scale && !world.owner->deleting()) {
    const auto wanted_count = num(at(world.value, "spec"), "replicas", 1);
    scaled = co_await scale(world, wanted_count - static_cast<std::int64_t>(world.active.size()));
    refresh(world);
  }
  BRUME_CO_CHECK(co_await report(world, scaled));
  co_return scaled;
}

Task<Status> ReplicaSetController::scale(const World& world, std::int64_t difference) {
  if (difference > 0) {
    Json pod = pod_from_template(*world.owner, at(world.value, "spec", "template"));
    co_return co_await create_pods(world.owner, std::move(pod), std::min(static_cast<std::size_t>(difference), kBurst));
  }
  if (difference < 0) {
    const auto count = std::min(static_cast<std::size_t>(-difference), kBurst);
    co_return co_await control_.remove_all(world.owner, victims(world, count));
  }
  co_return Status{};
}

Task<Status> ReplicaSetController::create_pods(ObjectPtr owner, Json pod, std::size_t count) {
  const auto create_one = [&](std::size_t) { return control_.create(owner, pod); };
  co_return co_await slow_start(count, create_one);
}

std::vector<ObjectPtr> ReplicaSetController::victims(const World& world, std::size_t count) {
  // How crowded each node is with pods of this owner and its siblings (the other replica sets of its Deployment).
  std::map<std::string, int, std::less<>> crowd;
  std::vector<ObjectPtr> siblings = {world.owner};
  if (const auto* parent = world.owner->controller()) siblings = owners_.by_index(kByController, parent->uid);
  for (const auto& sibling : siblings) {
    for (const auto& pod : pods_.index(kByController, sibling->uid())) {
      const auto& view = context_.pods.of(pod);
      if (is_active(*pod, view)) ++crowd[view.node_name];
    }
  }
  std::vector<Candidate> order;
  for (const auto& pod : world.active) {
    const auto& view = context_.pods.of(pod);
    order.push_back({.pod = pod, .view = &view, .rank = crowd[view.node_name]});
  }
  const auto now = clock().now();
  std::sort(order.begin(), order.end(),
            [now](const Candidate& a, const Candidate& b) { return delete_before(a, b, now); });
  std::vector<ObjectPtr> out;
  for (std::size_t i = 0; i < std::min(count, order.size()); ++i) out.push_back(order[i].pod);
  return out;
}

// Status
// ---------------------------------------------------------------------------------------------------------------

ReplicaSetController::Counts ReplicaSetController::count(const World& world) {
  const auto& spec = at(world.value, "spec");
  const auto labels = api::LabelSelector::from_map(at(spec, "template", "metadata", "labels"));
  const auto min_ready = num(spec, "minReadySeconds");
  const auto now = clock().now();
  Counts counts{.replicas = static_cast<std::int64_t>(world.active.size()), .terminating = world.terminating};
  std::optional<WallTime> next;
  for (const auto& pod : world.active) {
    const auto& view = context_.pods.of(pod);
    counts.labeled += labels.matches(pod->labels()) ? 1 : 0;
    counts.ready += view.ready ? 1 : 0;
    if (view.available(min_ready, now)) {
      ++counts.available;
    } else if (view.ready) {
      const auto at = view.ready_since + std::chrono::seconds(min_ready);
      next = next ? std::min(*next, at) : at;
    }
  }
  // No event will tell that a ready pod has become available.
  if (next) queue_.add_after(world.owner->key(), std::max<WallTime::duration>(*next - now, std::chrono::seconds(1)));
  return counts;
}

Task<Status> ReplicaSetController::report(const World& world, Status scaled) {
  const auto& before = at(world.value, "status");
  const auto counts = count(world);
  Json after = before.is_object() ? before : Json::object();
  after["replicas"] = counts.replicas;
  set_count(after, "fullyLabeledReplicas", counts.labeled);
  set_count(after, "readyReplicas", counts.ready);
  set_count(after, "availableReplicas", counts.available);
  if (flavor_.counts_terminating) after["terminatingReplicas"] = counts.terminating;
  after["observedGeneration"] = world.owner->generation();
  if (scaled) {
    client::remove_condition(after, "ReplicaFailure");
    if (at(after, "conditions").empty()) after.erase("conditions");
  } else if (client::find_condition(after, "ReplicaFailure").is_null()) {
    const bool creating = counts.replicas < num(at(world.value, "spec"), "replicas", 1);
    client::set_condition(after,
                          {{"type", "ReplicaFailure"},
                           {"status", "True"},
                           {"reason", creating ? "FailedCreate" : "FailedDelete"},
                           {"message", scaled.error().message}},
                          clock().now());
  }
  auto written = co_await controller::write_status(client(), owners_.resource(), world.owner, before, std::move(after));
  if (!written) co_return fail(written.error());
  co_return Status{};
}

}  // namespace

std::unique_ptr<Controller> make_replicaset(Context& context) {
  return std::make_unique<ReplicaSetController>(context, kReplicaSet);
}

std::unique_ptr<Controller> make_replication_controller(Context& context) {
  return std::make_unique<ReplicaSetController>(context, kReplicationController);
}

}  // namespace brume::controller
