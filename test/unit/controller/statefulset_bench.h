// StatefulSets to try, and what tests look at.
#pragma once

#include <cstddef>
#include <string>

#include "bench.h"

namespace brume::controller::stateful_sets {

inline Json stateful_set(int replicas, const Json& spec = Json::object(), const std::string& name = "web") {
  Json set = {{"metadata", {{"name", name}}},
              {"spec",
               {{"replicas", replicas},
                {"serviceName", "nginx"},
                {"podManagementPolicy", "OrderedReady"},
                {"revisionHistoryLimit", 10},
                {"selector", {{"matchLabels", {{"app", name}}}}},
                {"updateStrategy", {{"type", "RollingUpdate"}, {"rollingUpdate", {{"partition", 0}}}}},
                {"template", pod_template(name)}}}};
  set["spec"].merge_patch(spec);
  return set;
}

inline Json rolling(const Json& rolling_update) {
  return {{"updateStrategy", {{"type", "RollingUpdate"}, {"rollingUpdate", rolling_update}}}};
}

inline void set_image(Bench& b, const std::string& image) {
  b.edit("statefulsets.apps", "default", "web",
         [&](Json& set) { set["spec"]["template"]["spec"]["containers"][0]["image"] = image; });
}

inline void scale(Bench& b, int replicas) {
  b.edit("statefulsets.apps", "default", "web", [&](Json& set) { set["spec"]["replicas"] = replicas; });
}

inline Json status(const Bench& b) { return at(b.api.json("statefulsets.apps", "default", "web"), "status"); }

/// Names of the pods that are not being deleted, with their images: "web-0=web:1 web-1=web:2".
inline std::string pods(const Bench& b) {
  std::string out;
  for (const auto& pod : b.api.all("pods")) {
    if (pod->deleting()) continue;
    out +=
        (out.empty() ? "" : " ") + pod->name() + "=" + std::string(str(pod->parse()["spec"]["containers"][0], "image"));
  }
  return out;
}

/// Names of the pods that are there, "-" behind those being deleted.
inline std::string names(const Bench& b) {
  std::string out;
  for (const auto& pod : b.api.all("pods")) {
    out += (out.empty() ? "" : " ") + pod->name() + (pod->deleting() ? "-" : "");
  }
  return out;
}

inline void fail_pod(Bench& b, const std::string& name, const std::string& phase) {
  b.api.set_status("pods", "default", name, {{"phase", phase}});
}

inline void unready(Bench& b, const std::string& name) {
  b.api.set_status("pods", "default", name, {{"conditions", Json::array({{{"type", "Ready"}, {"status", "False"}}})}});
}

inline std::size_t revisions(const Bench& b) { return b.api.all("controllerrevisions.apps").size(); }

}  // namespace brume::controller::stateful_sets
