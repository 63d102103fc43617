// Nodes whose kubelet is silent become Unknown; conditions become taints; pods of nodes that are not ready are marked
// so.
#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <unordered_map>

#include "brume/client/taints.h"
#include "make.h"

namespace brume::controller {

namespace {

using client::Taint;
using SteadyTime = std::chrono::steady_clock::time_point;

struct ConditionTaint {
  const char* condition;
  const char* status;
  const char* taint;
};

// Which condition in which state makes which taint.
constexpr std::array<ConditionTaint, 6> kConditionTaints = {{
    {"Ready", "False", "node.kubernetes.io/not-ready"},
    {"Ready", "Unknown", "node.kubernetes.io/unreachable"},
    {"MemoryPressure", "True", "node.kubernetes.io/memory-pressure"},
    {"DiskPressure", "True", "node.kubernetes.io/disk-pressure"},
    {"PIDPressure", "True", "node.kubernetes.io/pid-pressure"},
    {"NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"},
}};

/// The taints that this controller alone puts on and takes off.
bool is_ours(const Taint& taint) {
  if (taint.key == client::kTaintUnschedulable) return taint.effect == client::kNoSchedule;
  const bool known = std::any_of(kConditionTaints.begin(), kConditionTaints.end(),
                                 [&](const auto& entry) { return taint.key == entry.taint; });
  if (!known) return false;
  if (taint.effect == client::kNoSchedule) return true;
  return taint.effect == client::kNoExecute &&
         (taint.key == client::kTaintNotReady || taint.key == client::kTaintUnreachable);
}

/// The taints that the node's conditions and spec.unschedulable call for; those that evict only if `evicting`.
std::vector<Taint> wanted_taints(const Json& node, bool evicting) {
  std::vector<Taint> out;
  for (const auto& entry : kConditionTaints) {
    if (str(client::find_condition(at(node, "status"), entry.condition), "status") != entry.status) continue;
    out.push_back({.key = entry.taint, .effect = std::string(client::kNoSchedule)});
    if (evicting && std::string_view(entry.condition) == "Ready") {
      out.push_back({.key = entry.taint, .effect = std::string(client::kNoExecute)});
    }
  }
  if (flag(at(node, "spec"), "unschedulable")) {
    out.push_back({.key = std::string(client::kTaintUnschedulable), .effect = std::string(client::kNoSchedule)});
  }
  return out;
}

/// The nodes of a zone (labels topology.kubernetes.io/region and zone), as many as are known and ready.
struct Zone {
  int nodes = 0;
  int ready = 0;

  /// More than half of its nodes are silent, but not all: rather the network is broken than each of them, and their
  /// pods would crowd the few that are left. kube-controller-manager's --unhealthy-zone-threshold and
  /// --large-cluster-size-threshold.
  [[nodiscard]] bool partly_disrupted() const {
    const int silent = nodes - ready;
    return nodes <= 50 && ready > 0 && silent > 2 && silent * 100 >= nodes * 55;
  }
};

std::string zone_of(const Object& node) {
  return std::string(node.label("topology.kubernetes.io/region")) + "/" +
         std::string(node.label("topology.kubernetes.io/zone"));
}

class NodeLifecycle final : public Controller {
 public:
  explicit NodeLifecycle(Context& context);

 private:
  /// When the node last gave a sign of life, by our own clock: nodes' clocks may be off.
  struct Heard {
    SteadyTime at;
    std::string lease;      // its renewTime
    std::string heartbeat;  // Ready's lastHeartbeatTime
    bool ready = false;
    bool counted = false;  // in its zone
    std::string zone = {};
  };
  /// Which nodes' pods may be sent away.
  struct Disruption {
    bool whole = false;           // no node is ready
    std::set<std::string> zones;  // partly disrupted ones
    bool operator==(const Disruption&) const = default;
  };

  Task<Status> reconcile(std::string name) override;
  Task<Status> mark_unknown(ObjectPtr node);
  Task<Status> taint(ObjectPtr node);
  Task<Status> mark_pods(std::string node);
  void hear_lease(const ObjectPtr& lease);
  void hear_node(const ObjectPtr& node);
  void node_changed(const ObjectPtr& node);
  void node_gone(const ObjectPtr& node);
  void count(Heard& heard, int by);
  [[nodiscard]] Disruption disruption() const;

