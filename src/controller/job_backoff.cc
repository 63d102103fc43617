#include "job_backoff.h"

#include <algorithm>

namespace brume::controller {

namespace {

// pkg/controller/job: DefaultJobPodFailureBackOff and MaxJobPodFailureBackOff.
constexpr WallTime::duration kFirst = std::chrono::seconds(10);
constexpr WallTime::duration kMost = std::chrono::minutes(10);

}  // namespace

BackoffRecord BackoffRecord::after(std::vector<WallTime> succeeded, std::vector<WallTime> failed) const {
  std::sort(failed.begin(), failed.end());
  if (succeeded.empty()) {
    if (failed.empty()) return *this;
    return {.failures = failures + static_cast<std::int64_t>(failed.size()), .last_failure = failed.back()};
  }
  const auto last_success = *std::max_element(succeeded.begin(), succeeded.end());
  const auto later = std::upper_bound(failed.begin(), failed.end(), last_success);
  if (later == failed.end()) return {};
  return {.failures = failed.end() - later, .last_failure = failed.back()};
}

WallTime::duration BackoffRecord::remaining(WallTime now) const {
  if (failures == 0 || !last_failure) return {};
  auto pause = kFirst;
  for (std::int64_t i = 1; i < failures && pause < kMost; ++i) pause = std::min(pause * 2, kMost);
  return std::max(pause - (now - *last_failure), WallTime::duration{});
}

}  // namespace brume::controller
