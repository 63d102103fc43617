// Durations as Go writes them, and so Kubernetes: metav1.Duration and the flags of its programs.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace brume {

/// As Go prints it, to the millisecond: 0s, 500ms, 15.034s, 1m0.5s, 2h0m0s.
[[nodiscard]] std::string format_go_duration(std::chrono::nanoseconds duration);
/// What Go's time.ParseDuration takes: 300ms, 1.5h, 2h45m, -3s. nullopt for anything else, and for what a count of
/// nanoseconds cannot hold.
[[nodiscard]] std::optional<std::chrono::nanoseconds> parse_go_duration(std::string_view text);

}  // namespace brume
