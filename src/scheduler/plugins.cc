// Node name, unschedulable, taints, affinity, ports; sorting and binding; the default profile.
#include "plugins.h"

#include <algorithm>

#include "brume/base/json.h"
#include "brume/base/task.h"

namespace brume::scheduler {

namespace {

using Kind = Verdict::Kind;

class PrioritySort final : public QueueSortPlugin {
 public:
  std::string_view name() const override { return "PrioritySort"; }
  bool before(const PodInfo& a, WallTime queued_a, const PodInfo& b, WallTime queued_b) const override {
    return a.priority != b.priority ? a.priority > b.priority : queued_a < queued_b;
  }
};

class NodeNameFilter final : public FilterPlugin {
 public:
  std::string_view name() const override { return "NodeName"; }
  // A pod in the queue has no spec.nodeName; this keeps the rule for those that are simulated.
  bool concerns(const PodInfo& pod) const override {
    return std::any_of(pod.required.begin(), pod.required.end(), [](const auto& term) { return !term.fields.empty(); });
  }
  Verdict filter(const CycleState&, const PodInfo& pod, const NodeInfo& node) const override {
    static thread_local const ReasonId kReason = reason_id("node(s) didn't match the requested node name");
    const bool named = std::any_of(pod.required.begin(), pod.required.end(), [&](const NodeSelectorTerm& term) {
      return term.fields.empty() || std::all_of(term.fields.begin(), term.fields.end(), [&](const auto& requirement) {
               return requirement.key == "metadata.name" && requirement.matches(&node.name);
             });
    });
    return named ? Verdict{} : Verdict::no(kReason, Kind::kUnresolvable);
  }
};

class UnschedulableFilter final : public FilterPlugin {
 public:
  std::string_view name() const override { return "NodeUnschedulable"; }
  Verdict filter(const CycleState&, const PodInfo& pod, const NodeInfo& node) const override {
    if (!node.unschedulable) return {};
    static thread_local const ReasonId kReason = reason_id("node(s) were unschedulable");
    static const client::Taint kTaint{.key = std::string(client::kTaintUnschedulable),
                                      .effect = std::string(client::kNoSchedule)};
    if (client::tolerated(kTaint, pod.tolerations)) return {};
    return Verdict::no(kReason, Kind::kUnresolvable);
  }
};

class TaintFilter final : public FilterPlugin {
 public:
  std::string_view name() const override { return "TaintToleration"; }
  Verdict filter(const CycleState&, const PodInfo& pod, const NodeInfo& node) const override {
    for (const auto& taint : node.taints) {
      if (taint.effect != client::kNoSchedule && taint.effect != client::kNoExecute) continue;
      if (client::tolerated(taint, pod.tolerations)) continue;
      return Verdict::no(reason_id("node(s) had untolerated taint {" + taint.key + ": " + taint.value + "}"),
                         Kind::kUnresolvable);
    }
    return {};
  }
};

class TaintScore final : public ScorePlugin {
 public:
  std::string_view name() const override { return "TaintToleration"; }
  std::int64_t score(const CycleState&, const PodInfo& pod, const NodeInfo& node) const override {
    return std::count_if(node.taints.begin(), node.taints.end(), [&](const client::Taint& taint) {
      return taint.effect == client::kPreferNoSchedule && !client::tolerated(taint, pod.tolerations);
    });
  }
  void normalize(std::span<std::int64_t> scores) const override { normalize_by_max(scores, true); }
};

class AffinityFilter final : public FilterPlugin {
 public:
  std::string_view name() const override { return "NodeAffinity"; }
  bool concerns(const PodInfo& pod) const override { return pod.has_required || !pod.node_selector.labels.empty(); }
  Verdict filter(const CycleState&, const PodInfo& pod, const NodeInfo& node) const override {
    static thread_local const ReasonId kReason = reason_id("node(s) didn't match Pod's node affinity/selector");
    if (!pod.node_selector.labels.empty() && !pod.node_selector.matches(*node.object)) {
      return Verdict::no(kReason, Kind::kUnresolvable);
    }
    if (!pod.has_required) return {};
    const bool any = std::any_of(pod.required.begin(), pod.required.end(),
                                 [&](const NodeSelectorTerm& term) { return term.matches(*node.object); });
    return any ? Verdict{} : Verdict::no(kReason, Kind::kUnresolvable);
  }
};

class AffinityScore final : public ScorePlugin {
 public:
  std::string_view name() const override { return "NodeAffinity"; }
  bool scores(const PodInfo& pod) const override { return !pod.preferred.empty(); }
  std::int64_t score(const CycleState&, const PodInfo& pod, const NodeInfo& node) const override {
    std::int64_t sum = 0;
    for (const auto& preference : pod.preferred) {
      const bool everywhere = preference.term.labels.empty() && preference.term.fields.empty();
      if (everywhere || preference.term.matches(*node.object)) sum += preference.weight;
    }
    return sum;
  }
  void normalize(std::span<std::int64_t> scores) const override { normalize_by_max(scores, false); }
};

class PortsFilter final : public FilterPlugin {
 public:
  std::string_view name() const override { return "NodePorts"; }
  bool concerns(const PodInfo& pod) const override { return !pod.footprint.ports.empty(); }
  Verdict filter(const CycleState&, const PodInfo& pod, const NodeInfo& node) const override {
    static thread_local const ReasonId kReason =
        reason_id("node(s) didn't have free ports for the requested pod ports");
    for (const auto& wanted : pod.footprint.ports) {
      for (const auto& taken : node.ports) {
        if (wanted.conflicts(taken)) return Verdict::no(kReason);
      }
    }
    return {};
  }
};

class Binder final : public BindPlugin {
 public:
  explicit Binder(client::Client& client) : client_(client) {}
  std::string_view name() const override { return "DefaultBinder"; }
  Task<Status> bind(std::shared_ptr<const PodInfo> pod, std::string node) override {
    const auto& object = *pod->object;
    Json body = {{"apiVersion", "v1"},
                 {"kind", "Binding"},
                 {"metadata", {{"name", object.name()}, {"namespace", object.ns()}, {"uid", object.uid()}}},
                 {"target", {{"apiVersion", "v1"}, {"kind", "Node"}, {"name", node}}}};
    auto done =
        co_await client_.create_subresource(api::res("pods"), object.ns(), object.name(), "binding", std::move(body));
    if (!done) co_return fail(done.error());
    co_return Status{};
  }

