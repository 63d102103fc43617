#include "brume/base/time_zone.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "brume/base/random.h"
#include "brume/base/time.h"
#include "catch.h"
#include "support/tzif.h"

using namespace brume;
using namespace brume::test;
using std::chrono::local_seconds;
using std::chrono::seconds;
using std::chrono::sys_seconds;

namespace {

TimeZonePtr zone(const std::string& bytes) {
  auto parsed = TimeZone::parse(bytes);
  REQUIRE(parsed);
  return *parsed;
}

sys_seconds at(const char* text) {
  const auto time = parse_rfc3339(text);
  REQUIRE(time);
  return std::chrono::floor<seconds>(*time);
}
/// A local time, written without its offset.
local_seconds local(const char* text) {
  return local_seconds(at((std::string(text) + "Z").c_str()).time_since_epoch());
}

std::string shown(const TimeZonePtr& z, const char* utc) { return z->format_rfc3339(at(utc)); }
std::string meant(const TimeZonePtr& z, const char* text) { return z->format_rfc3339(z->to_sys(local(text))); }

}  // namespace

TEST_CASE("a zone's rules for the years to come") {
  const auto berlin = zone(tzif_berlin());
  CHECK(shown(berlin, "2026-03-29T00:59:59Z") == "2026-03-29T01:59:59+01:00");
  CHECK(shown(berlin, "2026-03-29T01:00:00Z") == "2026-03-29T03:00:00+02:00");
  CHECK(shown(berlin, "2026-10-25T00:59:59Z") == "2026-10-25T02:59:59+02:00");
  CHECK(shown(berlin, "2026-10-25T01:00:00Z") == "2026-10-25T02:00:00+01:00");
  CHECK(shown(berlin, "2100-07-01T00:00:00Z") == "2100-07-01T02:00:00+02:00");
  const auto new_york = zone(tzif_new_york());
  CHECK(shown(new_york, "2026-03-08T06:59:59Z") == "2026-03-08T01:59:59-05:00");
  CHECK(shown(new_york, "2026-03-08T07:00:00Z") == "2026-03-08T03:00:00-04:00");
  CHECK(shown(new_york, "2026-11-01T06:00:00Z") == "2026-11-01T01:00:00-05:00");
  // Summer spans the end of the year; the rule of Jn; an hour that is no whole one.
  const auto sydney = zone(tzif({{36000, false}}, {}, "AEST-10AEDT,M10.1.0,M4.1.0/3"));
  CHECK(shown(sydney, "2026-01-01T00:00:00Z") == "2026-01-01T11:00:00+11:00");
  CHECK(shown(sydney, "2026-07-01T00:00:00Z") == "2026-07-01T10:00:00+10:00");
  const auto julian = zone(tzif({{0, false}}, {}, "AAA0BBB-0:30,J60/0,J61/24"));
  CHECK(shown(julian, "2028-02-29T12:00:00Z") == "2028-02-29T12:00:00Z");
  CHECK(shown(julian, "2028-03-01T12:00:00Z") == "2028-03-01T12:30:00+00:30");
  CHECK(shown(julian, "2028-03-03T00:00:00Z") == "2028-03-03T00:00:00Z");
  const auto zero = zone(tzif({{0, false}}, {}, "AAA0BBB,59,60"));
  CHECK(shown(zero, "2028-02-29T12:00:00Z") == "2028-02-29T13:00:00+01:00");
  CHECK(shown(zone(tzif({{0, false}}, {}, "<+0545>-5:45")), "2026-01-01T00:00:00Z") == "2026-01-01T05:45:00+05:45");
}

TEST_CASE("a zone's transitions") {
  const auto sao_paulo = zone(tzif_sao_paulo());
  CHECK(shown(sao_paulo, "2018-11-04T02:59:59Z") == "2018-11-03T23:59:59-03:00");
  CHECK(shown(sao_paulo, "2018-11-04T03:00:00Z") == "2018-11-04T01:00:00-02:00");
  CHECK(shown(sao_paulo, "2026-01-01T00:00:00Z") == "2025-12-31T21:00:00-03:00");
  CHECK(shown(sao_paulo, "1990-01-01T00:00:00Z") == "1989-12-31T21:00:00-03:00");  // the first kind without summer time
  const auto old = zone(tzif({{3600, false}, {7200, true}}, {{1000, 1}, {2000, 0}}, "", false));
  CHECK(shown(old, "1970-01-01T00:00:00Z") == "1970-01-01T01:00:00+01:00");
  CHECK(shown(old, "1970-01-01T00:20:00Z") == "1970-01-01T02:20:00+02:00");
  CHECK(shown(old, "2026-01-01T00:00:00Z") == "2026-01-01T01:00:00+01:00");
  const auto period = old->at(sys_seconds(seconds(1500)));
  CHECK(period.begin == sys_seconds(seconds(1000)));
  CHECK(period.end == sys_seconds(seconds(2000)));
}

