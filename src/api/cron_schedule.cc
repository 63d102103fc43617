#include "brume/api/cron_schedule.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "api/validation/errors.h"
#include "brume/base/strings.h"

namespace brume::api {

using std::chrono::local_seconds;
using std::chrono::seconds;
using std::chrono::sys_seconds;
using validation::quote;

namespace {

constexpr std::uint64_t kStar = std::uint64_t{1} << 63;

struct Bounds {
  std::int64_t low = 0, high = 0;
  std::array<std::string_view, 12> names = {};  // of `low` and those after it
};
constexpr Bounds kMinutes{0, 59};
constexpr Bounds kHours{0, 23};
constexpr Bounds kDays{1, 31};
constexpr Bounds kMonths{1, 12, {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}};
constexpr Bounds kWeekdays{0, 6, {"sun", "mon", "tue", "wed", "thu", "fri", "sat"}};

std::uint64_t bit(std::int64_t n) { return std::uint64_t{1} << n; }

std::uint64_t bits(std::int64_t low, std::int64_t high, std::int64_t step) {
  std::uint64_t out = 0;
  for (auto i = low; i <= high; i += step) out |= bit(i);
  return out;
}

std::uint64_t all(const Bounds& bounds) { return bits(bounds.low, bounds.high, 1) | kStar; }

// Numbers and ranges -------------------------------------------------------------------------------------------------

Result<std::int64_t> parse_number(std::string_view text) {
  const auto bad = [&](const char* why) {
    return fail(Code::kInvalid, "failed to parse int from " + std::string(text) + ": strconv.Atoi: parsing " +
                                    quote(text) + ": " + why);
  };
  auto digits = text;
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  const bool sound =
      !digits.empty() && std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!sound) return bad("invalid syntax");
  constexpr std::size_t kMostDigits = 19;
  const auto first = std::min(digits.find_first_not_of('0'), digits.size() - 1);
  const auto value = digits.size() - first > kMostDigits ? std::nullopt : parse_int(digits.substr(first));
  if (!value) return bad("value out of range");
  if (negative && *value > 0) {
    return fail(Code::kInvalid, "negative number (-" + std::to_string(*value) + ") not allowed: " + std::string(text));
  }
  return *value;
}

Result<std::int64_t> parse_value(std::string_view text, const Bounds& bounds) {
  const std::string lower = to_lower(text);
  for (std::size_t i = 0; i < bounds.names.size() && !lower.empty(); ++i) {
    if (bounds.names[i] == lower) return bounds.low + static_cast<std::int64_t>(i);
  }
  return parse_number(text);
}

// *, ?, n, n-m, each with or without /step.
Result<std::uint64_t> parse_range(std::string_view text, const Bounds& bounds) {
  const std::string whole(text);
  const auto invalid = [&](const std::string& why) { return fail(Code::kInvalid, why + ": " + whole); };
  const auto parts = split(text, '/');
  const auto limits = split(parts[0], '-');
  auto low = bounds.low, high = bounds.high;
  std::uint64_t star = 0;
  if (limits[0] == "*" || limits[0] == "?") {
    star = kStar;
  } else {
    BRUME_TRY(low, parse_value(limits[0], bounds));
    high = low;
    if (limits.size() > 2) return invalid("too many hyphens");
    if (limits.size() == 2) {
      BRUME_TRY(high, parse_value(limits[1], bounds));
    }
  }
  std::int64_t step = 1;
  if (parts.size() > 2) return invalid("too many slashes");
  if (parts.size() == 2) {
    BRUME_TRY(step, parse_number(parts[1]));
    if (limits.size() == 1) high = bounds.high;  // n/step is n-max/step
    if (step > 1) star = 0;
  }
  const auto number = [](std::int64_t n) { return "(" + std::to_string(n) + ")"; };
  if (low < bounds.low) return invalid("beginning of range " + number(low) + " below minimum " + number(bounds.low));
  if (high > bounds.high) return invalid("end of range " + number(high) + " above maximum " + number(bounds.high));
  if (low > high) return invalid("beginning of range " + number(low) + " beyond end of range " + number(high));
  if (step == 0) return invalid("step of range should be a positive number");
  return bits(low, high, std::min<std::int64_t>(step, 64)) | star;
}

Result<std::uint64_t> parse_field(std::string_view text, const Bounds& bounds) {
  std::uint64_t out = 0;
  for (const auto part : split(text, ',')) {
    if (part.empty()) continue;
    BRUME_TRY(const auto range, parse_range(part, bounds));
    out |= range;
  }
  return out;
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> out;
  std::string word;
  for (const char c : text) {
    if (std::string_view(" \t\n\v\f\r").find(c) == std::string_view::npos) {
      word += c;
    } else if (!word.empty()) {
      out.push_back(std::exchange(word, {}));
    }
  }
  if (!word.empty()) out.push_back(word);
  return out;
}

// Durations ----------------------------------------------------------------------------------------------------------

struct Unit {
  std::string_view name;
  double nanoseconds;
};
constexpr std::array<Unit, 8> kUnits = {Unit{"ns", 1},   Unit{"us", 1e3}, Unit{"\u00b5s", 1e3}, Unit{"\u03bcs", 1e3},
                                        Unit{"ms", 1e6}, Unit{"s", 1e9},  Unit{"m", 60e9},      Unit{"h", 3600e9}};

// Go's time.ParseDuration, in whole seconds: 1h30m, 1.5h.
Result<seconds> parse_duration(std::string_view text) {
  const auto bad = [&](const std::string& why) { return fail(Code::kInvalid, "time: " + why + " " + quote(text)); };
  auto rest = text;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  if (rest == "0") return seconds(0);
  if (rest.empty()) return bad("invalid duration");
  constexpr double kMost = 9.2e18;  // Go's durations are 64 bits of nanoseconds
  double total = 0;
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  while (!rest.empty()) {
    double value = 0, scale = 1;
    bool any = false, point = false;
    for (; !rest.empty() && (digit(rest.front()) || (rest.front() == '.' && !point)); rest.remove_prefix(1)) {
      if (rest.front() == '.') {
        point = true;
        continue;
      }
      any = true;
      value = value * 10 + (rest.front() - '0');
      if (point) scale *= 10;
    }
    if (!any) return bad("invalid duration");
    const auto end = std::find_if(rest.begin(), rest.end(), [&](char c) { return c == '.' || digit(c); });
    const auto name = rest.substr(0, static_cast<std::size_t>(end - rest.begin()));
    if (name.empty()) return bad("missing unit in duration");
    rest.remove_prefix(name.size());
    const auto unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == name; });
    if (unit == kUnits.end()) return bad("unknown unit " + quote(name) + " in duration");
    total += value / scale * unit->nanoseconds;
    if (!(total < kMost)) return bad("invalid duration");
  }
  return seconds(static_cast<std::int64_t>((negative ? -total : total) / 1e9));
}

}  // namespace

