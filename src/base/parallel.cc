#include "brume/base/parallel.h"

#include <algorithm>
#include <boost/asio/cancellation_state.hpp>
#include <exception>

#include "brume/base/task.h"

namespace brume {

namespace {

struct Round {
  explicit Round(const Executor& executor) : tasks(executor), ended(executor) {}
  TaskGroup tasks;
  Event ended;
  std::size_t next = 0;
  std::size_t running = 0;
};

Task<void> work(Round* round, const std::function<Task<void>(std::size_t)>* body, std::size_t count) {
  struct Ended {
    Round* round;
    ~Ended() {
      --round->running;
      round->ended.notify();
    }
  } ended{round};
  while (round->next < count) co_await (*body)(round->next++);
}

}  // namespace

Task<void> for_each_parallel(std::size_t count, std::function<Task<void>(std::size_t)> body, std::size_t limit) {
  if (count == 0) co_return;
  if (count == 1) {
    co_await body(0);
    co_return;
  }
  Round round(co_await boost::asio::this_coro::executor);
  round.running = limit == 0 ? count : std::min(limit, count);
  for (std::size_t i = round.running; i > 0; --i) round.tasks.spawn("parallel", work(&round, &body, count));
  std::exception_ptr cancelled;
  try {
    while (round.running > 0) co_await round.ended.wait();
  } catch (...) {
    cancelled = std::current_exception();
  }
  if (cancelled) {
    // Asio throws at every co_await of a cancelled task; the tasks must be awaited all the same.
    co_await boost::asio::this_coro::reset_cancellation_state(
        [](auto) { return boost::asio::cancellation_type::none; });
  }
  co_await round.tasks.stop();
  if (cancelled) std::rethrow_exception(cancelled);
}

}  // namespace brume
