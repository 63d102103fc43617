// TimeZone: the offsets of a zone of the IANA database, read from the system's TZif files (RFC 9636).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/result.h"

namespace brume {

class TimeZone;
using TimeZonePtr = std::shared_ptr<const TimeZone>;

/// Immutable. Thread-safe. Gaps and overlaps of local time are resolved as Go's time package does, whose behaviour is
/// that of Kubernetes' schedules.
class TimeZone {
 public:
  TimeZone() = default;  ///< UTC

  /// What holds from `begin` until before `end`. Beyond the file's last transition these are bounds within the year.
  struct Period {
    std::chrono::seconds offset{};  ///< east of UTC
    std::chrono::sys_seconds begin = std::chrono::sys_seconds::min();
    std::chrono::sys_seconds end = std::chrono::sys_seconds::max();
  };

  static TimeZonePtr utc();
  /// The zone that programs of this machine run in: $TZ, else /etc/localtime, else UTC.
  static TimeZonePtr local();
  /// A name such as Europe/Berlin; "" and "UTC" need no database. kNotFound "unknown time zone NAME", kBadRequest for
  /// what is no name, kCorrupt for a file that is no TZif. Reads one file of 64 KiB at most, by a few system calls.
  static Result<TimeZonePtr> load(std::string_view name);
  /// From the bytes of a TZif file; kCorrupt otherwise.
  static Result<TimeZonePtr> parse(std::string_view tzif);

  [[nodiscard]] Period at(std::chrono::sys_seconds time) const;
  [[nodiscard]] std::chrono::local_seconds to_local(std::chrono::sys_seconds time) const;
  /// A local time that is skipped is taken with one of the offsets around the gap, one that comes twice is one of both.
  [[nodiscard]] std::chrono::sys_seconds to_sys(std::chrono::local_seconds time) const;
  /// 2006-01-02T15:04:05+02:00, with Z for an offset of zero.
  [[nodiscard]] std::string format_rfc3339(std::chrono::sys_seconds time) const;

 private:
  struct Kind {
    std::chrono::seconds offset{};
    bool dst = false;
  };
  struct Transition {
    std::chrono::sys_seconds when;
    std::uint8_t kind = 0;
  };
  /// Day and time of a yearly change, as in POSIX' TZ: Jn, n or Mm.w.d.
  struct Rule {
    enum class Form : std::uint8_t { kJulian, kDayOfYear, kWeekday };
    Form form = Form::kJulian;
    int day = 0, week = 0, month = 0;
    std::chrono::seconds time{7200};
  };
  /// The file's footer: what holds after its last transition.
  struct Footer {
    std::chrono::seconds standard{}, daylight{};
    bool has_daylight = false;
    Rule start, end;
  };
  struct FooterParser;
  struct Reader;

  [[nodiscard]] std::size_t first_kind() const;
  [[nodiscard]] static Period footer_period(const Footer& footer, Transition last, std::chrono::sys_seconds time);
  [[nodiscard]] static std::chrono::seconds rule_time(int year, const Rule& rule, std::chrono::seconds offset);

  std::vector<Kind> kinds_ = {Kind{}};  // never empty
  std::vector<Transition> transitions_;
  bool has_footer_ = false;
  Footer footer_;
};

}  // namespace brume
