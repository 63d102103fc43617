#include "types.h"

#include <algorithm>

#include "brume/api/quantity.h"
#include "brume/api/selector.h"
#include "brume/base/json.h"
#include "cluster_event.h"

namespace brume::scheduler {

bool HostPort::conflicts(const HostPort& other) const {
  if (port != other.port || protocol != other.protocol) return false;
  return ip == other.ip || ip == "0.0.0.0" || other.ip == "0.0.0.0";
}

bool PodSelector::matches(const PodInfo& pod, const api::StringMap& namespace_labels) const {
  const bool named = std::binary_search(namespaces.begin(), namespaces.end(), pod.ns());
  if (!named && !namespace_selector.matches(namespace_labels)) return false;
  return labels.matches(pod.object->labels());
}

std::string PodInfo::nominated_node() const { return api::field_value(*object, "status.nominatedNodeName"); }

// Nodes
// ------------------------------------------------------------------------------------------------------------------

void NodeInfo::place(const PodPtr& pod) {
  pods.push_back(pod);
  requested.add(pod->footprint->requests);
  scoring.add(pod->footprint->scoring);
  ports.insert(ports.end(), pod->footprint->ports.begin(), pod->footprint->ports.end());
}

bool NodeInfo::remove(const std::string& uid) {
  const auto it = std::find_if(pods.begin(), pods.end(), [&](const PodPtr& pod) { return pod->uid() == uid; });
  if (it == pods.end()) return false;
  const auto& footprint = *(*it)->footprint;
  requested.subtract(footprint.requests);
  scoring.subtract(footprint.scoring);
  for (const auto& port : footprint.ports) {
    const auto same = std::find(ports.begin(), ports.end(), port);
    if (same != ports.end()) ports.erase(same);
  }
  pods.erase(it);
  return true;
}

NodeInfo NodeInfo::without_pods() const {
  NodeInfo out;
  out.object = object;
  out.name = name;
  out.index = index;
  out.allocatable = allocatable;
  out.allowed_pods = allowed_pods;
  out.unschedulable = unschedulable;
  out.taints = taints;
  return out;
}

namespace {

std::unordered_map<std::string, std::int64_t> decode_images(const Json& list) {
  std::unordered_map<std::string, std::int64_t> out;
  if (!list.is_array()) return out;
  for (const auto& image : list) {
    const auto& names = at(image, "names");
    if (!names.is_array()) continue;
    for (const auto& name : names) out[std::string(str(name))] = num(image, "sizeBytes");
  }
  return out;
}

// Types and states of conditions, without their times.
std::vector<std::pair<std::string_view, std::string_view>> condition_states(const Json& status) {
  std::vector<std::pair<std::string_view, std::string_view>> out;
  const auto& list = at(status, "conditions");
  if (!list.is_array()) return out;
  for (const auto& condition : list) out.emplace_back(str(condition, "type"), str(condition, "status"));
  std::sort(out.begin(), out.end());
  return out;
}

bool same_taints(const std::vector<client::Taint>& a, const std::vector<client::Taint>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const client::Taint& x, const client::Taint& y) {
    return x.key == y.key && x.value == y.value && x.effect == y.effect;
  });
}

}  // namespace

std::uint32_t NodeInfo::update(const ObjectPtr& node) {
  const Json value = node->parse();
  const auto& status = at(value, "status");
  const auto& list = at(status, "allocatable").is_object() ? at(status, "allocatable") : at(status, "capacity");
  Resources offered = decode_allocatable(list);
  const auto pods_allowed = api::quantity_or_zero(str(list, "pods")).value();
  const bool closed = flag(at(value, "spec"), "unschedulable");
  auto now_taints = client::decode_taints(at(value, "spec", "taints"));
  Actions changed = 0;
  if (!object) {
    changed = action::kAdd;
  } else {
    const Json old = object->parse();
    if (!(offered == allocatable) || pods_allowed != allowed_pods) changed |= action::kUpdateNodeAllocatable;
    if (object->labels() != node->labels()) changed |= action::kUpdateNodeLabel;
    if (!same_taints(taints, now_taints) || (unschedulable && !closed)) changed |= action::kUpdateNodeTaint;
    if (condition_states(at(old, "status")) != condition_states(status)) changed |= action::kUpdateNodeCondition;
    if (at(old, "metadata", "annotations") != at(value, "metadata", "annotations")) {
      changed |= action::kUpdateNodeAnnotation;
    }
  }
  object = node;
  name = node->name();
  allocatable = std::move(offered);
  allowed_pods = pods_allowed;
  unschedulable = closed;
  taints = std::move(now_taints);
  images = decode_images(at(status, "images"));
  return changed;
}

}  // namespace brume::scheduler