// Parsing ------------------------------------------------------------------------------------------------------------

Result<CronSchedule> CronSchedule::parse_descriptor(std::string_view text, TimeZonePtr zone) {
  CronSchedule out;
  out.zone_ = std::move(zone);
  out.minute_ = bit(0);
  out.hour_ = bit(0);
  out.day_ = all(kDays);
  out.month_ = all(kMonths);
  out.weekday_ = all(kWeekdays);
  if (text == "@yearly" || text == "@annually") {
    out.day_ = out.month_ = bit(1);
  } else if (text == "@monthly") {
    out.day_ = bit(1);
  } else if (text == "@weekly") {
    out.weekday_ = bit(0);
  } else if (text == "@hourly") {
    out.hour_ = all(kHours);
  } else if (constexpr std::string_view kEvery = "@every "; text.starts_with(kEvery)) {
    const auto duration = parse_duration(text.substr(kEvery.size()));
    if (!duration) {
      return fail(Code::kInvalid, "failed to parse duration " + std::string(text) + ": " + duration.error().message);
    }
    out.every_ = std::max(*duration, seconds(1));
  } else if (text != "@daily" && text != "@midnight") {
    return fail(Code::kInvalid, "unrecognized descriptor: " + std::string(text));
  }
  return out;
}

Result<CronSchedule> CronSchedule::parse(std::string_view text, TimeZonePtr zone) {
  if (text.empty()) return fail(Code::kInvalid, "empty spec string");
  if (text.starts_with("TZ=") || text.starts_with("CRON_TZ=")) {
    const auto space = text.find(' ');
    // What Go's run time says of it, since the library does not look.
    if (space == std::string_view::npos) {
      return fail(Code::kInvalid, "invalid schedule format: runtime error: slice bounds out of range [:-1]");
    }
    const auto from = text.find('=') + 1;
    const auto name = text.substr(from, space - from);
    auto named = TimeZone::load(name);
    if (!named) {
      return fail(Code::kInvalid, "provided bad location " + std::string(name) + ": " + named.error().message);
    }
    zone = std::move(*named);
    text = trim(text.substr(space));
  }
  if (text.starts_with('@')) return parse_descriptor(text, std::move(zone));
  const auto fields = words(text);
  constexpr std::size_t kFields = 5;
  if (fields.size() != kFields) {
    return fail(Code::kInvalid,
                "expected exactly 5 fields, found " + std::to_string(fields.size()) + ": [" + join(fields, " ") + "]");
  }
  CronSchedule out;
  BRUME_TRY(out.minute_, parse_field(fields[0], kMinutes));
  BRUME_TRY(out.hour_, parse_field(fields[1], kHours));
  BRUME_TRY(out.day_, parse_field(fields[2], kDays));
  BRUME_TRY(out.month_, parse_field(fields[3], kMonths));
  BRUME_TRY(out.weekday_, parse_field(fields[4], kWeekdays));
  out.zone_ = std::move(zone);
  return out;
}

