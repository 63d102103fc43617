#include "brume/base/go_duration.h"

#include <array>
#include <cstdint>
#include <limits>
#include <utility>

namespace brume {

namespace {

constexpr std::array<std::pair<std::string_view, double>, 8> kUnits = {{
    {"ns", 1},
    {"us", 1e3},
    {"\u00b5s", 1e3},  // micro sign
    {"\u03bcs", 1e3},  // Greek mu
    {"ms", 1e6},
    {"s", 1e9},
    {"m", 60e9},
    {"h", 3600e9},
}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes a number such as 1, 1.5 or .5 off the front.
std::optional<double> take_number(std::string_view& text) {
  double value = 0;
  std::size_t digits = 0;
  while (!text.empty() && is_digit(text.front())) {
    value = value * 10 + (text.front() - '0');
    text.remove_prefix(1);
    ++digits;
  }
  if (!text.empty() && text.front() == '.') {
    text.remove_prefix(1);
    for (double place = 0.1; !text.empty() && is_digit(text.front()); place /= 10) {
      value += place * (text.front() - '0');
      text.remove_prefix(1);
      ++digits;
    }
  }
  if (digits == 0) return std::nullopt;
  return value;
}

std::optional<double> take_unit(std::string_view& text) {
  std::size_t length = 0;
  while (length < text.size() && text[length] != '.' && !is_digit(text[length])) ++length;
  const std::string_view name = text.substr(0, length);
  text.remove_prefix(length);
  for (const auto& [unit, nanoseconds] : kUnits) {
    if (unit == name) return nanoseconds;
  }
  return std::nullopt;
}

// Seconds with up to three places, without zeros at the end.
std::string seconds_text(std::int64_t milliseconds) {
  std::string out = std::to_string(milliseconds / 1000);
  std::string places = std::to_string(1000 + milliseconds % 1000).substr(1);
  while (!places.empty() && places.back() == '0') places.pop_back();
  if (!places.empty()) out += "." + places;
  return out + "s";
}

}  // namespace

std::string format_go_duration(std::chrono::nanoseconds duration) {
  std::int64_t left = std::chrono::round<std::chrono::milliseconds>(duration).count();
  if (left == 0) return "0s";
  std::string out;
  if (left < 0) {
    out = "-";
    left = -left;
  }
  if (left < 1000) return out + std::to_string(left) + "ms";
  constexpr std::int64_t kMinute = 60'000;
  constexpr std::int64_t kHour = 60 * kMinute;
  if (left >= kHour) out += std::to_string(left / kHour) + "h";
  if (left >= kMinute) out += std::to_string(left % kHour / kMinute) + "m";
  return out + seconds_text(left % kMinute);
}

std::optional<std::chrono::nanoseconds> parse_go_duration(std::string_view text) {
  double sign = 1;
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) {
    sign = text.front() == '-' ? -1 : 1;
    text.remove_prefix(1);
  }
  if (text == "0") return std::chrono::nanoseconds(0);
  if (text.empty()) return std::nullopt;
  double sum = 0;
  while (!text.empty()) {
    const auto number = take_number(text);
    const auto unit = number ? take_unit(text) : std::nullopt;
    if (!unit) return std::nullopt;
    sum += *number * *unit;
  }
  if (sum >= static_cast<double>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
  return std::chrono::nanoseconds(static_cast<std::int64_t>(sign * sum + (sign > 0 ? 0.5 : -0.5)));
}

}  // namespace brume
