// One watcher's queue between the store's thread and the loop that delivers.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "brume/apiserver/filter.h"
#include "brume/apiserver/watch.h"
#include "brume/base/task.h"

namespace brume::apiserver {

/// Thread-safe, except attach() and detach(), which belong to the executor's loop.
class Watcher : public std::enable_shared_from_this<Watcher> {
 public:
  Watcher(Filter filter, std::int64_t after, const Executor& executor, std::size_t max_events, std::size_t max_bytes)
      : filter_(std::move(filter)),
        after_(after),
        executor_(executor),
        max_events_(max_events),
        max_bytes_(max_bytes) {}

  [[nodiscard]] const Filter& filter() const { return filter_; }
  /// Only later events are of interest.
  [[nodiscard]] std::int64_t after() const { return after_; }

  /// Queues an event of what is replayed before the first take(); however many there are.
  void replay(WatchEvent event);
  /// Queues an event, or cuts the watcher when its queue is full; `wakes` then wakes its loop.
  void push(WatchEvent event, PostBatch& wakes);
  /// Ends the watch: take() fails from now on.
  void cut(std::string reason, PostBatch& wakes);
  /// All that is queued; kServiceUnavailable once cut.
  Result<std::vector<WatchEvent>> take();
  [[nodiscard]] bool idle() const;

  void attach(Event* wake) { wake_ = wake; }
  void detach() { wake_ = nullptr; }

 private:
  void wake_locked(PostBatch& wakes);

  const Filter filter_;
  const std::int64_t after_;
  const Executor executor_;
  const std::size_t max_events_, max_bytes_;
  mutable std::mutex mutex_;
  std::vector<WatchEvent> queue_;
  std::size_t bytes_ = 0;
  bool wake_posted_ = false;
  std::string cut_reason_;
  Event* wake_ = nullptr;
};

}  // namespace brume::apiserver
