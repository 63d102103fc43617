// When the node is under pressure, takes no further pods and evicts some: the kubelet's --eviction-hard.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/result.h"

namespace brume::node {

/// `signal` is short when less than the amount, or the percentage of what there is in all, is available. For want of
/// process ids nothing is evicted.
struct EvictionThreshold {
  std::string signal;  ///< memory.available, nodefs.available, nodefs.inodesFree, pid.available; imagefs.* is nodefs.*
  std::int64_t amount = 0;  ///< bytes, inodes or process ids
  double percent = 0;       ///< if not zero, instead of `amount`

  [[nodiscard]] std::int64_t least(std::int64_t capacity) const;
};

/// k3s' values: memory below 100 MiB, disk below 5 %, inodes below 5 %; and process ids below 5 % of the kernel's
/// maximum.
[[nodiscard]] std::vector<EvictionThreshold> default_eviction_thresholds();
/// "memory.available<100Mi,nodefs.available<5%": these and no others; "" is none. kInvalid says what is wrong with it.
[[nodiscard]] Result<std::vector<EvictionThreshold>> parse_eviction_thresholds(std::string_view text);

}  // namespace brume::node
