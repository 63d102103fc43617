// Watches as the registry hands them out: to HTTP connections and to in-process clients alike.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "brume/api/object.h"
#include "brume/base/result.h"
#include "brume/base/task_fwd.h"

namespace brume::apiserver {

struct WatchEvent {
  enum class Type : std::uint8_t { kAdded, kModified, kDeleted, kBookmark };
  Type type = Type::kAdded;
  api::ObjectPtr object;            ///< of a delete, the last state under the delete's revision; null for a bookmark
  std::int64_t revision = 0;        ///< the event's; of initial items, the object's own
  bool initial_events_end = false;  ///< this bookmark ends the initial state (k8s.io/initial-events-end)
};

/// A running watch. Owner: the loop that opened it; destroying it ends it.
class WatchStream {
 public:
  virtual ~WatchStream() = default;
  /// Waits up to `timeout` for events; empty when none came. kServiceUnavailable: the watcher was too slow and was cut,
  /// or the server stops; whoever watches starts again from what it saw last.
  virtual Task<Result<std::vector<WatchEvent>>> next(std::chrono::steady_clock::duration timeout) = 0;
  /// A revision up to which this watch has delivered everything; 0 when events wait to be taken.
  [[nodiscard]] virtual std::int64_t progress() const = 0;
};

}  // namespace brume::apiserver
