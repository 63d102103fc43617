// DaemonSets to try on nodes of sorts, and what tests look at.
#pragma once

#include <cstddef>
#include <set>
#include <string>

#include "bench.h"

namespace brume::controller::daemon_sets {

inline Json daemon_set(const Json& spec = Json::object()) {
  Json set = {
      {"metadata", {{"name", "log"}, {"annotations", {{"deprecated.daemonset.template.generation", "1"}}}}},
      {"spec",
       {{"revisionHistoryLimit", 10},
        {"selector", {{"matchLabels", {{"app", "log"}}}}},
        {"updateStrategy", {{"type", "RollingUpdate"}, {"rollingUpdate", {{"maxUnavailable", 1}, {"maxSurge", 0}}}}},
        {"template", pod_template("log")}}}};
  set["spec"].merge_patch(spec);
  return set;
}

inline Json limits(const Json& unavailable, const Json& surge) {
  return {{"updateStrategy",
           {{"type", "RollingUpdate"}, {"rollingUpdate", {{"maxUnavailable", unavailable}, {"maxSurge", surge}}}}}};
}

inline void add_nodes(Bench& b, int count) {
  for (int i = 0; i < count; ++i) {
    const auto name = "n" + std::to_string(i);
    b.api.seed("nodes",
               {{"metadata", {{"name", name}, {"namespace", ""}, {"labels", {{"kubernetes.io/hostname", name}}}}}});
  }
}

inline void taint(Bench& b, const std::string& node, const std::string& effect) {
  b.edit("nodes", "", node, [&](Json& n) {
    n["spec"]["taints"] = Json::array();
    if (!effect.empty()) n["spec"]["taints"].push_back({{"key", "broken"}, {"effect", effect}});
  });
}

inline std::string target(const Json& pod) {
  const auto& terms = at(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution",
                         "nodeSelectorTerms");
  return terms.is_array() ? std::string(str(at(terms[0], "matchFields")[0]["values"][0])) : "";
}

/// The scheduler's part, and then the kubelets': pods go where their affinity says.
inline void run_pods(Bench& b, bool ready = true) {
  for (const auto& pod : b.api.all("pods")) {
    Json value = pod->parse();
    if (!str(at(value, "spec"), "nodeName").empty() || pod->deleting()) continue;
    value["spec"]["nodeName"] = target(value);
    b.api.seed("pods", std::move(value));
  }
  b.kubelet(ready);
}

inline Task<void> converge(Bench& b, int turns = 12) {
  std::int64_t before = -1;
  for (int i = 0; i < turns && before != b.api.revision(); ++i) {
    before = b.api.revision();
    co_await b.rest(3);
    run_pods(b);
    co_await b.rest(3);
  }
}

/// "n0=web:1 n1=web:2": the pods that are not being deleted, by their nodes.
inline std::string pods(const Bench& b) {
  std::multiset<std::string> found;
  for (const auto& pod : b.api.all("pods")) {
    if (pod->deleting()) continue;
    const Json value = pod->parse();
    found.insert(target(value) + "=" + std::string(str(value["spec"]["containers"][0], "image")));
  }
  std::string out;
  for (const auto& one : found) out += (out.empty() ? "" : " ") + one;
  return out;
}

inline ObjectPtr pod_on(const Bench& b, const std::string& node) {
  for (const auto& pod : b.api.all("pods")) {
    if (!pod->deleting() && target(pod->parse()) == node) return pod;
  }
  return nullptr;
}

inline void set_image(Bench& b, const std::string& image) {
  b.edit("daemonsets.apps", "default", "log", [&](Json& set) {
    set["spec"]["template"]["spec"]["containers"][0]["image"] = image;
    Json& generation = set["metadata"]["annotations"]["deprecated.daemonset.template.generation"];
    generation = std::to_string(std::stoi(std::string(str(generation))) + 1);  // as the API server does
  });
}

inline Json status(const Bench& b) { return at(b.api.json("daemonsets.apps", "default", "log"), "status"); }
inline std::size_t revisions(const Bench& b) { return b.api.all("controllerrevisions.apps").size(); }

}  // namespace brume::controller::daemon_sets
