// Which of a CronJob's times are due: pure functions of its times and the clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "brume/api/cron_schedule.h"
#include "brume/base/time.h"

namespace brume::controller {

/// What of a CronJob its next time depends on.
struct CronTimes {
  WallTime created;
  std::optional<WallTime> last_scheduled;
  std::optional<std::int64_t> starting_deadline_seconds;
};

enum class Missed : std::uint8_t { kNone, kFew, kMany };  ///< kMany: more than 100

struct MostRecent {
  WallTime earliest;             ///< times after it count
  std::optional<WallTime> time;  ///< the last that should have begun a Job; nothing when none is due
  Missed missed = Missed::kNone;
  std::string fault = {};  ///< the schedule has no times, such as February 31st
};

/// `with_deadline`: times that startingDeadlineSeconds rule out do not count.
MostRecent most_recent_time(const CronTimes& times, const api::CronSchedule& schedule, WallTime now,
                            bool with_deadline);

/// When to look again: a moment after the next time. Nothing when there is none.
std::optional<WallTime> next_look(const CronTimes& times, const api::CronSchedule& schedule, WallTime now);

}  // namespace brume::controller
