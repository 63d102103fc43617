// Alarm: one deadline of a component on a Clock. Setting it again replaces it.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include "brume/base/clock.h"
#include "brume/base/task.h"

namespace brume::node {

/// Owner: one loop. stop() before destruction.
class Alarm {
 public:
  Alarm(const Executor& executor, Clock& clock, std::function<void()> fire)
      : group_(executor), clock_(clock), fire_(std::move(fire)) {}

  /// Fires at `when`, unless it is set anew or cleared before. The same time again costs nothing.
  void set(std::chrono::steady_clock::time_point when) {
    if (when_ == when) return;
    group_.cancel();
    when_ = when;
    group_.spawn("alarm", wait(this, when));
  }
  void clear() {
    when_.reset();
    group_.cancel();
  }
  Task<void> stop() { co_await group_.stop(); }

 private:
  static Task<void> wait(Alarm* self, std::chrono::steady_clock::time_point when) {
    co_await self->clock_.sleep(when - self->clock_.steady());
    if (self->when_ != when) co_return;
    self->when_.reset();
    self->fire_();
  }

  TaskGroup group_;
  Clock& clock_;
  std::function<void()> fire_;
  std::optional<std::chrono::steady_clock::time_point> when_;
};

}  // namespace brume::node
