// How deep a JSON value nests.
#pragma once

#include <cstddef>

#include "brume/base/json_fwd.h"

namespace brume::api {

/// 0 for a scalar, 1 for [] and {}. Uses no recursion.
[[nodiscard]] std::size_t json_depth(const Json& value);

}  // namespace brume::api
