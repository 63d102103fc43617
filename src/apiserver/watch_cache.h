// Watch cache of one resource: the objects as they are now, the recent events, and who watches.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "brume/api/object.h"
#include "brume/api/resources.h"
#include "brume/apiserver/filter.h"
#include "brume/apiserver/watch.h"
#include "brume/base/result.h"
#include "brume/base/task.h"
#include "brume/store/store.h"

namespace brume::apiserver {

/// Bounds of a cache. The ring never passes the two maxima (but for a single event); trim() leaves `min_events` in it.
struct WatchCacheLimits {
  std::size_t min_events = 128;
  std::size_t max_events = 16'384;
  std::size_t max_bytes = 16U << 20;
  std::size_t watcher_max_events = 4'096;  ///< queued for one watcher before it is cut
  std::size_t watcher_max_bytes = 16U << 20;
};

class Watcher;

/// Thread-safe: written by the store's thread, read by every API loop; critical sections copy pointers only.
class WatchCache {
 public:
  using Revision = store::Revision;
  /// Makes the stored bytes an object of this resource; differs from api::Object::from_stored for resources that are
  /// another version's view of what is stored.
  using Decoder = std::function<Result<api::ObjectPtr>(std::string_view bytes, Revision revision)>;

  /// `newest` is the revision up to which every cache has seen all events; it outlives the cache.
  WatchCache(const api::Resource& resource, const std::atomic<Revision>& newest, Decoder decoder,
             WatchCacheLimits limits = {});
  ~WatchCache();
  WatchCache(const WatchCache&) = delete;
  WatchCache& operator=(const WatchCache&) = delete;

  [[nodiscard]] const api::Resource& resource() const { return resource_; }

  // ---- filling: before serving, then from the store's thread -------------------------------------------------------
  /// Puts one entry of the state at the start. `key` is ns/name or name.
  void prime(std::string key, std::string_view bytes, Revision revision);
  /// The state put by prime() is that of `revision`; events after `history_start` will follow through apply().
  void primed(Revision revision, Revision history_start);
  /// One event, in revision order; those up to the primed revision only fill the ring. Watchers whose loops have to
  /// look are added to `wakes`, which the caller posts.
  void apply(const store::Event& event, std::string_view key, PostBatch& wakes);
  /// Drops ring events that are older than `revision` beyond the minimum, so that an idle server holds little.
  void trim(Revision revision);

  // ---- reading -------------------------------------------------------------------------------------------------
  [[nodiscard]] api::ObjectPtr find(std::string_view ns, std::string_view name) const;
  [[nodiscard]] std::vector<api::ObjectPtr> all(std::string_view ns) const;
  /// The revision of the newest event of this resource.
  [[nodiscard]] Revision version() const { return last_.load(std::memory_order_acquire); }
  [[nodiscard]] std::size_t size() const;

  struct Page {
    std::vector<api::ObjectPtr> items;
    Revision revision = 0;
    std::string next_key;         ///< where the next page starts; empty at the end
    std::int64_t remaining = -1;  ///< objects after this page; -1: not known
  };
  /// Objects that match, by key from `from`, `limit` at most (0: all), as of `at` (0: now). kExpired when the ring does
  /// not reach back to `at`.
  [[nodiscard]] Result<Page> list(const Filter& filter, std::string_view from, std::size_t limit, Revision at) const;

  struct WatchStart {
    Filter filter = {};
    bool from_state = false;        ///< begin with the present objects as ADDED; else with events after `after`
    bool initial_bookmark = false;  ///< end the present objects with a marked bookmark
    Revision after = 0;
  };
  /// Opens a watch that delivers on `executor`, the caller's loop. kExpired when `after` is too old.
  [[nodiscard]] Result<std::unique_ptr<WatchStream>> watch(WatchStart start, const Executor& executor);
  [[nodiscard]] std::size_t watchers() const;
  /// Cuts every watch: the server stops.
  void close_watchers();

 private:
  friend class Stream;
  struct Change;
  using Objects = std::map<std::string, api::ObjectPtr, std::less<>>;

  [[nodiscard]] api::ObjectPtr decode(std::string_view bytes, Revision revision) const;
  void push(std::shared_ptr<Change> change);
  [[nodiscard]] Revision safe_revision(Revision newest_before_lock) const;
  [[nodiscard]] Result<Objects> overlay(Revision at) const;
  [[nodiscard]] std::vector<api::ObjectPtr> collect(const Filter& filter, std::string_view from,
                                                    const Objects& undo) const;
  /// Queues what the watcher is to see of a change; without `wakes` as part of what is replayed to it.
  void deliver(Watcher& watcher, Change& change, PostBatch* wakes) const;
  void forget(const Watcher* watcher);

  const api::Resource& resource_;
  const std::atomic<Revision>& newest_;
  Decoder decoder_;
  WatchCacheLimits limits_;

  mutable std::shared_mutex mutex_;
  Objects objects_;
  std::deque<std::shared_ptr<Change>> ring_;
  std::size_t ring_bytes_ = 0;
  Revision ring_start_ = 0;  ///< the ring holds every event after it
  Revision primed_ = 0;
  std::atomic<Revision> last_ = 0;
  std::vector<std::shared_ptr<Watcher>> watchers_;
};

/// The Expired error that Kubernetes words for a revision that is gone.
[[nodiscard]] Error too_old_error(store::Revision revision, store::Revision oldest);

}  // namespace brume::apiserver
