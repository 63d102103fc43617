#include "pod_view.h"

#include <algorithm>
#include <bit>

#include "brume/api/projection.h"
#include "brume/api/selector.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "brume/client/helpers.h"

namespace brume::controller {

namespace {

PodPhase phase_of(std::string_view text) {
  if (text == "Running") return PodPhase::kRunning;
  if (text == "Succeeded") return PodPhase::kSucceeded;
  if (text == "Failed") return PodPhase::kFailed;
  if (text == "Unknown") return PodPhase::kUnknown;
  return PodPhase::kPending;
}

void add_ports(const Json& containers, bool init, std::vector<ContainerPort>& out) {
  if (!containers.is_array()) return;
  for (const auto& container : containers) {
    if (init && str(container, "restartPolicy") != "Always") continue;
    const auto& ports = at(container, "ports");
    if (!ports.is_array()) continue;
    for (const auto& port : ports) {
      if (str(port, "name").empty()) continue;
      const auto protocol = str(port, "protocol");
      out.push_back({.name = std::string(str(port, "name")),
                     .protocol = protocol.empty() ? "TCP" : std::string(protocol),
                     .port = static_cast<int>(num(port, "containerPort"))});
    }
  }
}

int most_restarts(const Json& statuses) {
  std::int64_t most = 0;
  if (statuses.is_array()) {
    for (const auto& status : statuses) most = std::max(most, num(status, "restartCount"));
  }
  return static_cast<int>(most);
}

// Ages are compared by order of magnitude, so that pods of about the same age are chosen from at random (by uid).
int magnitude(WallTime since, WallTime now) {
  const auto seconds = std::chrono::duration_cast<std::chrono::nanoseconds>(now - since).count();
  return seconds <= 0 ? 0 : static_cast<int>(std::bit_width(static_cast<std::uint64_t>(seconds)));
}

}  // namespace

bool PodView::available(std::int64_t min_ready_seconds, WallTime now) const {
  if (!ready) return false;
  if (min_ready_seconds == 0) return true;
  return ready_since != WallTime{} && ready_since + std::chrono::seconds(min_ready_seconds) <= now;
}

PodView decode_pod(const api::Object& pod) {
  // A pod's DOM is big, and each version of each pod comes by here.
  static const api::Projection kRead({"metadata.annotations", "spec.nodeName", "spec.hostname", "spec.subdomain",
                                      "spec.hostNetwork", "spec.containers.ports", "spec.initContainers.ports",
                                      "spec.initContainers.restartPolicy", "status.phase", "status.podIP",
                                      "status.podIPs", "status.conditions", "status.containerStatuses.restartCount"});
  const Json value = kRead.parse(pod.bytes());
  const auto& spec = at(value, "spec");
  const auto& status = at(value, "status");
  PodView view;
  view.phase = phase_of(str(status, "phase"));
  const auto& ready = client::find_condition(status, "Ready");
  view.ready = str(ready, "status") == "True";
  view.ready_since = parse_rfc3339(str(ready, "lastTransitionTime")).value_or(WallTime{});
  view.created = parse_rfc3339(pod.creation_timestamp()).value_or(WallTime{});
  view.restarts = most_restarts(at(status, "containerStatuses"));
  const auto cost = str(at(value, "metadata", "annotations"), "controller.kubernetes.io/pod-deletion-cost");
  view.deletion_cost = static_cast<int>(parse_int(cost).value_or(0));
  view.host_network = flag(spec, "hostNetwork");
  view.node_name = str(spec, "nodeName");
  view.hostname = str(spec, "hostname");
  view.subdomain = str(spec, "subdomain");
  const auto& ips = at(status, "podIPs");
  if (ips.is_array()) {
    for (const auto& ip : ips) view.ips.emplace_back(str(ip, "ip"));
  }
  if (view.ips.empty() && !str(status, "podIP").empty()) view.ips.emplace_back(str(status, "podIP"));
  add_ports(at(spec, "containers"), false, view.ports);
  add_ports(at(spec, "initContainers"), true, view.ports);
  return view;
}

void index_by_node(const api::Object& pod, std::vector<std::string>& values) {
  auto node = api::field_value(pod, "spec.nodeName");
  if (!node.empty()) values.push_back(std::move(node));
}

bool delete_before(const Candidate& a, const Candidate& b, WallTime now) {
  const auto& x = *a.view;
  const auto& y = *b.view;
  if (x.node_name.empty() != y.node_name.empty()) return x.node_name.empty();
  if (x.phase != y.phase) return x.phase < y.phase;
  if (x.ready != y.ready) return !x.ready;
  if (x.deletion_cost != y.deletion_cost) return x.deletion_cost < y.deletion_cost;
  if (a.rank != b.rank) return a.rank > b.rank;
  if (x.ready && y.ready && x.ready_since != y.ready_since) {
    const int age_x = magnitude(x.ready_since, now);
    const int age_y = magnitude(y.ready_since, now);
    return age_x != age_y ? age_x < age_y : a.pod->uid() < b.pod->uid();
  }
  if (x.restarts != y.restarts) return x.restarts > y.restarts;
  if (x.created != y.created) {
    const int age_x = magnitude(x.created, now);
    const int age_y = magnitude(y.created, now);
    if (age_x != age_y) return age_x < age_y;
  }
  return a.pod->uid() < b.pod->uid();
}

}  // namespace brume::controller
