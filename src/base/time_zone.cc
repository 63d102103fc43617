#include "brume/base/time_zone.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "brume/base/strings.h"

namespace brume {

using std::chrono::local_seconds;
using std::chrono::seconds;
using std::chrono::sys_seconds;

namespace {

constexpr std::array<std::string_view, 4> kDirectories = {"/usr/share/zoneinfo/", "/usr/share/lib/zoneinfo/",
                                                          "/usr/lib/locale/TZ/", "/etc/zoneinfo/"};
constexpr std::size_t kMaxFile = std::size_t{64} << 10;  // the largest of 2025 has 4 KB
constexpr seconds kDay{86400};

/// Closes at the end.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

// Names come from whoever makes a CronJob, and loops call this: it takes a few system calls, whatever it finds there.
std::optional<std::string> read_file(const std::string& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct stat info = {};
  if (file.fd < 0 || ::fstat(file.fd, &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  if (info.st_size <= 0 || static_cast<std::size_t>(info.st_size) > kMaxFile) return std::nullopt;
  std::string bytes(static_cast<std::size_t>(info.st_size), '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const auto got = ::read(file.fd, bytes.data() + have, bytes.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

}  // namespace

// The footer ---------------------------------------------------------------------------------------------------------

/// POSIX' TZ: NAME offset [NAME [offset] [,start[/time],end[/time]]]
struct TimeZone::FooterParser {
  std::string_view text;

  [[nodiscard]] bool done() const { return text.empty(); }
  [[nodiscard]] bool next_is(char c) const { return !text.empty() && text.front() == c; }
  bool take(char c) {
    if (!next_is(c)) return false;
    text.remove_prefix(1);
    return true;
  }

  bool name() {
    if (take('<')) {
      const auto end = text.find('>');
      if (end == std::string_view::npos) return false;
      text.remove_prefix(end + 1);
      return true;
    }
    constexpr std::size_t kShortest = 3;
    const auto end = std::find_if(text.begin(), text.end(),
                                  [](char c) { return (c >= '0' && c <= '9') || c == ',' || c == '-' || c == '+'; });
    const auto length = static_cast<std::size_t>(end - text.begin());
    if (length < kShortest) return false;
    text.remove_prefix(length);
    return true;
  }

  std::optional<int> number(int low, int high) {
    int value = 0;
    bool any = false;
    while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
      value = value * 10 + (text.front() - '0');
      if (value > high) return std::nullopt;
      any = true;
      text.remove_prefix(1);
    }
    return any && value >= low ? std::optional(value) : std::nullopt;
  }

  /// [+-]h[h[h]][:mm[:ss]]
  std::optional<seconds> offset() {
    constexpr int kMaxHours = 24 * 7;
    constexpr int kMaxSixtieth = 59;
    const bool negative = take('-');
    if (!negative) take('+');
    const auto hours = number(0, kMaxHours);
    if (!hours) return std::nullopt;
    seconds out = std::chrono::hours(*hours);
    for (const auto unit : {seconds(60), seconds(1)}) {
      if (!take(':')) break;
      const auto part = number(0, kMaxSixtieth);
      if (!part) return std::nullopt;
      out += *part * unit;
    }
    return negative ? -out : out;
  }

  std::optional<Rule> rule() {
    Rule out;
    std::optional<int> day;
    if (take('J')) {
      day = number(1, 365);
    } else if (take('M')) {
      out.form = Rule::Form::kWeekday;
      const auto month = number(1, 12);
      const auto week = month && take('.') ? number(1, 5) : std::nullopt;
      day = week && take('.') ? number(0, 6) : std::nullopt;
      if (!day) return std::nullopt;
      out.month = *month;
      out.week = *week;
    } else {
      out.form = Rule::Form::kDayOfYear;
      day = number(0, 365);
    }
    if (!day) return std::nullopt;
    out.day = *day;
    if (take('/')) {
      const auto time = offset();
      if (!time) return std::nullopt;
      out.time = *time;
    }
    return out;
  }

  std::optional<Footer> footer() {
    Footer out;
    if (!name()) return std::nullopt;
    const auto standard = offset();
    if (!standard) return std::nullopt;
    out.standard = -*standard;  // POSIX counts west of Greenwich
    if (done() || next_is(',')) return out;
    if (!name()) return std::nullopt;
    out.has_daylight = true;
    out.daylight = out.standard + std::chrono::hours(1);
    if (!done() && !next_is(',') && !next_is(';')) {
      const auto daylight = offset();
      if (!daylight) return std::nullopt;
      out.daylight = -*daylight;
    }
    if (done()) text = ",M3.2.0,M11.1.0";
    if (!take(',') && !take(';')) return std::nullopt;
    const auto start = rule();
    const auto end = start && take(',') ? rule() : std::nullopt;
    if (!end || !done()) return std::nullopt;
    out.start = *start;
    out.end = *end;
    return out;
  }
};

// Seconds from the year's beginning in UTC to the change, which is told in the local time of `offset`.
seconds TimeZone::rule_time(int year, const Rule& rule, seconds offset) {
  using namespace std::chrono;
  const auto y = std::chrono::year(year);
  seconds begin{};
  if (rule.form == Rule::Form::kJulian) {
    constexpr int kFirstOfMarch = 60;  // February 29th is not counted
    begin = (rule.day - 1 + (y.is_leap() && rule.day >= kFirstOfMarch ? 1 : 0)) * kDay;
  } else if (rule.form == Rule::Form::kDayOfYear) {
    begin = rule.day * kDay;
  } else {
    constexpr int kLast = 5;
    const auto m = month(static_cast<unsigned>(rule.month));
    const auto d = weekday(static_cast<unsigned>(rule.day));
    const sys_days day =
        rule.week == kLast ? sys_days(y / m / d[last]) : sys_days(y / m / d[static_cast<unsigned>(rule.week)]);
    begin = day - sys_days(y / January / 1);
  }
  return begin + rule.time - offset;
}

TimeZone::Period TimeZone::footer_period(const Footer& footer, Transition last, sys_seconds time) {
  if (!footer.has_daylight) return {.offset = footer.standard, .begin = last.when};
  const auto year = std::chrono::year_month_day(std::chrono::floor<std::chrono::days>(time)).year();
  const sys_seconds begin = std::chrono::sys_days(year / std::chrono::January / 1);
  auto start = begin + rule_time(static_cast<int>(year), footer.start, footer.standard);
  auto end = begin + rule_time(static_cast<int>(year), footer.end, footer.daylight);
  auto outside = footer.standard, inside = footer.daylight;
  if (end < start) {  // the southern hemisphere, whose summer spans the year's end
    std::swap(start, end);
    std::swap(outside, inside);
  }
  if (time < start) return {.offset = outside, .begin = begin, .end = start};
  if (time >= end) return {.offset = outside, .begin = end, .end = begin + 365 * kDay};
  return {.offset = inside, .begin = start, .end = end};
}

// The file -----------------------------------------------------------------------------------------------------------

struct TimeZone::Reader {
  std::string_view bytes;

  /// `length` bytes; nothing when there are fewer.
  std::optional<std::string_view> take(std::uint64_t length) {
    if (length > bytes.size()) return std::nullopt;
    const auto out = bytes.substr(0, length);
    bytes.remove_prefix(length);
    return out;
  }
  /// Big-endian, two's complement.
  static std::int64_t number(std::string_view text) {
    std::uint64_t value = !text.empty() && (static_cast<unsigned char>(text[0]) & 0x80) != 0 ? ~std::uint64_t{0} : 0;
    for (const char c : text) value = (value << 8) | static_cast<unsigned char>(c);
    return static_cast<std::int64_t>(value);
  }

  struct Header {
    char version = 0;
    // In the file's order.
    std::uint64_t utc_marks = 0, standard_marks = 0, leaps = 0, transitions = 0, kinds = 0, name_bytes = 0;

    [[nodiscard]] std::uint64_t size_of_data(std::uint64_t time_size) const {
      return transitions * (time_size + 1) + kinds * 6 + name_bytes + leaps * (time_size + 4) + standard_marks +
             utc_marks;
    }
  };
  std::optional<Header> header() {
    constexpr std::uint64_t kReserved = 15;
    const auto magic = take(4);
    const auto version = take(1);
    if (!magic || *magic != "TZif" || !version || !take(kReserved)) return std::nullopt;
    Header out{.version = version->front()};
    for (auto* count :
         {&out.utc_marks, &out.standard_marks, &out.leaps, &out.transitions, &out.kinds, &out.name_bytes}) {
      const auto text = take(4);
      if (!text) return std::nullopt;
      *count = static_cast<std::uint64_t>(number(*text)) & 0xffffffff;
    }
    return out;
  }

  /// The data after `header` into `zone`; false when it is not sound.
  bool data(const Header& header, std::uint64_t time_size, TimeZone& zone) {
    const auto times = take(header.transitions * time_size);
    const auto indexes = take(header.transitions);
    const auto kinds = take(header.kinds * 6);
    if (!times || !indexes || !kinds || header.kinds == 0) return false;
    if (!take(header.name_bytes + header.leaps * (time_size + 4) + header.standard_marks + header.utc_marks))
      return false;
    for (std::uint64_t i = 0; i < header.kinds; ++i) {
      const auto kind = kinds->substr(i * 6, 6);
      const seconds offset(number(kind.substr(0, 4)));
      if (offset < -26 * std::chrono::hours(1) || offset > 26 * std::chrono::hours(1)) return false;
      zone.kinds_.push_back({.offset = offset, .dst = kind[4] != 0});
    }
    for (std::uint64_t i = 0; i < header.transitions; ++i) {
      // Calendar arithmetic is of no use far outside of the years that can be written.
      constexpr std::int64_t kFar = std::int64_t{1} << 40;
      const auto when = std::clamp(number(times->substr(i * time_size, time_size)), -kFar, kFar);
      const auto kind = static_cast<std::uint8_t>((*indexes)[i]);
      if (kind >= header.kinds) return false;
      if (i > 0 && zone.transitions_.back().when > sys_seconds(seconds(when))) return false;
      zone.transitions_.push_back({.when = sys_seconds(seconds(when)), .kind = kind});
    }
    return true;
  }

  std::string_view footer() {
    if (bytes.size() < 2 || bytes.front() != '\n') return {};
    const auto end = bytes.find('\n', 1);
    return end == std::string_view::npos ? std::string_view() : bytes.substr(1, end - 1);
  }
};

Result<TimeZonePtr> TimeZone::parse(std::string_view tzif) {
  const auto bad = [] { return fail(Code::kCorrupt, "malformed time zone information"); };
  auto zone = std::make_shared<TimeZone>();
  zone->kinds_.clear();
  Reader reader{tzif};
  auto header = reader.header();
  if (!header) return bad();
  const bool wide = header->version >= '2';
  if (wide) {  // the same again with 64 bits
    if (!reader.take(header->size_of_data(4))) return bad();
    header = reader.header();
    if (!header) return bad();
  }
  if (!reader.data(*header, wide ? 8 : 4, *zone)) return bad();
  if (wide) {
    if (const auto text = reader.footer(); !text.empty()) {
      if (const auto footer = FooterParser{text}.footer()) {
        zone->footer_ = *footer;
        zone->has_footer_ = true;
      }
    }
  }
  return zone;
}

// Which --------------------------------------------------------------------------------------------------------------

TimeZonePtr TimeZone::utc() { return std::make_shared<TimeZone>(); }

Result<TimeZonePtr> TimeZone::load(std::string_view name) {
  if (name.empty() || name == "UTC") return utc();
  if (name == "Local") return local();
  const auto parts = split(name, '/');
  const bool climbs = std::any_of(parts.begin(), parts.end(), [](auto part) { return part == ".."; });
  if (climbs || name.front() == '/' || name.find_first_of(std::string_view("\\\0", 2)) != std::string_view::npos) {
    return fail(Code::kBadRequest, "time: invalid location name");
  }
  for (const auto directory : kDirectories) {
    if (const auto bytes = read_file(std::string(directory).append(name))) return parse(*bytes);
  }
  return fail(Code::kNotFound, "unknown time zone " + std::string(name));
}

TimeZonePtr TimeZone::local() {
  const char* variable = std::getenv("TZ");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  std::string_view name = variable != nullptr ? variable : "/etc/localtime";
  if (name.starts_with(':')) name.remove_prefix(1);
  if (!name.starts_with('/')) {
    auto named = name == "Local" ? Result<TimeZonePtr>(utc()) : load(name);
    return named ? *named : utc();
  }
  const auto bytes = read_file(std::string(name));
  if (!bytes) return utc();
  auto zone = parse(*bytes);
  return zone ? *zone : utc();
}

// Looking up ---------------------------------------------------------------------------------------------------------

// What holds before the first transition.
std::size_t TimeZone::first_kind() const {
  const auto uses_first = [](const Transition& transition) { return transition.kind == 0; };
  if (std::none_of(transitions_.begin(), transitions_.end(), uses_first)) return 0;
  if (!transitions_.empty() && kinds_[transitions_.front().kind].dst) {
    for (std::size_t i = transitions_.front().kind; i-- > 0;) {
      if (!kinds_[i].dst) return i;
    }
  }
  for (std::size_t i = 0; i < kinds_.size(); ++i) {
    if (!kinds_[i].dst) return i;
  }
  return 0;
}

TimeZone::Period TimeZone::at(sys_seconds time) const {
  const auto next = std::upper_bound(transitions_.begin(), transitions_.end(), time,
                                     [](sys_seconds t, const Transition& transition) { return t < transition.when; });
  Period out;
  if (next != transitions_.end()) out.end = next->when;
  if (next == transitions_.begin()) {
    out.offset = kinds_[first_kind()].offset;
    if (transitions_.empty() && has_footer_) return footer_period(footer_, {.when = sys_seconds::min()}, time);
    return out;
  }
  const auto& last = *std::prev(next);
  if (next == transitions_.end() && has_footer_) return footer_period(footer_, last, time);
  out.offset = kinds_[last.kind].offset;
  out.begin = last.when;
  return out;
}

local_seconds TimeZone::to_local(sys_seconds time) const {
  return local_seconds(time.time_since_epoch() + at(time).offset);
}

sys_seconds TimeZone::to_sys(local_seconds time) const {
  const sys_seconds naive(time.time_since_epoch());
  auto period = at(naive);
  const auto guess = naive - period.offset;
  if (guess < period.begin || guess >= period.end) period = at(guess);
  return naive - period.offset;
}

std::string TimeZone::format_rfc3339(sys_seconds time) const {
  const auto offset = at(time).offset;
  const sys_seconds local(to_local(time).time_since_epoch());
  const auto day = std::chrono::floor<std::chrono::days>(local);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(local - day);
  std::array<char, 48> text;
  std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()));
  std::string out(text.data());
  const auto minutes = static_cast<int>(std::chrono::duration_cast<std::chrono::minutes>(offset).count());
  if (minutes == 0) return out + "Z";
  std::snprintf(text.data(), text.size(), "%c%02d:%02d", minutes < 0 ? '-' : '+', std::abs(minutes) / 60,
                std::abs(minutes) % 60);
  return out + text.data();
}

}  // namespace brume