 private:
  client::Client& client_;
};

}  // namespace

std::unique_ptr<QueueSortPlugin> make_priority_sort() { return std::make_unique<PrioritySort>(); }
std::unique_ptr<FilterPlugin> make_node_name_filter() { return std::make_unique<NodeNameFilter>(); }
std::unique_ptr<FilterPlugin> make_unschedulable_filter() { return std::make_unique<UnschedulableFilter>(); }
std::unique_ptr<FilterPlugin> make_taint_filter() { return std::make_unique<TaintFilter>(); }
std::unique_ptr<FilterPlugin> make_affinity_filter() { return std::make_unique<AffinityFilter>(); }
std::unique_ptr<FilterPlugin> make_ports_filter() { return std::make_unique<PortsFilter>(); }
std::unique_ptr<ScorePlugin> make_taint_score() { return std::make_unique<TaintScore>(); }
std::unique_ptr<ScorePlugin> make_affinity_score() { return std::make_unique<AffinityScore>(); }
std::unique_ptr<BindPlugin> make_binder(client::Client& client) { return std::make_unique<Binder>(client); }

Profile default_profile(client::Client& client, Strategy strategy) {
  Profile out;
  out.queue_sort = make_priority_sort();
  out.filters.push_back(make_unschedulable_filter());
  out.filters.push_back(make_node_name_filter());
  out.filters.push_back(make_taint_filter());
  out.filters.push_back(make_affinity_filter());
  out.filters.push_back(make_ports_filter());
  out.filters.push_back(make_fit_filter());
  out.scores.push_back({make_taint_score(), 3});
  out.scores.push_back({make_affinity_score(), 2});
  out.scores.push_back({make_fit_score(strategy), 1});
  out.scores.push_back({make_balance_score(), 1});
  out.binder = make_binder(client);
  return out;
}

}  // namespace brume::scheduler
