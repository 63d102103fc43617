#include "daemonset_util.h"

#include <algorithm>
#include <array>

#include "history.h"

namespace brume::controller {

using client::kNoExecute;
using client::kNoSchedule;

// Nodes
// --------------------------------------------------------------------------------------------------------------

namespace {

struct AutomaticToleration {
  std::string_view key;
  std::string_view effect;
};

constexpr std::array kTolerations = {
    AutomaticToleration{client::kTaintNotReady, kNoExecute},
    AutomaticToleration{client::kTaintUnreachable, kNoExecute},
    AutomaticToleration{"node.kubernetes.io/disk-pressure", kNoSchedule},
    AutomaticToleration{"node.kubernetes.io/memory-pressure", kNoSchedule},
    AutomaticToleration{"node.kubernetes.io/pid-pressure", kNoSchedule},
    AutomaticToleration{client::kTaintUnschedulable, kNoSchedule},
};
constexpr AutomaticToleration kNetworkToleration{"node.kubernetes.io/network-unavailable", kNoSchedule};

constexpr const char* kRequired = "requiredDuringSchedulingIgnoredDuringExecution";
constexpr const char* kTemplateGeneration = "pod-template-generation";  // a pod's label

void add_toleration(Json& tolerations, const AutomaticToleration& wanted) {
  Json toleration = {{"key", std::string(wanted.key)}, {"operator", "Exists"}, {"effect", std::string(wanted.effect)}};
  for (auto& have : tolerations) {
    const bool same = str(have, "key") == wanted.key && str(have, "effect") == wanted.effect &&
                      str(have, "operator") == "Exists" && str(have, "value").empty();
    if (!same) continue;
    have = std::move(toleration);  // one with a time limit is no toleration for ever
    return;
  }
  tolerations.push_back(std::move(toleration));
}

bool tolerates_all(const std::vector<client::Taint>& taints, const std::vector<client::Toleration>& tolerations,
                   bool no_schedule) {
  return std::all_of(taints.begin(), taints.end(), [&](const client::Taint& taint) {
    const bool counts = taint.effect == kNoExecute || (no_schedule && taint.effect == kNoSchedule);
    return !counts || client::tolerated(taint, tolerations);
  });
}

}  // namespace

void add_daemon_tolerations(Json& pod_spec) {
  Json& tolerations = pod_spec["tolerations"];
  if (!tolerations.is_array()) tolerations = Json::array();
  for (const auto& toleration : kTolerations) add_toleration(tolerations, toleration);
  if (flag(pod_spec, "hostNetwork")) add_toleration(tolerations, kNetworkToleration);
}

DaemonPlacement decode_placement(const Json& pod_template) {
  Json spec = at(pod_template, "spec");
  if (!spec.is_object()) spec = Json::object();
  add_daemon_tolerations(spec);
  return {.node_name = std::string(str(spec, "nodeName")),
          .nodes = client::decode_required_node_affinity(spec),
          .tolerations = client::decode_tolerations(at(spec, "tolerations"))};
}

DaemonVerdict judge(const DaemonPlacement& placement, const Object& node, const std::vector<client::Taint>& taints) {
  if (!placement.node_name.empty() && placement.node_name != node.name()) return {};
  if (!placement.nodes.matches(node)) return {};
  if (tolerates_all(taints, placement.tolerations, true)) return {.run = true, .stay = true};
  return {.run = false, .stay = tolerates_all(taints, placement.tolerations, false)};
}

// Pods
// ---------------------------------------------------------------------------------------------------------------

Json make_daemon_pod(const Object& set, const Json& set_value, const std::string& hash, const std::string& node) {
  Json pod = pod_from_template(set, at(set_value, "spec", "template"));
  Json& labels = pod["metadata"]["labels"];
  const auto generation = str(at(set_value, "metadata", "annotations"), "deprecated.daemonset.template.generation");
  if (!generation.empty()) labels[kTemplateGeneration] = std::string(generation);
  labels[std::string(kRevisionLabel)] = hash;
  add_daemon_tolerations(pod["spec"]);
  // In place of what the template asks of nodes, which this one fulfils.
  Json on_node = {{"key", "metadata.name"}, {"operator", "In"}, {"values", Json::array({node})}};
  pod["spec"]["affinity"]["nodeAffinity"][kRequired]["nodeSelectorTerms"] =
      Json::array({{{"matchFields", Json::array({std::move(on_node)})}}});
  return pod;
}

std::string target_of(const Object& pod) {
  const Json value = pod.parse();
  const auto& spec = at(value, "spec");
  if (const auto node = str(spec, "nodeName"); !node.empty()) return std::string(node);
  for (const auto& term : client::decode_terms(at(spec, "affinity", "nodeAffinity", kRequired, "nodeSelectorTerms"))) {
    for (const auto& field : term.fields) {
      if (field.key != "metadata.name" || field.op != client::NodeRequirement::Op::kIn) continue;
      return field.values.size() == 1 ? field.values.front() : "";
    }
  }
  return "";
}

bool older_daemon(const DaemonPod& a, const DaemonPod& b) {
  if (a.scheduled != b.scheduled) return a.scheduled;
  if (a.created != b.created) return a.created < b.created;
  return a.pod->name() < b.pod->name();
}

// Plans
// --------------------------------------------------------------------------------------------------------------

namespace {

// Of the oldest new and the oldest old pod of a node the old one goes once it serves no more or the new one does; all
// others are too many.
void plan_surging_node(const std::vector<DaemonPod>& living, DaemonPlan& plan) {
  const DaemonPod* fresh = nullptr;
  const DaemonPod* old = nullptr;
  for (const auto& pod : living) {
    auto& slot = pod.of_hash ? fresh : old;
    if (slot == nullptr) {
      slot = &pod;
    } else {
      plan.doomed.push_back(pod.pod);
    }
  }
  if (fresh != nullptr && old != nullptr && (!old->ready || fresh->available)) plan.doomed.push_back(old->pod);
}

}  // namespace

void plan_node(const std::string& node, DaemonVerdict verdict, std::vector<DaemonPod> living, bool surges,
               DaemonPlan& plan) {
  std::sort(living.begin(), living.end(), older_daemon);
  if (!surges) {
    for (std::size_t i = 1; i < living.size(); ++i) plan.doomed.push_back(living[i].pod);
  } else if (living.empty()) {
    if (verdict.run) plan.nodes.push_back(node);
  } else {
    plan_surging_node(living, plan);
  }
}

DaemonLimits limits_of(const Json& update_strategy, std::int64_t desired) {
  DaemonLimits out{.desired = desired};
  if (str(update_strategy, "type") == "RollingUpdate") {
    const auto& rolling = at(update_strategy, "rollingUpdate");
    out.unavailable = scaled_value(at(rolling, "maxUnavailable"), desired, true);
    out.surge = scaled_value(at(rolling, "maxSurge"), desired, true);
  }
  if (desired > 0 && out.unavailable == 0 && out.surge == 0) out.unavailable = 1;  // else nothing could ever move
  return out;
}

namespace {

// The one new and the one old pod of a node. `clear` is false when there are more, which the plan of the node mends.
struct Pair {
  const DaemonPod* fresh = nullptr;
  const DaemonPod* old = nullptr;
  bool clear = true;
};

Pair pair_of(const std::vector<DaemonPod>& pods) {
  Pair out;
  for (const auto& pod : pods) {
    if (pod.deleting()) continue;
    auto& slot = pod.updated ? out.fresh : out.old;
    if (slot != nullptr) return {.clear = false};
    slot = &pod;
  }
  return out;
}

// The first of `candidates`, as many as there is room for.
template <typename T>
void take(std::vector<T>& into, const std::vector<T>& candidates, std::int64_t room) {
  const auto count = std::clamp<std::int64_t>(room, 0, static_cast<std::int64_t>(candidates.size()));
  into.insert(into.end(), candidates.begin(), candidates.begin() + count);
}

// Old pods that serve no more are replaced at once, others as far as maxUnavailable allows.
DaemonPlan plan_replacing(const DaemonPods& pods, const DaemonLimits& limits) {
  DaemonPlan plan;
  std::vector<ObjectPtr> candidates;
  std::int64_t unavailable = 0;
  for (const auto& [node, on_node] : pods) {
    const auto pair = pair_of(on_node);
    if (!pair.clear || (pair.fresh == nullptr) == (pair.old == nullptr)) {
      ++unavailable;  // about to be mended
    } else if (pair.fresh != nullptr) {
      unavailable += pair.fresh->available ? 0 : 1;
    } else if (!pair.old->available) {
      plan.doomed.push_back(pair.old->pod);
      ++unavailable;
    } else {
      candidates.push_back(pair.old->pod);
    }
  }
  take(plan.doomed, candidates, limits.unavailable - unavailable);
  return plan;
}

// New pods beside old ones, as many as maxSurge allows; beside one that serves no more at once. On a node that is to
// have none any longer the old pod serves until enough others do.
DaemonPlan plan_surging(const DaemonPods& pods, const std::map<std::string, DaemonVerdict>& verdicts,
                        const DaemonLimits& limits) {
  DaemonPlan plan;
  std::vector<ObjectPtr> misplaced;
  std::vector<std::string> candidates;
  std::int64_t surging = 0;
  std::int64_t available = 0;
  for (const auto& [node, on_node] : pods) {
    const auto pair = pair_of(on_node);
    if (!pair.clear) {
      ++surging;
      continue;
    }
    const auto* serving = pair.old != nullptr ? pair.old : pair.fresh;
    if (serving != nullptr && serving->available) ++available;
    if (pair.old == nullptr) continue;
    if (pair.fresh != nullptr) {
      if (pair.fresh->available) {
        plan.doomed.push_back(pair.old->pod);
      } else {
        ++surging;
      }
      continue;
    }
    const auto verdict = verdicts.find(node);
    const bool run = verdict != verdicts.end() && verdict->second.run;
    if (!run) {
      (pair.old->available ? misplaced : plan.doomed).push_back(pair.old->pod);
    } else {
      (pair.old->available ? candidates : plan.nodes).push_back(node);
    }
  }
  take(plan.doomed, misplaced, available - limits.desired);
  take(plan.nodes, candidates, limits.surge - surging);
  return plan;
}

}  // namespace

DaemonPlan plan_update(const DaemonPods& pods, const std::map<std::string, DaemonVerdict>& verdicts,
                       const DaemonLimits& limits) {
  return limits.surge == 0 ? plan_replacing(pods, limits) : plan_surging(pods, verdicts, limits);
}

// Failed pods
// --------------------------------------------------------------------------------------------------------

std::optional<std::chrono::steady_clock::duration> FailureBackoff::wait(const std::string& key,
                                                                        std::chrono::steady_clock::time_point now) {
  constexpr std::chrono::steady_clock::duration kFirst = std::chrono::seconds(1);
  constexpr std::chrono::steady_clock::duration kMost = std::chrono::minutes(15);
  std::erase_if(entries_, [&](const auto& entry) { return now - entry.second.last > 2 * kMost; });
  auto [it, fresh] = entries_.try_emplace(key, Entry{.delay = kFirst, .last = now});
  if (fresh) return std::nullopt;
  auto& entry = it->second;
  if (now - entry.last < entry.delay) return entry.last + entry.delay - now;
  entry = {.delay = std::min(entry.delay * 2, kMost), .last = now};
  return std::nullopt;
}

}  // namespace brume::controller
