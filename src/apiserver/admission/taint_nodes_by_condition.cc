#include <algorithm>

#include "plugins.h"

namespace brume::apiserver {
namespace {

/// Between a node's registration and its first conditions no pod may land on it.
class TaintNodesByCondition : public AdmissionPlugin {
 public:
  Status mutate(AdmissionRequest& request) const override {
    if (!creates(request, "nodes")) return {};
    Json& taints = array_in(spec_of(*request.object), "taints");
    constexpr std::string_view kNotReady = "node.kubernetes.io/not-ready";
    const bool there = std::ranges::any_of(
        taints, [&](const Json& t) { return str(t, "key") == kNotReady && str(t, "effect") == "NoSchedule"; });
    if (!there) taints.push_back({{"key", kNotReady}, {"effect", "NoSchedule"}});
    return {};
  }
};

}  // namespace

PluginPtr taint_nodes_by_condition() { return std::make_unique<TaintNodesByCondition>(); }

}  // namespace brume::apiserver
