// ImageLocality: prefers nodes that have a pod's images.
#include <algorithm>

#include "args.h"
#include "registry.h"

namespace brume::scheduler {

namespace {

// kube-scheduler's minThreshold and maxContainerThreshold.
constexpr std::int64_t kMegabyte = 1024LL * 1024;
constexpr std::int64_t kLeast = 23 * kMegabyte;
constexpr std::int64_t kMostPerContainer = 1000 * kMegabyte;

class ImageLocality final : public Plugin {
 public:
  explicit ImageLocality(const NodeCache& nodes) : nodes_(nodes) {}
  std::string_view name() const override { return "ImageLocality"; }
  Points points() const override { return point::kPreScore | point::kScore; }

  // Mostly no node has any of the images, or all have the same: then there is nothing to look up node by node.
  Verdict pre_score(CycleState& state, const PodInfo& pod, std::span<const NodeInfo* const>) override {
    Wanted wanted;
    const auto add = [&](const std::string& image) {
      const auto have = nodes_.nodes_with_image(image);
      if (have == 0) return;
      const auto spread = static_cast<double>(have) / static_cast<double>(nodes_.nodes().size());
      wanted.images.emplace_back(&image, spread);
    };
    for (const auto& image : pod.spec->images) add(image);
    for (const auto& volume : pod.spec->volumes) {
      if (!volume.image.empty()) add(volume.image);
    }
    if (wanted.images.empty()) return Verdict::skipped();
    wanted.most = kMostPerContainer * static_cast<std::int64_t>(pod.spec->images.size());
    state.put(wanted_, std::move(wanted));
    return {};
  }

  // What is on many nodes counts for more: a single node with a big image must not draw all pods.
  void score(CycleState& state, const PodInfo&, std::span<const NodeInfo* const> nodes,
             std::span<std::int64_t> scores) override {
    const auto& wanted = *state.find(wanted_);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      std::int64_t sum = 0;
      for (const auto& [image, spread] : wanted.images) {
        const auto it = nodes[i]->images.find(*image);
        if (it != nodes[i]->images.end()) {
          sum += static_cast<std::int64_t>(static_cast<double>(it->second) * spread);
        }
      }
      scores[i] = kMaxScore * (std::clamp(sum, kLeast, wanted.most) - kLeast) / (wanted.most - kLeast);
    }
  }

 private:
  struct Wanted {
    std::vector<std::pair<const std::string*, double>> images;  ///< and on what share of the nodes each is
    std::int64_t most = 0;
  };
  const NodeCache& nodes_;
  StateSlot<Wanted> wanted_;
};

}  // namespace

PluginResult make_image_locality(const Json&, Handle& handle) { return std::make_unique<ImageLocality>(handle.nodes); }

}  // namespace brume::scheduler
