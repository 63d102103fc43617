#include "brume/client/fresh_objects.h"

#include <set>

namespace brume::client {

void FreshObjects::wrote(ObjectPtr object) {
  auto& slot = newer_[object->key()];
  if (slot.object && slot.object->resource_version() > object->resource_version()) return;
  const auto revision = object->resource_version();
  slot = {std::move(object), revision};
}

void FreshObjects::assume(ObjectPtr object) {
  const auto revision = object->resource_version();
  auto& slot = newer_[object->key()];
  slot = {std::move(object), revision + 1};
}

ObjectPtr FreshObjects::get(const std::string& key) {
  auto seen = informer_.get(key);
  const auto it = newer_.find(key);
  if (it == newer_.end()) return seen;
  const auto reached = seen ? seen->resource_version() : informer_.revision();
  if (reached < it->second.until) return it->second.object;
  newer_.erase(it);
  return seen;
}

std::vector<ObjectPtr> FreshObjects::all() {
  if (newer_.empty()) return informer_.list();
  std::set<std::string> keys;
  informer_.each([&](const ObjectPtr& object) { keys.insert(object->key()); });
  for (const auto& [key, entry] : newer_) keys.insert(key);
  std::vector<ObjectPtr> out;
  for (const auto& key : keys) {
    if (auto object = get(key)) out.push_back(std::move(object));
  }
  return out;
}

}  // namespace brume::client