TEST_CASE("local times that are skipped, and that come twice") {
  const auto berlin = zone(tzif_berlin());
  CHECK(meant(berlin, "2026-06-01T12:00:00") == "2026-06-01T12:00:00+02:00");
  CHECK(meant(berlin, "2026-03-29T02:30:00") == "2026-03-29T03:30:00+02:00");
  CHECK(meant(berlin, "2026-10-25T02:30:00") == "2026-10-25T02:30:00+01:00");
  const auto new_york = zone(tzif_new_york());
  CHECK(meant(new_york, "2026-03-08T02:30:00") == "2026-03-08T01:30:00-05:00");
  CHECK(meant(new_york, "2026-11-01T01:30:00") == "2026-11-01T01:30:00-04:00");
}

TEST_CASE("files that are no zones") {
  const auto bad = [](const std::string& bytes) {
    const auto parsed = TimeZone::parse(bytes);
    return parsed ? std::string("fine") : parsed.error().message;
  };
  const std::string sound = tzif({{3600, false}, {7200, true}}, {{1000, 1}, {2000, 0}}, "CET-1");
  CHECK(bad(sound) == "fine");
  CHECK(bad("") == "malformed time zone information");
  CHECK(bad("TZjf" + sound.substr(4)) == "malformed time zone information");
  for (std::size_t length = 0; length < sound.size() - 7; ++length) {
    INFO(length);
    CHECK(bad(sound.substr(0, length)) == "malformed time zone information");
  }
  CHECK(bad(tzif({{3600, false}}, {{1000, 1}})) == "malformed time zone information");            // no such kind
  CHECK(bad(tzif({{3600, false}}, {{1000, 0}, {900, 0}})) == "malformed time zone information");  // out of order
  CHECK(bad(tzif({{200'000, false}}, {})) == "malformed time zone information");                  // no such offset
  CHECK(bad(tzif({}, {})) == "malformed time zone information");
  // A footer that cannot be read is as good as none.
  for (const char* footer :
       {"X", "AAA", "AAA99999", "AAA0BBB,M13.1.0,M1.1.0", "AAA0BBB,M1.1.0", "<AAA0", "AAA0BBB,J0,J1"}) {
    INFO(footer);
    CHECK(shown(zone(tzif({{3600, false}}, {}, footer)), "2026-01-01T00:00:00Z") == "2026-01-01T01:00:00+01:00");
  }
}

TEST_CASE("names of zones") {
  CHECK((*TimeZone::load(""))->at({}).offset == seconds(0));
  CHECK((*TimeZone::load("UTC"))->at({}).offset == seconds(0));
  CHECK(TimeZone::load("Nowhere/Land").error().message == "unknown time zone Nowhere/Land");
  for (const char* name : {"../etc/passwd", "/etc/localtime", "a/../../x", "a\\b"}) {
    CHECK(TimeZone::load(name).error().message == "time: invalid location name");
  }
}

TEST_CASE("the machine's own zone") {
  const char* before = std::getenv("TZ");
  const std::string kept = before != nullptr ? before : "";
  setenv("TZ", "UTC", 1);
  CHECK(TimeZone::local()->at({}).offset == seconds(0));
  setenv("TZ", "Nowhere/Land", 1);
  CHECK(TimeZone::local()->at({}).offset == seconds(0));
  setenv("TZ", ":/nowhere", 1);
  CHECK(TimeZone::local()->at({}).offset == seconds(0));
  before != nullptr ? setenv("TZ", kept.c_str(), 1) : unsetenv("TZ");
}

TEST_CASE("a zone's file is small and a file") {
  namespace fs = std::filesystem;
  const char* before = std::getenv("TZ");
  const std::string kept = before != nullptr ? before : "";
  const fs::path dir = fs::temp_directory_path() / ("brume-zone-" + random_suffix(8));
  fs::create_directories(dir);
  const auto offset_by = [&](const fs::path& path) {
    setenv("TZ", (":" + path.string()).c_str(), 1);
    return TimeZone::local()->at({}).offset;
  };
  const std::string bytes = tzif({{3600, false}}, {}, "");
  std::ofstream(dir / "good") << bytes;
  CHECK(offset_by(dir / "good") == seconds(3600));
  std::ofstream(dir / "large") << bytes << std::string(64 << 10, '\n');
  CHECK(offset_by(dir / "large") == seconds(0));
  std::ofstream(dir / "empty") << "";
  CHECK(offset_by(dir / "empty") == seconds(0));
  CHECK(offset_by(dir) == seconds(0));
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK(offset_by(dir / "pipe") == seconds(0));  // which nobody writes: a reader would wait for ever
  before != nullptr ? setenv("TZ", kept.c_str(), 1) : unsetenv("TZ");
  fs::remove_all(dir);
}
