#include "spread_defaults.h"

#include "brume/base/json.h"

namespace brume::scheduler {

namespace {

/// Pods of as many kinds are remembered; then all are looked at again.
constexpr std::size_t kMaxKnown = 4096;

}  // namespace

OwnSelectors::OwnSelectors(client::InformerFactory& informers)
    : services_(informers.informer("services")),
      replication_controllers_(informers.informer("replicationcontrollers")),
      replica_sets_(informers.informer("replicasets.apps")),
      stateful_sets_(informers.informer("statefulsets.apps")) {
  services_.add_index("namespace", client::Informer::by_namespace);
  const auto forget = [this](const ObjectPtr&) { known_.clear(); };
  for (auto* informer : {&services_, &replication_controllers_}) {
    informer->add_handler({.added = forget,
                           .updated =
                               [this](const ObjectPtr& old, const ObjectPtr& now) {
                                 if (old->generation() != now->generation() || now->generation() == 0) known_.clear();
                               },
                           .deleted = forget});
  }
  // The selectors of these two never change, but a pod may have been seen before its owner.
  for (auto* informer : {&replica_sets_, &stateful_sets_}) {
    informer->add_handler({.added = forget, .updated = nullptr, .deleted = forget});
  }
}

const PodSelector* OwnSelectors::of(const PodInfo& pod) {
  const auto* owner = pod.object->controller();
  if (owner == nullptr && services_.index("namespace", pod.ns()).empty()) return nullptr;
  std::string key = pod.ns() + "\n" + (owner != nullptr ? owner->uid : "");
  for (const auto& [label, value] : pod.object->labels()) key.append("\n").append(label).append("=").append(value);
  auto it = known_.find(key);
  if (it == known_.end()) {
    if (known_.size() >= kMaxKnown) known_.clear();
    it = known_.emplace(std::move(key), make(pod)).first;
  }
  return it->second.labels.empty() ? nullptr : &it->second;
}

PodSelector OwnSelectors::make(const PodInfo& pod) const {
  Json labels = Json::object();
  Json expressions = Json::array();
  const auto merge = [&](const Json& map) {
    if (map.is_object()) labels.update(map);
  };
  for (const auto& service : services_.index("namespace", pod.ns())) {
    const Json value = service->parse();
    const Json& selector = at(value, "spec", "selector");
    if (!selector.is_object() || selector.empty()) continue;
    if (api::LabelSelector::from_map(selector).matches(pod.object->labels())) merge(selector);
  }
  if (const auto* owner = pod.object->controller(); owner != nullptr) {
    const auto selector_in = [&](const client::Informer& informer) {
      const auto object = informer.get(pod.ns(), owner->name);
      return object ? at(object->parse(), "spec", "selector") : Json();
    };
    const auto take = [&](const Json& selector) {
      merge(at(selector, "matchLabels"));
      for (const auto& expression : at(selector, "matchExpressions")) expressions.push_back(expression);
    };
    if (owner->kind == "ReplicationController") merge(selector_in(replication_controllers_));
    if (owner->kind == "ReplicaSet") take(selector_in(replica_sets_));
    if (owner->kind == "StatefulSet") take(selector_in(stateful_sets_));
  }
  PodSelector out;
  out.namespaces.push_back(pod.ns());
  auto made = api::LabelSelector::from_json({{"matchLabels", labels}, {"matchExpressions", expressions}});
  if (made) out.labels = std::move(*made);
  out.id = pod.ns() + ",|!|" + out.labels.to_string();
  return out;
}

}  // namespace brume::scheduler
