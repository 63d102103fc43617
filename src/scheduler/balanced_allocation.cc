// NodeResourcesBalancedAllocation: prefers nodes whose resources a pod brings to the same degree of use.
#include <algorithm>
#include <cmath>

#include "node_resources.h"
#include "registry.h"

namespace brume::scheduler {

namespace {

class BalancedAllocation final : public Plugin {
 public:
  explicit BalancedAllocation(std::vector<WeighedResource> resources) : resources_(std::move(resources)) {}
  std::string_view name() const override { return "NodeResourcesBalancedAllocation"; }
  Points points() const override { return point::kPreScore | point::kScore; }

  // A pod that asks for nothing unbalances nothing.
  Verdict pre_score(CycleState&, const PodInfo& pod, std::span<const NodeInfo* const>) override {
    const bool any = std::any_of(resources_.begin(), resources_.end(), [&](const WeighedResource& resource) {
      return resource.of(pod.footprint->requests) != 0;
    });
    return any ? Verdict{} : Verdict::skipped();
  }

  void score(CycleState&, const PodInfo& pod, std::span<const NodeInfo* const> nodes,
             std::span<std::int64_t> scores) override {
    const auto& wanted = pod.footprint->requests;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const auto with = balance(*nodes[i], wanted, true);
      const auto without = balance(*nodes[i], wanted, false);
      scores[i] = kMaxScore / 2 + (kMaxScore / 2 + with - without) / 2;
    }
  }

 private:
  // 100 when all resources are used to the same degree, less by their standard deviation.
  [[nodiscard]] std::int64_t balance(const NodeInfo& node, const Resources& wanted, bool with_pod) const {
    double sum = 0;
    double squares = 0;
    double first = 0;
    double last = 0;
    int count = 0;
    for (const auto& resource : resources_) {
      const auto asked = resource.of(wanted);
      const auto offered = resource.of(node.allocatable);
      if (offered == 0 || (resource.basic < 0 && asked == 0)) continue;
      const auto taken = resource.of(node.requested) + (with_pod ? asked : 0);
      last = std::min(1.0, static_cast<double>(taken) / static_cast<double>(offered));
      if (count++ == 0) first = last;
      sum += last;
      squares += last * last;
    }
    double deviation = 0;
    if (count == 2) {
      deviation = std::abs(first - last) / 2;
    } else if (count > 2) {
      const double mean = sum / count;
      deviation = std::sqrt(std::max(0.0, squares / count - mean * mean));
    }
    return static_cast<std::int64_t>((1 - deviation) * static_cast<double>(kMaxScore));
  }

  std::vector<WeighedResource> resources_;
};

}  // namespace

PluginResult make_balanced_allocation(const Json& args, Handle&) {
  BRUME_CHECK(only_fields(args, "args", {"apiVersion", "kind", "resources"}));
  BRUME_TRY(auto resources, decode_weighed(args, "args"));
  for (const auto& resource : resources) {
    if (resource.weight != 1) return invalid("args.resources", "weights must be 1");
  }
  return std::make_unique<BalancedAllocation>(std::move(resources));
}

}  // namespace brume::scheduler
