#include "garbage_collector.h"

#include <algorithm>
#include <set>

#include "brume/base/strings.h"
#include "make.h"

namespace brume::controller {

bool has_finalizer(const Object& object, std::string_view finalizer) {
  const auto& finalizers = object.finalizers();
  return std::find(finalizers.begin(), finalizers.end(), finalizer) != finalizers.end();
}

// No part of a key can hold a slash: not even the names of roles, which may hold nearly anything else.
std::string GarbageCollector::Item::key() const {
  return resource->group_resource() + "/" + ns + "/" + name + "/" + uid;
}

GarbageCollector::Item GarbageCollector::Item::parse(std::string_view key) {
  const auto parts = split(key, '/');
  return {.resource = &api::res(parts[0]),
          .ns = std::string(parts[1]),
          .name = std::string(parts[2]),
          .uid = std::string(parts[3])};
}

GarbageCollector::GarbageCollector(Context& context)
    : Controller(context, "garbage-collector-controller", {.workers = 20}) {
  std::set<std::string> seen;
  for (const auto& resource : api::builtin_resources()) {
    if (!resource.has_verb("list") || !resource.has_verb("watch") || !resource.has_verb("delete")) continue;
    if (resource.plural == "events") continue;  // they own nothing, have no owner, and come by the thousand
    if (seen.insert(resource.group_resource()).second) attach(resource);
  }
}

void GarbageCollector::attach(const api::Resource& resource) {
  const auto* r = &api::res(resource.group_resource());
  use(resource.group_resource())
      .add_handler({.added = [this, r](const ObjectPtr& now) { added(*r, now); },
                    .updated = [this, r](const ObjectPtr& old, const ObjectPtr& now) { updated(*r, old, now); },
                    .deleted = [this, r](const ObjectPtr& last) { deleted(*r, last); }});
}

// The graph
// --------------------------------------------------------------------------------------------------------------

void GarbageCollector::link(const api::Resource& resource, const Object& object) {
  for (const auto& owner : object.owners()) {
    dependents_[owner.uid].insert_or_assign(
        object.uid(), Item{.resource = &resource, .ns = object.ns(), .name = object.name(), .uid = object.uid()});
  }
}

void GarbageCollector::unlink(const Object& object) {
  for (const auto& owner : object.owners()) {
    auto it = dependents_.find(owner.uid);
    if (it == dependents_.end()) continue;
    it->second.erase(object.uid());
    if (it->second.empty()) dependents_.erase(it);
  }
}

std::vector<GarbageCollector::Item> GarbageCollector::dependents(const std::string& uid) const {
  std::vector<Item> out;
  auto it = dependents_.find(uid);
  if (it == dependents_.end()) return out;
  for (const auto& [id, item] : it->second) out.push_back(item);
  return out;
}

ObjectPtr GarbageCollector::in_copy(const Item& item) const {
  const auto* informer = context_.informers.find(*item.resource);
  auto object = informer != nullptr ? informer->get(item.ns, item.name) : nullptr;
  return object && object->uid() == item.uid ? object : nullptr;
}

ObjectPtr GarbageCollector::owner_in_copy(const Object& object, const api::OwnerReference& owner) const {
  const auto* resource = api::find_kind(owner.api_version, owner.kind);
  const auto* informer = resource != nullptr ? context_.informers.find(api::res(resource->group_resource())) : nullptr;
  if (informer == nullptr) return nullptr;
  auto found = informer->get(resource->namespaced ? object.ns() : "", owner.name);
  return found && found->uid() == owner.uid ? found : nullptr;
}

// What to look at
// --------------------------------------------------------------------------------------------------------

void GarbageCollector::look(const api::Resource& resource, const Object& object) {
  queue_.add(Item{.resource = &resource, .ns = object.ns(), .name = object.name(), .uid = object.uid()}.key());
}

// An owner that waits for its dependents may go on when one of them changed or went.
void GarbageCollector::look_at_owners(const ObjectPtr& object) {
  for (const auto& ref : object->owners()) {
    const auto owner = owner_in_copy(*object, ref);
    if (!owner || !waits_for_dependents(*owner)) continue;
    look(api::res(api::find_kind(ref.api_version, ref.kind)->group_resource()), *owner);
  }
}

void GarbageCollector::consider(const api::Resource& resource, const ObjectPtr& now) {
  if (now->deleting()) {
    if (has_finalizer(*now, kForeground) || has_finalizer(*now, kOrphan)) look(resource, *now);
    return;
  }
  const bool doubtful = std::any_of(now->owners().begin(), now->owners().end(), [&](const auto& ref) {
    const auto owner = owner_in_copy(*now, ref);
    return !owner || waits_for_dependents(*owner);
  });
  if (doubtful) look(resource, *now);
}

void GarbageCollector::added(const api::Resource& resource, const ObjectPtr& now) {
  link(resource, *now);
  consider(resource, now);
}

void GarbageCollector::updated(const api::Resource& resource, const ObjectPtr& old, const ObjectPtr& now) {
  const auto same = [](const api::OwnerReference& a, const api::OwnerReference& b) {
    return a.uid == b.uid && a.block_owner_deletion == b.block_owner_deletion;
  };
  const bool owners_changed =
      !std::equal(old->owners().begin(), old->owners().end(), now->owners().begin(), now->owners().end(), same);
  if (owners_changed) {
    unlink(*old);
    link(resource, *now);
    look_at_owners(old);
  }
  if (owners_changed || old->deleting() != now->deleting() || old->finalizers() != now->finalizers()) {
    consider(resource, now);
  }
}

void GarbageCollector::deleted(const api::Resource&, const ObjectPtr& last) {
  unlink(*last);
  for (const auto& item : dependents(last->uid())) queue_.add(item.key());
  look_at_owners(last);
}

std::unique_ptr<Controller> make_garbage_collector(Context& context) {
  return std::make_unique<GarbageCollector>(context);
}

}  // namespace brume::controller
