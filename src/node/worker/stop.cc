// Ending containers (preStop, stop signal, kill after the grace), noting how they ended, and taking the pod down.
#include <signal.h>

#include <algorithm>

#include "brume/base/log.h"
#include "brume/linux/fd.h"
#include "pod/pod.h"
#include "spec/oci.h"
#include "stream/log_file.h"
#include "volumes/volumes.h"
#include "worker/lifecycle.h"
#include "worker/pod_status.h"
#include "worker/pod_worker.h"
#include "worker/signals.h"

namespace brume::node {

namespace {

using State = ContainerRun::State;
using Stop = ContainerRun::Stop;

constexpr std::chrono::seconds kDefaultGrace{30};
// The kubelet grants at least this after a preStop hook that used up the grace.
constexpr std::chrono::seconds kAfterPreStop{2};
constexpr std::chrono::seconds kRetry{1};
constexpr std::chrono::seconds kReportPatience{10};  // of a few tries to write the status
constexpr std::chrono::seconds kEvictionGrace{1};    // the kubelet's immediateEvictionGracePeriodSeconds
// Of termination messages: a message file, and the fall-back to logs (pkg/kubelet/container).
constexpr std::size_t kMessageBytes = 4096;
constexpr std::size_t kLogMessageBytes = 2048;
constexpr std::size_t kLogMessageLines = 80;

std::string cut_message(std::string text, std::size_t limit) {
  if (text.size() <= limit) return text;
  return text.substr(text.size() - limit);
}

std::string termination_message(const std::string& file, const std::string& log, bool fall_back) {
  auto text = linux_os::read_file(file, 16U << 20);
  if (text && !text->empty()) return cut_message(*std::move(text), kMessageBytes);
  if (!fall_back) return {};
  return tail_text(log, kLogMessageBytes, kLogMessageLines);
}

}  // namespace

std::chrono::seconds PodWorker::grace_period() const {
  // The node's own end may cut what the pod asks for, and never waits longer than the pod would.
  const std::chrono::seconds limit = shut_down_ && shut_down_grace_ ? *shut_down_grace_ : std::chrono::seconds::max();
  if (object_->deleting() || removed_) {
    const Json& seconds = at(pod_, "metadata", "deletionGracePeriodSeconds");
    if (seconds.is_number())
      return std::min(limit, std::chrono::seconds(std::max<std::int64_t>(0, seconds.get<std::int64_t>())));
  }
  const Json& seconds = at(pod_, "spec", "terminationGracePeriodSeconds");
  return std::min(limit, seconds.is_number() ? std::chrono::seconds(seconds.get<std::int64_t>()) : kDefaultGrace);
}

void PodWorker::evict(std::string message, bool disruption) {
  if (!evictable()) return;
  event(true, "Evicted", message);
  fail_reason_ = "Evicted";
  fail_message_ = std::move(message);
  disrupted_ = disruption;
  terminating_ = true;
  terminate_by_ = context_.clock.steady() + kEvictionGrace;
  wake();
}

// The image is the one thing of a container that may change in a living pod: the container is ended, and starts anew by
// it.
void PodWorker::stop_redefined() {
  for (ContainerRun& run : runs_) {
    if (run.state != State::kRunning || run.stop != Stop::kNone || run.asked_image.empty()) continue;
    if (run.kind == ContainerKind::kInit && !run.sidecar) continue;
    if (str(spec_of(run), "image") == run.asked_image) continue;
    run.redefined = true;
    begin_stop(run, grace_period(), "Container " + run.name + " definition changed, will be restarted");
  }
}

// All containers end at once, and then begin as those of a new pod would, in the sandbox and with the volumes that are
// there. Ephemeral ones go on. The API knows of it before they begin: a new process of the node goes on from there.
void PodWorker::restart_all() {
  if (!restarting_all_) {
    restarting_all_ = true;
    std::chrono::milliseconds wait{0};
    for (ContainerRun& run : runs_) {
      const RestartRule* rule = matching_rule(run);
      if (rule == nullptr || !rule->whole_pod) continue;
      wait = std::max(wait, restart_wait(run, context_.clock.now()));
      note_restart(run, context_.clock.now());
    }
    restart_at_ = context_.clock.steady() + wait;
  }
  bool ended = true;
  for (auto it = runs_.rbegin(); it != runs_.rend(); ++it) {
    if (it->kind == ContainerKind::kEphemeral) continue;
    begin_stop(*it, std::chrono::seconds(0), "Container " + it->name + " is restarted with its whole pod");
    ended = ended && it->state != State::kRunning && it->action != ContainerRun::Action::kStarting;
  }
  if (!ended || !tells_of_restart(written_)) return;
  if (restart_at_ > context_.clock.steady()) return wake_at(restart_at_);
  for (ContainerRun& run : runs_) {
    if (run.kind == ContainerKind::kEphemeral || run.state != State::kExited) continue;
    run.last_terminated = terminated_json(run);
    run.state = State::kWaiting;
    run.wait_reason.clear();
    run.wait_message.clear();
    run.retry_at.reset();
  }
  initialized_ = false;
  restarting_all_ = false;
}

void PodWorker::begin_stop(ContainerRun& run, std::chrono::seconds grace, const std::string& message) {
  if (run.state != State::kRunning || run.stop != Stop::kNone) return;
  event(false, "Killing", message, run.name);
  run.kill_at = context_.clock.steady() + grace;
  run.kill_sent = false;
  if (run.probes) {
    // What its probes say of a container that is being ended matters no longer.
    run.probes->stopped = true;
    run.probes.reset();
  }
  const auto index = static_cast<std::size_t>(&run - runs_.data());
  const Json& hook = at(spec_of(run), "lifecycle", "preStop");
  if (hook.is_object() && grace.count() > 0) {
    run.stop = Stop::kPreStop;
    group_.spawn("preStop", pre_stop(index, run.id));
    return;
  }
  run.stop = grace.count() > 0 ? Stop::kTerminate : Stop::kKill;
  if (run.stop != Stop::kTerminate) return;
  group_.spawn("stop signal", send_signal(run.id, stop_signal(run)));
}

// The container's own choice, the image's, or SIGTERM.
int PodWorker::stop_signal(const ContainerRun& run) const {
  if (const auto own = signal_number(str(at(spec_of(run), "lifecycle"), "stopSignal"))) return *own;
  const auto image = context_.images.find(run.image_id);
  if (!image) return SIGTERM;
  return signal_number(str(image_process(image->config), "StopSignal")).value_or(SIGTERM);
}

Task<void> PodWorker::pre_stop(std::size_t index, std::string id) {
  HandlerRequest request;
  request.sandbox_id = uid_;
  request.container_id = id;
  request.container = spec_of(runs_[index]);
  request.handler = at(request.container, "lifecycle", "preStop");
  request.pod_ip = pod_ips_.empty() ? "" : pod_ips_.front();
  request.timeout = std::chrono::milliseconds(0);
  request.probe = false;
  const HandlerResult result = co_await context_.handlers.run(std::move(request));
  ContainerRun& run = runs_[index];
  if (run.id != id || run.state != State::kRunning || run.stop != Stop::kPreStop) co_return;
  if (!result.ok) event(true, "FailedPreStopHook", "PreStopHook failed", run.name);
  run.stop = Stop::kTerminate;
  run.kill_at = std::max(run.kill_at, context_.clock.steady() + kAfterPreStop);
  co_await send_signal(id, stop_signal(run));
  wake();
}

Task<void> PodWorker::send_signal(std::string id, int signal) {
  auto sent = co_await context_.runtime.signal_container(uid_, id, signal);
  // Not found: it has ended meanwhile, and its exit is on the way.
  if (!sent && sent.error().code != Code::kNotFound) {
    log::warn("cannot signal a container", {{"container", id}, {"error", sent.error().message}});
  }
}

void PodWorker::stop_all() {
  const auto now = context_.clock.steady();
  const auto left = std::max(std::chrono::ceil<std::chrono::seconds>(terminate_by_ - now), std::chrono::seconds(0));
  bool work_runs = false;
  for (ContainerRun& run : runs_) {
    if (run.sidecar || run.state != State::kRunning) continue;
    work_runs = true;
    begin_stop(run, left, "Stopping container " + run.name);
    run.kill_at =
        std::min(run.kill_at, run.stop == Stop::kTerminate ? std::max(terminate_by_, run.kill_at) : terminate_by_);
  }
  // Sidecars last, in reverse order of their start; none is spared when the grace is over.
  for (auto it = runs_.rbegin(); it != runs_.rend(); ++it) {
    if (!it->sidecar || it->state != State::kRunning) continue;
    if (work_runs && left.count() > 0) {
      wake_at(terminate_by_);
      return;
    }
    begin_stop(*it, left, "Stopping container " + it->name);
    it->kill_at = std::min(it->kill_at, terminate_by_);
    work_runs = true;
  }
}

void PodWorker::advance_stops() {
  const auto now = context_.clock.steady();
  for (ContainerRun& run : runs_) {
    if (run.state != State::kRunning || run.stop == Stop::kNone || run.kill_sent) continue;
    // A delete with a shorter grace cuts what was granted before.
    if (terminating_ && terminate_by_ + kAfterPreStop < run.kill_at) run.kill_at = terminate_by_;
    if (run.stop != Stop::kKill && now < run.kill_at) {
      wake_at(run.kill_at);
      continue;
    }
    run.stop = Stop::kKill;
    run.kill_sent = true;
    group_.spawn("kill", send_signal(run.id, SIGKILL));
  }
}

void PodWorker::container_exited(const runtime::ContainerStatus& status) {
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    if (runs_[i].id != status.id || runs_[i].state != State::kRunning) continue;
    group_.spawn("container exit", finish_exit(i, status));
  }
}

