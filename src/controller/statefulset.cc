// StatefulSets: pods with names, storage and an order of their own.
#include "statefulset.h"

#include <algorithm>

#include "brume/api/defaults.h"
#include "make.h"

namespace brume::controller {

namespace {

constexpr std::string_view kHashLabel = "controller.kubernetes.io/hash";
constexpr auto kLookAgain = std::chrono::seconds(1);  // should the event that a copy lacks not come by itself

}  // namespace

StatefulSetController::View StatefulSetController::decode(const Object& set) {
  const Json value = set.parse();
  auto selector = api::LabelSelector::from_json(at(value, "spec", "selector"));
  View view{.selector = selector ? std::move(*selector) : api::LabelSelector::nothing(), .claims = {}};
  const auto& templates = at(value, "spec", "volumeClaimTemplates");
  if (templates.is_array()) {
    for (const auto& claim : templates) view.claims.emplace_back(str(at(claim, "metadata"), "name"));
  }
  return view;
}

StatefulSetController::StatefulSetController(Context& context)
    : Controller(context, "statefulset-controller"),
      sets_(watch("statefulsets.apps")),
      pods_(use("pods")),
      claims_(use("persistentvolumeclaims")),
      views_(sets_, decode),
      pod_claims_(pods_, decode_pod_claims),
      history_(client(),
               selected_dependents(sets_, use("controllerrevisions.apps"), views_,
                                   [this](const ObjectPtr& set) { enqueue(set); }),
               std::string(kHashLabel)),
      pod_writes_(pods_),
      claim_writes_(claims_),
      own_writes_(sets_) {
  pods_.add_index(kByController, index_by_controller);
  watch_dependents(selected_dependents(sets_, pods_, views_, [this](const ObjectPtr& set) { enqueue(set); }));
  pods_.add_handler({.deleted = [this](const ObjectPtr& last) { pod_deleted(last); }});
  claims_.add_handler({.added = [this](const ObjectPtr& now) { claim_changed(now); },
                       .updated =
                           [this](const ObjectPtr& old, const ObjectPtr& now) {
                             if (old->deleting() != now->deleting() || old->owners().size() != now->owners().size()) {
                               claim_changed(now);
                             }
                           },
                       .deleted = [this](const ObjectPtr& last) { claim_changed(last); }});
}

// What to reconcile
// ----------------------------------------------------------------------------------------------------

// A pod of someone else has held a name that a set may wait for.
void StatefulSetController::pod_deleted(const ObjectPtr& pod) {
  const auto parsed = parse_pod_name(pod->name());
  const auto set = parsed ? sets_.get(pod->ns(), parsed->first) : nullptr;
  if (set) enqueue(set);
}

void StatefulSetController::claim_changed(const ObjectPtr& claim) {
  const auto parsed = parse_pod_name(claim->name());
  if (!parsed) return;
  for (const auto& set : sets_.list(claim->ns())) {
    const auto& names = views_.of(set).claims;
    const bool its = std::any_of(names.begin(), names.end(),
                                 [&](const std::string& name) { return parsed->first == name + "-" + set->name(); });
    if (its) enqueue(set);
  }
}

bool StatefulSetController::settled(const std::string& key) {
  return pod_writes_.satisfied(key) && claim_writes_.satisfied(key) && own_writes_.satisfied(key) &&
         history_.settled(key);
}

// Reconcile
// ------------------------------------------------------------------------------------------------------------

Task<Status> StatefulSetController::reconcile(std::string key) {
  const auto object = sets_.get(key);
  if (!object) {
    pod_writes_.forget(key);
    claim_writes_.forget(key);
    own_writes_.forget(key);
    history_.forget(key);
    co_return Status{};
  }
  if (!settled(key)) {
    queue_.add_after(key, kLookAgain);
    co_return Status{};
  }
  const auto selector = views_.of(object).selector;
  if (selector.selects_nothing() || selector.empty()) co_return Status{};  // validation lets no such set in
  World world{.set = {.object = object, .value = object->parse()},
              .revisions = {},
              .current = {},
              .update = {},
              .now = clock().now()};
  BRUME_CO_TRY(world.revisions, co_await history_.of(object, selector));
  BRUME_CO_TRY(world.pods, co_await pods_of(object, selector));
  // While it is being deleted its revisions may be gone already, and none is to be made.
  if (object->deleting() && world.revisions.empty()) co_return Status{};
  BRUME_CO_CHECK(co_await find_revisions(world));
  const auto synced = co_await sync(world);
  const auto truncated = co_await truncate_history(world);
  co_return synced ? truncated : synced;
}

Task<Result<std::vector<ObjectPtr>>> StatefulSetController::pods_of(ObjectPtr set, api::LabelSelector selector) {
  const auto is_member = [name = set->name()](const ObjectPtr& pod) {
    const auto parsed = parse_pod_name(pod->name());
    return parsed && parsed->first == name;
  };
  BRUME_CO_TRY(auto claimed, co_await claim(client(), pods_, sets_.resource(), set, selector, is_member));
  std::erase_if(claimed, [&](const ObjectPtr& pod) { return !is_member(pod); });
  co_return claimed;
}

// Revisions
// ------------------------------------------------------------------------------------------------------------

Task<Status> StatefulSetController::find_revisions(World& world) {
  const auto& status = at(world.set.value, "status");
  world.collisions = num(status, "collisionCount");
  const auto current = std::string(str(status, "currentRevision"));
  const auto found = std::find_if(world.revisions.begin(), world.revisions.end(),
                                  [&](const Revision& revision) { return revision.name() == current; });
  if (found != world.revisions.end()) world.current = *found;
  BRUME_CO_CHECK(co_await find_update(world));
  if (!world.current.object) world.current = world.update;
  co_return Status{};
}

namespace {

// Whether the set's template is what the revision would give back: an older release may have written it with other
// defaults.
bool means_the_same(const StatefulSet& set, const Revision& revision) {
  Json restored = set.value;
  restored["spec"]["template"] = revision.pod_template();
  api::apply_defaults(api::res("statefulsets.apps"), restored);
  return at(restored, "spec", "template") == set.pod_template();
}

}  // namespace

// The revision of the set's template: one that is there, raised to the newest if it is an old one, or a new one.
Task<Status> StatefulSetController::find_update(World& world) {
  const auto& revisions = world.revisions;
  const auto& object = world.set.object;
  const auto data = dump_json(revision_data(world.set.pod_template()));
  const auto equal =
      std::find_if(revisions.rbegin(), revisions.rend(), [&](const Revision& r) { return r.data == data; });
  if (equal != revisions.rend()) {
    const bool newest = equal == revisions.rbegin();
    BRUME_CO_TRY(world.update,
                 co_await history_.renumber(object, *equal, newest ? equal->number : next_number(revisions)));
  } else if (!revisions.empty() && means_the_same(world.set, revisions.back())) {
    world.update = revisions.back();
  } else {
    BRUME_CO_TRY(world.update,
                 co_await history_.create(object, world.set.pod_template(), next_number(revisions), world.collisions));
  }
  co_return Status{};
}

Task<Status> StatefulSetController::truncate_history(const World& world) {
  Revisions old;
  for (const auto& revision : world.revisions) {
    const bool live = revision.name() == world.current.name() || revision.name() == world.update.name() ||
                      std::any_of(world.pods.begin(), world.pods.end(),
                                  [&](const ObjectPtr& pod) { return pod->label(kRevisionLabel) == revision.name(); });
    if (!live) old.push_back(revision);
  }
  const auto limit = num(world.set.spec(), "revisionHistoryLimit", 10);
  const auto none_lives = [](const Revision&) { return false; };
  co_return co_await history_.remove(world.set.object, surplus(old, limit, none_lives));
}

std::unique_ptr<Controller> make_statefulset(Context& context) {
  return std::make_unique<StatefulSetController>(context);
}

}  // namespace brume::controller
