// When a CronJob's next Job is due.
#include "cronjob_times.h"

#include "catch.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

WallTime at(const char* text) {
  const auto time = parse_rfc3339(text);
  REQUIRE(time);
  return *time;
}

struct Asked {
  const char* schedule = "0 * * * *";
  const char* created = "2026-01-01T10:00:00Z";
  const char* last = nullptr;
  std::optional<std::int64_t> deadline = {};
};

CronTimes times_of(const Asked& asked) {
  CronTimes times{.created = at(asked.created), .last_scheduled = {}, .starting_deadline_seconds = asked.deadline};
  if (asked.last != nullptr) times.last_scheduled = at(asked.last);
  return times;
}
api::CronSchedule schedule_of(const Asked& asked) {
  auto schedule = api::CronSchedule::parse(asked.schedule, TimeZone::utc());
  REQUIRE(schedule);
  return *schedule;
}

std::string due(const Asked& asked, const char* now, Missed missed = Missed::kNone) {
  const auto recent = most_recent_time(times_of(asked), schedule_of(asked), at(now), true);
  CHECK(recent.missed == missed);
  if (!recent.fault.empty()) return recent.fault;
  return recent.time ? format_rfc3339(*recent.time) : "none";
}
std::string look(const Asked& asked, const char* now) {
  const auto next = next_look(times_of(asked), schedule_of(asked), at(now));
  if (!next) return "never";
  CHECK(*next - std::chrono::floor<std::chrono::seconds>(*next) == 100ms);
  return format_rfc3339(*next);
}

}  // namespace

TEST_CASE("the time that is due") {
  CHECK(due({}, "2026-01-01T10:59:59Z") == "none");
  CHECK(due({}, "2026-01-01T11:00:00Z") == "2026-01-01T11:00:00Z");
  CHECK(due({}, "2026-01-01T11:59:00Z") == "2026-01-01T11:00:00Z");
  CHECK(due({.last = "2026-01-01T11:00:00Z"}, "2026-01-01T11:30:00Z") == "none");
  CHECK(due({.last = "2026-01-01T11:00:00Z"}, "2026-01-01T12:00:00.1Z") == "2026-01-01T12:00:00Z");
}

TEST_CASE("of several that were missed the last is due") {
  CHECK(due({}, "2026-01-01T13:30:00Z", Missed::kFew) == "2026-01-01T13:00:00Z");
  CHECK(due({}, "2026-01-05T13:30:00Z", Missed::kFew) == "2026-01-05T13:00:00Z");
  CHECK(due({}, "2026-01-05T15:30:00Z", Missed::kMany) == "2026-01-05T15:00:00Z");
  CHECK(due({.schedule = "* * * * *"}, "2036-01-01T00:00:30Z", Missed::kMany) == "2036-01-01T00:00:00Z");
  CHECK(due({.schedule = "30 6-16/4 * * 1-5", .last = "2026-01-02T14:30:00Z"}, "2026-01-06T12:00:00Z", Missed::kFew) ==
        "2026-01-06T10:30:00Z");
  CHECK(due({.schedule = "@every 1h"}, "2026-01-01T14:59:00Z", Missed::kFew) == "2026-01-01T14:00:00Z");
  CHECK(due({.schedule = "@every 1h", .created = "2026-01-01T10:07:11Z"}, "2026-01-01T14:59:00Z", Missed::kFew) ==
        "2026-01-01T14:07:11Z");
}

TEST_CASE("a deadline rules out what is older") {
  CHECK(due({.deadline = 600}, "2026-01-01T13:05:00Z") == "2026-01-01T13:00:00Z");
  CHECK(due({.deadline = 600}, "2026-01-01T13:15:00Z") == "none");
  CHECK(due({.deadline = 1'000'000'000'000}, "2026-01-01T11:15:00Z") == "2026-01-01T11:00:00Z");
  CHECK(look({.deadline = 600}, "2026-01-01T13:15:00Z") == "2026-01-01T14:00:00Z");
}

TEST_CASE("a schedule without times") {
  CHECK(due({.schedule = "59 23 31 2 *"}, "2026-01-01T13:05:00Z") ==
        "time difference between two schedules is less than 1 second");
  CHECK(look({.schedule = "59 23 31 2 *"}, "2026-01-01T13:05:00Z") == "never");
}

TEST_CASE("when to look again") {
  CHECK(look({}, "2026-01-01T10:30:00Z") == "2026-01-01T11:00:00Z");
  CHECK(look({}, "2026-01-01T11:00:00.2Z") == "2026-01-01T12:00:00Z");
  CHECK(look({}, "2026-01-05T15:30:00Z") == "2026-01-05T16:00:00Z");
  CHECK(look({.last = "2026-01-01T11:00:00Z"}, "2026-01-01T11:00:00.2Z") == "2026-01-01T12:00:00Z");
  CHECK(look({.schedule = "@every 1h", .created = "2026-01-01T10:07:11Z"}, "2026-01-01T14:59:00Z") ==
        "2026-01-01T15:07:11Z");
}

TEST_CASE("a clock that was put back by a little runs nothing again") {
  CHECK(due({.last = "2026-01-01T12:00:00Z"}, "2026-01-01T11:30:00Z") == "none");
  CHECK(look({.last = "2026-01-01T12:00:00Z"}, "2026-01-01T11:30:00Z") == "2026-01-01T13:00:00Z");
}
