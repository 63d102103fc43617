#include "cronjob_times.h"

#include <algorithm>
#include "controller.h"

namespace brume::controller {

using std::chrono::duration_cast;
using std::chrono::seconds;

namespace {

constexpr std::int64_t kManyMissed = 100;
// So that a clock which is behind by a little does not find its time not come yet.
constexpr auto kPadding = std::chrono::milliseconds(100);

WallTime earliest_time(const CronTimes& times, WallTime now, bool with_deadline) {
  auto earliest = times.last_scheduled.value_or(times.created);
  if (with_deadline && times.starting_deadline_seconds) {
    earliest = std::max(earliest, now - seconds(std::min(*times.starting_deadline_seconds, kMostSeconds)));
  }
  return earliest;
}

}  // namespace

MostRecent most_recent_time(const CronTimes& times, const api::CronSchedule& schedule, WallTime now,
                            bool with_deadline) {
  MostRecent out{.earliest = earliest_time(times, now, with_deadline)};
  const auto first = schedule.next(out.earliest);
  if (first && now < *first) return out;
  const auto second = first ? schedule.next(*first) : std::nullopt;
  if (second && now < *second) {
    out.time = *first;
    return out;
  }
  if (!first || !second || *second - *first < seconds(1)) {
    out.fault = "time difference between two schedules is less than 1 second";
    return out;
  }
  const auto between = *second - *first;
  // As many times as would fit if all were as far apart as the first two, which may be wrong; so the search for the
  // last one begins earlier, a whole number of these steps after the first, for @every counts from there.
  const auto missed = duration_cast<seconds>(now - *first) / between + 1;
  const auto begin = WallTime(*first) + (missed - 2) * between;
  for (auto time = schedule.next(begin); time && *time <= now; time = schedule.next(*time)) out.time = *time;
  out.missed = missed > kManyMissed ? Missed::kMany : Missed::kFew;
  return out;
}

std::optional<WallTime> next_look(const CronTimes& times, const api::CronSchedule& schedule, WallTime now) {
  const auto recent = most_recent_time(times, schedule, now, false);
  auto from = recent.time.value_or(recent.missed == Missed::kNone ? recent.earliest : now);
  if (!recent.fault.empty()) from = now;
  const auto next = schedule.next(from);
  return next ? std::optional<WallTime>(WallTime(*next) + kPadding) : std::nullopt;
}

}  // namespace brume::controller
