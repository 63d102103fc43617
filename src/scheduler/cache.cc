#include "cache.h"

#include <algorithm>

#include "brume/base/json.h"

namespace brume::scheduler {

NodeInfo& NodeCache::node(const std::string& name) {
  auto& slot = by_name_[name];
  if (!slot) {
    slot = std::make_unique<NodeInfo>();
    slot->name = name;
  }
  return *slot;
}

const NodeInfo* NodeCache::find(const std::string& name) const {
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second.get();
}

bool NodeCache::set_node(const ObjectPtr& object) {
  auto& info = node(object->name());
  if (!info.object) nodes_.push_back(&info);
  return info.update(object);
}

void NodeCache::remove_node(const std::string& name) {
  auto it = by_name_.find(name);
  if (it == by_name_.end()) return;
  std::erase(nodes_, it->second.get());
  it->second->object = nullptr;
  // Its pods are still counted until they go; the entry goes with the last.
  if (it->second->pods == 0) by_name_.erase(it);
}

void NodeCache::place(const std::string& uid, Placed placed) {
  node(placed.node).place(placed.footprint, placed.priority);
  placed_.emplace(uid, std::move(placed));
}

bool NodeCache::set_pod(const ObjectPtr& pod, const std::string& node_name) {
  auto it = placed_.find(pod->uid());
  const bool known = it != placed_.end() && it->second.node == node_name;
  if (known && it->second.generation == pod->generation() && !it->second.resizing) {
    it->second.assumed = false;
    return false;
  }
  const Json value = pod->parse();
  const Json& spec = at(value, "spec");
  Placed now{.node = node_name,
             .footprint = decode_footprint(spec, at(value, "status")),
             .priority = num(spec, "priority"),
             .generation = pod->generation()};
  now.resizing = !(now.footprint.requests == pod_requests(spec, Json()));
  bool less = false;
  if (known) {
    Resources most = it->second.footprint.requests;
    most.raise_to(now.footprint.requests);
    less = !(most == now.footprint.requests);
  }
  remove_pod(pod->uid());
  place(pod->uid(), std::move(now));
  return less;
}

bool NodeCache::remove_pod(const std::string& uid) {
  auto it = placed_.find(uid);
  if (it == placed_.end()) return false;
  auto& info = node(it->second.node);
  info.remove(it->second.footprint, it->second.priority);
  if (!info.object && info.pods == 0) by_name_.erase(it->second.node);
  placed_.erase(it);
  return true;
}

void NodeCache::assume(const PodInfo& pod, const std::string& node_name) {
  place(pod.object->uid(), {.node = node_name,
                            .footprint = pod.footprint,
                            .priority = pod.priority,
                            .generation = pod.object->generation(),
                            .assumed = true});
}

void NodeCache::forget(const std::string& uid) {
  auto it = placed_.find(uid);
  if (it != placed_.end() && it->second.assumed) remove_pod(uid);
}

}  // namespace brume::scheduler
