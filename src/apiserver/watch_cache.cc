#include "watch_cache.h"

#include <algorithm>

#include "brume/base/json.h"
#include "brume/base/log.h"
#include "watcher.h"

namespace brume::apiserver {

// One event in the ring. Events from before the start keep only their bytes until a watch asks for them.
struct WatchCache::Change {
  store::Write::Kind kind = store::Write::Kind::kPut;
  std::string key;
  Revision revision = 0;
  Revision previous_revision = 0;
  store::Bytes raw;         // of history; empty once decoded
  api::ObjectPtr object;    // new state; of a delete the last state under the delete's revision
  api::ObjectPtr previous;  // null when new, and for history
  api::ObjectPtr left;      // `previous` under this revision: what a watcher sees whose selector it left
  bool history = false;

  [[nodiscard]] std::size_t size() const {
    return 160 + key.size() + (object ? object->bytes().size() : 0) + (raw ? raw->size() : 0);
  }
};

namespace {

std::string key_of(std::string_view ns, std::string_view name) {
  std::string key;
  key.reserve(ns.size() + name.size() + 1);
  if (!ns.empty()) key.append(ns).push_back('/');
  return key.append(name);
}

api::ObjectPtr restamp(const api::Object& object, std::int64_t revision) {
  Json json = object.parse();
  json["metadata"]["resourceVersion"] = std::to_string(revision);
  auto stamped = api::Object::from_json(json);
  return stamped ? *stamped : nullptr;
}

}  // namespace

Error too_old_error(store::Revision revision, store::Revision oldest) {
  return {Code::kExpired,
          "too old resource version: " + std::to_string(revision) + " (" + std::to_string(oldest) + ")"};
}

// The WatchStream over one Watcher: lives on the watcher's loop.
class Stream final : public WatchStream {
 public:
  Stream(WatchCache& cache, std::shared_ptr<Watcher> watcher, const Executor& executor)
      : cache_(cache), watcher_(std::move(watcher)), wake_(executor) {
    watcher_->attach(&wake_);
  }
  ~Stream() override {
    watcher_->detach();
    cache_.forget(watcher_.get());
  }

  Task<Result<std::vector<WatchEvent>>> next(std::chrono::steady_clock::duration timeout) override {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    for (;;) {
      auto events = watcher_->take();
      if (!events || !events->empty()) co_return events;
      const auto left = deadline - std::chrono::steady_clock::now();
      if (left <= left.zero() || !co_await wake_.wait_for(left)) co_return watcher_->take();
    }
  }

  [[nodiscard]] std::int64_t progress() const override {
    const auto newest = cache_.newest_.load(std::memory_order_acquire);
    const std::shared_lock lock(cache_.mutex_);
    return watcher_->idle() ? std::max(cache_.safe_revision(newest), watcher_->after()) : 0;
  }

