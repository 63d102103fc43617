// DaemonSets: one pod on each node that fits.
#include "daemonset.h"

#include <algorithm>

#include "make.h"

namespace brume::controller {

namespace {

constexpr auto kLookAgain = std::chrono::seconds(1);  // should the event that a copy lacks not come by itself

bool same_taints(const std::vector<client::Taint>& a, const std::vector<client::Taint>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const client::Taint& x, const client::Taint& y) {
    return x.key == y.key && x.value == y.value && x.effect == y.effect;
  });
}

}  // namespace

std::int64_t DaemonSetController::World::desired() const {
  return std::count_if(verdicts.begin(), verdicts.end(), [](const auto& entry) { return entry.second.run; });
}

DaemonSetController::View DaemonSetController::decode(const Object& set) {
  const Json value = set.parse();
  auto selector = api::LabelSelector::from_json(at(value, "spec", "selector"));
  return {.selector = selector ? std::move(*selector) : api::LabelSelector::nothing(),
          .placement = decode_placement(at(value, "spec", "template"))};
}

DaemonSetController::DaemonSetController(Context& context)
    : Controller(context, "daemonset-controller"),
      sets_(watch("daemonsets.apps")),
      pods_(use("pods")),
      nodes_(use("nodes")),
      views_(sets_, decode),
      targets_(pods_, target_of),
      taints_(nodes_, [](const Object& node) { return client::decode_taints(at(node.parse(), "spec", "taints")); }),
      control_(client(), pods_, events_),
      history_(client(),
               selected_dependents(sets_, use("controllerrevisions.apps"), views_,
                                   [this](const ObjectPtr& set) { enqueue(set); }),
               std::string(kRevisionLabel)),
      own_writes_(sets_) {
  pods_.add_index(kByController, index_by_controller);
  watch_dependents(selected_dependents(sets_, pods_, views_, [this](const ObjectPtr& set) { enqueue(set); }));
  nodes_.add_handler({.added = [this](const ObjectPtr&) { enqueue_all(); },
                      .updated = [this](const ObjectPtr& old, const ObjectPtr& now) { node_changed(old, now); },
                      .deleted = [this](const ObjectPtr&) { enqueue_all(); }});
}

// What to reconcile
// ----------------------------------------------------------------------------------------------------

void DaemonSetController::enqueue_all() {
  sets_.each([this](const ObjectPtr& set) { enqueue(set); });
}

void DaemonSetController::node_changed(const ObjectPtr& old, const ObjectPtr& now) {
  // The projection has let go of the old version: it is not to be kept again.
  const auto old_taints = taints_.decode(*old);
  const auto& now_taints = taints_.of(now);
  if (old->labels() == now->labels() && same_taints(old_taints, now_taints)) return;
  sets_.each([&](const ObjectPtr& set) {
    const auto& placement = views_.of(set).placement;
    if (judge(placement, *old, old_taints) != judge(placement, *now, now_taints)) enqueue(set);
  });
}

// Reconcile
// ------------------------------------------------------------------------------------------------------------

Task<Status> DaemonSetController::reconcile(std::string key) {
  const auto object = sets_.get(key);
  if (!object) {
    control_.expectations().forget(key);
    history_.forget(key);
    own_writes_.forget(key);
    co_return Status{};
  }
  if (!history_.settled(key) || !own_writes_.satisfied(key)) {
    queue_.add_after(key, kLookAgain);
    co_return Status{};
  }
  const auto selector = views_.of(object).selector;
  if (selector.empty()) {
    events_.warning(*object, "SelectingAll",
                    "This daemon set is selecting all pods. A non-empty selector is required.");
    co_return Status{};
  }
  // Its revisions and pods may be gone or released already: nothing true could be said of it.
  if (object->deleting()) co_return Status{};
  World world{.object = object, .value = object->parse(), .current = {}, .old = {}};
  const auto& placement = views_.of(object).placement;
  nodes_.each([&](const ObjectPtr& node) { world.verdicts[node->name()] = judge(placement, *node, taints_.of(node)); });
  BRUME_CO_CHECK(co_await find_pods(world, selector));
  BRUME_CO_CHECK(co_await find_revisions(world, selector));
  if (!control_.expectations().satisfied(key)) {
    queue_.add_after(key, kLookAgain);
    co_return co_await report(world, false);
  }
  auto done = co_await manage(world);
  // An update goes on once the pods are seen to be as this round left them.
  const bool rolling = str(at(world.spec(), "updateStrategy"), "type") == "RollingUpdate";
  if (done && rolling && control_.expectations().satisfied(key)) done = co_await roll(world);
  if (done) done = co_await clean_history(world);
  const auto reported = co_await report(world, true);
  look_again(world);
  co_return done ? reported : done;
}

