// TaintToleration: nodes that repel pods.
#include <algorithm>

#include "brume/base/json.h"
#include "brume/client/taints.h"
#include "registry.h"

namespace brume::scheduler {

bool node_repels(const PodInfo& pod, const NodeInfo& node) {
  return std::any_of(node.taints.begin(), node.taints.end(), [&](const client::Taint& taint) {
    return (taint.effect == client::kNoSchedule || taint.effect == client::kNoExecute) &&
           !client::tolerated(taint, pod.spec->tolerations);
  });
}

namespace {

class TaintToleration final : public Plugin {
 public:
  std::string_view name() const override { return "TaintToleration"; }
  Points points() const override { return point::kFilter | point::kPreScore | point::kScore; }

  std::vector<EventInterest> events() override {
    return {{.resource = EventResource::kNode,
             .actions = action::kAdd | action::kUpdateNodeTaint,
             .hint =
                 [](const PodInfo& waiting, const Change& change) {
                   const bool before = change.node_before == nullptr || node_repels(waiting, *change.node_before);
                   return before && !node_repels(waiting, *change.node_after);
                 }},
            {.resource = EventResource::kPod,
             .actions = action::kUpdatePodToleration,
             .hint = [](const PodInfo& waiting, const Change& change) {
               return change.pod_after && change.pod_after->uid() == waiting.uid();
             }}};
  }

  Verdict filter(CycleState&, const PodInfo& pod, const NodeInfo& node) override {
    static thread_local const ReasonId kReason = reason_id("node(s) had untolerated taint(s)");
    if (node.taints.empty() || !node_repels(pod, node)) return {};
    return Verdict::unresolvable(kReason);
  }

  // Without taints all nodes are alike, and get the most.
  Verdict pre_score(CycleState&, const PodInfo&, std::span<const NodeInfo* const> nodes) override {
    const bool any =
        std::any_of(nodes.begin(), nodes.end(), [](const NodeInfo* node) { return !node->taints.empty(); });
    return any ? Verdict{} : Verdict::skipped();
  }

  void score(CycleState&, const PodInfo& pod, std::span<const NodeInfo* const> nodes,
             std::span<std::int64_t> scores) override {
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      scores[i] = std::count_if(nodes[i]->taints.begin(), nodes[i]->taints.end(), [&](const client::Taint& taint) {
        return taint.effect == client::kPreferNoSchedule && !client::tolerated(taint, pod.spec->tolerations);
      });
    }
  }

  void normalize(CycleState&, const PodInfo&, std::span<const NodeInfo* const>,
                 std::span<std::int64_t> scores) override {
    normalize_by_max(scores, true);
  }
};

}  // namespace

PluginResult make_taint_toleration(const Json&, Handle&) { return std::make_unique<TaintToleration>(); }

}  // namespace brume::scheduler
