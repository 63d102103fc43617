#include <algorithm>

#include "brume/base/log.h"
#include "garbage_collector.h"

namespace brume::controller {

namespace {
constexpr std::size_t kRememberedAbsent = 500;
}

Task<Status> GarbageCollector::reconcile(std::string key) {
  const Item item = Item::parse(key);
  // What the copy says may be old: the decision to delete rests on what the server says now.
  auto object = co_await client().get(*item.resource, item.ns, item.name);
  if (!object && object.error().code == Code::kNotFound) co_return Status{};
  if (!object) co_return fail(object.error());
  if ((*object)->uid() != item.uid) co_return Status{};
  if (waits_for_dependents(**object)) co_return co_await delete_dependents_first(item, *object);
  if ((*object)->deleting()) {
    if (has_finalizer(**object, kOrphan)) co_return co_await orphan(item, *object);
    co_return Status{};
  }
  co_return co_await collect(item, *object);
}

// Foreground: the object goes when no dependent blocks it any more; the dependents are deleted meanwhile.
Task<Status> GarbageCollector::delete_dependents_first(Item item, ObjectPtr object) {
  bool blocked = false;
  for (const auto& dependent : dependents(object->uid())) {
    const auto now = in_copy(dependent);
    if (!now) continue;
    blocked = blocked || std::any_of(now->owners().begin(), now->owners().end(), [&](const auto& ref) {
                return ref.uid == object->uid() && ref.block_owner_deletion;
              });
    if (!now->deleting()) queue_.add(dependent.key());
  }
  if (blocked) co_return Status{};
  co_return co_await remove_finalizer(item, std::string(kForeground));
}

Task<Status> GarbageCollector::orphan(Item item, ObjectPtr object) {
  for (const auto& dependent : dependents(object->uid())) {
    BRUME_CO_CHECK(co_await remove_owners(dependent, {object->uid()}));
  }
  co_return co_await remove_finalizer(item, std::string(kOrphan));
}

Task<Status> GarbageCollector::collect(Item item, ObjectPtr object) {
  if (object->owners().empty()) co_return Status{};
  BRUME_CO_TRY(const Owners owners, co_await classify(item, object));
  if (!owners.solid.empty()) {
    std::vector<std::string> gone;
    for (const auto& ref : owners.dangling) gone.push_back(ref.uid);
    for (const auto& ref : owners.waiting) gone.push_back(ref.uid);
    if (gone.empty()) co_return Status{};
    co_return co_await remove_owners(item, std::move(gone));
  }
  const auto mine = dependents(object->uid());
  if (!owners.waiting.empty() && !mine.empty()) {
    // Part of a foreground deletion: its own dependents go before it. One that waits itself would close a circle in
    // which each waits for the other.
    const bool circle = std::any_of(mine.begin(), mine.end(), [this](const Item& dependent) {
      const auto now = in_copy(dependent);
      return now && waits_for_dependents(*now);
    });
    if (circle) BRUME_CO_CHECK(co_await unblock(item));
    co_return co_await remove(item, object, "Foreground");
  }
  const char* policy = has_finalizer(*object, kOrphan)       ? "Orphan"
                       : has_finalizer(*object, kForeground) ? "Foreground"
                                                             : "Background";
  co_return co_await remove(item, object, policy);
}

// Owners
// -----------------------------------------------------------------------------------------------------------------

Task<Result<GarbageCollector::Owners>> GarbageCollector::classify(Item item, ObjectPtr object) {
  Owners out;
  for (const auto& ref : object->owners()) {
    BRUME_CO_TRY(const auto state, co_await owner_state(item, ref));
    auto& list = state == OwnerState::kSolid ? out.solid : state == OwnerState::kWaiting ? out.waiting : out.dangling;
    list.push_back(ref);
  }
  co_return out;
}

Task<Result<GarbageCollector::OwnerState>> GarbageCollector::owner_state(Item item, api::OwnerReference owner) {
  const auto* resource = api::find_kind(owner.api_version, owner.kind);
  if (resource == nullptr) co_return OwnerState::kSolid;  // a kind that is not known: better kept for ever than lost
  if (resource->namespaced && item.ns.empty()) {
    log::warn("a cluster-scoped object cannot have an owner with a namespace",
              {{"object", item.name}, {"owner", owner.kind + "/" + owner.name}});
    co_return OwnerState::kSolid;
  }
  // By all that the reference says: one that names the right uid in the wrong place must not condemn the others.
  const std::string place = (resource->namespaced ? item.ns : "") + " " + owner.api_version + " " + owner.kind + " " +
                            owner.name + " " + owner.uid;
  if (absent_.contains(place)) co_return OwnerState::kDangling;
  auto found = co_await client().get(*resource, resource->namespaced ? item.ns : "", owner.name);
  if (!found && found.error().code != Code::kNotFound) co_return fail(found.error());
  if (!found || (*found)->uid() != owner.uid) {
    remember_absent(place);
    co_return OwnerState::kDangling;
  }
  co_return waits_for_dependents(**found) ? OwnerState::kWaiting : OwnerState::kSolid;
}

void GarbageCollector::remember_absent(const std::string& place) {
  if (!absent_.insert(place).second) return;
  absent_order_.push_back(place);
  if (absent_order_.size() <= kRememberedAbsent) return;
  absent_.erase(absent_order_.front());
  absent_order_.pop_front();
}

// Writes
// -----------------------------------------------------------------------------------------------------------------

namespace {

// Gone meanwhile, or made anew under the same name: nothing is left to do.
Status unless_gone(Result<ObjectPtr> done) {
  if (!done && done.error().code != Code::kNotFound) return fail(done.error());
  return {};
}

}  // namespace

Task<Status> GarbageCollector::remove_owners(Item item, std::vector<std::string> uids) {
  co_return unless_gone(
      co_await client::retry_on_conflict(client(), *item.resource, item.ns, item.name, [item, uids](Json& object) {
        auto& meta = object["metadata"];
        if (str(meta, "uid") != item.uid || !meta.contains("ownerReferences")) return false;
        auto& refs = meta["ownerReferences"];
        const auto before = refs.size();
        refs.erase(std::remove_if(refs.begin(), refs.end(),
                                  [&](const Json& ref) {
                                    return std::find(uids.begin(), uids.end(), str(ref, "uid")) != uids.end();
                                  }),
                   refs.end());
        const bool changed = refs.size() != before;
        if (refs.empty()) meta.erase("ownerReferences");
        return changed;
      }));
}

Task<Status> GarbageCollector::remove_finalizer(Item item, std::string finalizer) {
  co_return unless_gone(
      co_await client::retry_on_conflict(client(), *item.resource, item.ns, item.name, [item, finalizer](Json& object) {
        auto& meta = object["metadata"];
        if (str(meta, "uid") != item.uid || !meta.contains("finalizers")) return false;
        auto& list = meta["finalizers"];
        const auto before = list.size();
        list.erase(std::remove(list.begin(), list.end(), Json(finalizer)), list.end());
        const bool changed = list.size() != before;
        if (list.empty()) meta.erase("finalizers");
        return changed;
      }));
}

// The item stops blocking its owners' deletion.
Task<Status> GarbageCollector::unblock(Item item) {
  co_return unless_gone(
      co_await client::retry_on_conflict(client(), *item.resource, item.ns, item.name, [item](Json& object) {
        auto& meta = object["metadata"];
        if (str(meta, "uid") != item.uid || !meta.contains("ownerReferences")) return false;
        bool changed = false;
        for (auto& ref : meta["ownerReferences"]) {
          if (!flag(ref, "blockOwnerDeletion")) continue;
          ref["blockOwnerDeletion"] = false;
          changed = true;
        }
        return changed;
      }));
}

Task<Status> GarbageCollector::remove(Item item, ObjectPtr object, std::string policy) {
  auto done = co_await client().remove(
      *item.resource, item.ns, item.name,
      {.propagation_policy = policy, .uid = item.uid, .resource_version = std::to_string(object->resource_version())});
  if (done || done.error().code == Code::kNotFound) co_return Status{};
  co_return done;  // after a conflict all is looked at anew: it may have got an owner
}

}  // namespace brume::controller
