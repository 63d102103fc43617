// Waiting in tests: for what another task, thread or process does in its own time.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

#include "brume/base/task.h"

namespace brume::test {

/// How long a test waits for what must come: it only tells a hang from a machine that is slow for a moment.
inline constexpr std::chrono::minutes kPatience{1};

/// Lets the other tasks of this loop run for a while (they must not wait for real time or other threads).
inline Task<void> settle(int rounds = 300) {
  for (int i = 0; i < rounds; ++i) co_await yield_now();
}

/// Lets other tasks run until `predicate` holds; false when it does not within kPatience.
inline Task<bool> eventually(std::function<bool()> predicate) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!predicate()) {
    if (std::chrono::steady_clock::now() > deadline) co_return false;
    co_await yield_now();
  }
  co_return true;
}

/// The same outside a loop, for what threads and processes do; `predicate` is asked each few milliseconds.
inline bool eventually_in_thread(const std::function<bool()>& predicate) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!predicate()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace brume::test
