// Volumes of a pod on this node: directories, tmpfs, host paths and written files; sub-paths; all of it taken down
// again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"
#include "volumes/atomic_writer.h"
#include "volumes/claims.h"

namespace brume::node {

/// What to set up for one volume; made on the loop, carried out on a blocking thread.
struct VolumePlan {
  enum class Kind : std::uint8_t { kDirectory, kMemory, kHostPath, kFiles, kLocal, kDevice };
  std::string name;
  std::string shown = {};  ///< the name in messages: of a claim's volume, the persistent volume's
  Kind kind = Kind::kDirectory;
  std::string path;             ///< on the host
  std::string host_type;        ///< of kHostPath
  std::int64_t size_limit = 0;  ///< bytes, of kMemory; 0: the kernel's default
  Payload files;                ///< of kFiles
  std::optional<std::uint32_t> group;
  // Of a claim's volume:
  std::string storage_dir = {};  ///< of kLocal: the directory is this node's own and is made there
  bool read_only = false;
  bool shared = false;                          ///< other pods here use it, so that its group is not changed
  bool on_mismatch = false;                     ///< fsGroupChangePolicy OnRootMismatch
  std::vector<std::string> mount_options = {};  ///< of its mounts in containers
};

/// <pod dir>/volumes/<kind>/<name>, or the host path. kInvalid for a volume type that this node cannot give.
/// What a claim is bound to is looked up in `claims`.
[[nodiscard]] Result<VolumePlan> plan_volume(const Json& pod, const Json& volume, const std::string& pod_dir,
                                             const ClaimVolumes& claims);
/// Carries the plan out; doing it again changes nothing. Blocks.
[[nodiscard]] Status set_up_volume(const VolumePlan& plan);

/// What is wrong with sharing the volume when the pod's group is not the one that it has for others; the kubelet's
/// words. Blocks.
[[nodiscard]] std::optional<std::string> group_conflict(const VolumePlan& plan);

/// Finds (or makes) `sub_path` inside the volume at `volume_path` without following anything out of it, and binds it by
/// descriptor onto `target`, which is made. Blocks. Defence against CVE-2017-1002101 and CVE-2021-25741.
[[nodiscard]] Status bind_sub_path(const std::string& volume_path, const std::string& sub_path,
                                   const std::string& target);

/// The bytes of a regular file in the volume, whose symlinks end in the volume, too; nullopt when there is none. At
/// most 1 MiB. Blocks.
[[nodiscard]] Result<std::optional<std::string>> read_in_volume(const std::string& volume_path,
                                                                const std::string& path);

/// A tmpfs at `path` unless one is mounted there. `size` in bytes, 0 for the kernel's default. Blocks.
[[nodiscard]] Status mount_tmpfs(const std::string& path, std::int64_t size, unsigned mode);

/// Detaches every mount below `dir`, then removes the tree. Blocks. Idempotent.
[[nodiscard]] Status remove_with_mounts(const std::string& dir);

}  // namespace brume::node
