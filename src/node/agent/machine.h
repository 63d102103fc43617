// Facts and pressure of the machine under the node, as the Node's status shows them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/node/eviction_thresholds.h"

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

/// What the node as a whole lacks: quantities as the kubelet's messages show them.
struct Shortage {
  std::string resource;  ///< memory, ephemeral-storage, inodes
  std::string threshold;
  std::string available;
};

/// A number of bytes as a quantity: 64Mi.
[[nodiscard]] std::string bytes_text(std::int64_t bytes);

struct Pressure {
  bool memory = false;
  bool disk = false;
  bool pid = false;
  std::string memory_message, disk_message, pid_message;
  int disk_used_percent = 0;
  std::optional<Shortage> memory_short, disk_short;  ///< what `memory` and `disk` are about
};
/// What is below its threshold now. Blocks briefly.
[[nodiscard]] Pressure read_pressure(const std::string& data_dir, const std::vector<EvictionThreshold>& thresholds);

}  // namespace brume::node
