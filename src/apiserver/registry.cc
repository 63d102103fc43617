#include "brume/apiserver/registry.h"

#include "brume/api/validation.h"
#include "brume/base/log.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "errors.h"
#include "registry_impl.h"

namespace brume::apiserver {

using Impl = Registry::Impl;

namespace {

/// Ring entries older than so many revisions go when the server has nothing else to do.
constexpr store::Revision kTrimBehind = 4096;
constexpr auto kMaintainEvery = std::chrono::seconds(60);
/// After so many turns the next page of a list is not that of its first page's revision any more: five minutes, as long
/// as Kubernetes keeps old revisions.
constexpr std::size_t kPageTurns = 5;
/// Of one quota's status, which others write at the same time.
constexpr int kReportTries = 64;

std::string key_of(const Stored& stored, std::string_view ns, std::string_view name) {
  std::string key = stored.prefix;
  if (stored.resource->namespaced) key.append(ns).push_back('/');
  return key.append(name);
}

Result<api::ObjectPtr> decode_view(const View& view, std::string_view bytes, store::Revision revision) {
  BRUME_TRY(Json json, parse_json(bytes));
  view.to_view(json);
  json["metadata"]["resourceVersion"] = std::to_string(revision);
  return api::Object::from_json(json);
}

}  // namespace

Impl::Impl(store::Store& store_in, RegistryOptions options_in, Clock& clock_in)
    : store(store_in),
      options(std::move(options_in)),
      clock(clock_in),
      services(options.service_cidr, options.node_port_first, options.node_port_last),
      quota(*this, clock_in) {}

void Impl::build_caches() {
  for (const api::Resource& resource : api::builtin_resources()) {
    if (!resource.has_verb("list") || !resource.has_verb("create")) continue;
    auto entry = std::make_unique<Stored>();
    entry->resource = &resource;
    entry->strategy = &strategy_of(resource);
    const View* view = view_of(resource);
    entry->view = view != nullptr;
    const api::Resource& storage = view ? *view->storage : resource;
    entry->prefix = "/" + storage.group_resource() + "/";
    WatchCache::Decoder decoder = &api::Object::from_stored;
    if (view) {
      decoder = [view](std::string_view bytes, store::Revision revision) {
        return decode_view(*view, bytes, revision);
      };
    }
    entry->cache = std::make_unique<WatchCache>(resource, newest, std::move(decoder));
    by_resource.emplace(&resource, entry.get());
    by_prefix[std::string_view(entry->prefix).substr(1, entry->prefix.size() - 2)].push_back(entry.get());
    all_stored.push_back(std::move(entry));
  }
}

void Impl::prime(const store::Range& range, store::Revision history_start) {
  for (const store::Entry& entry : range.entries) {
    const std::size_t slash = entry.key.find('/', 1);
    if (slash == std::string::npos) continue;
    const auto it = by_prefix.find(std::string_view(entry.key).substr(1, slash - 1));
    if (it == by_prefix.end()) continue;
    for (Stored* target : it->second)
      target->cache->prime(entry.key.substr(slash + 1), *entry.value, entry.mod_revision);
  }
  for (const auto& target : all_stored) {
    // What is volatile has no history, so a watch from before the start cannot be resumed.
    const bool lost = target->strategy->facts().is_volatile;
    target->cache->primed(range.revision, lost ? std::max(range.revision, store.start_revision()) : history_start);
  }
  newest.store(range.revision, std::memory_order_release);
}

void Impl::on_events(std::span<const store::Event> events) {
  PostBatch wakes;
  for (const store::Event& event : events) {
    const std::size_t slash = event.key.find('/', 1);
    if (slash == std::string::npos) continue;
    const std::string_view key(event.key);
    const auto it = by_prefix.find(key.substr(1, slash - 1));
    if (it == by_prefix.end()) continue;
    for (Stored* target : it->second) target->cache->apply(event, key.substr(slash + 1), wakes);
  }
  if (!events.empty() && events.back().revision > newest.load(std::memory_order_relaxed)) {
    newest.store(events.back().revision, std::memory_order_release);
  }
  wakes.post();
}

Task<Result<std::unique_ptr<Registry>>> Registry::open(store::Store& store, RegistryOptions options, Clock& clock) {
  auto impl = std::make_unique<Impl>(store, std::move(options), clock);
  impl->build_caches();
  auto range = co_await store.range("/", "/", 0);
  if (!range) co_return fail(wrap(std::move(range).error(), "reading the store"));
  const store::Revision history_start = std::min(store.compacted_revision(), range->revision);
  impl->prime(*range, history_start);
  *range = {};
  for (const api::ObjectPtr& service : impl->all(api::res("services"), "")) impl->services.adopt(service->parse());
  auto follow = store.watch("/", history_start,
                            [impl = impl.get()](std::span<const store::Event> events) { impl->on_events(events); });
  if (!follow) co_return fail(wrap(std::move(follow).error(), "following the store"));
  impl->follow = std::move(*follow);
  // The caches must hold the history before the first client resumes a watch: this read is answered after it is in.
  if (auto settled = co_await store.range("/", "/", 1); !settled)
    co_return fail(wrap(settled.error(), "reading the store"));
  if (auto read = impl->follow->status(); !read) co_return fail(wrap(read.error(), "reading the store's history"));
  co_return std::unique_ptr<Registry>(new Registry(std::move(impl)));
}

Registry::Registry(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Registry::~Registry() = default;

void Registry::set_admission(Admission* admission) { impl_->admission = admission; }
void Registry::set_reviews(Reviews* reviews) { impl_->reviews = reviews; }
void Registry::set_computed(Computed* computed) { impl_->computed.store(computed); }

Computed* Registry::computed(const api::Resource& resource) const {
  Computed* found = impl_->computed.load();
  return found != nullptr && found->serves(resource) ? found : nullptr;
}

const ObjectSource& Registry::objects() const { return *impl_; }
store::Store& Registry::store() const { return impl_->store; }
Clock& Registry::clock() const { return impl_->clock; }
bool Registry::stores(const api::Resource& resource) const { return impl_->stored(resource) != nullptr; }
std::int64_t Registry::revision() const { return impl_->newest.load(std::memory_order_acquire); }

std::size_t Registry::watch_count(const api::Resource& resource) const {
  const Stored* stored = impl_->stored(resource);
  return stored ? stored->cache->watchers() : 0;
}

std::size_t Registry::object_count(const api::Resource& resource) const {
  const Stored* stored = impl_->stored(resource);
  return stored ? stored->cache->size() : 0;
}

const Stored* Impl::stored(const api::Resource& resource) const {
  const auto it = by_resource.find(&resource);
  return it == by_resource.end() ? nullptr : it->second;
}

Result<const Stored*> Impl::require(const api::Resource& resource) const {
  if (const Stored* found = stored(resource)) return found;
  return fail(Code::kMethodNotAllowed, resource.group_resource() + " are not stored");
}

api::ObjectPtr Impl::find(const api::Resource& resource, std::string_view ns, std::string_view name) const {
  const Stored* found = stored(resource);
  return found ? found->cache->find(resource.namespaced ? ns : std::string_view(), name) : nullptr;
}

std::vector<api::ObjectPtr> Impl::all(const api::Resource& resource, std::string_view ns) const {
  const Stored* found = stored(resource);
  return found ? found->cache->all(ns) : std::vector<api::ObjectPtr>();
}

std::int64_t Impl::version(const api::Resource& resource) const {
  const Stored* found = stored(resource);
  return found ? found->cache->version() : 0;
}

Result<api::ObjectPtr> Registry::get(const api::Resource& resource, std::string_view ns, std::string_view name) const {
  BRUME_TRY(const Stored* stored, impl_->require(resource));
  if (auto object = stored->cache->find(resource.namespaced ? ns : std::string_view(), name)) return object;
  return fail(not_found(resource, name));
}

// ---- the write to the store ----------------------------------------------------------------------------------------

// The object as written: from the cache unless somebody has changed it again already.
Result<api::ObjectPtr> Impl::settled(const Stored& stored, std::string_view ns, std::string_view name,
                                     store::Revision revision, std::string_view bytes) const {
  auto object = stored.cache->find(ns, name);
  if (object && object->resource_version() == revision) return object;
  if (const View* view = view_of(*stored.resource)) return decode_view(*view, bytes, revision);
  return api::Object::from_stored(bytes, revision);
}

Task<Result<api::ObjectPtr>> Impl::put(const Stored& stored, Json object, store::Revision expected) {
  std::string name(str(at(object, "metadata"), "name"));
  std::string ns(str(at(object, "metadata"), "namespace"));
  if (const View* view = view_of(*stored.resource)) view->to_storage(object);
  return put_bytes(stored, std::move(ns), std::move(name), api::stored_bytes(std::move(object)), expected);
}

Task<Result<api::ObjectPtr>> Impl::put_bytes(const Stored& stored, std::string ns, std::string name, std::string text,
                                             store::Revision expected) {
  if (closed.load()) co_return fail(Code::kServiceUnavailable, "the server stops");
  store::Write write;
  write.key = key_of(stored, ns, name);
  write.value = std::make_shared<const std::string>(std::move(text));
  write.expected = expected;
  write.durability = stored.strategy->facts().is_volatile ? store::Durability::kVolatile : store::Durability::kDurable;
  const store::Bytes bytes = write.value;
  auto revision = co_await store.write(std::move(write));
  if (!revision) {
    const Code code = revision.error().code;
    if (code == Code::kAlreadyExists) co_return fail(already_exists(*stored.resource, name));
    if (code == Code::kNotFound) co_return fail(not_found(*stored.resource, name));
    if (code == Code::kConflict) co_return fail(modified(*stored.resource, name));
    co_return fail(std::move(revision).error());
  }
  co_return settled(stored, ns, name, *revision, *bytes);
}

// Writers at the same time count each other's objects, so that the others mostly find the status right. What cannot be
// written here the quotas' controller mends.
Task<void> Impl::report_usage(const api::Resource& resource, std::string ns) {
  const Stored* quotas = stored(api::res("resourcequotas"));
  for (const api::ObjectPtr& listed : quotas->cache->all(ns)) {
    for (int attempt = 0; attempt < kReportTries; ++attempt) {
      const api::ObjectPtr present = quotas->cache->find(ns, listed->name());
      if (!present) break;
      auto next = quota.counted(present, resource);
      if (!next) break;
      const auto done = co_await put(*quotas, std::move(*next), present->resource_version());
      if (done) break;
      if (done.error().code == Code::kConflict) continue;
      log::write(log::Level::kWarn, "a quota's status was not written",
                 {{"quota", present->key()}, {"error", done.error().message}});
      break;
    }
  }
}

Task<Result<api::ObjectPtr>> Impl::erase(const Stored& stored, api::ObjectPtr object, WriteContext context) {
  if (closed.load()) co_return fail(Code::kServiceUnavailable, "the server stops");
  if (context.dry_run) co_return object;
  StrategyContext strategy = strategy_context(context);
  if (stored.strategy == &strategy_of(api::res("services")))
    stored.strategy->prepare_removal(object->parse(), strategy);
  store::Write write;
  write.kind = store::Write::Kind::kDelete;
  write.key = key_of(stored, object->ns(), object->name());
  write.expected = object->resource_version();
  write.durability = stored.strategy->facts().is_volatile ? store::Durability::kVolatile : store::Durability::kDurable;
  auto revision = co_await store.write(std::move(write));
  for (const auto& step : revision ? strategy.commit : strategy.abort) step();
  if (revision) co_return object;
  const Code code = revision.error().code;
  if (code == Code::kNotFound) co_return fail(not_found(*stored.resource, object->name()));
  if (code == Code::kConflict) co_return fail(modified(*stored.resource, object->name()));
  co_return fail(std::move(revision).error());
}

// ---- upkeep --------------------------------------------------------------------------------------------------------

Task<void> Impl::drop_old_events() {
  const Stored* events = stored(api::res("events"));
  if (events == nullptr || options.event_ttl.count() == 0) co_return;
  const WallTime limit = clock.now() - options.event_ttl;
  for (const api::ObjectPtr& event : events->cache->all("")) {
    // The key is rewritten with each repeat, so the newest of the times that the Event names counts.
    auto newest_time = parse_rfc3339(event->creation_timestamp());
    if (newest_time && *newest_time > limit) continue;
    const Json json = event->parse();
    for (const Json* text :
         {&at(json, "lastTimestamp"), &at(json, "eventTime"), &at(json, "series", "lastObservedTime")}) {
      const auto time = parse_rfc3339(str(*text));
      if (time && (!newest_time || *time > *newest_time)) newest_time = time;
    }
    if (newest_time && *newest_time <= limit) (void)co_await erase(*events, event, {});
    if (closed.load()) co_return;
  }
}

Task<void> Registry::maintain() {
  std::deque<store::Revision> minutes;  // the newest revision of each turn
  while (!impl_->closed.load()) {
    co_await impl_->clock.sleep(kMaintainEvery);
    minutes.push_back(impl_->newest.load());
    if (minutes.size() > kPageTurns) {
      impl_->oldest_page.store(minutes.front());
      minutes.pop_front();
    }
    co_await impl_->drop_old_events();
    const auto now = impl_->newest.load();
    for (const auto& stored : impl_->all_stored) stored->cache->trim(now - kTrimBehind);
  }
}

void Registry::close() {
  impl_->closed.store(true);
  for (const auto& stored : impl_->all_stored) stored->cache->close_watchers();
}

}  // namespace brume::apiserver
