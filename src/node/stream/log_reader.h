// Reading a container's log for a client: since, tail, limit, timestamps, and following it without polling.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/base/time.h"

namespace brume::node {

/// PodLogOptions as far as they concern one file.
struct LogOptions {
  bool follow = false;
  bool timestamps = false;
  std::optional<std::int64_t> tail_lines;
  std::optional<std::int64_t> limit_bytes;
  std::optional<WallTime> since;
  std::string stream;  ///< Stdout, Stderr, All or empty
};

/// Those who follow logs now. wake() makes them look again whether their container still runs. Owner: one loop.
class LogFollowers {
 public:
  void wake();

  struct Waiter;
  std::list<Waiter*> waiters;
};

using LogSink = std::function<Task<Status>(std::string_view text)>;

/// Writes what `options` asks of the file at `path` to `sink`, in pieces. It ends where the file ended at the call;
/// with follow it goes on, over rotations, until `running` says no and everything was read. kNotFound when there is no
/// such file. The file is opened without following symlinks, because the folder's content is not trusted.
Task<Status> read_log(std::string path, LogOptions options, std::function<bool()> running, LogSink sink,
                      LogFollowers& followers);

}  // namespace brume::node
