// Inotify: file changes as events on a descriptor.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/linux/fd.h"

namespace brume::linux_os {

/// An inotify(7) instance. Non-blocking: wait for fd() to be readable, then read_events(). Owner: one loop.
class Inotify {
 public:
  struct Event {
    int watch = 0;
    std::uint32_t mask = 0;  ///< IN_*
    std::string name;        ///< inside a watched directory
  };
  static Result<Inotify> create();
  /// Watches `path` for IN_* `mask`; the watch's number.
  Result<int> add(const std::string& path, std::uint32_t mask);
  void remove(int watch);
  /// What is there now; empty when nothing is.
  Result<std::vector<Event>> read_events();
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  explicit Inotify(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace brume::linux_os
