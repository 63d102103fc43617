#include "brume/base/task.h"

#include <pthread.h>
#include <sys/prctl.h>

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <future>
#include <list>
#include <mutex>
#include <thread>

#include "brume/base/log.h"

namespace asio = boost::asio;

namespace brume {

namespace {

// Ends the process for an exception that no wrapper caught, unless it is the cancellation Asio throws at a co_await.
void check_escaped(const char* name, const std::exception_ptr& escaped) {
  if (!escaped) return;
  try {
    std::rethrow_exception(escaped);
  } catch (const boost::system::system_error& e) {
    if (e.code() == asio::error::operation_aborted) return;
    log::error("task ended with an exception", {{"task", name}, {"what", e.what()}});
  } catch (const std::exception& e) {
    log::error("task ended with an exception", {{"task", name}, {"what", e.what()}});
  }
  std::abort();
}

}  // namespace

// Running ---------------------------------------------------------------------------------------------------------

struct TaskGroup::State : std::enable_shared_from_this<TaskGroup::State> {
  struct Running {
    asio::cancellation_signal signal;
  };
  explicit State(Executor ex) : executor(std::move(ex)) {}
  Executor executor;
  std::list<Running> running;
  bool stopping = false;
  std::vector<std::shared_ptr<Event>> waiters;
};

TaskGroup::TaskGroup(Executor executor) : state_(std::make_shared<State>(std::move(executor))) {}

TaskGroup::~TaskGroup() {
  if (!state_->running.empty()) {
    log::error("TaskGroup destroyed with running tasks", {{"tasks", std::to_string(state_->running.size())}});
    std::abort();
  }
}

// co_spawn() itself awaits once more when its task ended without having waited, outside of any handler: a task that
// cancelled its own group in its first step would end the process there. So the cancellation ends with the task.
static Task<void> until_end(Task<void> task) {
  std::exception_ptr escaped;
  try {
    co_await std::move(task);
  } catch (...) {
    escaped = std::current_exception();
  }
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  if (escaped) std::rethrow_exception(escaped);
}

void TaskGroup::spawn(const char* name, Task<void> task) {
  if (state_->stopping) return;
  auto it = state_->running.emplace(state_->running.end());
  asio::co_spawn(state_->executor, until_end(std::move(task)),
                 asio::bind_cancellation_slot(it->signal.slot(), [state = state_, it, name](std::exception_ptr e) {
                   check_escaped(name, e);
                   state->running.erase(it);
                   if (!state->running.empty()) return;
                   for (auto& waiter : std::exchange(state->waiters, {})) waiter->notify();
                 }));
}

void TaskGroup::cancel() {
  // A cancelled task may end inside emit() and erase itself, so signals are posted one by one from the state.
  for (auto it = state_->running.begin(); it != state_->running.end();) {
    auto next = std::next(it);
    it->signal.emit(asio::cancellation_type::terminal);
    it = next;
  }
}

Task<void> TaskGroup::stop() {
  auto state = state_;
  state->stopping = true;
  // A stop must finish even when the stopping task is itself being cancelled.
  co_await asio::this_coro::reset_cancellation_state([](auto) { return asio::cancellation_type::none; });
  cancel();
  while (!state->running.empty()) {
    auto waiter = std::make_shared<Event>(state->executor);
    state->waiters.push_back(waiter);
    co_await waiter->wait();
  }
}

bool TaskGroup::stopping() const { return state_->stopping; }
std::size_t TaskGroup::size() const { return state_->running.size(); }
const Executor& TaskGroup::executor() const { return state_->executor; }

void detail::spawn_detached(const Executor& executor, Task<void> task, std::move_only_function<void()> done) {
  asio::co_spawn(executor, std::move(task), [done = std::move(done)](std::exception_ptr e) mutable {
    check_escaped("on_loop", e);
    done();
  });
}

// Waiting ---------------------------------------------------------------------------------------------------------

Task<void> sleep_for(std::chrono::steady_clock::duration duration) {
  asio::steady_timer timer(co_await asio::this_coro::executor, duration);
  co_await timer.async_wait(asio::use_awaitable);
}

Task<void> yield_now() { co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable); }

struct Event::State {
  explicit State(const Executor& executor) : timer(executor) {}
  asio::steady_timer timer;
  bool set = false;
};

Event::Event(const Executor& executor) : state_(std::make_shared<State>(executor)) {}
Event::~Event() = default;

