// Clock: time as a seam, so that tests drive it.
#pragma once

#include <chrono>

#include "brume/base/task_fwd.h"
#include "brume/base/time.h"

namespace brume {

/// Wall and steady time, and waiting. Thread-safe. Real code takes a Clock& and never calls std::chrono's now().
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual WallTime now() const = 0;
  [[nodiscard]] virtual std::chrono::steady_clock::time_point steady() const = 0;
  /// Suspends the calling task for `duration`; cancellable.
  virtual Task<void> sleep(std::chrono::steady_clock::duration duration) = 0;
};

/// The machine's clocks.
Clock& system_clock();

}  // namespace brume
