#include "worker/object_cache.h"

#include "brume/client/informer.h"

namespace brume::node {

namespace {

const api::Resource& resource_of(ObjectCache::Kind kind) {
  return api::res(kind == ObjectCache::Kind::kConfigMap ? "configmaps" : "secrets");
}

}  // namespace

ObjectCache::ObjectCache(client::Client& client, const Executor& executor, Clock& clock)
    : client_(client), executor_(executor), clock_(clock), group_(executor) {}

ObjectCache::~ObjectCache() = default;

Task<Result<api::ObjectPtr>> ObjectCache::use(std::string user, Kind kind, std::string ns, std::string name) {
  const Key key{kind, ns, name};
  auto& slot = entries_[key];
  if (!slot) slot = std::make_shared<Entry>();
  slot->users.insert(user);
  const std::shared_ptr<Entry> entry = slot;
  if (entry->informer && entry->informer->has_synced()) {
    auto object = entry->informer->get(ns, name);
    if (object) co_return object;
  }
  auto object = co_await client_.get(resource_of(kind), ns, name);
  if (object) {
    if ((*object)->resource_version() > entry->seen) entry->seen = (*object)->resource_version();
  } else if (object.error().code == Code::kNotFound && entry->seen < 0) {
    entry->seen = 0;
  }
  // The watch starts after the read, so that the pod need not wait for it; what changed between is seen by its list.
  if (!entry->informer && !entry->users.empty() && !group_.stopping()) watch(key, *entry);
  co_return object;
}

void ObjectCache::watch(const Key& key, Entry& entry) {
  const auto& [kind, ns, name] = key;
  entry.informer = std::make_unique<client::Informer>(
      client_, resource_of(kind), executor_, clock_,
      client::InformerOptions{
          .ns = ns, .label_selector = "", .field_selector = "metadata.name=" + name, .page_size = 500});
  entry.informer->add_handler({
      .added = [this, key](const api::ObjectPtr& now) { told(key, now->resource_version()); },
      .updated = [this, key](const api::ObjectPtr&, const api::ObjectPtr& now) { told(key, now->resource_version()); },
      .deleted = [this, key](const api::ObjectPtr& last) { told(key, last->resource_version() + 1); },
  });
  entry.informer->start();
}

void ObjectCache::told(const Key& key, std::int64_t revision) {
  const auto it = entries_.find(key);
  if (it == entries_.end() || revision <= it->second->seen) return;
  it->second->seen = revision;
  if (!changed_) return;
  const auto users = it->second->users;
  for (const std::string& user : users) changed_(user);
}

void ObjectCache::release(const std::string& user) {
  for (auto it = entries_.begin(); it != entries_.end();) {
    it->second->users.erase(user);
    if (!it->second->users.empty()) {
      ++it;
      continue;
    }
    auto end = [](std::shared_ptr<Entry> entry) -> Task<void> {
      if (entry->informer) co_await entry->informer->stop();
    };
    group_.spawn("object watch end", end(it->second));
    it = entries_.erase(it);
  }
}

Task<void> ObjectCache::stop() {
  auto entries = std::exchange(entries_, {});
  for (auto& [key, entry] : entries) {
    if (entry->informer) co_await entry->informer->stop();
  }
  // Ends that release() began must not be cut short.
  while (group_.size() > 0) co_await yield_now();
  co_await group_.stop();
}

}  // namespace brume::node
