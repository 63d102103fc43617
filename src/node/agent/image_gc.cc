#include "agent/image_gc.h"

#include <algorithm>

namespace brume::node {

std::vector<std::string> images_to_remove(const std::vector<std::shared_ptr<const runtime::Image>>& images,
                                          const std::function<bool(std::string_view id)>& in_use, std::int64_t bytes) {
  std::vector<std::shared_ptr<const runtime::Image>> candidates;
  for (const auto& image : images) {
    if (!image->pinned && !in_use(image->id)) candidates.push_back(image);
  }
  std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a->size > b->size; });
  std::vector<std::string> out;
  for (const auto& image : candidates) {
    if (bytes <= 0) break;
    out.push_back(image->id);
    bytes -= static_cast<std::int64_t>(image->size);
  }
  return out;
}

}  // namespace brume::node
