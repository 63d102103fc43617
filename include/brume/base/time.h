// Wall-clock time as Kubernetes writes it: RFC 3339 in UTC.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace brume {

using WallTime = std::chrono::system_clock::time_point;

[[nodiscard]] std::string format_rfc3339(WallTime time);        ///< 2006-01-02T15:04:05Z (metav1.Time)
[[nodiscard]] std::string format_rfc3339_micro(WallTime time);  ///< with six digits (metav1.MicroTime)
[[nodiscard]] std::string format_rfc3339_nano(WallTime time);   ///< with nine digits (CRI logs)
/// Any RFC 3339 date-time, with fraction and offset; nullopt otherwise. Times outside the years 1800 to 2149 are moved
/// to their ends: WallTime holds 1677 to 2262, and callers add and subtract.
[[nodiscard]] std::optional<WallTime> parse_rfc3339(std::string_view text);

/// A moment of the years 0 to 9999, which are RFC 3339's and which clients may write.
struct Moment {
  std::chrono::sys_seconds seconds;
  std::chrono::nanoseconds fraction{};  ///< 0 to under a second

  /// From a count since 1970 (Go's protobuf form), the nearest that RFC 3339 can say.
  [[nodiscard]] static Moment from_unix(std::int64_t seconds, std::int32_t nanos);
};
[[nodiscard]] std::optional<Moment> parse_moment(std::string_view text);
[[nodiscard]] std::string format_moment(const Moment& moment, bool micro);

}  // namespace brume