Task<Status> DaemonSetController::find_pods(World& world, api::LabelSelector selector) {
  const auto all = [](const ObjectPtr&) { return true; };
  BRUME_CO_TRY(const auto claimed, co_await claim(client(), pods_, sets_.resource(), world.object, selector, all));
  for (const auto& pod : claimed) world.claimed.push_back(pod->key());
  co_return Status{};
}

// History
// --------------------------------------------------------------------------------------------------------------

// Parts the revisions into the current one, which is made when there is none, and old ones.
Task<Status> DaemonSetController::find_revisions(World& world, api::LabelSelector selector) {
  world.collisions = num(at(world.value, "status"), "collisionCount");
  BRUME_CO_TRY(auto revisions, co_await history_.of(world.object, selector));
  const auto& pod_template = at(world.spec(), "template");
  const auto data = dump_json(revision_data(pod_template));
  Revisions same;
  for (auto& revision : revisions) {
    if (revision.object->label(kRevisionLabel).empty()) {
      BRUME_CO_TRY(revision, co_await history_.label(world.object, revision, revision.name()));
    }
    (revision.data == data ? same : world.old).push_back(std::move(revision));
  }
  const auto number = next_number(world.old);
  if (same.empty()) {
    BRUME_CO_TRY(world.current, co_await history_.create(world.object, pod_template, number, world.collisions));
    co_return Status{};
  }
  BRUME_CO_CHECK(co_await keep_one(world, std::move(same)));
  if (world.current.number < number) {
    BRUME_CO_TRY(world.current, co_await history_.renumber(world.object, world.current, number));
  }
  co_return Status{};
}

// Of several revisions of the same template (one was adopted, say) the newest stays, and has the pods of all.
Task<Status> DaemonSetController::keep_one(World& world, Revisions same) {
  world.current = std::move(same.back());
  same.pop_back();
  if (same.empty()) co_return Status{};
  for (const auto& key : world.claimed) {
    const auto pod = pods_.get(key);
    const bool of_same = pod && std::any_of(same.begin(), same.end(), [&](const Revision& revision) {
                           return revision.object->label(kRevisionLabel) == pod->label(kRevisionLabel);
                         });
    if (!of_same) continue;
    Json patch = {{"metadata", {{"uid", pod->uid()}, {"labels", {{std::string(kRevisionLabel), world.hash()}}}}}};
    auto written =
        co_await client().patch(pods_.resource(), pod->ns(), pod->name(), client::PatchType::kMerge, std::move(patch));
    if (!written && written.error().code != Code::kNotFound) co_return fail(written.error());
    if (written) control_.expectations().created(world.object->key(), (*written)->resource_version());
  }
  co_return co_await history_.remove(world.object, std::move(same));
}

Task<Status> DaemonSetController::clean_history(const World& world) {
  const auto lives = [&](const Revision& revision) {
    const auto hash = revision.object->label(kRevisionLabel);
    return std::any_of(world.claimed.begin(), world.claimed.end(), [&](const std::string& key) {
      const auto pod = pods_.get(key);
      return pod && pod->label(kRevisionLabel) == hash;
    });
  };
  auto doomed = surplus(world.old, num(world.spec(), "revisionHistoryLimit", 10), lives);
  co_return co_await history_.remove(world.object, std::move(doomed));
}

std::unique_ptr<Controller> make_daemonset(Context& context) { return std::make_unique<DaemonSetController>(context); }

}  // namespace brume::controller
