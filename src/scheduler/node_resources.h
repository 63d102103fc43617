// The part of a node that a pod would take, and what that is worth: shared by the two plugins that score resources.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "args.h"
#include "types.h"

namespace brume::scheduler {

/// One resource of a scorer, with its weight.
struct WeighedResource {
  int basic = 0;               ///< Resources::Basic, or -1
  std::uint32_t extended = 0;  ///< resource_id() of others
  std::int64_t weight = 1;

  [[nodiscard]] std::int64_t of(const Resources& resources) const {
    return basic >= 0 ? resources.basic[static_cast<std::size_t>(basic)] : resources.extended_of(extended);
  }
};

/// `resources` of a plugin's arguments: name and weight each; CPU and memory when there is none.
Result<std::vector<WeighedResource>> decode_weighed(const Json& args, const std::string& path);

}  // namespace brume::scheduler
