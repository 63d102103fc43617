// What a directory tree takes of its disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "brume/base/result.h"

namespace brume::linux_os {

struct TreeUsage {
  std::int64_t bytes = 0;   ///< allocated, as du(1) counts: sparse files by their blocks, hard links once
  std::int64_t inodes = 0;  ///< files and directories, the tree's root too
};

/// Follows no symlink and leaves out other mounts. What comes or goes meanwhile may be counted or not; a path that is
/// absent counts nothing. Needs a bounded number of file descriptors however deep the tree is. Blocks, until `stop` (if
/// there is one) is set: kCancelled.
Result<TreeUsage> tree_usage(const std::string& path, const std::atomic<bool>* stop = nullptr);

}  // namespace brume::linux_os
