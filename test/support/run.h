// Runs a coroutine on a loop of its own and waits for it: how tests call asynchronous interfaces.
#pragma once

#include <functional>
#include <optional>

#include "brume/base/task.h"

namespace brume::test {

/// Runs `body` to its end on a fresh loop.
inline void run(std::function<Task<void>()> body) {
  Loop loop("test");
  loop.start();
  loop.run_and_wait(std::move(body));
  loop.stop();
}

/// The value of `task`, made by `make` on a fresh loop.
template <typename T>
T value_of(std::function<Task<T>()> make) {
  std::optional<T> value;
  run([&]() -> Task<void> { value.emplace(co_await make()); });
  return std::move(*value);
}

}  // namespace brume::test
