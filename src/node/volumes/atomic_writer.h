// Files of configMap, secret, downwardAPI and projected volumes, replaced all at once by one symlink swap.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "brume/base/result.h"

namespace brume::node {

struct VolumeFile {
  std::string data;
  unsigned mode = 0644;
  std::optional<std::uint32_t> owner;  ///< uid; absent: root

  friend bool operator==(const VolumeFile&, const VolumeFile&) = default;
};

/// Relative path in the volume → file.
using Payload = std::map<std::string, VolumeFile>;

/// kInvalid for an absolute path, one with "..", or one whose first part starts with "..".
[[nodiscard]] Status check_payload(const Payload& payload);

/// Makes `dir` show exactly `payload`: the files go to a new folder ..<time>, and the symlink ..data is moved over to
/// it, so that a reader sees all old or all new files. Same layout as the kubelet's. True when something changed.
/// `group` gets the files (gid, group-readable) and the folders (setgid) when given. Blocks.
[[nodiscard]] Result<bool> write_payload(const std::string& dir, const Payload& payload,
                                         std::optional<std::uint32_t> group);

}  // namespace brume::node
