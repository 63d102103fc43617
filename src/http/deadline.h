// Waiting helpers of one loop: a cheap, often moved deadline, and a condition with many waiters.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>

#include "brume/base/task.h"
#include "brume/http/stream.h"

namespace brume::http {

/// Calls `on_expire` once when the deadline passes. Moving the deadline later costs no timer operation: the timer runs
/// to the earliest time it was ever set to and then looks again. Owner: one loop.
class Deadline {
 public:
  Deadline(const Executor& executor, std::function<void()> on_expire);
  ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
  void set_after(std::chrono::steady_clock::duration duration);
  void clear();
  /// Whether it passed since the last set_after().
  [[nodiscard]] bool expired() const;

 private:
  struct State;
  static void arm(const std::shared_ptr<State>& state);
  std::shared_ptr<State> state_;
};

/// The deadline of a connection that ends; it begins with its making. Owner: one loop.
class FarewellDeadline {
 public:
  FarewellDeadline(const Executor& executor, const Farewell& farewell, std::function<void()> on_expire);
  /// The peer has shown itself.
  void hear();

 private:
  std::chrono::steady_clock::duration silence_;
  std::chrono::steady_clock::time_point end_;
  Deadline deadline_;
};

/// Many tasks wait, notify_all() wakes them all; each then looks at what it waits for. Owner: one loop.
class Condition {
 public:
  explicit Condition(const Executor& executor);
  ~Condition();
  Condition(const Condition&) = delete;
  Condition& operator=(const Condition&) = delete;
  void notify_all();
  /// May wake early. The caller's state may be gone after a cancellation: the next co_await throws.
  Task<void> wait();

 private:
  std::shared_ptr<boost::asio::steady_timer> timer_;
};

/// Waits, deaf to cancellation, until every task of `group` has ended; cancels them first.
Task<void> drain(TaskGroup& group);

/// Deletes `owner` on the loop of `group` (a member of owner) as soon as the group is empty; cancels the group first.
/// For destructors that cannot await.
void retire(TaskGroup& group, std::function<void()> delete_owner);

}  // namespace brume::http
