// One connection to a pod's shim: requests with replies, and its events.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/base/task.h"
#include "brume/linux/fd.h"
#include "plan_writer.h"

namespace brume::runtime {

struct ShimReply {
  int error = 0;  ///< errno; 0: done
  std::uint32_t step = 0;
  std::uint32_t value = 0;
  std::string detail;
  std::uint64_t started_ns = 0;  ///< of a start: since 1970; 0: an older shim does not tell
  std::vector<linux_os::Fd> fds;
};

/// A container as the shim tells of it.
struct ShimContainer {
  std::string id;
  std::uint32_t state = 0;  ///< shim::ContainerState
  int code = 0;
  int signal = 0;
  std::uint64_t started_ns = 0;  ///< since 1970
  std::uint64_t finished_ns = 0;
  linux_os::Fd pidfd;  ///< when running and told in a status
};

struct ShimEvents {
  std::function<void(ShimContainer)> exited;
  std::function<void(std::uint32_t number, int code, int signal)> exec_exited;
  std::function<void()> closed;  ///< the shim is gone, or cut us off
};

/// Owner: the node loop. The reading task belongs to the TaskGroup given.
class ShimClient : public std::enable_shared_from_this<ShimClient> {
 public:
  ShimClient(const Executor& executor, linux_os::Fd socket, ShimEvents events);
  ~ShimClient();
  /// Spawns the reading task.
  static void start(std::shared_ptr<ShimClient> self, TaskGroup& tasks);
  /// Sends a frame and waits for its reply. kServiceUnavailable when the connection ends first.
  Task<Result<ShimReply>> request(shim::FrameType type, FieldWriter fields, std::vector<int> fds);
  /// The same for requests whose failure is the shim's errno: an error that names `what`.
  Task<Result<ShimReply>> must(shim::FrameType type, FieldWriter fields, std::vector<int> fds, std::string what);
  /// All containers of the pod, and the shim's own pidfd in `self`.
  Task<Result<std::vector<ShimContainer>>> status(linux_os::Fd* self);
  void close();

 private:
  struct Pending {
    explicit Pending(const Executor& executor) : done(executor) {}
    Event done;
    bool answered = false;
    ShimReply reply;
  };
  static Task<void> read_all(std::shared_ptr<ShimClient> self);
  bool read_one();
  void dispatch(std::string_view frame, std::vector<linux_os::Fd> fds);

  Executor executor_;
  boost::asio::posix::stream_descriptor socket_;
  ShimEvents events_;
  std::uint32_t sequence_ = 0;
  bool closed_ = false;
  std::map<std::uint32_t, std::shared_ptr<Pending>> pending_;
  std::vector<ShimContainer> listed_;
};

}  // namespace brume::runtime
