#include "types.h"

#include <algorithm>

#include "brume/api/quantity.h"
#include "brume/base/json.h"

namespace brume::scheduler {

bool HostPort::conflicts(const HostPort& other) const {
  if (port != other.port || protocol != other.protocol) return false;
  return ip == other.ip || ip == "0.0.0.0" || other.ip == "0.0.0.0";
}

namespace {

void add_ports(const Json& containers, bool sidecars_only, std::vector<HostPort>& out) {
  if (!containers.is_array()) return;
  for (const auto& container : containers) {
    if (sidecars_only && str(container, "restartPolicy") != "Always") continue;
    const auto& ports = at(container, "ports");
    if (!ports.is_array()) continue;
    for (const auto& port : ports) {
      const auto number = num(port, "hostPort");
      if (number <= 0) continue;
      const auto ip = str(port, "hostIP");
      const auto protocol = str(port, "protocol");
      out.push_back({.ip = ip.empty() ? "0.0.0.0" : std::string(ip),
                     .protocol = protocol.empty() ? "TCP" : std::string(protocol),
                     .port = static_cast<int>(number)});
    }
  }
}

}  // namespace

Footprint decode_footprint(const Json& pod_spec, const Json& status) {
  Footprint out{.requests = pod_requests(pod_spec, status), .scoring = scoring_requests(pod_spec, status)};
  add_ports(at(pod_spec, "containers"), false, out.ports);
  add_ports(at(pod_spec, "initContainers"), true, out.ports);
  return out;
}

PodInfo decode_pod(const ObjectPtr& pod) {
  const Json value = pod->parse();
  const auto& spec = at(value, "spec");
  PodInfo out{.object = pod,
              .scheduler = std::string(str(spec, "schedulerName")),
              .priority = num(spec, "priority"),
              .may_preempt = str(spec, "preemptionPolicy") != "Never",
              .gated = !at(spec, "schedulingGates").empty(),
              .footprint = decode_footprint(spec, Json())};
  if (out.scheduler.empty()) out.scheduler = "default-scheduler";
  const auto& selector = at(spec, "nodeSelector");
  if (selector.is_object()) {
    for (const auto& [key, wanted] : selector.items()) {
      out.node_selector.labels.push_back(
          {.key = key, .op = NodeRequirement::Op::kIn, .values = {std::string(str(wanted))}});
    }
  }
  const auto& affinity = at(spec, "affinity", "nodeAffinity");
  const auto& required = at(affinity, "requiredDuringSchedulingIgnoredDuringExecution");
  out.has_required = required.is_object();
  out.required = decode_terms(at(required, "nodeSelectorTerms"));
  const auto& preferred = at(affinity, "preferredDuringSchedulingIgnoredDuringExecution");
  if (preferred.is_array()) {
    for (const auto& entry : preferred) {
      out.preferred.push_back({.weight = num(entry, "weight"), .term = decode_term(at(entry, "preference"))});
    }
  }
  out.tolerations = client::decode_tolerations(at(spec, "tolerations"));
  out.created = parse_rfc3339(pod->creation_timestamp()).value_or(WallTime{});
  return out;
}

void NodeInfo::place(const Footprint& footprint, std::int64_t priority) {
  ++pods;
  requested.add(footprint.requests);
  scoring.add(footprint.scoring);
  ports.insert(ports.end(), footprint.ports.begin(), footprint.ports.end());
  ++priorities[priority];
}

void NodeInfo::remove(const Footprint& footprint, std::int64_t priority) {
  --pods;
  requested.subtract(footprint.requests);
  scoring.subtract(footprint.scoring);
  for (const auto& port : footprint.ports) {
    auto same = std::find_if(ports.begin(), ports.end(), [&](const HostPort& have) {
      return have.port == port.port && have.protocol == port.protocol && have.ip == port.ip;
    });
    if (same != ports.end()) ports.erase(same);
  }
  if (--priorities[priority] == 0) priorities.erase(priority);
}

bool NodeInfo::update(const ObjectPtr& node) {
  const Json value = node->parse();
  const auto& status = at(value, "status");
  const auto& list = at(status, "allocatable").is_object() ? at(status, "allocatable") : at(status, "capacity");
  Resources offered = decode_resources(list);
  const auto pods_allowed = api::quantity_or_zero(str(list, "pods")).value();
  const bool closed = flag(at(value, "spec"), "unschedulable");
  auto now_taints = client::decode_taints(at(value, "spec", "taints"));
  const auto same_taint = [](const client::Taint& a, const client::Taint& b) {
    return a.key == b.key && a.value == b.value && a.effect == b.effect;
  };
  const bool changed = !object || !(offered == allocatable) || pods_allowed != allowed_pods ||
                       closed != unschedulable || object->labels() != node->labels() ||
                       !std::equal(taints.begin(), taints.end(), now_taints.begin(), now_taints.end(), same_taint);
  object = node;
  name = node->name();
  allocatable = std::move(offered);
  allowed_pods = pods_allowed;
  unschedulable = closed;
  taints = std::move(now_taints);
  return changed;
}

}  // namespace brume::scheduler
