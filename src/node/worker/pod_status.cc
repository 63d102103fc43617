#include "worker/pod_status.h"

#include <algorithm>
#include <map>

#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "pod/pod.h"
#include "spec/resources.h"
#include "worker/lifecycle.h"

namespace brume::node {

namespace {

using State = ContainerRun::State;

constexpr const char* kResizePending = "PodResizePending";
constexpr const char* kResizeInProgress = "PodResizeInProgress";
constexpr const char* kAllRestarting = "AllContainersRestarting";

std::string container_uri(const std::string& id) { return "brume://" + id; }

Json waiting_json(const std::string& reason, const std::string& message) {
  Json out = {{"reason", reason}};
  if (!message.empty()) out["message"] = message;
  return {{"waiting", std::move(out)}};
}

// Of a container that runs what it runs with, of another what it will get.
void add_resources(Json& out, const ContainerRun& run, const Json& spec) {
  const Json& granted = at(spec, "resources");
  const Json& shown = run.state == State::kRunning && run.applied.is_object() ? run.applied : granted;
  out["resources"] = shown.is_object() ? shown : Json::object();
  if (const Json& requests = at(granted, "requests"); requests.is_object() && !requests.empty()) {
    out["allocatedResources"] = requests;
  }
}

Json container_status(const ContainerRun& run, const Json& spec, bool has_init) {
  Json out = {{"name", run.name},
              {"image", run.image_name},
              {"imageID", run.image_id},
              {"restartCount", run.restart_count()},
              {"ready", run.kind == ContainerKind::kInit && !run.sidecar ? run.succeeded() : run.ready},
              {"started", run.started && run.state == State::kRunning},
              {"lastState", Json::object()}};
  if (!run.id.empty()) {
    out["containerID"] = container_uri(run.id);
    add_resources(out, run, spec);
  }
  if (run.user.is_object()) out["user"] = run.user;
  const bool held = run.state == State::kExited && !run.wait_reason.empty();
  if (run.state == State::kRunning) {
    out["state"] = {{"running", {{"startedAt", format_rfc3339(run.started_at)}}}};
  } else if (run.state == State::kExited && !held) {
    out["state"] = {{"terminated", terminated_json(run)}};
  } else if (!run.wait_reason.empty()) {
    out["state"] = waiting_json(run.wait_reason, run.wait_message);
  } else {
    out["state"] = waiting_json(has_init ? "PodInitializing" : "ContainerCreating", "");
  }
  if (held) {
    out["lastState"] = {{"terminated", terminated_json(run)}};
  } else if (run.last_terminated.is_object()) {
    out["lastState"] = {{"terminated", run.last_terminated}};
  }
  return out;
}

struct Condition {
  std::string type;
  bool status = false;
  std::string reason;
  std::string message;
  std::int64_t generation = 0;  ///< that it is about; 0: the pod's
};

std::string names_text(const std::vector<std::string>& names) { return "[" + join(names, " ") + "]"; }

Condition initialized_condition(const StatusInputs& in, const std::string& phase) {
  if (phase == "Succeeded") return {"Initialized", true, "PodCompleted", ""};
  std::vector<std::string> incomplete;
  for (const ContainerRun& run : in.runs) {
    if (run.kind != ContainerKind::kInit) continue;
    const bool done = run.sidecar ? run.started : run.succeeded();
    if (!done) incomplete.push_back(run.name);
  }
  if (in.initialized || incomplete.empty()) return {"Initialized", true, "", ""};
  return {"Initialized", false, "ContainersNotInitialized",
          "containers with incomplete status: " + names_text(incomplete)};
}

Condition containers_ready(const StatusInputs& in, const std::string& phase) {
  if (phase == "Succeeded") return {"ContainersReady", false, "PodCompleted", ""};
  if (phase == "Failed") return {"ContainersReady", false, "PodFailed", ""};
  std::vector<std::string> unready;
  for (const ContainerRun& run : in.runs) {
    if (run.kind != ContainerKind::kApp && !run.sidecar) continue;
    if (!run.ready) unready.push_back(run.name);
  }
  if (unready.empty()) return {"ContainersReady", true, "", ""};
  return {"ContainersReady", false, "ContainersNotReady", "containers with unready status: " + names_text(unready)};
}

const Json& condition_of(const Json& status, std::string_view type) {
  static const Json kNone;
  for (const Json& condition : at(status, "conditions")) {
    if (str(condition, "type") == type) return condition;
  }
  return kNone;
}

Condition ready_condition(const StatusInputs& in, const Condition& containers) {
  Condition ready = containers;
  ready.type = "Ready";
  if (!containers.status) return ready;
  std::vector<std::string> missing;
  for (const Json& gate : at(in.pod, "spec", "readinessGates")) {
    const std::string type(str(gate, "conditionType"));
    const Json& condition = condition_of(at(in.pod, "status"), type);
    if (condition.is_null()) {
      missing.push_back("corresponding condition of pod readiness gate \"" + type + "\" does not exist.");
    } else if (str(condition, "status") != "True") {
      missing.push_back("the status of pod readiness gate \"" + type + "\" is not \"True\", but " +
                        std::string(str(condition, "status")));
    }
  }
  if (missing.empty()) return ready;
  return {"Ready", false, "ReadinessGatesNotReady", join(missing, ", ")};
}

bool may_restart_all(const std::vector<ContainerRun>& runs) {
  return std::ranges::any_of(runs, [](const ContainerRun& run) {
    return std::ranges::any_of(run.rules, [](const RestartRule& rule) { return rule.whole_pod; });
  });
}

Condition restarting_condition(const StatusInputs& in, const std::string& phase) {
  if (phase == "Succeeded") return {kAllRestarting, false, "PodCompleted", ""};
  if (phase == "Failed") return {kAllRestarting, false, "PodFailed", ""};
  if (!in.restarting_all) return {kAllRestarting, false, "", ""};
  return {kAllRestarting, true, "RestartAllContainersStarted", "container exited with restart policy rule"};
}

Json condition_json(const Condition& condition, const StatusInputs& in) {
  const Json& old = condition_of(at(in.pod, "status"), condition.type);
  const std::string status = condition.status ? "True" : "False";
  Json out = {{"type", condition.type}, {"status", status}, {"lastProbeTime", nullptr}};
  const bool same = str(old, "status") == status && !str(old, "lastTransitionTime").empty();
  out["lastTransitionTime"] = same ? std::string(str(old, "lastTransitionTime")) : format_rfc3339(in.now);
  if (!condition.reason.empty()) out["reason"] = condition.reason;
  if (!condition.message.empty()) out["message"] = condition.message;
  const auto now = num(at(in.pod, "metadata"), "generation");
  if (const auto generation = condition.generation > 0 ? condition.generation : now; generation > 0)
    out["observedGeneration"] = generation;
  return out;
}

void add_resize_conditions(Json& conditions, const StatusInputs& in) {
  const auto add = [&](const char* type, const std::optional<ResizeNotice>& notice) {
    if (!notice) return;
    Json condition = condition_json({type, true, notice->reason, notice->message, notice->generation}, in);
    // Another reason is a transition, too.
    if (str(condition_of(at(in.pod, "status"), type), "reason") != notice->reason) {
      condition["lastTransitionTime"] = format_rfc3339(in.now);
    }
    conditions.push_back(std::move(condition));
  };
  add(kResizePending, in.resize_pending);
  add(kResizeInProgress, in.resize_progress);
}

// What the pod as a whole was granted, and what holds for it: as before, while its containers are on their way.
void add_pod_resources(Json& status, const StatusInputs& in) {
  Json granted = pod_effective_resources(in.pod);
  if (const Json& requests = at(granted, "requests"); requests.is_object()) status["allocatedResources"] = requests;
  const Json& before = at(in.pod, "status", "resources");
  if (in.resize_progress && before.is_object()) granted = before;
  status["resources"] = std::move(granted);
}

Json ip_list(const std::vector<std::string>& ips) {
  Json out = Json::array();
  for (const std::string& ip : ips) out.push_back({{"ip", ip}});
  return out;
}

void add_addresses(Json& status, const StatusInputs& in) {
  if (!in.host_ips.empty()) {
    status["hostIP"] = in.host_ips.front();
    status["hostIPs"] = ip_list(in.host_ips);
  }
  if (!in.pod_ips.empty()) {
    status["podIP"] = in.pod_ips.front();
    status["podIPs"] = ip_list(in.pod_ips);
  }
}

// Null members and members that the API adds by itself do not count as a difference.
bool same_condition(const Json& a, const Json& b) {
  for (const char* key : {"status", "reason", "message", "lastTransitionTime"}) {
    if (str(a, key) != str(b, key)) return false;
  }
  return num(a, "observedGeneration") == num(b, "observedGeneration");
}

}  // namespace

Json terminated_json(const ContainerRun& run) {
  Json out = {{"exitCode", run.exit_code},
              {"reason", run.end_reason.empty() ? (run.exit_code == 0 ? "Completed" : "Error") : run.end_reason}};
  if (run.started_at != WallTime()) out["startedAt"] = format_rfc3339(run.started_at);
  if (run.finished_at != WallTime()) out["finishedAt"] = format_rfc3339(run.finished_at);
  if (run.signal != 0) out["signal"] = run.signal;
  if (!run.end_message.empty()) out["message"] = run.end_message;
  if (!run.id.empty()) out["containerID"] = container_uri(run.id);
  return out;
}

bool tells_of_restart(const Json& status) { return str(condition_of(status, kAllRestarting), "status") == "True"; }

Json make_pod_status(const StatusInputs& in) {
  const std::string phase =
      !in.reason.empty() && in.stopped ? "Failed" : pod_phase(in.runs, in.initialized, in.stopped);
  Json status = {{"phase", phase}, {"qosClass", qos_class(in.pod)}, {"startTime", format_rfc3339(in.start_time)}};
  if (const auto generation = num(at(in.pod, "metadata"), "generation"); generation > 0)
    status["observedGeneration"] = generation;
  if (!in.reason.empty()) status["reason"] = in.reason;
  if (!in.message.empty()) status["message"] = in.message;
  if (in.rejected) {
    status["conditions"] = Json::array({condition_json({"PodScheduled", true, "", ""}, in)});
    return status;
  }
  const bool has_init = std::any_of(in.runs.begin(), in.runs.end(),
                                    [](const ContainerRun& run) { return run.kind == ContainerKind::kInit; });
  Json lists[3] = {Json::array(), Json::array(), Json::array()};
  for (const ContainerRun& run : in.runs) {
    static const Json kNone;
    const Json* found = find_container(in.pod, run.name);
    const Json& spec = found == nullptr ? kNone : *found;
    lists[static_cast<int>(run.kind)].push_back(container_status(run, spec, has_init));
  }
  if (!lists[0].empty()) status["initContainerStatuses"] = std::move(lists[0]);
  status["containerStatuses"] = std::move(lists[1]);
  if (!lists[2].empty()) status["ephemeralContainerStatuses"] = std::move(lists[2]);
  const Condition containers = containers_ready(in, phase);
  const Condition all[] = {{"PodReadyToStartContainers", in.sandbox_ready, "", ""},
                           initialized_condition(in, phase),
                           ready_condition(in, containers),
                           containers,
                           {"PodScheduled", true, "", ""}};
  Json conditions = Json::array();
  for (const Condition& condition : all) conditions.push_back(condition_json(condition, in));
  if (may_restart_all(in.runs)) conditions.push_back(condition_json(restarting_condition(in, phase), in));
  if (in.disrupted) {
    conditions.push_back(condition_json({"DisruptionTarget", true, "TerminationByKubelet", in.message}, in));
  }
  add_resize_conditions(conditions, in);
  status["conditions"] = std::move(conditions);
  add_addresses(status, in);
  add_pod_resources(status, in);
  return status;
}

Json status_patch(const Json& old, const Json& wanted, std::string_view uid) {
  Json changed = Json::object();
  for (const auto& [key, value] : wanted.items()) {
    if (key == "conditions" || at(old, key) == value) continue;
    changed[key] = value;
    // These lists merge by address: an old address must be told to go.
    if ((key == "podIPs" || key == "hostIPs") && at(old, key).is_array())
      changed[key].push_back({{"$patch", "replace"}});
  }
  for (const char* key :
       {"reason", "message", "podIP", "podIPs", "initContainerStatuses", "ephemeralContainerStatuses"}) {
    if (!at(old, key).is_null() && !wanted.contains(key)) changed[key] = nullptr;
  }
  Json conditions = Json::array();
  for (const Json& condition : at(wanted, "conditions")) {
    const Json& before = condition_of(old, str(condition, "type"));
    if (!before.is_null() && same_condition(before, condition)) continue;
    Json item = condition;
    for (const char* key : {"reason", "message"}) {
      if (before.contains(key) && !condition.contains(key)) item[key] = nullptr;
    }
    conditions.push_back(std::move(item));
  }
  for (const char* type : {kResizePending, kResizeInProgress}) {
    if (!condition_of(old, type).is_null() && condition_of(wanted, type).is_null()) {
      conditions.push_back({{"type", type}, {"$patch", "delete"}});
    }
  }
  if (!conditions.empty()) changed["conditions"] = std::move(conditions);
  if (changed.empty()) return {};
  return {{"metadata", {{"uid", uid}}}, {"status", std::move(changed)}};
}

}  // namespace brume::node
