// A write that its loop repeats until it succeeds: the wait between two tries, and a log that tells of the trouble
// once and not at every try.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include "brume/base/result.h"

namespace brume::node {

/// Lives beside the loop that it serves, on that loop's thread.
class WriteRetry {
 public:
  /// `what` as in "cannot write WHAT"; `kind` and `name` are the log line's field: pod=default/web. `what` and `kind`
  /// outlive this object.
  WriteRetry(std::string_view what, std::string_view kind, std::string name)
      : what_(what), kind_(kind), name_(std::move(name)) {}

  /// Notes a failure and logs it, unless the one before had the same reason. Returns how long to wait before the next
  /// try: a second, doubling to 8 (a node's lease of 40 s outlives that).
  [[nodiscard]] std::chrono::seconds failed(const Error& error);
  /// Ends a series of failures, and logs that it ended.
  void succeeded();

 private:
  std::string_view what_, kind_;
  std::string name_;
  std::string reason_;  ///< of the last failure
  int failures_ = 0;    ///< since the last success
};

}  // namespace brume::node