  Informer& nodes_;
  Informer& leases_;
  Informer& pods_;
  std::unordered_map<std::string, Heard> heard_;
  std::map<std::string, Zone> zones_;
};

NodeLifecycle::NodeLifecycle(Context& context)
    : Controller(context, "node-controller"),
      nodes_(use("nodes")),
      leases_(use("leases.coordination.k8s.io")),
      pods_(use("pods")) {
  pods_.add_index(kByNode, index_by_node);
  nodes_.add_handler({.added =
                          [this](const ObjectPtr& now) {
                            events_.normal(
                                *now, "RegisteredNode",
                                "Node " + now->name() + " event: Registered Node " + now->name() + " in Controller");
                            node_changed(now);
                          },
                      .updated = [this](const ObjectPtr&, const ObjectPtr& now) { node_changed(now); },
                      .deleted = [this](const ObjectPtr& last) { node_gone(last); }});
  leases_.add_handler({.added = [this](const ObjectPtr& now) { hear_lease(now); },
                       .updated = [this](const ObjectPtr&, const ObjectPtr& now) { hear_lease(now); },
                       .deleted = nullptr});
}

void NodeLifecycle::hear_lease(const ObjectPtr& lease) {
  if (lease->ns() != "kube-node-lease") return;
  auto& heard = heard_[lease->name()];
  const Json value = lease->parse();
  const auto renewed = str(at(value, "spec"), "renewTime");
  if (heard.lease == renewed) return;
  heard.lease = renewed;
  heard.at = clock().steady();
}

void NodeLifecycle::hear_node(const ObjectPtr& node) {
  auto [it, fresh] = heard_.try_emplace(node->name());
  const Json value = node->parse();
  const Json& ready = client::find_condition(at(value, "status"), "Ready");
  if (it->second.counted) count(it->second, -1);
  it->second.ready = str(ready, "status") == "True";
  it->second.zone = zone_of(*node);
  count(it->second, 1);
  const auto beat = str(ready, "lastHeartbeatTime");
  // Our own write of Unknown leaves the heartbeat's time as it was.
  if (!fresh && it->second.heartbeat == beat && it->second.at != SteadyTime{}) return;
  it->second.heartbeat = beat;
  it->second.at = clock().steady();
}

void NodeLifecycle::count(Heard& heard, int by) {
  heard.counted = by > 0;
  const auto zone = zones_.try_emplace(heard.zone).first;
  zone->second.nodes += by;
  if (heard.ready) zone->second.ready += by;
  if (zone->second.nodes == 0) zones_.erase(zone);
}

// When no node at all is ready, it is more likely that something here is broken than that all of them are; and their
// pods could go nowhere. Then nothing is evicted, as with Kubernetes' "master disruption mode".
NodeLifecycle::Disruption NodeLifecycle::disruption() const {
  Disruption out{.whole = true, .zones = {}};
  for (const auto& [name, zone] : zones_) {
    if (zone.ready > 0) out.whole = false;
    if (zone.partly_disrupted()) out.zones.insert(name);
  }
  return out;
}

void NodeLifecycle::node_changed(const ObjectPtr& node) {
  const auto before = disruption();
  hear_node(node);
  enqueue(node);
  if (before == disruption()) return;
  nodes_.each([this](const ObjectPtr& other) { enqueue(other); });
}

void NodeLifecycle::node_gone(const ObjectPtr& node) {
  events_.normal(*node, "RemovingNode",
                 "Node " + node->name() + " event: Removing Node " + node->name() + " from Controller");
  const auto before = disruption();
  if (const auto heard = heard_.find(node->name()); heard != heard_.end()) {
    if (heard->second.counted) count(heard->second, -1);
    heard_.erase(heard);
  }
  if (before == disruption()) return;
  nodes_.each([this](const ObjectPtr& other) { enqueue(other); });
}

Task<Status> NodeLifecycle::reconcile(std::string name) {
  auto node = nodes_.get(name);
  if (!node) co_return Status{};
  const auto grace = context_.options.node_monitor_grace_period;
  const auto silent = clock().steady() - heard_[name].at;
  if (silent >= grace) {
    BRUME_CO_CHECK(co_await mark_unknown(node));
    queue_.add_after(name, grace);
  } else {
    queue_.add_after(name, grace - silent);
  }
  node = nodes_.get(name);
  if (!node) co_return Status{};
  BRUME_CO_CHECK(co_await taint(node));
  const Json value = node->parse();
  if (!client::condition_true(at(value, "status"), "Ready")) co_return co_await mark_pods(name);
  co_return Status{};
}

Task<Status> NodeLifecycle::mark_unknown(ObjectPtr node) {
  const Json value = node->parse();
  const auto& before = at(value, "status");
  Json status = before.is_object() ? before : Json::object();
  const bool was_ready = client::condition_true(before, "Ready");
  for (const char* type : {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"}) {
    const Json& have = client::find_condition(before, type);
    if (str(have, "status") == "Unknown") continue;
    const bool never = have.is_null();
    Json condition = {{"type", type},
                      {"status", "Unknown"},
                      {"reason", never ? "NodeStatusNeverUpdated" : "NodeStatusUnknown"},
                      {"message", never ? "Kubelet never posted node status." : "Kubelet stopped posting node status."},
                      {"lastHeartbeatTime", never ? Json(node->creation_timestamp()) : at(have, "lastHeartbeatTime")}};
    client::set_condition(status, std::move(condition), clock().now());
  }
  // The node may be back by now, and know better.
  auto written = co_await write_status(client(), nodes_.resource(), node, before, std::move(status), Demand::kRevision);
  if (!written) co_return fail(written.error());
  if (was_ready) {
    events_.normal(*node, "NodeNotReady", "Node " + node->name() + " status is now: NodeNotReady");
  }
  co_return Status{};
}

Task<Status> NodeLifecycle::taint(ObjectPtr node) {
  const Json value = node->parse();
  const auto broken = disruption();
  const auto wanted = wanted_taints(value, !broken.whole);
  const bool holds = broken.zones.contains(zone_of(*node));  // nobody else is sent away for the time being
  const auto is_wanted = [&](const Taint& have) {
    return std::any_of(wanted.begin(), wanted.end(),
                       [&](const Taint& want) { return want.key == have.key && want.effect == have.effect; });
  };
  const Json& have = at(value, "spec", "taints");
  const auto decoded = client::decode_taints(have);
  Json taints = Json::array();
  for (std::size_t i = 0; i < decoded.size(); ++i) {
    if (!is_ours(decoded[i]) || is_wanted(decoded[i])) taints.push_back(have[i]);
  }
  for (const auto& want : wanted) {
    const bool there = std::any_of(decoded.begin(), decoded.end(),
                                   [&](const Taint& t) { return t.key == want.key && t.effect == want.effect; });
    if (there || (holds && want.effect == client::kNoExecute)) continue;
    // Evictions count from the time.
    taints.push_back({{"key", want.key}, {"effect", want.effect}, {"timeAdded", format_rfc3339(clock().now())}});
  }
  if (taints == have || (taints.empty() && have.empty())) co_return Status{};
  Json patch = {{"metadata", {{"uid", node->uid()}, {"resourceVersion", std::to_string(node->resource_version())}}},
                {"spec", {{"taints", taints.empty() ? Json() : std::move(taints)}}}};
  auto done = co_await client().patch(nodes_.resource(), "", node->name(), client::PatchType::kMerge, std::move(patch));
  if (!done && done.error().code != Code::kNotFound) co_return fail(done.error());
  co_return Status{};
}

// Pods of a node that is not ready must get no traffic, and nobody there can say so.
Task<Status> NodeLifecycle::mark_pods(std::string node) {
  for (const auto& pod : pods_.by_index(kByNode, node)) {
    const Json value = pod->parse();
    const auto& before = at(value, "status");
    if (!client::condition_true(before, "Ready")) continue;
    Json status = before;
    Json condition = client::find_condition(before, "Ready");
    condition["status"] = "False";
    condition.erase("lastTransitionTime");
    client::set_condition(status, std::move(condition), clock().now());
    auto written = co_await write_status(client(), pods_.resource(), pod, before, std::move(status), Demand::kRevision);
    if (!written) co_return fail(written.error());
    events_.warning(*pod, "NodeNotReady", "Node is not ready");
  }
  co_return Status{};
}

}  // namespace

std::unique_ptr<Controller> make_node_lifecycle(Context& context) { return std::make_unique<NodeLifecycle>(context); }

}  // namespace brume::controller