Task<void> PodWorker::finish_exit(std::size_t index, runtime::ContainerStatus status) {
  const std::string name = runs_[index].name;
  const std::string file = context_.pod_dir(uid_) + "/containers/" + name + "/" + status.id;
  const std::string log = log_path(runs_[index], runs_[index].attempt);
  const bool fall_back =
      str(spec_of(runs_[index]), "terminationMessagePolicy") == "FallbackToLogsOnError" && status.exit_code != 0;
  const std::string message =
      co_await run_blocking([file, log, fall_back] { return termination_message(file, log, fall_back); });
  ContainerRun& run = runs_[index];
  if (run.id != status.id || run.state == State::kExited) co_return;
  run.state = State::kExited;
  run.started = run.ready = false;
  run.exit_code = status.exit_code;
  run.signal = status.signal;
  if (status.started_at != WallTime()) run.started_at = status.started_at;
  run.finished_at = status.finished_at == WallTime() ? context_.clock.now() : status.finished_at;
  run.end_reason = status.oom_killed ? "OOMKilled" : status.exit_code == 0 ? "Completed" : "Error";
  run.end_message = message;
  run.stop = Stop::kNone;
  run.kill_sent = false;
  run.retry_at.reset();
  if (run.probes) run.probes->stopped = true;
  run.probes.reset();
  wake();
}

