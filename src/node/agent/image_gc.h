// Which images go when their disk fills up.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "brume/runtime/images.h"

namespace brume::node {

/// Ids of images that are neither pinned nor in use, the largest first, until `bytes` would be freed.
[[nodiscard]] std::vector<std::string> images_to_remove(
    const std::vector<std::shared_ptr<const runtime::Image>>& images,
    const std::function<bool(std::string_view id)>& in_use, std::int64_t bytes);

}  // namespace brume::node
