// Facts and pressure of the machine under the node, as the Node's status shows them.
#pragma once

#include <cstdint>
#include <string>

#include "brume/base/result.h"

namespace brume::node {

struct Machine {
  std::int64_t cpus = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t disk_bytes = 0;                        ///< of the data dir's file system
  std::int64_t hugepages_2mi = 0, hugepages_1gi = 0;  ///< bytes
  std::string machine_id, system_uuid, boot_id;
  std::string kernel_version, os_image, architecture;  ///< amd64, arm64 ...
};
/// Blocks briefly.
[[nodiscard]] Machine read_machine(const std::string& data_dir);

struct Pressure {
  bool memory = false;
  bool disk = false;
  bool pid = false;
  std::string memory_message, disk_message, pid_message;
  int disk_used_percent = 0;
};
/// The kubelet's hard eviction thresholds as k3s sets them: memory below 100 MiB, disk below 5 %, inodes below 5 %;
/// and PIDs below 5 % of the kernel's maximum. Blocks briefly.
[[nodiscard]] Pressure read_pressure(const std::string& data_dir);

}  // namespace brume::node
