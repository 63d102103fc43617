#include "cache.h"

#include <algorithm>
#include <map>

#include "cluster_event.h"

namespace brume::scheduler {

namespace {

constexpr std::string_view kZone = "topology.kubernetes.io/zone";
constexpr std::string_view kRegion = "topology.kubernetes.io/region";

std::string zone_of(const NodeInfo& node) {
  const auto* region = node.label(kRegion);
  const auto* zone = node.label(kZone);
  return (region != nullptr ? *region : "") + "\n" + (zone != nullptr ? *zone : "");
}

}  // namespace

NodeInfo& NodeCache::node(const std::string& name) {
  auto& slot = by_name_[name];
  if (!slot) {
    slot = std::make_unique<NodeInfo>();
    slot->name = name;
    if (free_indexes_.empty()) free_indexes_.push_back(next_index_++);
    slot->index = free_indexes_.back();
    free_indexes_.pop_back();
  }
  return *slot;
}

const NodeInfo* NodeCache::find(const std::string& name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() || !it->second->object ? nullptr : it->second.get();
}

const std::vector<NodeInfo*>& NodeCache::nodes() const {
  if (in_turn_) return nodes_;
  std::map<std::string, std::vector<NodeInfo*>> zones;
  for (auto* info : nodes_) zones[zone_of(*info)].push_back(info);
  const auto count = nodes_.size();
  nodes_.clear();
  for (std::size_t turn = 0; nodes_.size() < count; ++turn) {
    for (auto& [zone, members] : zones) {
      if (turn < members.size()) nodes_.push_back(members[turn]);
    }
  }
  in_turn_ = true;
  return nodes_;
}

void NodeCache::count_images(const NodeInfo& node, int sign) {
  for (const auto& [image, size] : node.images) {
    auto& count = image_nodes_[image];
    count += static_cast<std::size_t>(sign);
    if (count == 0) image_nodes_.erase(image);
  }
}

std::size_t NodeCache::nodes_with_image(const std::string& image) const {
  const auto it = image_nodes_.find(image);
  return it == image_nodes_.end() ? 0 : it->second;
}

std::uint32_t NodeCache::set_node(const ObjectPtr& object) {
  auto& info = node(object->name());
  if (info.object) {
    count_images(info, -1);
  } else {
    nodes_.push_back(&info);
    in_turn_ = false;
  }
  const auto changed = info.update(object);
  count_images(info, 1);
  if ((changed & (action::kAdd | action::kUpdateNodeLabel)) != 0) {
    in_turn_ = false;
    tallies_.node_changed(info);
  }
  return changed;
}

void NodeCache::remove_node(const std::string& name) {
  const auto it = by_name_.find(name);
  if (it == by_name_.end() || !it->second->object) return;
  auto& info = *it->second;
  std::erase(nodes_, &info);
  count_images(info, -1);
  tallies_.node_gone(info);
  info.object = nullptr;
  drop_if_empty(info);
}

// A node that is gone stays for the pods that are still counted on it.
void NodeCache::drop_if_empty(const NodeInfo& info) {
  if (info.object || !info.pods.empty()) return;
  free_indexes_.push_back(info.index);
  by_name_.erase(std::string(info.name));
}

void NodeCache::place(const PodPtr& pod, const std::string& node_name, bool assumed) {
  auto& info = node(node_name);
  info.place(pod);
  tallies_.placed(*pod, info.index);
  placed_[pod->uid()] = {.pod = pod, .node = &info, .assumed = assumed};
}

// A new version of a placed pod that weighs the same, which is nearly every one: nothing is counted anew.
bool NodeCache::refresh(const PodPtr& pod, const std::string& node_name) {
  const auto it = placed_.find(pod->uid());
  if (it == placed_.end() || it->second.node->name != node_name) return false;
  auto& placed = it->second;
  const auto& before = *placed.pod;
  if (before.spec != pod->spec || before.footprint != pod->footprint ||
      before.object->deleting() != pod->object->deleting() || before.object->labels() != pod->object->labels()) {
    return false;
  }
  auto& pods = placed.node->pods;
  *std::find(pods.begin(), pods.end(), placed.pod) = pod;
  placed.pod = pod;
  placed.assumed = false;
  return true;
}

void NodeCache::set_pod(const PodPtr& pod, const std::string& node_name) {
  if (refresh(pod, node_name)) return;
  remove_pod(pod->uid());
  place(pod, node_name, false);
}

bool NodeCache::remove_pod(const std::string& uid) {
  const auto it = placed_.find(uid);
  if (it == placed_.end()) return false;
  const auto placed = std::move(it->second);
  placed_.erase(it);
  tallies_.removed(*placed.pod, placed.node->index);
  placed.node->remove(placed.pod->uid());
  drop_if_empty(*placed.node);
  return true;
}

void NodeCache::assume(const PodPtr& pod, const std::string& node_name) { place(pod, node_name, true); }

void NodeCache::forget(const std::string& uid) {
  if (is_assumed(uid)) remove_pod(uid);
}

const std::string* NodeCache::node_of(const std::string& uid) const {
  const auto it = placed_.find(uid);
  return it == placed_.end() ? nullptr : &it->second.node->name;
}

bool NodeCache::is_assumed(const std::string& uid) const {
  const auto it = placed_.find(uid);
  return it != placed_.end() && it->second.assumed;
}

PodPtr NodeCache::pod(const std::string& uid) const {
  const auto it = placed_.find(uid);
  return it == placed_.end() ? nullptr : it->second.pod;
}

}  // namespace brume::scheduler
