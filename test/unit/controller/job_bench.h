// Jobs for tests, and a kubelet that ends their pods as it is told.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bench.h"
#include "job_view.h"

namespace brume::controller {

/// A Job as the API server stores it: defaulted, with a generated selector. `spec` is laid over the defaults.
inline Json job(const std::string& name, const Json& spec = Json::object()) {
  const std::string uid = "uid-of-" + name;
  const Json labels = {{"batch.kubernetes.io/controller-uid", uid}, {"batch.kubernetes.io/job-name", name}};
  Json out = {
      {"metadata", {{"name", name}, {"uid", uid}}},
      {"spec",
       {{"parallelism", 1},
        {"completions", 1},
        {"backoffLimit", 6},
        {"completionMode", "NonIndexed"},
        {"suspend", false},
        {"manualSelector", false},
        {"podReplacementPolicy", "TerminatingOrFailed"},
        {"selector", {{"matchLabels", {{"batch.kubernetes.io/controller-uid", uid}}}}},
        {"template",
         {{"metadata", {{"labels", labels}}},
          {"spec",
           {{"restartPolicy", "Never"}, {"containers", Json::array({{{"name", "c"}, {"image", "work:1"}}})}}}}}}}};
  out["spec"].merge_patch(spec);
  return out;
}

class JobBench : public Bench {
 public:
  explicit JobBench(std::vector<Make> makers = {make_job}) : Bench(std::move(makers)) {}

  [[nodiscard]] Json status(const std::string& name = "work") const {
    return at(api.json("jobs.batch", "default", name), "status");
  }
  [[nodiscard]] Json condition(std::string_view type, const std::string& name = "work") const {
    return client::find_condition(status(name), type);
  }
  [[nodiscard]] bool holds(std::string_view type, const std::string& name = "work") const {
    return str(condition(type, name), "status") == "True";
  }
  /// The conditions that hold, in their order: "SuccessCriteriaMet,Complete".
  [[nodiscard]] std::string conditions(const std::string& name = "work") const {
    std::string out;
    const Json all = at(status(name), "conditions");
    for (const auto& c : all) {
      if (str(c, "status") == "True") out += (out.empty() ? "" : ",") + std::string(str(c, "type"));
    }
    return out;
  }

  /// Pods that neither ended nor are being deleted.
  [[nodiscard]] std::vector<ObjectPtr> active() const {
    std::vector<ObjectPtr> out;
    for (const auto& pod : api.all("pods")) {
      if (!pod->deleting() && !decode_pod(*pod).finished()) out.push_back(pod);
    }
    return out;
  }
  /// The active pod of a completion index, or null.
  [[nodiscard]] ObjectPtr of_index(std::int64_t index) const {
    for (const auto& pod : active()) {
      if (decode_job_pod(*pod)->index == index) return pod;
    }
    return nullptr;
  }

  /// The pod's container ends with this code.
  void finish(const ObjectPtr& pod, int exit_code = 0) {
    Json value = api.json("pods", pod->ns(), pod->name());
    if (value.is_null()) return;
    const auto now = format_rfc3339(clock.now());
    value["status"] = {{"phase", exit_code == 0 ? "Succeeded" : "Failed"},
                       {"containerStatuses",
                        Json::array({{{"name", "c"},
                                      {"restartCount", 0},
                                      {"state", {{"terminated", {{"exitCode", exit_code}, {"finishedAt", now}}}}}}})}};
    api.seed("pods", std::move(value));
  }
  void finish_all(int exit_code = 0) {
    for (const auto& pod : active()) finish(pod, exit_code);
  }
  /// Ends what is being deleted, as a kubelet does: a terminal phase first, then the object goes.
  void end_deleted() {
    for (const auto& pod : api.all("pods")) {
      if (!pod->deleting()) continue;
      if (!decode_pod(*pod).finished()) finish(pod, 137);
      Json value = api.json("pods", pod->ns(), pod->name());
      if (at(value, "metadata", "finalizers").empty()) {
        api.erase("pods", pod->ns(), pod->name());
      } else {
        value["metadata"]["deletionGracePeriodSeconds"] = 0;
        api.seed("pods", std::move(value));
      }
    }
  }
  void edit_job(std::function<void(Json&)> change, const std::string& name = "work") {
    edit("jobs.batch", "default", name, std::move(change));
  }
};

}  // namespace brume::controller