 private:
  WatchCache& cache_;
  std::shared_ptr<Watcher> watcher_;
  Event wake_;
};

WatchCache::WatchCache(const api::Resource& resource, const std::atomic<Revision>& newest, Decoder decoder,
                       WatchCacheLimits limits)
    : resource_(resource), newest_(newest), decoder_(std::move(decoder)), limits_(limits) {}
WatchCache::~WatchCache() = default;

api::ObjectPtr WatchCache::decode(std::string_view bytes, Revision revision) const {
  auto object = decoder_(bytes, revision);
  if (object) return *object;
  log::error("a stored object cannot be read", {{"resource", resource_.group_resource()},
                                                {"revision", std::to_string(revision)},
                                                {"error", object.error().message}});
  return nullptr;
}

void WatchCache::prime(std::string key, std::string_view bytes, Revision revision) {
  if (auto object = decode(bytes, revision)) {
    const std::unique_lock lock(mutex_);
    objects_.insert_or_assign(std::move(key), std::move(object));
  }
}

void WatchCache::primed(Revision revision, Revision history_start) {
  const std::unique_lock lock(mutex_);
  primed_ = revision;
  ring_start_ = history_start;
  last_.store(revision, std::memory_order_release);
}

void WatchCache::apply(const store::Event& event, std::string_view key, PostBatch& wakes) {
  auto change = std::make_shared<Change>();
  change->kind = event.kind;
  change->key = key;
  change->revision = event.revision;
  change->previous_revision = event.previous_revision;
  if (event.revision <= primed_) {
    change->history = true;
    change->raw = event.value;
    const std::unique_lock lock(mutex_);
    push(std::move(change));
    return;
  }
  change->object = decode(*event.value, event.revision);
  if (!change->object) return;
  const std::unique_lock lock(mutex_);
  const auto it = objects_.find(key);
  if (it != objects_.end()) change->previous = it->second;
  if (event.kind == store::Write::Kind::kDelete) {
    if (it != objects_.end()) objects_.erase(it);
  } else if (it != objects_.end()) {
    it->second = change->object;
  } else {
    objects_.emplace(std::string(key), change->object);
  }
  last_.store(event.revision, std::memory_order_release);
  for (const auto& watcher : watchers_) deliver(*watcher, *change, &wakes);
  push(std::move(change));
}

void WatchCache::push(std::shared_ptr<Change> change) {
  ring_bytes_ += change->size();
  ring_.push_back(std::move(change));
  while (ring_.size() > limits_.max_events || (ring_bytes_ > limits_.max_bytes && ring_.size() > 1)) {
    ring_bytes_ -= std::min(ring_bytes_, ring_.front()->size());
    ring_start_ = ring_.front()->revision;
    ring_.pop_front();
  }
}

void WatchCache::trim(Revision revision) {
  const std::unique_lock lock(mutex_);
  while (ring_.size() > limits_.min_events && ring_.front()->revision < revision) {
    ring_bytes_ -= std::min(ring_bytes_, ring_.front()->size());
    ring_start_ = ring_.front()->revision;
    ring_.pop_front();
  }
}

api::ObjectPtr WatchCache::find(std::string_view ns, std::string_view name) const {
  const std::string key = key_of(ns, name);
  const std::shared_lock lock(mutex_);
  const auto it = objects_.find(key);
  return it == objects_.end() ? nullptr : it->second;
}

std::vector<api::ObjectPtr> WatchCache::all(std::string_view ns) const {
  std::vector<api::ObjectPtr> out;
  const std::string prefix = ns.empty() ? std::string() : key_of(ns, "");
  const std::shared_lock lock(mutex_);
  if (prefix.empty()) out.reserve(objects_.size());
  for (auto it = objects_.lower_bound(prefix); it != objects_.end() && it->first.starts_with(prefix); ++it) {
    out.push_back(it->second);
  }
  return out;
}

std::size_t WatchCache::size() const {
  const std::shared_lock lock(mutex_);
  return objects_.size();
}

// Every event of this resource up to it is in: those up to `newest_before_lock` because each cache had seen them when
// it was read, those up to last_ because they come in order.
WatchCache::Revision WatchCache::safe_revision(Revision newest_before_lock) const {
  return std::max(newest_before_lock, last_.load(std::memory_order_acquire));
}

// What to put in place of the present objects to see the state of revision `at`: null where none was.
Result<WatchCache::Objects> WatchCache::overlay(Revision at) const {
  Objects undo;
  for (auto it = ring_.rbegin(); it != ring_.rend() && (*it)->revision > at; ++it) {
    if ((*it)->history && (*it)->previous_revision != 0) return fail(too_old_error(at, primed_));
    undo.insert_or_assign((*it)->key, (*it)->previous);
  }
  return undo;
}

// What may match, in key order.
std::vector<api::ObjectPtr> WatchCache::collect(const Filter& filter, std::string_view from,
                                                const Objects& undo) const {
  std::vector<api::ObjectPtr> out;
  std::string prefix = filter.ns().empty() ? std::string() : key_of(filter.ns(), "");
  if (!filter.name().empty() && (!filter.ns().empty() || !resource_.namespaced)) prefix += filter.name();
  if (prefix.empty()) out.reserve(objects_.size());
  const std::string start(std::max(from, std::string_view(prefix)));
  auto now = objects_.lower_bound(start);
  auto then = undo.lower_bound(start);
  const auto inside = [&](const Objects::const_iterator& it, const Objects& map) {
    return it != map.end() && it->first.starts_with(prefix);
  };
  while (inside(now, objects_) || inside(then, undo)) {
    const bool use_undo = inside(then, undo) && (!inside(now, objects_) || then->first <= now->first);
    if (use_undo) {
      if (inside(now, objects_) && now->first == then->first) ++now;
      if (then->second) out.push_back(then->second);
      ++then;
    } else {
      out.push_back(now->second);
      ++now;
    }
  }
  return out;
}

Result<WatchCache::Page> WatchCache::list(const Filter& filter, std::string_view from, std::size_t limit,
                                          Revision at) const {
  Page page;
  const auto newest = newest_.load(std::memory_order_acquire);
  std::vector<api::ObjectPtr> candidates;
  {
    const std::shared_lock lock(mutex_);
    page.revision = safe_revision(newest);
    Objects undo;
    if (at != 0 && at < last_.load(std::memory_order_acquire)) {
      if (at < ring_start_) return fail(too_old_error(at, ring_start_));
      BRUME_TRY(undo, overlay(at));
      page.revision = at;
    } else if (at != 0) {
      page.revision = std::min(page.revision, at);
    }
    candidates = collect(filter, from, undo);
  }
  if (filter.plain() && limit == 0) {
    page.items = std::move(candidates);
    return page;
  }
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (!filter.matches(*candidates[i])) continue;
    if (limit != 0 && page.items.size() == limit) {
      page.next_key = candidates[i]->key();
      if (filter.plain()) page.remaining = static_cast<std::int64_t>(candidates.size() - i);
      break;
    }
    page.items.push_back(std::move(candidates[i]));
  }
  return page;
}

