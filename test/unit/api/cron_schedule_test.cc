#include "brume/api/cron_schedule.h"

#include <vector>

#include "catch.h"
#include "support/tzif.h"

using namespace brume;
using namespace brume::api;
using namespace brume::test;

namespace {

TimeZonePtr zone(const std::string& bytes) { return TimeZone::parse(bytes).value(); }

/// The next `count` times after `after`, in the zone.
std::vector<std::string> times(const char* text, const char* after, int count, const TimeZonePtr& z = TimeZone::utc()) {
  auto schedule = CronSchedule::parse(text, z);
  REQUIRE(schedule);
  auto time = *parse_rfc3339(after);
  std::vector<std::string> out;
  for (int i = 0; i < count; ++i) {
    const auto next = schedule->next(time);
    if (!next) {
      out.emplace_back("none");
      break;
    }
    out.push_back(z->format_rfc3339(*next));
    time = *next;
  }
  return out;
}
std::string after(const char* text, const char* time, const TimeZonePtr& z = TimeZone::utc()) {
  return times(text, time, 1, z).front();
}

std::string fault(std::string_view text) {
  const auto parsed = CronSchedule::parse(text, TimeZone::utc());
  return parsed ? std::string("fine") : parsed.error().message;
}

using Times = std::vector<std::string>;

}  // namespace

TEST_CASE("schedules: fields") {
  CHECK(times("*/15 * * * *", "2026-01-01T00:00:00Z", 3) ==
        Times{"2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z", "2026-01-01T00:45:00Z"});
  CHECK(after("0/15 * * * *", "2026-01-01T00:46:00Z") == "2026-01-01T01:00:00Z");
  CHECK(after("20-35/15 * * * *", "2026-01-01T00:20:00Z") == "2026-01-01T00:35:00Z");
  CHECK(after("5,3,4 0 * * *", "2026-01-01T00:03:00Z") == "2026-01-01T00:04:00Z");
  CHECK(after("0 12 * JAN-mar Mon", "2026-03-31T00:00:00Z") == "2027-01-04T12:00:00Z");
  CHECK(after("0 0 31 * *", "2026-04-01T00:00:00Z") == "2026-05-31T00:00:00Z");
  CHECK(after("0 0 29 2 *", "2026-01-01T00:00:00Z") == "2028-02-29T00:00:00Z");
  CHECK(after("59 23 31 2 *", "2026-01-01T00:00:00Z") == "none");
  CHECK(after(", * * * *", "2026-01-01T00:00:00Z") == "none");
  CHECK(after("0 0 ? * ?", "2026-01-01T00:00:00Z") == "2026-01-02T00:00:00Z");
  // Both days given: either will do; one of them a star: both must.
  CHECK(times("0 0 15 * mon", "2026-01-10T00:00:00Z", 2) == Times{"2026-01-12T00:00:00Z", "2026-01-15T00:00:00Z"});
  CHECK(after("0 0 * * mon", "2026-01-13T00:00:00Z") == "2026-01-19T00:00:00Z");
  CHECK(after("0 0 */2 * mon", "2026-01-12T00:00:00Z") == "2026-01-13T00:00:00Z");
  CHECK(after("30 6-16/4 * * 1-5", "2026-01-02T14:30:00Z") == "2026-01-05T06:30:00Z");
  // The moment itself does not count, a fraction before it does.
  CHECK(after("* * * * *", "2026-01-01T00:00:00Z") == "2026-01-01T00:01:00Z");
  CHECK(after("* * * * *", "2026-01-01T00:00:59.999Z") == "2026-01-01T00:01:00Z");
}

TEST_CASE("schedules: descriptors") {
  const char* now = "2026-05-06T07:08:09Z";
  CHECK(after("@yearly", now) == "2027-01-01T00:00:00Z");
  CHECK(after("@annually", now) == "2027-01-01T00:00:00Z");
  CHECK(after("@monthly", now) == "2026-06-01T00:00:00Z");
  CHECK(after("@weekly", now) == "2026-05-10T00:00:00Z");
  CHECK(after("@daily", now) == "2026-05-07T00:00:00Z");
  CHECK(after("@midnight", now) == "2026-05-07T00:00:00Z");
  CHECK(after("@hourly", now) == "2026-05-06T08:00:00Z");
  CHECK(after("@every 1h30m", now) == "2026-05-06T08:38:09Z");
  CHECK(after("@every 1.5m", "2026-05-06T07:08:09.7Z") == "2026-05-06T07:09:39Z");
  CHECK(after("@every 10ms", now) == "2026-05-06T07:08:10Z");
  CHECK(after("@every -5s", now) == "2026-05-06T07:08:10Z");
}

