// The option strings of an OCI mount, sorted out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"

namespace brume::runtime {

struct MountOptions {
  bool bind = false;
  bool recursive_bind = false;
  std::uint64_t set = 0;  ///< MOUNT_ATTR_* of this mount
  std::uint64_t clear = 0;
  std::uint64_t set_all = 0;  ///< of this mount and those below it: rro, rnosuid...
  std::uint64_t clear_all = 0;
  std::uint32_t propagation = 0;  ///< MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE; 0: not said
  std::string subpath;            ///< x-subpath=: a path inside the source that symlinks must not lead out of
  std::vector<std::string> data;  ///< for the filesystem
};

/// kInvalid names the option that cannot be honoured; `where` is the mount's field path.
Result<MountOptions> parse_mount_options(const Json& options, const std::string& where);

}  // namespace brume::runtime