void WatchCache::deliver(Watcher& watcher, Change& change, PostBatch* wakes) const {
  if (change.revision <= watcher.after()) return;
  if (!change.object) {
    change.object = decode(*change.raw, change.revision);
    change.raw.reset();
    if (!change.object) return;
  }
  using Type = WatchEvent::Type;
  const Filter& filter = watcher.filter();
  if (!filter.ns().empty() && change.object->ns() != filter.ns()) return;
  const bool deleted = change.kind == store::Write::Kind::kDelete;
  const bool is = !deleted && filter.matches(*change.object);
  // What history replaced is not known: whoever selects is told of a change rather than left with a stale object.
  const bool was = change.previous ? filter.matches(*change.previous)
                   : deleted       ? filter.matches(*change.object)
                                   : change.history && change.previous_revision != 0;
  const auto tell = [&](Type type, const api::ObjectPtr& object) {
    WatchEvent event{type, object, change.revision};
    if (wakes == nullptr) {
      watcher.replay(std::move(event));
    } else {
      watcher.push(std::move(event), *wakes);
    }
  };
  if (is) {
    tell(was ? Type::kModified : Type::kAdded, change.object);
  } else if (was && deleted) {
    tell(Type::kDeleted, change.object);
  } else if (was) {
    if (!change.left) change.left = change.previous ? restamp(*change.previous, change.revision) : change.object;
    tell(Type::kDeleted, change.left);
  }
}

Result<std::unique_ptr<WatchStream>> WatchCache::watch(WatchStart start, const Executor& executor) {
  const auto newest = newest_.load(std::memory_order_acquire);
  auto watcher = std::make_shared<Watcher>(start.filter, start.from_state ? 0 : start.after, executor,
                                           limits_.watcher_max_events, limits_.watcher_max_bytes);
  const std::unique_lock lock(mutex_);
  if (start.from_state) {
    for (auto& object : collect(start.filter, "", {})) {
      if (!start.filter.matches(*object)) continue;
      const auto revision = object->resource_version();
      watcher->replay({WatchEvent::Type::kAdded, std::move(object), revision});
    }
    if (start.initial_bookmark) {
      watcher->replay({WatchEvent::Type::kBookmark, nullptr, safe_revision(newest), true});
    }
  } else {
    if (start.after < ring_start_) return fail(too_old_error(start.after, ring_start_));
    auto it = std::upper_bound(ring_.begin(), ring_.end(), start.after,
                               [](Revision revision, const auto& change) { return revision < change->revision; });
    for (; it != ring_.end(); ++it) deliver(*watcher, **it, nullptr);
  }
  watchers_.push_back(watcher);
  return std::unique_ptr<WatchStream>(std::make_unique<Stream>(*this, std::move(watcher), executor));
}

std::size_t WatchCache::watchers() const {
  const std::shared_lock lock(mutex_);
  return watchers_.size();
}

void WatchCache::close_watchers() {
  PostBatch wakes;
  {
    const std::unique_lock lock(mutex_);
    for (const auto& watcher : watchers_) watcher->cut("the server stops", wakes);
  }
  wakes.post();
}

void WatchCache::forget(const Watcher* watcher) {
  const std::unique_lock lock(mutex_);
  std::erase_if(watchers_, [&](const auto& other) { return other.get() == watcher; });
}

}  // namespace brume::apiserver