TEST_CASE("schedules: what is no schedule") {
  CHECK(fault("") == "empty spec string");
  CHECK(fault("* * * *") == "expected exactly 5 fields, found 4: [* * * *]");
  CHECK(fault("  *  * *\t* * *") == "expected exactly 5 fields, found 6: [* * * * * *]");
  CHECK(fault("60 * * * *") == "end of range (60) above maximum (59): 60");
  CHECK(fault("* * 0 * *") == "beginning of range (0) below minimum (1): 0");
  CHECK(fault("* 5-3 * * *") == "beginning of range (5) beyond end of range (3): 5-3");
  CHECK(fault("* * * * 7") == "end of range (7) above maximum (6): 7");
  CHECK(fault("*/0 * * * *") == "step of range should be a positive number: */0");
  CHECK(fault("1-2-3 * * * *") == "too many hyphens: 1-2-3");
  CHECK(fault("1/2/3 * * * *") == "too many slashes: 1/2/3");
  CHECK(fault("x * * * *") == "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax");
  CHECK(fault("* * * foo *") == "failed to parse int from foo: strconv.Atoi: parsing \"foo\": invalid syntax");
  CHECK(fault("-1 * * * *") == "failed to parse int from : strconv.Atoi: parsing \"\": invalid syntax");
  CHECK(fault("*/99999999999999999999 * * * *") ==
        "failed to parse int from 99999999999999999999: strconv.Atoi: parsing \"99999999999999999999\": value out of "
        "range");
  CHECK(fault("*/-3 * * * *") == "negative number (-3) not allowed: -3");
  CHECK(fault("*/9223372036854775807 * * * *") == "fine");
  CHECK(fault("+5 007 * * *") == "fine");
  CHECK(fault("@noon") == "unrecognized descriptor: @noon");
  CHECK(fault("@every") == "unrecognized descriptor: @every");
  CHECK(fault("@every x") == "failed to parse duration @every x: time: invalid duration \"x\"");
  CHECK(fault("@every 5") == "failed to parse duration @every 5: time: missing unit in duration \"5\"");
  CHECK(fault("@every 5d") == "failed to parse duration @every 5d: time: unknown unit \"d\" in duration \"5d\"");
  CHECK(fault("TZ=0") == "invalid schedule format: runtime error: slice bounds out of range [:-1]");
  CHECK(fault("TZ=UTC * * * * *") == "fine");
  CHECK(fault("CRON_TZ=Nowhere/Land * * * * *") ==
        "provided bad location Nowhere/Land: unknown time zone Nowhere/Land");
}

// As robfig/cron's own tests have it.
TEST_CASE("schedules: the clock goes forward") {
  const auto new_york = zone(tzif_new_york());
  // What the skipped hour would have run waits for the next day; what runs each hour goes on.
  CHECK(times("30 2 * * *", "2012-03-10T12:00:00-05:00", 2, new_york) ==
        Times{"2012-03-12T02:30:00-04:00", "2012-03-13T02:30:00-04:00"});
  CHECK(after("30 2 11 3 ?", "2012-03-11T00:00:00-05:00", new_york) == "2013-03-11T02:30:00-04:00");
  CHECK(times("0 * * * *", "2012-03-11T00:00:00-05:00", 4, new_york) ==
        Times{"2012-03-11T01:00:00-05:00", "2012-03-11T03:00:00-04:00", "2012-03-11T04:00:00-04:00",
              "2012-03-11T05:00:00-04:00"});
  CHECK(after("@every 90m", "2012-03-11T01:00:00-05:00", new_york) == "2012-03-11T03:30:00-04:00");
  CHECK(times("0 1 * * *", "2012-03-10T12:00:00-05:00", 2, new_york) ==
        Times{"2012-03-11T01:00:00-05:00", "2012-03-12T01:00:00-04:00"});
}

TEST_CASE("schedules: the clock goes back") {
  const auto new_york = zone(tzif_new_york());
  CHECK(times("0 * * * *", "2012-11-04T00:00:00-04:00", 3, new_york) ==
        Times{"2012-11-04T01:00:00-04:00", "2012-11-04T01:00:00-05:00", "2012-11-04T02:00:00-05:00"});
  CHECK(times("30 1 * * *", "2012-11-04T00:00:00-04:00", 3, new_york) ==
        Times{"2012-11-04T01:30:00-04:00", "2012-11-04T01:30:00-05:00", "2012-11-05T01:30:00-05:00"});
  CHECK(after("30 2 4 11 ?", "2012-11-04T00:00:00-04:00", new_york) == "2012-11-04T02:30:00-05:00");
  CHECK(times("0 2 * * *", "2012-11-03T12:00:00-04:00", 2, new_york) ==
        Times{"2012-11-04T02:00:00-05:00", "2012-11-05T02:00:00-05:00"});
}

TEST_CASE("schedules: a midnight that does not exist") {
  const auto sao_paulo = zone(tzif_sao_paulo());
  CHECK(after("0 9 10 * ?", "2018-10-17T05:00:00-04:00", sao_paulo) == "2018-11-10T09:00:00-02:00");
  CHECK(after("0 9 22 * ?", "2018-02-14T05:00:00-05:00", sao_paulo) == "2018-02-22T09:00:00-03:00");
  CHECK(times("0 0 * * *", "2018-11-02T12:00:00-03:00", 2, sao_paulo) ==
        Times{"2018-11-03T00:00:00-03:00", "2018-11-05T00:00:00-02:00"});
}

TEST_CASE("schedules: a day that does not exist") {
  // Apia went from one side of the date line to the other and had no 30th of December 2011.
  const auto apia = zone(tzif({{-36000, false}, {50400, false}}, {{1325239200, 1}}));
  CHECK(times("0 0 * * *", "2011-12-28T12:00:00-10:00", 3, apia) ==
        Times{"2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"});
  CHECK(after("0 0 31 12 *", "2011-12-01T00:00:00-10:00", apia) == "2011-12-31T00:00:00+14:00");
}
