// What a cgroup uses of processors and memory.
#pragma once

#include <optional>

#include "brume/base/result.h"
#include "brume/linux/cgroup.h"
#include "brume/runtime/runtime.h"

namespace brume::runtime {

/// By the kernel's own count; nullopt where it keeps none. Blocks briefly.
Result<std::optional<MemoryUse>> read_memory_use(const linux_os::Cgroup& cgroup);

/// Blocks: where the kernel keeps no count of memory, every process of the tree is looked at.
ResourceUse read_resource_use(const linux_os::Cgroup& cgroup);

}  // namespace brume::runtime
