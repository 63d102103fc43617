// What a worker learns from before its time: the pod's status in the API, and a sandbox that an earlier process
// started.
#include <algorithm>

#include "brume/base/strings.h"
#include "brume/linux/fd.h"
#include "pod/pod.h"
#include "worker/pod_status.h"
#include "worker/pod_worker.h"

namespace brume::node {

namespace {

using State = ContainerRun::State;

std::string_view label_of(const std::vector<std::pair<std::string, std::string>>& labels, std::string_view key) {
  for (const auto& [have, value] : labels) {
    if (have == key) return value;
  }
  return {};
}

std::string bare_id(std::string_view uri) {
  const auto slash = uri.find("://");
  return std::string(slash == std::string_view::npos ? uri : uri.substr(slash + 3));
}

void read_terminated(ContainerRun& run, const Json& terminated) {
  run.exit_code = static_cast<int>(num(terminated, "exitCode"));
  run.signal = static_cast<int>(num(terminated, "signal"));
  run.end_reason = str(terminated, "reason");
  run.end_message = str(terminated, "message");
  run.started_at = parse_rfc3339(str(terminated, "startedAt")).value_or(WallTime());
  run.finished_at = parse_rfc3339(str(terminated, "finishedAt")).value_or(WallTime());
}

void read_status(ContainerRun& run, const Json& status, bool terminal_pod) {
  const std::string id = bare_id(str(status, "containerID"));
  if (id.empty()) return;
  run.id = id;
  run.attempt = static_cast<int>(num(status, "restartCount"));
  run.image_id = str(status, "imageID");
  run.user = at(status, "user");
  run.applied = at(status, "resources");
  run.last_terminated = at(status, "lastState", "terminated");
  run.started = flag(status, "started");
  run.ready = flag(status, "ready");
  const Json& state = at(status, "state");
  if (const Json& terminated = at(state, "terminated"); terminated.is_object()) {
    run.state = State::kExited;
    read_terminated(run, terminated);
    return;
  }
  // Waiting for a restart: what ended is in lastState. Or it begins as in a new pod (restart_all()).
  if (const Json& terminated = at(status, "lastState", "terminated");
      at(state, "waiting").is_object() && terminated.is_object()) {
    const auto reason = str(at(state, "waiting"), "reason");
    if (reason == "PodInitializing" || reason == "ContainerCreating") return;
    run.state = State::kExited;
    read_terminated(run, terminated);
    return;
  }
  if (at(state, "running").is_object() || terminal_pod) {
    // Known to have run. adopt() corrects this when the runtime still has it; otherwise its end went unseen.
    run.state = State::kExited;
    run.started_at = parse_rfc3339(str(at(state, "running"), "startedAt")).value_or(WallTime());
    run.exit_code = 137;
    run.end_reason = "ContainerStatusUnknown";
    run.end_message = "The container could not be located when the pod was terminated";
  }
}

const Json& status_of(const Json& pod, const std::string& name) {
  static const Json kNone;
  for (const char* list : {"initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"}) {
    for (const Json& status : at(pod, "status", list)) {
      if (str(status, "name") == name) return status;
    }
  }
  return kNone;
}

}  // namespace

void PodWorker::restore_from_api() {
  const Json& status = at(pod_, "status");
  const bool terminal = is_terminal_phase(str(status, "phase"));
  for (ContainerRun& run : runs_) read_status(run, status_of(pod_, run.name), terminal);
  restarting_all_ = !terminal && tells_of_restart(status);
  restore_resize();
  for (const Json& ip : at(status, "podIPs")) pod_ips_.emplace_back(str(ip, "ip"));
  if (terminal) {
    finished_ = true;
    initialized_ = true;
    fail_reason_ = str(status, "reason");
    fail_message_ = str(status, "message");
    wanted_ = written_ = status;
  }
}

// What the node had granted is what the status says, whatever the spec asks for by now.
void PodWorker::restore_resize() {
  asked_ = granted_ = allocation_of(pod_);
  for (ContainerRun& run : runs_) {
    const Json& status = status_of(pod_, run.name);
    const auto granted = granted_.find(run.name);
    if (!run.applied.is_object() || granted == granted_.end()) continue;
    granted->second = run.applied;
    if (const Json& requests = at(status, "allocatedResources"); requests.is_object()) {
      granted->second["requests"] = requests;
    }
  }
  if (const auto whole = granted_.find(""); whole != granted_.end()) restore_pod_level(whole->second);
  for (const Json& condition : at(pod_, "status", "conditions")) {
    const auto type = str(condition, "type");
    if (type != "PodResizePending" && type != "PodResizeInProgress") continue;
    (type == "PodResizePending" ? resize_pending_ : resize_progress_) =
        ResizeNotice{std::string(str(condition, "reason")), std::string(str(condition, "message")),
                     num(condition, "observedGeneration")};
  }
  if (resize_pending_ || resize_progress_) {
    // Then the status says too little: of containers that did not run yet, and of limits that are to be lowered. The
    // file is small, and was written a moment ago.
    const auto text = linux_os::read_file(allocation_path());
    const auto saved = text ? parse_json(*text) : Result<Json>(Json());
    for (auto& [name, resources] : granted_) {
      if (saved && at(*saved, name).is_object()) resources = at(*saved, name);
    }
  }
  asked_differs_ = !same_amounts(asked_, granted_);
  if (!asked_differs_) granted_ = asked_;
  put_allocation(pod_, granted_);
}

// Status shows effective amounts, of which the spec may have said fewer.
void PodWorker::restore_pod_level(Json& granted) const {
  for (const char* side : {"limits", "requests"}) {
    if (!at(granted, side).is_object()) continue;
    for (const char* name : {"cpu", "memory"}) {
      const Json& amount = at(pod_, "status", "resources", side, name);
      if (!amount.is_null() && at(granted, side).contains(name)) granted[side][name] = amount;
    }
  }
}

void PodWorker::adopt(const runtime::SandboxInfo& sandbox) {
  sandbox_ = Stage::kReady;
  sandbox_made_ = true;
  volumes_ = Stage::kReady;
  // Written files are brought up to date, and tokens asked for anew, at the first pass.
  objects_stale_ = true;
  netns_path_ = sandbox.netns_path;
  hostname_ = label_of(sandbox.labels, "brume/hostname");
  if (host_network() && pod_ips_.empty()) pod_ips_ = context_.options.node_ips;
  bool app_seen = false;
  for (const runtime::ContainerStatus& status : context_.runtime.containers(uid_)) {
    const auto it =
        std::find_if(runs_.begin(), runs_.end(), [&](const ContainerRun& run) { return run.name == status.name; });
    if (it == runs_.end()) continue;
    const int attempt = static_cast<int>(parse_int(label_of(status.labels, "brume/attempt")).value_or(0));
    if (it->state == State::kWaiting && it->attempt >= attempt) continue;  // it is to begin anew
    if (it->kind == ContainerKind::kApp) app_seen = true;
    const bool newer = it->attempt < attempt || (it->attempt == attempt && it->id == status.id);
    if (!newer && it->id != status.id) {
      // An older attempt, kept for its log and lastState.
      continue;
    }
    if (it->attempt >= 0 && it->attempt < attempt && it->state == State::kExited &&
        it->end_reason != "ContainerStatusUnknown") {
      it->last_terminated = terminated_json(*it);
    }
    const bool known = it->id == status.id && it->end_reason != "ContainerStatusUnknown" && it->state == State::kExited;
    if (it->id != status.id) {
      it->started = it->ready = false;
      // Its start was not reported any more.
      auto resources = parse_json(label_of(status.labels, "brume/resources"));
      it->applied = resources && resources->is_object() ? *std::move(resources) : Json();
      it->effective = Json();
    }
    it->id = status.id;
    it->attempt = attempt;
    if (const auto image = label_of(status.labels, "brume/image-id"); !image.empty()) it->image_id = image;
    it->asked_image = label_of(status.labels, "brume/image");
    it->started_at = status.started_at;
    const auto index = static_cast<std::size_t>(it - runs_.begin());
    if (status.state == runtime::ContainerStatus::State::kRunning) {
      it->state = State::kRunning;
      it->end_reason.clear();
      it->end_message.clear();
      it->exit_code = 0;
      begin_probes(index);
    } else if (!known) {
      it->state = State::kRunning;  // until finish_exit() has read its last message
      it->end_reason.clear();
      it->end_message.clear();
      group_.spawn("container exit", finish_exit(index, status));
    }
  }
  if (app_seen) initialized_ = true;
  // Cut off in the middle of a resize, nobody knows what the pod's cgroup has.
  if (!resize_progress_) pod_cgroup_ = pod_resources(pod_, context_.options.pod_pids_limit);
}

}  // namespace brume::node
