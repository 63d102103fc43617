// Structured concurrency for a handler: its helpers end when it ends, however it ends.
#pragma once

#include <boost/asio/this_coro.hpp>
#include <exception>
#include <utility>

#include "brume/base/task.h"

namespace brume::node {

/// Runs `body`; then, even when it was cancelled, stops and awaits what was spawned in `group`.
inline Task<void> with_helpers(TaskGroup& group, Task<void> body) {
  std::exception_ptr cancelled;
  try {
    co_await std::move(body);
  } catch (...) {
    // Only the cancellation that Asio throws comes here; it goes on once the helpers are gone.
    cancelled = std::current_exception();
  }
  co_await boost::asio::this_coro::reset_cancellation_state();
  co_await group.stop();
  if (cancelled) std::rethrow_exception(cancelled);
}

}  // namespace brume::node