// The shim alone knows how containers ended until the API does: a node agent that is killed between the two would take
// a Job's finished work for lost. A status that cannot be written does not keep a pod's memory and disk for ever.
bool PodWorker::may_tear_down() {
  if (removed_ || shut_down_ || wanted_ == written_) return true;
  const auto now = context_.clock.steady();
  if (!tear_down_by_) tear_down_by_ = now + kReportPatience;
  if (now >= *tear_down_by_) return true;
  wake_at(*tear_down_by_);
  return false;
}

Task<void> PodWorker::tear_down() {
  auto gone = co_await context_.runtime.remove_sandbox(uid_);
  if (gone) gone = co_await context_.network.detach(uid_);
  if (gone) {
    const std::string dir = context_.pod_dir(uid_);
    gone = co_await run_blocking([dir] { return remove_with_mounts(dir); });
  }
  tearing_ = false;
  if (gone) {
    torn_down_ = true;
    teardown_retry_.reset();
    sandbox_ = volumes_ = Stage::kNone;
    sandbox_made_ = false;
    netns_path_.clear();
    context_.objects.release(uid_);
    context_.volume_uses.release(uid_);
    claims_.clear();
    if (context_.usage_changed) context_.usage_changed();
  } else {
    log::warn("cannot take a pod down, trying again", {{"pod", pod_text(pod_)}, {"error", gone.error().message}});
    event(true, "FailedKillPod", "error killing pod: " + gone.error().message);
    teardown_retry_ = context_.clock.steady() + kRetry;
  }
  wake();
}

Task<void> PodWorker::delete_pod() {
  if (!removed_) {
    client::DeleteOptions options;
    options.grace_period_seconds = 0;
    options.uid = uid_;
    auto deleted = co_await context_.client.remove(api::res("pods"), ns_, name_, options);
    const bool done = deleted || deleted.error().code == Code::kNotFound || deleted.error().code == Code::kConflict;
    if (!done) {
      log::warn("cannot delete a pod that has ended, trying again",
                {{"pod", pod_text(pod_)}, {"error", deleted.error().message}});
      deleting_ = false;
      teardown_retry_ = context_.clock.steady() + kRetry;
      wake();
      co_return;
    }
  }
  const std::string logs = pod_log_dir(context_.options.log_dir, ns_, name_, uid_);
  auto cleaned = co_await run_blocking([logs] { return linux_os::remove_tree(logs); });
  if (!cleaned) log::warn("cannot remove a pod's logs", {{"pod", pod_text(pod_)}, {"error", cleaned.error().message}});
  gone_told_ = true;
  wake();
  gone_(uid_);
}

}  // namespace brume::node
