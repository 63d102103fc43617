// How long a Job waits before it replaces a failed pod: 10 s after the first failure in a row, doubled after each more,
// 10 minutes at most.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "brume/base/time.h"
#include "job_view.h"

namespace brume::controller {

/// The failures in a row of a Job's pods. Kept in memory only: a restart begins anew, as upstream's does.
struct BackoffRecord {
  std::int64_t failures = 0;  ///< since the last success
  std::optional<WallTime> last_failure = {};

  /// The record after these pods, not counted before, have ended at these times.
  [[nodiscard]] BackoffRecord after(std::vector<WallTime> succeeded, std::vector<WallTime> failed) const;
  /// Zero when a pod may be made now.
  [[nodiscard]] WallTime::duration remaining(WallTime now) const;
};

}  // namespace brume::controller
