#include "nominations.h"

#include <algorithm>

namespace brume::scheduler {

void Nominations::set(const PodPtr& pod, const std::string& node) {
  remove(pod->uid());
  if (node.empty()) return;
  node_of_[pod->uid()] = node;
  by_node_[node].push_back(pod);
}

void Nominations::remove(const std::string& uid) {
  auto it = node_of_.find(uid);
  if (it == node_of_.end()) return;
  auto pods = by_node_.find(it->second);
  std::erase_if(pods->second, [&](const PodPtr& pod) { return pod->uid() == uid; });
  if (pods->second.empty()) by_node_.erase(pods);
  node_of_.erase(it);
}

const std::vector<PodPtr>& Nominations::on(const std::string& node) const {
  static const std::vector<PodPtr> kNone;
  auto it = by_node_.find(node);
  return it == by_node_.end() ? kNone : it->second;
}

const std::string& Nominations::node_of(const std::string& uid) const {
  static const std::string kNone;
  auto it = node_of_.find(uid);
  return it == node_of_.end() ? kNone : it->second;
}

}  // namespace brume::scheduler
