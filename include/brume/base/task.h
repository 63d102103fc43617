// Coroutines: TaskGroup (the one place that spawns), blocking work, and what tasks of one loop wait on.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "brume/base/task_fwd.h"

namespace brume {

/// Owns running coroutines of one loop. Whoever starts a task awaits its end: stop() cancels all and awaits them.
/// All members are called on the group's loop. A group must be empty (stopped) before it is destroyed.
/// A task that lets an exception escape, other than cancellation, aborts the process: it is a bug.
class TaskGroup {
 public:
  explicit TaskGroup(Executor executor);
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  /// Starts `task`; `name` (a literal) is for logs. After stop() was called the task is dropped unstarted.
  void spawn(const char* name, Task<void> task);
  /// Asks every task to end: its pending wait fails with cancellation. Returns at once.
  void cancel();
  /// cancel(), then waits for all to have ended. No new task may be spawned afterwards.
  Task<void> stop();
  [[nodiscard]] bool stopping() const;
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] const Executor& executor() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// Suspends for `duration` of the steady clock; ends early with an exception that TaskGroup swallows on cancellation.
Task<void> sleep_for(std::chrono::steady_clock::duration duration);

/// Lets other tasks of this loop run.
Task<void> yield_now();

/// Something happened: wakes waiters of the same loop. An Event is level-triggered: notify() before wait() is kept.
/// Owner: one loop; every call on that loop (from elsewhere, post).
class Event {
 public:
  explicit Event(const Executor& executor);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  /// Wakes one pending or the next wait().
  void notify();
  /// Returns when notified (and consumes the notification).
  Task<void> wait();
  /// As wait(); false when `timeout` passed first.
  Task<bool> wait_for(std::chrono::steady_clock::duration timeout);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// Runs `work` on a thread that may block (disk, tar, mount, getaddrinfo). Threads come and go on demand, 16 at most.
void post_blocking(std::move_only_function<void()> work);

namespace detail {
template <typename T>
struct BlockingSlot {
  std::optional<T> value;
};
}  // namespace detail

/// Runs `fn` on a blocking thread and resumes on the caller's loop with its value. `fn` must not throw. A task
/// cancelled meanwhile still waits for `fn` to end: what fn refers to stays valid.
template <typename F>
auto run_blocking(F fn) -> Task<std::invoke_result_t<F&>> {
  using T = std::invoke_result_t<F&>;
  Executor executor = co_await boost::asio::this_coro::executor;
  if constexpr (std::is_void_v<T>) {
    co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void()>(
        [executor](auto handler, F work) {
          post_blocking([executor, handler = std::move(handler), work = std::move(work)]() mutable {
            work();
            boost::asio::post(executor, std::move(handler));
          });
        },
        boost::asio::use_awaitable, std::move(fn));
  } else {
    auto slot = std::make_shared<detail::BlockingSlot<T>>();
    co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void()>(
        [executor, slot](auto handler, F work) {
          post_blocking([executor, slot, handler = std::move(handler), work = std::move(work)]() mutable {
            slot->value.emplace(work());
            boost::asio::post(executor, std::move(handler));
          });
        },
        boost::asio::use_awaitable, std::move(fn));
    co_return std::move(*slot->value);  // NOLINT(bugprone-unchecked-optional-access): fn has run
  }
}

/// Functions for several loops, gathered by one thread and posted with one wake-up for each loop: waking a sleeping
/// loop costs two system calls, and a loop that runs is hindered by each post. Owner: one thread.
class PostBatch {
 public:
  using Function = std::move_only_function<void()>;
  void add(const Executor& executor, Function function);
  /// Posts what was added, in its order for each loop, and is empty again.
  void post();

 private:
  std::vector<std::pair<Executor, std::vector<Function>>> loops_;
};

/// Waits for another thread: `start(executor, resume)` is called at once; the task goes on when resume() is called,
/// once, on `executor`, its own loop, after start() returned.
template <typename Start>
Task<void> await_resume(Start start) {
  Executor executor = co_await boost::asio::this_coro::executor;
  co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void()>(
      [executor](auto handler, Start begin) {
        begin(executor, PostBatch::Function([handler = std::move(handler)]() mutable { std::move(handler)(); }));
      },
      boost::asio::use_awaitable, std::move(start));
}

/// Waits for a callback from another thread: `start(done)` is called at once; the task resumes on its own loop after
/// done() was called, once, from any thread. The bridge between callback interfaces and coroutines.
template <typename Start>
Task<void> await_callback(Start start) {
  co_await await_resume([&start](Executor executor, PostBatch::Function resume) {
    start(PostBatch::Function([executor = std::move(executor), resume = std::move(resume)]() mutable {
      boost::asio::post(executor, std::move(resume));
    }));
  });
}

/// Runs `task` on `executor`'s loop and resumes on the caller's loop with its value.
template <typename T>
Task<T> on_loop(Executor executor, std::function<Task<T>()> task);

/// A thread that runs one io_context: a loop of the design (API x N, control, node). stop() ends it after its tasks.
class Loop {
 public:
  explicit Loop(std::string name);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  [[nodiscard]] Executor executor() const;
  void start();
  /// Stops the loop and joins the thread. Tasks must have been stopped before.
  void stop();
  /// Starts `task` on the loop and blocks the calling thread (not a loop) until it ended.
  void run_and_wait(std::function<Task<void>()> task);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace brume

#include "brume/base/task_impl.h"
