// Template parts of task.h that need co_spawn; include task.h, not this.
#pragma once

#include <exception>
#include <utility>

namespace brume::detail {
/// Spawns on `executor`, calls `done` there when the task has ended; an escaping exception aborts the process.
void spawn_detached(const Executor& executor, Task<void> task, std::move_only_function<void()> done);
}  // namespace brume::detail

namespace brume {

template <typename T>
Task<T> on_loop(Executor executor, std::function<Task<T>()> task) {
  if constexpr (std::is_void_v<T>) {
    co_await await_callback([executor, task = std::move(task)](std::move_only_function<void()> done) mutable {
      auto run = [](std::function<Task<void>()> body) -> Task<void> { co_await body(); };
      detail::spawn_detached(executor, run(std::move(task)), std::move(done));
    });
  } else {
    auto slot = std::make_shared<detail::BlockingSlot<T>>();
    co_await await_callback([executor, slot, task = std::move(task)](std::move_only_function<void()> done) mutable {
      auto run = [](std::shared_ptr<detail::BlockingSlot<T>> out, std::function<Task<T>()> body) -> Task<void> {
        T value = co_await body();
        out->value.emplace(std::move(value));
      };
      detail::spawn_detached(executor, run(slot, std::move(task)), std::move(done));
    });
    co_return std::move(*slot->value);  // NOLINT(bugprone-unchecked-optional-access): the task has ended
  }
}

}  // namespace brume
