#include "brume/base/clock.h"

#include "brume/base/task.h"

namespace brume {

namespace {

class SystemClock final : public Clock {
 public:
  WallTime now() const override { return std::chrono::system_clock::now(); }
  std::chrono::steady_clock::time_point steady() const override { return std::chrono::steady_clock::now(); }
  Task<void> sleep(std::chrono::steady_clock::duration duration) override { return sleep_for(duration); }
};

}  // namespace

Clock& system_clock() {
  static SystemClock clock;
  return clock;
}

}  // namespace brume
