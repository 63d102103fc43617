// WorkQueue: keys waiting to be reconciled, each once, by a bounded number of workers, with back-off.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "brume/base/clock.h"
#include "brume/base/result.h"
#include "brume/base/task_fwd.h"

namespace brume::client {

struct WorkQueueOptions {
  std::size_t workers = 5;  ///< keys reconciled at a time
  /// Back-off of a key after its nth failure in a row: base * 2^(n-1), at most max. The values are client-go's
  /// DefaultTypedItemBasedRateLimiter.
  std::chrono::milliseconds base_delay{5};
  std::chrono::milliseconds max_delay{1'000'000};
};

/// Level-triggered work: a key added while it waits is kept once; one added while it is being reconciled is reconciled
/// again afterwards; no key is ever reconciled twice at the same time. A failed reconcile is logged and comes back
/// after its back-off. Owner: one loop; every call on it. No task exists while there is nothing to do.
class WorkQueue {
 public:
  using Reconcile = std::function<Task<Status>(std::string key)>;

  /// `name` is for logs.
  WorkQueue(std::string name, const Executor& executor, Clock& clock, WorkQueueOptions options = {});
  ~WorkQueue();  ///< after stop(), or when never started
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  /// Keys added before are kept until then.
  void start(Reconcile reconcile);
  /// Cancels and awaits the reconciles that run; waiting keys are dropped.
  Task<void> stop();

  void add(std::string key);
  /// As add(), after `delay`. Of several for one key the earliest counts.
  void add_after(std::string key, std::chrono::steady_clock::duration delay);
  /// As add(), after the key's next back-off.
  void add_rate_limited(std::string key);
  /// The key's failures are forgotten; a reconcile that succeeds does it too.
  void forget(const std::string& key);

  [[nodiscard]] std::size_t waiting() const;  ///< ready keys that no worker has taken
  [[nodiscard]] std::size_t delayed() const;
  [[nodiscard]] std::size_t running() const;
  [[nodiscard]] bool idle() const { return waiting() == 0 && delayed() == 0 && running() == 0; }
  [[nodiscard]] int failures(const std::string& key) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace brume::client
