// CronSchedule: when a CronJob runs, in the form that Kubernetes takes.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "brume/base/result.h"
#include "brume/base/time.h"
#include "brume/base/time_zone.h"

namespace brume::api {

/// Five fields (minute, hour, day of month, month, day of week) with names, ranges, steps and lists, or @yearly,
/// @monthly, @weekly, @daily, @hourly, @every DURATION; before them may stand TZ=ZONE or CRON_TZ=ZONE. Form, times and
/// messages are those of robfig/cron's ParseStandard, also where local time is skipped or repeated. Immutable.
class CronSchedule {
 public:
  /// `zone` is where the fields are meant unless the text names another.
  static Result<CronSchedule> parse(std::string_view text, TimeZonePtr zone);

  /// The first time after `after`; nothing when there is none within five years.
  [[nodiscard]] std::optional<std::chrono::sys_seconds> next(WallTime after) const;

 private:
  CronSchedule() = default;
  static Result<CronSchedule> parse_descriptor(std::string_view text, TimeZonePtr zone);
  [[nodiscard]] std::optional<std::chrono::sys_seconds> next_by_fields(std::chrono::sys_seconds time) const;
  [[nodiscard]] bool day_matches(std::chrono::local_seconds time) const;

  // A bit for each value that counts; the highest bit when a field was given as a star.
  std::uint64_t minute_ = 0, hour_ = 0, day_ = 0, month_ = 0, weekday_ = 0;
  std::chrono::seconds every_{};  // not zero: of @every
  TimeZonePtr zone_;
};

}  // namespace brume::api
