// What the informers tell the scheduler: the cache and the queue follow, and plugins' rejections are reconsidered.
#include <set>

#include "brume/api/selector.h"
#include "brume/base/json.h"
#include "state.h"

namespace brume::scheduler {

namespace {

bool finished(const api::Object& pod) {
  const auto phase = api::field_value(pod, "status.phase");
  return phase == "Succeeded" || phase == "Failed";
}

bool asks_less(const Resources& before, const Resources& now) {
  Resources most = before;
  most.raise_to(now);
  return !(most == now);
}

// What of the pod changed, as far as plugins may care.
Actions pod_changes(const PodInfo& before, const PodInfo& now) {
  Actions out = 0;
  if (before.object->labels() != now.object->labels()) out |= action::kUpdatePodLabel;
  if (asks_less(before.footprint->requests, now.footprint->requests)) out |= action::kUpdatePodScaleDown;
  if (before.spec->tolerations.size() != now.spec->tolerations.size()) out |= action::kUpdatePodToleration;
  if (!before.spec->gates.empty() && now.spec->gates.empty()) out |= action::kUpdatePodGatesGone;
  if (out == 0 && before.spec != now.spec) out |= action::kUpdateOther;
  return out;
}

}  // namespace

void Scheduler::State::watch() {
  nodes.add_handler({.added = [this](const ObjectPtr& now) { node_set(now); },
                     .updated = [this](const ObjectPtr&, const ObjectPtr& now) { node_set(now); },
                     .deleted = [this](const ObjectPtr& last) { node_gone(last); }});
  pods.add_handler({.added = [this](const ObjectPtr& now) { pod_set(now); },
                    .updated = [this](const ObjectPtr&, const ObjectPtr& now) { pod_set(now); },
                    .deleted = [this](const ObjectPtr& last) { pod_gone(last); }});
  watch_namespaces();
  watch_others();
}

// Their labels say which namespaces affinity terms mean.
void Scheduler::State::watch_namespaces() {
  auto& namespaces = informers.informer("namespaces");
  cache.tallies().set_namespace_labels([&namespaces](const std::string& ns) -> const api::StringMap& {
    static const api::StringMap kNone;
    const auto found = namespaces.get(ns);
    return found ? found->labels() : kNone;
  });
  const auto moved = [this](const ObjectPtr&) { cache.tallies().namespaces_changed(); };
  namespaces.add_handler({.added = moved,
                          .updated =
                              [this](const ObjectPtr& old, const ObjectPtr& now) {
                                if (old->labels() != now->labels()) cache.tallies().namespaces_changed();
                              },
                          .deleted = moved});
}

// The other resources that plugins registered.
void Scheduler::State::watch_others() {
  std::set<EventResource> resources;
  for (const auto& profile : profiles) {
    for (const auto& plugin : profile->plugins()) {
      for (const auto& event : plugin->events()) resources.insert(event.resource);
    }
  }
  for (const auto resource : resources) {
    const auto name = informer_of(resource);
    if (name.empty()) continue;
    informers.informer(name).add_handler(
        {.added = [this, resource](
                      const ObjectPtr& now) { changed({.resource = resource, .actions = action::kAdd, .after = now}); },
         .updated =
             [this, resource](const ObjectPtr& old, const ObjectPtr& now) {
               changed({.resource = resource, .actions = action::kUpdate, .before = old, .after = now});
             },
         .deleted =
             [this, resource](const ObjectPtr& last) {
               changed({.resource = resource, .actions = action::kDelete, .before = last});
             }});
  }
}

void Scheduler::State::changed(const Change& change) {
  queue->changed(change, clock().steady());
  work.notify();
}

void Scheduler::State::node_set(const ObjectPtr& node) {
  const auto* known = cache.find(node->name());
  const NodeInfo before = known != nullptr ? known->without_pods() : NodeInfo{};
  const auto actions = cache.set_node(node);
  if (actions == 0) return;
  const NodeInfo after = cache.find(node->name())->without_pods();
  changed({.resource = EventResource::kNode,
           .actions = actions,
           .before = before.object,
           .after = node,
           .node_before = before.object ? &before : nullptr,
           .node_after = &after});
}

void Scheduler::State::node_gone(const ObjectPtr& node) {
  const auto* known = cache.find(node->name());
  if (known == nullptr) return;
  const NodeInfo before = known->without_pods();
  cache.remove_node(node->name());
  changed({.resource = EventResource::kNode, .actions = action::kDelete, .before = node, .node_before = &before});
}

void Scheduler::State::pod_set(const ObjectPtr& pod) {
  if (finished(*pod)) return pod_gone(pod);
  const auto node = api::field_value(*pod, "spec.nodeName");
  if (!node.empty()) return pod_assigned(pod, node);
  pod_waits(pod);
}

void Scheduler::State::pod_assigned(const ObjectPtr& pod, const std::string& node) {
  queue->remove(pod->uid());
  nominations.remove(pod->uid());
  const auto before = cache.pod(pod->uid());
  const bool first = !before || cache.is_assumed(pod->uid());
  const auto now = decoder.decode(pod, before);
  cache.set_pod(now, node);
  if (first) {
    changed({.resource = EventResource::kAssignedPod, .actions = action::kAdd, .after = pod, .pod_after = now});
  } else if (const auto actions = pod_changes(*before, *now); actions != 0) {
    changed({.resource = EventResource::kAssignedPod,
             .actions = actions,
             .before = before->object,
             .after = pod,
             .pod_before = before,
             .pod_after = now});
  }
}

void Scheduler::State::pod_waits(const ObjectPtr& pod) {
  if (pod->deleting()) {
    const auto* waits = queue->find(pod->uid());
    const auto known = waits != nullptr && !nominations.node_of(pod->uid()).empty() ? waits->pod : nullptr;
    queue->remove(pod->uid());
    nominations.remove(pod->uid());
    reject(pod->uid(), "", "the pod is being deleted");
    if (known) leaves_room(known);
    return;
  }
  // It waits for its permit or its binding is being written: the pod in the copy is behind what is known here.
  if (cache.node_of(pod->uid()) != nullptr) return;
  const auto name = api::field_value(*pod, "spec.schedulerName");
  auto* own = profile(name.empty() ? "default-scheduler" : name);
  if (own == nullptr) return;
  const auto* entry = queue->find(pod->uid());
  const auto before = entry != nullptr ? entry->pod : nullptr;
  const auto now = decoder.decode(pod, before);
  // A nomination that is decided here is known before the API shows it: an update that says nothing new of it keeps it.
  auto nominated = now->nominated_node();
  if (before && before->nominated_node() == nominated) nominated = nominations.node_of(pod->uid());
  const bool renominated =
      before && !nominations.node_of(pod->uid()).empty() && nominations.node_of(pod->uid()) != nominated;
  nominations.set(now, nominated);
  if (renominated) leaves_room(before);
  if (before) {
    queue->update(now,
                  {.resource = EventResource::kUnscheduledPod,
                   .actions = pod_changes(*before, *now),
                   .before = before->object,
                   .after = pod,
                   .pod_before = before,
                   .pod_after = now},
                  clock().steady());
  } else if (!queue->add(now, *own, clock().now()) && !now->spec->gates.empty()) {
    reporter.report(
        now, {.reason = "SchedulingGated", .message = "Scheduling is blocked due to non-empty scheduling gates"});
  }
  work.notify();
}

// It was nominated, and held room on its node as if it had been there.
void Scheduler::State::leaves_room(const PodPtr& pod) {
  changed(
      {.resource = EventResource::kAssignedPod, .actions = action::kDelete, .before = pod->object, .pod_before = pod});
}

void Scheduler::State::pod_gone(const ObjectPtr& pod) {
  const auto* entry = queue->find(pod->uid());
  auto gone = entry != nullptr ? entry->pod : cache.pod(pod->uid());
  const bool nominated = !nominations.node_of(pod->uid()).empty();
  queue->remove(pod->uid());
  nominations.remove(pod->uid());
  reject(pod->uid(), "", "the pod was deleted");
  // One that was nominated held room on its node as if it had been there.
  if ((!cache.remove_pod(pod->uid()) && !nominated) || !gone) return;
  changed({.resource = EventResource::kAssignedPod, .actions = action::kDelete, .before = pod, .pod_before = gone});
}

}  // namespace brume::scheduler
