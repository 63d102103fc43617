// Schedules: what parses gives times that go forward.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "brume/api/cron_schedule.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using brume::WallTime;
  const auto schedule = brume::api::CronSchedule::parse(std::string_view(reinterpret_cast<const char*>(data), size),
                                                        brume::TimeZone::utc());
  if (!schedule) return 0;
  constexpr int kSteps = 3;
  WallTime time{std::chrono::milliseconds(1'767'225'600'500)};
  for (int i = 0; i < kSteps; ++i) {
    const auto next = schedule->next(time);
    if (!next) break;
    if (WallTime(*next) <= time) std::abort();
    if (*next > std::chrono::sys_days(std::chrono::year(2100) / 1 / 1)) break;
    time = *next;
  }
  return 0;
}
