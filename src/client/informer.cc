#include "brume/client/informer.h"

#include <algorithm>
#include <map>

#include "brume/base/log.h"
#include "brume/base/random.h"
#include "brume/base/task.h"

namespace brume::client {

namespace {

using namespace std::chrono_literals;

// Waiting after a failed list or watch, doubled up to the maximum; a watch that delivered starts over.
constexpr auto kFirstBackoff = 20ms;
constexpr auto kMaxBackoff = 10s;

class Backoff {
 public:
  void reset() { next_ = kFirstBackoff; }
  // Spread over half to all of the step, so that many informers do not come back at once.
  std::chrono::milliseconds step() {
    const auto whole = next_;
    next_ = std::min<std::chrono::milliseconds>(next_ * 2, kMaxBackoff);
    return whole / 2 + std::chrono::milliseconds(random_u64() % static_cast<std::uint64_t>(whole.count() / 2 + 1));
  }

 private:
  std::chrono::milliseconds next_ = kFirstBackoff;
};

struct Index {
  Informer::IndexFunction function;
  std::unordered_map<std::string, std::vector<ObjectPtr>> groups;

  void add(const ObjectPtr& object) {
    std::vector<std::string> values;
    function(*object, values);
    for (auto& value : values) groups[std::move(value)].push_back(object);
  }

  void remove(const ObjectPtr& object) {
    std::vector<std::string> values;
    function(*object, values);
    for (const auto& value : values) {
      auto it = groups.find(value);
      if (it == groups.end()) continue;
      std::erase(it->second, object);
      if (it->second.empty()) groups.erase(it);
    }
  }
};

const std::vector<ObjectPtr> kNone;

}  // namespace

struct Informer::State : std::enable_shared_from_this<Informer::State> {
  State(Client& c, const api::Resource& r, const Executor& executor, Clock& k, InformerOptions o)
      : client(c), resource(r), clock(k), options(std::move(o)), tasks(executor) {}

  Client& client;
  const api::Resource& resource;
  Clock& clock;
  InformerOptions options;
  TaskGroup tasks;
  bool started = false;
  bool synced = false;
  std::int64_t revision = 0;
  std::map<std::string, ObjectPtr, std::less<>> objects;
  std::map<std::string, Index, std::less<>> indexes;
  std::vector<InformerHandler> handlers;
  std::vector<std::shared_ptr<Event>> sync_waiters;

  static Task<void> run(std::shared_ptr<State> self);
  static Task<Status> relist(std::shared_ptr<State> self);
  static Task<Result<List>> list_all(std::shared_ptr<State> self);
  static Task<Error> follow(std::shared_ptr<State> self, Backoff* backoff);