void Event::notify() {
  state_->set = true;
  state_->timer.cancel();
}

Task<void> Event::wait() {
  auto state = state_;
  while (!state->set) {
    state->timer.expires_at(asio::steady_timer::time_point::max());
    boost::system::error_code ec;
    co_await state->timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    // Both notify() and a cancelled task abort the timer; only the latter leaves the flag down.
    auto cancelled = co_await asio::this_coro::cancellation_state;
    if (cancelled.cancelled() != asio::cancellation_type::none && !state->set) {
      throw boost::system::system_error(asio::error::operation_aborted);
    }
  }
  state->set = false;
}

Task<bool> Event::wait_for(std::chrono::steady_clock::duration timeout) {
  auto state = state_;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!state->set) {
    if (std::chrono::steady_clock::now() >= deadline) co_return false;
    state->timer.expires_at(deadline);
    boost::system::error_code ec;
    co_await state->timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    auto cancelled = co_await asio::this_coro::cancellation_state;
    if (cancelled.cancelled() != asio::cancellation_type::none && !state->set) {
      throw boost::system::system_error(asio::error::operation_aborted);
    }
  }
  state->set = false;
  co_return true;
}

// Blocking work ---------------------------------------------------------------------------------------------------

namespace {

constexpr int kMaxBlockingThreads = 16;
constexpr auto kBlockingIdle = std::chrono::seconds(5);

/// Threads for blocking work: made when none is idle, gone after kBlockingIdle without work, so that an idle brume
/// holds no stacks. Lives as long as the process.
class BlockingPool {
 public:
  void post(std::move_only_function<void()> work) {
    std::unique_lock lock(mutex_);
    queue_.push_back(std::move(work));
    if (idle_ >= static_cast<int>(queue_.size()) || threads_ >= kMaxBlockingThreads) {
      lock.unlock();
      ready_.notify_one();
      return;
    }
    ++threads_;
    std::thread([this] { run(); }).detach();
  }

 private:
  void run() {
    ::prctl(PR_SET_NAME, "blocking");
    std::unique_lock lock(mutex_);
    while (true) {
      if (queue_.empty()) {
        ++idle_;
        const bool woken = ready_.wait_for(lock, kBlockingIdle, [this] { return !queue_.empty(); });
        --idle_;
        if (!woken) break;
      }
      auto work = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      work();
      work = nullptr;
      lock.lock();
    }
    --threads_;
  }

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::move_only_function<void()>> queue_;
  int threads_ = 0;
  int idle_ = 0;
};

}  // namespace

void post_blocking(std::move_only_function<void()> work) {
  static auto* pool = new BlockingPool;  // never destroyed: detached threads may outlive static destruction
  pool->post(std::move(work));
}

void PostBatch::add(const Executor& executor, Function function) {
  auto it = std::ranges::find(loops_, executor, &std::pair<Executor, std::vector<Function>>::first);
  if (it == loops_.end()) it = loops_.emplace(loops_.end(), executor, std::vector<Function>());
  it->second.push_back(std::move(function));
}

void PostBatch::post() {
  for (auto& [executor, functions] : std::exchange(loops_, {})) {
    asio::post(executor, [todo = std::move(functions)]() mutable {
      for (Function& function : todo) function();
    });
  }
}

// Loops -----------------------------------------------------------------------------------------------------------

struct Loop::State {
  explicit State(std::string n) : name(std::move(n)), guard(asio::make_work_guard(context)) {}
  std::string name;
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard;
  std::thread thread;
};

Loop::Loop(std::string name) : state_(std::make_unique<State>(std::move(name))) {}
Loop::~Loop() { stop(); }
Executor Loop::executor() const { return state_->context.get_executor(); }

void Loop::start() {
  state_->thread = std::thread([state = state_.get()] {
    ::prctl(PR_SET_NAME, state->name.substr(0, 15).c_str());
    state->context.run();
  });
}

void Loop::stop() {
  if (!state_->thread.joinable()) return;
  state_->guard.reset();
  state_->context.stop();
  state_->thread.join();
}

void Loop::run_and_wait(std::function<Task<void>()> task) {
  std::promise<void> ended;
  auto run = [](std::function<Task<void>()> body) -> Task<void> { co_await body(); };
  detail::spawn_detached(executor(), run(std::move(task)), [&ended] { ended.set_value(); });
  ended.get_future().wait();
}

}  // namespace brume
