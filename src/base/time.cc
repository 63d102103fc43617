#include "brume/base/time.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace brume {

namespace {

using std::chrono::floor;

constexpr std::chrono::sys_seconds kFirst = std::chrono::sys_days(std::chrono::year(0) / 1 / 1);
constexpr std::chrono::sys_seconds kLast =
    std::chrono::sys_days(std::chrono::year(10000) / 1 / 1) - std::chrono::seconds(1);

std::string format(const Moment& moment, int digits) {
  const auto day = floor<std::chrono::days>(moment.seconds);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss clock{moment.seconds - day};
  std::array<char, 48> text{};
  int length = std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d", static_cast<int>(date.year()),
                             static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                             static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                             static_cast<int>(clock.seconds().count()));
  std::string out(text.data(), static_cast<std::size_t>(length));
  if (digits > 0) {
    length = std::snprintf(text.data(), text.size(), ".%09lld", static_cast<long long>(moment.fraction.count()));
    out.append(text.data(), static_cast<std::size_t>(digits) + 1);
  }
  out.push_back('Z');
  return out;
}

std::string format(WallTime time, int digits) {
  const auto seconds = floor<std::chrono::seconds>(time);
  return format(Moment{seconds, time - seconds}, digits);
}

// Reads `count` digits off the front of `text`.
std::optional<int> take_digits(std::string_view& text, std::size_t count) {
  if (text.size() < count) return std::nullopt;
  int value = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(count);
  return value;
}

bool take(std::string_view& text, char wanted) {
  if (text.empty() || (text.front() | 0x20) != (wanted | 0x20)) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<std::chrono::nanoseconds> take_fraction(std::string_view& text) {
  std::int64_t nanos = 0;
  std::int64_t unit = 100'000'000;
  std::size_t count = 0;
  while (count < text.size() && text[count] >= '0' && text[count] <= '9') {
    nanos += unit * (text[count] - '0');
    unit /= 10;
    ++count;
  }
  if (count == 0) return std::nullopt;
  text.remove_prefix(count);
  return std::chrono::nanoseconds(nanos);
}

std::optional<std::chrono::minutes> take_offset(std::string_view& text) {
  if (text.empty()) return std::nullopt;
  if (text == "Z" || text == "z") {
    text = {};
    return std::chrono::minutes(0);
  }
  const int sign = text.front() == '-' ? -1 : 1;
  if (text.front() != '+' && text.front() != '-') return std::nullopt;
  text.remove_prefix(1);
  const auto hours = take_digits(text, 2);
  if (!hours || *hours > 23 || text.empty() || text.front() != ':') return std::nullopt;
  text.remove_prefix(1);
  const auto minutes = take_digits(text, 2);
  if (!minutes || *minutes > 59 || !text.empty()) return std::nullopt;
  return std::chrono::minutes(sign * (*hours * 60 + *minutes));
}

}  // namespace

std::string format_rfc3339(WallTime time) { return format(time, 0); }
std::string format_rfc3339_micro(WallTime time) { return format(time, 6); }
std::string format_rfc3339_nano(WallTime time) { return format(time, 9); }

std::string format_moment(const Moment& moment, bool micro) { return format(moment, micro ? 6 : 0); }

Moment Moment::from_unix(std::int64_t seconds, std::int32_t nanos) {
  constexpr std::int32_t kSecond = 1'000'000'000;
  constexpr std::int64_t kLow = kFirst.time_since_epoch().count();
  constexpr std::int64_t kHigh = kLast.time_since_epoch().count();
  std::int64_t carried = nanos / kSecond;
  std::int64_t rest = nanos % kSecond;
  if (rest < 0) {
    rest += kSecond;
    --carried;
  }
  const std::int64_t sum = std::clamp(seconds, kLow, kHigh) + carried;
  return {std::chrono::sys_seconds(std::chrono::seconds(std::clamp(sum, kLow, kHigh))), std::chrono::nanoseconds(rest)};
}

std::optional<WallTime> parse_rfc3339(std::string_view text) {
  const auto moment = parse_moment(text);
  if (!moment) return std::nullopt;
  using std::chrono::sys_days;
  constexpr std::chrono::sys_seconds kLow = sys_days(std::chrono::year(1800) / 1 / 1);
  constexpr std::chrono::sys_seconds kHigh = sys_days(std::chrono::year(2150) / 1 / 1) - std::chrono::seconds(1);
  return std::clamp(moment->seconds, kLow, kHigh) + moment->fraction;
}

std::optional<Moment> parse_moment(std::string_view text) {
  const auto year = take_digits(text, 4);
  if (!year || text.empty() || text.front() != '-') return std::nullopt;
  text.remove_prefix(1);
  const auto month = take_digits(text, 2);
  if (!month || text.empty() || text.front() != '-') return std::nullopt;
  text.remove_prefix(1);
  const auto day = take_digits(text, 2);
  if (!day || !take(text, 'T')) return std::nullopt;
  const auto hour = take_digits(text, 2);
  if (!hour || *hour > 23 || text.empty() || text.front() != ':') return std::nullopt;
  text.remove_prefix(1);
  const auto minute = take_digits(text, 2);
  if (!minute || *minute > 59 || text.empty() || text.front() != ':') return std::nullopt;
  text.remove_prefix(1);
  const auto second = take_digits(text, 2);
  if (!second || *second > 60) return std::nullopt;
  std::chrono::nanoseconds fraction{0};
  if (!text.empty() && text.front() == '.') {
    text.remove_prefix(1);
    const auto taken = take_fraction(text);
    if (!taken) return std::nullopt;
    fraction = *taken;
  }
  const auto offset = take_offset(text);
  if (!offset) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return std::nullopt;
  const std::chrono::sys_seconds seconds = std::chrono::sys_days(date) + std::chrono::hours(*hour) +
                                           std::chrono::minutes(*minute) + std::chrono::seconds(*second) - *offset;
  if (seconds < kFirst || seconds > kLast) return std::nullopt;
  return Moment{seconds, fraction};
}

}  // namespace brume