// Next ---------------------------------------------------------------------------------------------------------------

namespace {

using namespace std::chrono;  // NOLINT(google-build-using-namespace): calendar types

year_month_day date_of(local_seconds time) { return year_month_day(floor<days>(time)); }
local_seconds midnight(const year_month_day& date) { return local_days(date); }
std::int64_t hour_of(local_seconds time) { return floor<hours>(time - floor<days>(time)).count(); }
std::int64_t minute_of(local_seconds time) { return floor<minutes>(time - floor<days>(time)).count() % 60; }

}  // namespace

bool CronSchedule::day_matches(local_seconds time) const {
  const auto by_day = (bit(static_cast<unsigned>(date_of(time).day())) & day_) != 0;
  const auto by_weekday = (bit(weekday(floor<days>(time)).c_encoding()) & weekday_) != 0;
  // With both given, either will do.
  if ((day_ & kStar) != 0 || (weekday_ & kStar) != 0) return by_day && by_weekday;
  return by_day || by_weekday;
}

std::optional<sys_seconds> CronSchedule::next(WallTime after) const {
  const auto since = floor<seconds>(after);
  if (every_ != seconds(0)) return since + every_;
  // A list of commas names nothing.
  for (const auto field : {minute_, hour_, day_, month_, weekday_}) {
    if ((field & ~kStar) == 0) return std::nullopt;
  }
  return next_by_fields(since + seconds(1));
}

// From the largest unit to the smallest: while it does not match, go on by one of it and set those below to their
// beginning; when it wraps around, the larger ones must be looked at again. Days and months go by the calendar of the
// zone, hours and minutes by real time; so does the original, and that decides what becomes of skipped and repeated
// hours.
std::optional<sys_seconds> CronSchedule::next_by_fields(sys_seconds time) const {
  const auto local = [&] { return zone_->to_local(time); };
  const auto last_year = date_of(local()).year() + years(5);
  bool reset = false;
  while (date_of(local()).year() <= last_year) {
    bool wrapped = false;
    while (!wrapped && (bit(static_cast<unsigned>(date_of(local()).month())) & month_) == 0) {
      auto date = date_of(local());
      if (!reset) time = zone_->to_sys(midnight(date.year() / date.month() / day(1)));
      reset = true;
      date = date_of(local());
      const auto time_of_day = local() - floor<days>(local());
      time = zone_->to_sys(midnight((date.year() / date.month() + months(1)) / date.day()) + time_of_day);
      wrapped = date_of(local()).month() == January;
    }
    while (!wrapped && !day_matches(local())) {
      if (!reset) time = zone_->to_sys(midnight(date_of(local())));
      reset = true;
      const auto before = time;
      time = zone_->to_sys(local() + days(1));
      // Midnight may not exist, or exist twice.
      if (const auto hour = hour_of(local()); hour != 0) time += hours(hour > 12 ? 24 - hour : -hour);
      if (time <= before) time = before + days(1);  // a whole day was skipped
      wrapped = date_of(local()).day() == day(1);
    }
    while (!wrapped && (bit(hour_of(local())) & hour_) == 0) {
      if (!reset) time = zone_->to_sys(midnight(date_of(local())) + hours(hour_of(local())));
      reset = true;
      time += hours(1);
      wrapped = hour_of(local()) == 0;
    }
    while (!wrapped && (bit(minute_of(local())) & minute_) == 0) {
      if (!reset) time = floor<minutes>(time);
      reset = true;
      time += minutes(1);
      wrapped = minute_of(local()) == 0;
    }
    // The schedule's seconds are 0 alone.
    while (!wrapped && (local().time_since_epoch() % 60s).count() != 0) {
      reset = true;
      time += seconds(1);
      wrapped = (local().time_since_epoch() % 60s).count() == 0;
    }
    if (!wrapped) return time;
  }
  return std::nullopt;
}

}  // namespace brume::api
