// Wall-clock time as Kubernetes writes it: RFC 3339 in UTC.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace brume {

using WallTime = std::chrono::system_clock::time_point;

[[nodiscard]] std::string format_rfc3339(WallTime time);        ///< 2006-01-02T15:04:05Z (metav1.Time)
[[nodiscard]] std::string format_rfc3339_micro(WallTime time);  ///< with six digits (metav1.MicroTime)
[[nodiscard]] std::string format_rfc3339_nano(WallTime time);   ///< with nine digits (CRI logs)
/// Any RFC 3339 date-time, with fraction and offset; nullopt otherwise.
[[nodiscard]] std::optional<WallTime> parse_rfc3339(std::string_view text);

}  // namespace brume
