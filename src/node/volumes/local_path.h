// Directories of the provisioner brume.dev/local-path on this node's disk, and what both they and other local volumes
// need: the pod's group.
#pragma once

#include <cstdint>
#include <string>

#include "brume/base/result.h"

namespace brume::node {

/// Makes the directory `name` in `storage_dir`, for everybody to write (0777), unless it is there. kInvalid for a name
/// that is no plain file name. Blocks.
[[nodiscard]] Status make_local_path(const std::string& storage_dir, const std::string& name);
/// Takes down what is mounted in the directory `name`, then removes it with all that it holds. Absent is fine. Blocks.
[[nodiscard]] Status remove_local_path(const std::string& storage_dir, const std::string& name);

/// Gives the tree at `path` to a pod's fsGroup: every file and directory gets the group, may be read and written by it,
/// and directories hand it on. With `on_mismatch` (fsGroupChangePolicy OnRootMismatch) nothing is done when the root is
/// as it should be. Follows no symlink. Blocks.
[[nodiscard]] Status give_to_group(const std::string& path, std::uint32_t group, bool on_mismatch);

}  // namespace brume::node