  void replace(List list);
  void apply(const WatchEvent& event);
  void set(const ObjectPtr& object);
  void erase(const std::string& key);
  void mark_synced();
};

// Keeping the copy
// -----------------------------------------------------------------------------------------------------

void Informer::State::set(const ObjectPtr& object) {
  auto& slot = objects[object->key()];
  ObjectPtr old = slot;
  if (old && old->uid() == object->uid() && object->resource_version() <= old->resource_version()) return;
  if (old && old->uid() != object->uid()) {
    // Deleted and made anew while nobody watched: two changes, not one.
    erase(object->key());
    return set(object);
  }
  slot = object;
  for (auto& [name, index] : indexes) {
    if (old) index.remove(old);
    index.add(object);
  }
  for (const auto& handler : handlers) {
    if (old && handler.updated) handler.updated(old, object);
    if (!old && handler.added) handler.added(object);
  }
}

void Informer::State::erase(const std::string& key) {
  auto it = objects.find(key);
  if (it == objects.end()) return;
  ObjectPtr last = std::move(it->second);
  objects.erase(it);
  if (!last) return;
  for (auto& [name, index] : indexes) index.remove(last);
  for (const auto& handler : handlers) {
    if (handler.deleted) handler.deleted(last);
  }
}

void Informer::State::replace(List list) {
  std::vector<std::string> missing;
  {
    std::vector<std::string> keys;
    keys.reserve(list.items.size());
    for (const auto& item : list.items) keys.push_back(item->key());
    std::sort(keys.begin(), keys.end());
    for (const auto& [key, object] : objects) {
      if (!std::binary_search(keys.begin(), keys.end(), key)) missing.push_back(key);
    }
  }
  for (const auto& key : missing) erase(key);
  for (const auto& item : list.items) set(item);
  revision = list.resource_version;
}

void Informer::State::apply(const WatchEvent& event) {
  if (event.resource_version > revision) revision = event.resource_version;
  switch (event.type) {
    case WatchEvent::Type::kAdded:
    case WatchEvent::Type::kModified: set(event.object); break;
    case WatchEvent::Type::kDeleted: {
      const auto key = event.object->key();
      auto it = objects.find(key);
      if (it != objects.end() && it->second->uid() == event.object->uid()) erase(key);
      break;
    }
    case WatchEvent::Type::kBookmark: break;
  }
}

void Informer::State::mark_synced() {
  synced = true;
  for (auto& waiter : std::exchange(sync_waiters, {})) waiter->notify();
}

// Talking to the server
// --------------------------------------------------------------------------------------------------

Task<Result<List>> Informer::State::list_all(std::shared_ptr<State> self) {
  ListOptions options{.ns = self->options.ns,
                      .label_selector = self->options.label_selector,
                      .field_selector = self->options.field_selector,
                      .limit = self->options.page_size,
                      .continue_token = {}};
  List whole;
  while (true) {
    auto page = co_await self->client.list(self->resource, options);
    if (!page && page.error().code == Code::kExpired && !options.continue_token.empty()) {
      // The pages' revision was compacted midway: one unpaged list instead.
      options.limit = 0;
      options.continue_token.clear();
      whole = {};
      continue;
    }
    if (!page) co_return fail(page.error());
    whole.resource_version = page->resource_version;
    if (whole.items.empty()) {
      whole.items = std::move(page->items);
    } else {
      whole.items.insert(whole.items.end(), page->items.begin(), page->items.end());
    }
    if (page->continue_token.empty()) co_return whole;
    options.continue_token = page->continue_token;
  }
}

Task<Status> Informer::State::relist(std::shared_ptr<State> self) {
  BRUME_CO_TRY(List list, co_await list_all(self));
  self->replace(std::move(list));
  if (!self->synced) self->mark_synced();
  co_return Status{};
}

// Watches from the revision reached until the watch ends, and says how it ended.
Task<Error> Informer::State::follow(std::shared_ptr<State> self, Backoff* backoff) {
  WatchOptions options{.ns = self->options.ns,
                       .label_selector = self->options.label_selector,
                       .field_selector = self->options.field_selector,
                       .resource_version = self->revision};
  auto watch = co_await self->client.watch(self->resource, options);
  if (!watch) co_return watch.error();
  while (true) {
    auto events = co_await (*watch)->next();
    if (!events) co_return events.error();
    backoff->reset();
    for (const auto& event : *events) self->apply(event);
  }
}

Task<void> Informer::State::run(std::shared_ptr<State> self) {
  Backoff backoff;
  bool listed = false;
  while (true) {
    Error error;
    if (!listed) {
      auto status = co_await relist(self);
      listed = status.has_value();
      if (!listed) error = status.error();
    }
    if (listed) {
      error = co_await follow(self, &backoff);
      if (error.code == Code::kExpired || error.code == Code::kGone) listed = false;
    }
    const bool routine = error.code == Code::kCancelled || error.code == Code::kServiceUnavailable || !listed;
    log::write(routine ? log::Level::kDebug : log::Level::kWarn, "watch ended, will go on",
               {{"resource", self->resource.group_resource()}, {"reason", error.message}});
    co_await self->clock.sleep(backoff.step());
  }
}

// Informer
// ---------------------------------------------------------------------------------------------------------------

Informer::Informer(Client& client, const api::Resource& resource, const Executor& executor, Clock& clock,
                   InformerOptions options)
    : state_(std::make_shared<State>(client, resource, executor, clock, std::move(options))) {}
Informer::~Informer() = default;

void Informer::add_handler(InformerHandler handler) {
  if (handler.added) {
    for (const auto& [key, object] : state_->objects) handler.added(object);
  }
  state_->handlers.push_back(std::move(handler));
}

void Informer::add_index(std::string_view name, IndexFunction function) {
  auto [it, fresh] = state_->indexes.try_emplace(std::string(name));
  if (!fresh) return;
  it->second.function = std::move(function);
  for (const auto& [key, object] : state_->objects) it->second.add(object);
}

void Informer::start() {
  if (std::exchange(state_->started, true)) return;
  state_->tasks.spawn("informer", State::run(state_));
}

Task<void> Informer::stop() {
  auto state = state_;
  co_await state->tasks.stop();
  for (auto& waiter : std::exchange(state->sync_waiters, {})) waiter->notify();
}

bool Informer::has_synced() const { return state_->synced; }

Task<void> Informer::wait_synced() {
  auto state = state_;
  while (!state->synced && !state->tasks.stopping()) {
    auto waiter = std::make_shared<Event>(state->tasks.executor());
    state->sync_waiters.push_back(waiter);
    co_await waiter->wait();
  }
}

const api::Resource& Informer::resource() const { return state_->resource; }

ObjectPtr Informer::get(std::string_view ns, std::string_view name) const {
  if (ns.empty()) return get(name);
  std::string key;
  key.reserve(ns.size() + name.size() + 1);
  key.append(ns).append("/").append(name);
  return get(key);
}

ObjectPtr Informer::get(std::string_view key) const {
  auto it = state_->objects.find(key);
  return it == state_->objects.end() ? nullptr : it->second;
}

std::vector<ObjectPtr> Informer::list(std::string_view ns) const {
  std::vector<ObjectPtr> out;
  if (ns.empty()) {
    out.reserve(state_->objects.size());
    for (const auto& [key, object] : state_->objects) out.push_back(object);
    return out;
  }
  const std::string prefix = std::string(ns) + "/";
  for (auto it = state_->objects.lower_bound(prefix); it != state_->objects.end() && it->first.starts_with(prefix);
       ++it) {
    out.push_back(it->second);
  }
  return out;
}

std::vector<ObjectPtr> Informer::by_index(std::string_view name, std::string_view value) const {
  return index(name, value);
}

const std::vector<ObjectPtr>& Informer::index(std::string_view name, std::string_view value) const {
  auto it = state_->indexes.find(name);
  if (it == state_->indexes.end()) return kNone;
  auto group = it->second.groups.find(std::string(value));
  return group == it->second.groups.end() ? kNone : group->second;
}

std::size_t Informer::size() const { return state_->objects.size(); }

void Informer::each(const std::function<void(const ObjectPtr&)>& visit) const {
  for (const auto& [key, object] : state_->objects) visit(object);
}

std::int64_t Informer::revision() const { return state_->revision; }

void Informer::by_owner_uid(const api::Object& object, std::vector<std::string>& values) {
  for (const auto& owner : object.owners()) {
    if (std::find(values.begin(), values.end(), owner.uid) == values.end()) values.push_back(owner.uid);
  }
}

void Informer::by_controller_uid(const api::Object& object, std::vector<std::string>& values) {
  if (const auto* owner = object.controller()) values.push_back(owner->uid);
}

void Informer::by_namespace(const api::Object& object, std::vector<std::string>& values) {
  values.push_back(object.ns());
}

// Factory
// ----------------------------------------------------------------------------------------------------------------

struct InformerFactory::State {
  State(Client& c, const Executor& e, Clock& k) : client(c), executor(e), clock(k) {}
  Client& client;
  Executor executor;
  Clock& clock;
  std::map<const api::Resource*, std::unique_ptr<Informer>> informers;
  bool started = false;
};

InformerFactory::InformerFactory(Client& client, const Executor& executor, Clock& clock)
    : state_(std::make_unique<State>(client, executor, clock)) {}
InformerFactory::~InformerFactory() = default;

Informer& InformerFactory::informer(const api::Resource& resource) {
  auto& slot = state_->informers[&resource];
  if (!slot) {
    slot = std::make_unique<Informer>(state_->client, resource, state_->executor, state_->clock);
    if (state_->started) slot->start();
  }
  return *slot;
}

Informer& InformerFactory::informer(std::string_view group_resource) { return informer(api::res(group_resource)); }

Informer* InformerFactory::find(const api::Resource& resource) const {
  auto it = state_->informers.find(&resource);
  return it == state_->informers.end() ? nullptr : it->second.get();
}

void InformerFactory::start() {
  state_->started = true;
  for (auto& [resource, informer] : state_->informers) informer->start();
}

Task<void> InformerFactory::wait_synced() {
  std::vector<Informer*> all;
  for (auto& [resource, informer] : state_->informers) all.push_back(informer.get());
  for (auto* informer : all) co_await informer->wait_synced();
}

Task<void> InformerFactory::stop() {
  for (auto& [resource, informer] : state_->informers) co_await informer->stop();
}

Client& InformerFactory::client() const { return state_->client; }
Clock& InformerFactory::clock() const { return state_->clock; }
const Executor& InformerFactory::executor() const { return state_->executor; }

}  // namespace brume::client
