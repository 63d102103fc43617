// Fd: a file descriptor with one owner, and small whole-file helpers.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "brume/base/result.h"

namespace brume::linux_os {

/// Owns a file descriptor and closes it. Move-only; any thread.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { reset(); }
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  /// Gives the descriptor away; the caller closes it.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

/// open(2) with O_CLOEXEC added.
Result<Fd> open_fd(const std::string& path, int flags, unsigned mode = 0);
/// The whole file, at most `limit` bytes; kInvalid when it is longer.
Result<std::string> read_file(const std::string& path, std::size_t limit = 1U << 20);
/// One write(2) of `text` to an existing file (cgroup and proc files need it in one piece).
Status write_file(const std::string& path, std::string_view text);
/// Writes beside `path` and renames over it, so that a reader sees the old bytes or the new ones. The file has `mode`
/// whatever the umask is.
Status replace_file(const std::string& path, std::string_view bytes, unsigned mode);
/// mkdir -p.
Status make_dirs(const std::string& path, unsigned mode);
/// Removes a tree, however deep, without following symlinks and without crossing into other mounts, bind mounts among
/// them: such a one is EBUSY, and stays. Absent is fine.
Status remove_tree(const std::string& path);

}  // namespace brume::linux_os
