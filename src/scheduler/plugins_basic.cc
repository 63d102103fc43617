// The plugins that need few words: gates, sorting, names, cordons, ports, binding.
#include <algorithm>
#include <string>

#include "brume/base/json.h"
#include "brume/base/task.h"
#include "registry.h"

namespace brume::scheduler {

namespace {

class SchedulingGates final : public Plugin {
 public:
  std::string_view name() const override { return "SchedulingGates"; }
  Points points() const override { return point::kPreEnqueue; }
  std::vector<EventInterest> events() override {
    return {{.resource = EventResource::kPod,
             .actions = action::kUpdatePodGatesGone,
             .hint = [](const PodInfo& waiting, const Change& change) {
               return change.pod_after && change.pod_after->uid() == waiting.uid();
             }}};
  }
  Verdict pre_enqueue(const PodInfo& pod) override {
    if (pod.spec->gates.empty()) return {};
    std::string gates;
    for (const auto& gate : pod.spec->gates) gates.append(gates.empty() ? "" : " ").append(gate);
    return Verdict::unresolvable(passing_reason("waiting for scheduling gates: [" + gates + "]"));
  }
};

class PrioritySort final : public Plugin {
 public:
  std::string_view name() const override { return "PrioritySort"; }
  Points points() const override { return point::kQueueSort; }
  bool before(const PodInfo& a, WallTime queued_a, const PodInfo& b, WallTime queued_b) const override {
    return a.priority() != b.priority() ? a.priority() > b.priority() : queued_a < queued_b;
  }
};

class NodeUnschedulable final : public Plugin {
 public:
  std::string_view name() const override { return "NodeUnschedulable"; }
  Points points() const override { return point::kFilter; }
  std::vector<EventInterest> events() override {
    return {{.resource = EventResource::kNode,
             .actions = action::kAdd | action::kUpdateNodeTaint,
             .hint =
                 [](const PodInfo&, const Change& change) {
                   const bool closed = change.node_after->unschedulable;
                   return change.node_before != nullptr ? change.node_before->unschedulable && !closed : !closed;
                 }},
            {.resource = EventResource::kPod,
             .actions = action::kUpdatePodToleration,
             .hint = [](const PodInfo& waiting, const Change& change) {
               return change.pod_after && change.pod_after->uid() == waiting.uid() && tolerated(*change.pod_after);
             }}};
  }
  Verdict filter(CycleState&, const PodInfo& pod, const NodeInfo& node) override {
    if (!node.unschedulable || tolerated(pod)) return {};
    static thread_local const ReasonId kReason = reason_id("node(s) were unschedulable");
    return Verdict::unresolvable(kReason);
  }

 private:
  static bool tolerated(const PodInfo& pod) {
    static const client::Taint kTaint{.key = std::string(client::kTaintUnschedulable),
                                      .effect = std::string(client::kNoSchedule)};
    return client::tolerated(kTaint, pod.spec->tolerations);
  }
};

class NodeName final : public Plugin {
 public:
  std::string_view name() const override { return "NodeName"; }
  Points points() const override { return point::kPreFilter | point::kFilter; }
  std::vector<EventInterest> events() override { return {{.resource = EventResource::kNode, .actions = action::kAdd}}; }
  // A pod in the queue has no spec.nodeName; this keeps the rule for those that are simulated.
  PreFilterResult pre_filter(CycleState&, const PodInfo& pod) override {
    if (pod.spec->node_name.empty()) return {.verdict = Verdict::skipped()};
    return {};
  }
  Verdict filter(CycleState&, const PodInfo& pod, const NodeInfo& node) override {
    static thread_local const ReasonId kReason = reason_id("node(s) didn't match the requested node name");
    return pod.spec->node_name == node.name ? Verdict{} : Verdict::unresolvable(kReason);
  }
};

class NodePorts final : public Plugin {
 public:
  std::string_view name() const override { return "NodePorts"; }
  Points points() const override { return point::kPreFilter | point::kFilter; }
  std::vector<EventInterest> events() override {
    return {{.resource = EventResource::kPod,
             .actions = action::kDelete,
             .hint =
                 [](const PodInfo& waiting, const Change& change) {
                   return change.resource == EventResource::kAssignedPod &&
                          conflict(waiting.footprint->ports, change.pod_before->footprint->ports);
                 }},
            {.resource = EventResource::kNode, .actions = action::kAdd}};
  }
  PreFilterResult pre_filter(CycleState&, const PodInfo& pod) override {
    if (pod.footprint->ports.empty()) return {.verdict = Verdict::skipped()};
    return {};
  }
  Verdict filter(CycleState&, const PodInfo& pod, const NodeInfo& node) override {
    static thread_local const ReasonId kReason =
        reason_id("node(s) didn't have free ports for the requested pod ports");
    return conflict(pod.footprint->ports, node.ports) ? Verdict::unschedulable(kReason) : Verdict{};
  }

 private:
  static bool conflict(const std::vector<HostPort>& wanted, const std::vector<HostPort>& taken) {
    return std::any_of(wanted.begin(), wanted.end(), [&](const HostPort& port) {
      return std::any_of(taken.begin(), taken.end(), [&](const HostPort& other) { return port.conflicts(other); });
    });
  }
};

class DefaultBinder final : public Plugin {
 public:
  explicit DefaultBinder(client::Client& client) : client_(client) {}
  std::string_view name() const override { return "DefaultBinder"; }
  Points points() const override { return point::kBind; }
  Task<Verdict> bind(std::shared_ptr<CycleState> /*state*/, PodPtr pod, std::string node) override {
    const auto& object = *pod->object;
    Json body = {{"apiVersion", "v1"},
                 {"kind", "Binding"},
                 {"metadata", {{"name", object.name()}, {"namespace", object.ns()}, {"uid", object.uid()}}},
                 {"target", {{"apiVersion", "v1"}, {"kind", "Node"}, {"name", node}}}};
    auto done =
        co_await client_.create_subresource(api::res("pods"), object.ns(), object.name(), "binding", std::move(body));
    if (!done) co_return Verdict::error(done.error().message);
    co_return Verdict{};
  }

 private:
  client::Client& client_;
};

}  // namespace

PluginResult make_scheduling_gates(const Json&, Handle&) { return std::make_unique<SchedulingGates>(); }
PluginResult make_priority_sort(const Json&, Handle&) { return std::make_unique<PrioritySort>(); }
PluginResult make_node_unschedulable(const Json&, Handle&) { return std::make_unique<NodeUnschedulable>(); }
PluginResult make_node_name(const Json&, Handle&) { return std::make_unique<NodeName>(); }
PluginResult make_node_ports(const Json&, Handle&) { return std::make_unique<NodePorts>(); }
PluginResult make_default_binder(const Json&, Handle& handle) {
  return std::make_unique<DefaultBinder>(handle.client());
}

}  // namespace brume::scheduler
