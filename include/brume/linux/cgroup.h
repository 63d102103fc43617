// Cgroup: one cgroup v2 directory: made, read, killed and removed.
#pragma once

#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/result.h"
#include "brume/linux/fd.h"

namespace brume::linux_os {

/// The cgroup2 mount of this machine, wherever it is (unified or hybrid), from /proc/self/mountinfo. kNotFound if none.
Result<std::string> find_cgroup2_mount();

/// A directory in a cgroup2 mount (cgroups(7)). A value that names it; nothing is removed by the destructor. Any
/// thread.
class Cgroup {
 public:
  Cgroup() = default;
  explicit Cgroup(std::string path) : path_(std::move(path)) {}

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] Cgroup child(std::string_view name) const { return Cgroup(path_ + "/" + std::string(name)); }
  [[nodiscard]] bool exists() const;

  /// Makes the directory and those above it; in each ancestor below (and including) `root` the controllers that exist
  /// are enabled for the children where the kernel lets us.
  static Result<Cgroup> create(const std::string& root, std::string_view relative);
  /// The controllers that this cgroup may use (cgroup.controllers).
  [[nodiscard]] std::set<std::string> controllers() const;
  /// Hands the available controllers on to the children. What the kernel refuses is left out.
  void enable_controllers() const;
  Status write(std::string_view file, std::string_view value) const;
  [[nodiscard]] Result<std::string> read(std::string_view file) const;
  [[nodiscard]] Result<std::vector<int>> processes() const;
  /// Those of the cgroups below too; what goes meanwhile may be missing.
  [[nodiscard]] std::vector<int> all_processes() const;
  [[nodiscard]] Result<Fd> open() const;
  /// Whether the file (memory.max...) is there, that is its controller enabled.
  [[nodiscard]] bool has(std::string_view file) const;
  /// `key` of a flat-keyed file such as memory.events; 0 when absent.
  [[nodiscard]] std::uint64_t counter(std::string_view file, std::string_view key) const;

  /// Kills every process of the tree (cgroup.kill, Linux 5.14; signals to each before that).
  Status kill() const;
  /// Waits until no process is left in the tree (cgroup.events). Blocks; false after `timeout`.
  Result<bool> wait_empty(std::chrono::milliseconds timeout) const;
  /// Kills, waits and removes the tree. Absent is fine. Blocks up to `timeout`.
  Status remove(std::chrono::milliseconds timeout) const;

 private:
  std::string path_;
};

}  // namespace brume::linux_os
