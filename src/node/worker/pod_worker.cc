#include "worker/pod_worker.h"

#include <algorithm>

#include "brume/base/log.h"
#include "pod/pod.h"
#include "spec/resources.h"

namespace brume::node {

using State = ContainerRun::State;
using Action = ContainerRun::Action;

PodWorker::PodWorker(WorkerContext& context, api::ObjectPtr pod, std::function<void(const std::string&)> gone)
    : context_(context),
      group_(context.executor),
      woken_(context.executor),
      alarm_(context.executor, context.clock, [this] { wake(); }),
      gone_(std::move(gone)),
      object_(std::move(pod)),
      pod_(object_->parse()),
      uid_(object_->uid()),
      ns_(object_->ns()),
      name_(object_->name()),
      runs_(make_runs(pod_)),
      write_retry_("a pod's status", "pod", pod_text(pod_)) {
  start_time_ = parse_rfc3339(str(at(pod_, "status"), "startTime")).value_or(context_.clock.now());
  restore_from_api();
}

PodWorker::~PodWorker() = default;

void PodWorker::start() { group_.spawn("pod worker", run()); }

Task<void> PodWorker::stop() {
  co_await alarm_.stop();
  co_await group_.stop();
  context_.objects.release(uid_);
  context_.puller.forget(uid_);
}

void PodWorker::reject(std::string reason, std::string message) {
  event(true, reason, message);
  fail_reason_ = std::move(reason);
  fail_message_ = std::move(message);
  rejected_ = terminating_ = true;
  terminate_by_ = context_.clock.steady();
}

void PodWorker::update(api::ObjectPtr pod) {
  if (object_ && pod->resource_version() < object_->resource_version()) return;
  take(std::move(pod));
  wake();
}

// The pod as it is now, from the watch or from the answer to a status write: whichever comes first is the only one that
// shows a difference. References into pod_ end here.
void PodWorker::take(api::ObjectPtr pod) {
  object_ = std::move(pod);
  Json fresh_pod = object_->parse();
  // Downward API volumes show labels and annotations as they are now.
  for (const char* key : {"labels", "annotations"}) {
    if (at(fresh_pod, "metadata", key) != at(pod_, "metadata", key)) objects_stale_ = true;
  }
  keep_granted(fresh_pod);
  pod_ = std::move(fresh_pod);
  // New ephemeral containers are the only ones that may come later.
  if (make_runs(pod_).size() > runs_.size()) {
    auto fresh = make_runs(pod_);
    for (auto& run : fresh) {
      if (find_run(run.name) == nullptr) runs_.push_back(std::move(run));
    }
  }
}

bool PodWorker::occupies() const {
  return fail_reason_.empty() && !torn_down_ && !removed_ && !is_terminal_phase(str(wanted_, "phase"));
}

void PodWorker::removed() {
  removed_ = true;
  wake();
}

void PodWorker::objects_changed() {
  objects_stale_ = true;
  // What was missing may be there now.
  if (volumes_ == Stage::kFailed) setup_retry_.reset();
  wake();
}

void PodWorker::shut_down(std::chrono::seconds grace) {
  shut_down_ = true;
  shut_down_grace_ = grace;
  wake();
}

const ContainerRun* PodWorker::find_run(std::string_view container) const {
  const auto it =
      std::find_if(runs_.begin(), runs_.end(), [&](const ContainerRun& run) { return run.name == container; });
  return it == runs_.end() ? nullptr : &*it;
}

bool PodWorker::uses_image(std::string_view id) const {
  if (torn_down_) return false;
  return std::any_of(runs_.begin(), runs_.end(),
                     [&](const ContainerRun& run) { return run.image_id == id || (run.image && run.image->id == id); });
}

std::string PodWorker::log_path(const ContainerRun& run, int attempt) const {
  return pod_log_dir(context_.options.log_dir, ns_, name_, uid_) + "/" + run.name + "/" + std::to_string(attempt) +
         ".log";
}

const Json& PodWorker::spec_of(const ContainerRun& run) const {
  static const Json kNone;
  const Json* spec = find_container(pod_, run.name);
  return spec == nullptr ? kNone : *spec;
}

client::ObjectReference PodWorker::about(std::string_view container) const {
  client::ObjectReference reference = client::ObjectReference::to(*object_);
  if (reference.kind.empty()) reference.kind = "Pod";
  if (reference.api_version.empty()) reference.api_version = "v1";
  if (!container.empty()) reference.field_path = container_field_path(pod_, container);
  return reference;
}

void PodWorker::event(bool warning, std::string_view reason, std::string message, std::string_view container) {
  context_.events.event(about(container), warning, reason, std::move(message));
}

bool PodWorker::host_network() const { return flag(at(pod_, "spec"), "hostNetwork"); }

PodRuntimeInfo PodWorker::runtime_info() const {
  PodRuntimeInfo info;
  info.pod_ips = pod_ips_;
  info.host_ips = context_.options.node_ips;
  info.node_name = context_.options.node_name;
  info.allocatable_milli_cpu = context_.milli_cpu;
  info.allocatable_memory = context_.memory_bytes;
  info.allocatable_ephemeral = context_.ephemeral_bytes;
  return info;
}

bool PodWorker::all_ended() const {
  return std::all_of(runs_.begin(), runs_.end(), [](const ContainerRun& run) {
    return run.state != State::kRunning && run.action != Action::kStarting;
  });
}

void PodWorker::wake_at(Steady when) {
  if (next_wake_ == Steady() || when < next_wake_) next_wake_ = when;
}

Task<void> PodWorker::run() {
  while (!gone_told_) {
    reconcile();
    if (!gone_told_) co_await woken_.wait();
  }
}

void PodWorker::reconcile() {
  next_wake_ = Steady();
  check_active_deadline();
  check_resize();
  const bool deleted = object_->deleting() || removed_;
  if ((deleted || shut_down_) && !terminating_) {
    terminating_ = true;
    terminate_by_ = context_.clock.steady() + grace_period();
  }
  if (terminating_) {
    // A second delete may only shorten the grace.
    if (deleted) terminate_by_ = std::min(terminate_by_, context_.clock.steady() + grace_period());
    stop_all();
  } else if (!finished_) {
    reconcile_running();
  }
  advance_stops();
  report();
  if (terminating_ || finished_) reconcile_ended();
  if (next_wake_ == Steady()) {
    alarm_.clear();
  } else {
    alarm_.set(next_wake_);
  }
}

void PodWorker::check_active_deadline() {
  const Json& seconds = at(pod_, "spec", "activeDeadlineSeconds");
  if (!seconds.is_number() || terminating_ || finished_) return;
  const auto left = start_time_ + std::chrono::seconds(seconds.get<std::int64_t>()) - context_.clock.now();
  if (left > WallTime::duration::zero()) {
    wake_at(context_.clock.steady() + std::chrono::duration_cast<Steady::duration>(left));
    return;
  }
  fail_reason_ = "DeadlineExceeded";
  fail_message_ = "Pod was active on the node longer than the specified deadline";
  event(false, fail_reason_, fail_message_);
  terminating_ = true;
  terminate_by_ = context_.clock.steady() + grace_period();
}

void PodWorker::reconcile_running() {
  if (restarting_all_ || whole_pod_restarts(runs_)) restart_all();
  if (restarting_all_) return;
  const Decision decision = decide(runs_, initialized_);
  initialized_ = initialized_ || decision.initialized;
  if (decision.complete) {
    // Sidecars end after the work, last started first.
    bool running = false;
    for (auto it = decision.stop.rbegin(); it != decision.stop.rend(); ++it) {
      running = true;
      if (runs_[*it].stop == ContainerRun::Stop::kNone) {
        begin_stop(runs_[*it], grace_period(), "Stopping container " + runs_[*it].name);
      }
      break;
    }
    finished_ = !running && all_ended();
    return;
  }
  begin_setup();
  stop_redefined();
  actuate_resize();
  for (const std::size_t index : decision.start) try_start(index);
  if (objects_stale_ && volumes_ == Stage::kReady && !refreshing_) {
    objects_stale_ = false;
    refreshing_ = true;
    group_.spawn("volume refresh", refresh_volumes());
  }
  for (const auto& [key, token] : tokens_) {
    const auto left = token.refresh_at() - context_.clock.now();
    if (left <= WallTime::duration::zero()) {
      if (!refreshing_) objects_stale_ = true;
      // An asked-for refresh runs in this pass or the next one.
      wake_at(context_.clock.steady() + std::chrono::seconds(1));
    } else {
      wake_at(context_.clock.steady() + std::chrono::duration_cast<Steady::duration>(left));
    }
  }
}

void PodWorker::try_start(std::size_t index) {
  ContainerRun& run = runs_[index];
  if (run.action != Action::kNone) return;
  const auto now = context_.clock.steady();
  if (run.retry_at && *run.retry_at > now) {
    wake_at(*run.retry_at);
    return;
  }
  if (const auto wait = restart_wait(run, context_.clock.now()); wait.count() > 0) {
    run.wait_reason = "CrashLoopBackOff";
    run.wait_message = "back-off " + duration_text(run.back_off) + " restarting failed container=" + run.name +
                       " pod=" + pod_text(pod_);
    if (!run.back_off_told) {
      run.back_off_told = true;
      event(true, "BackOff", "Back-off restarting failed container " + run.name + " in pod " + pod_text(pod_),
            run.name);
    }
    run.started = run.ready = false;
    wake_at(now + wait);
    return;
  }
  run.retry_at.reset();
  if (run.image && run.image_for != str(spec_of(run), "image")) run.image.reset();
  if (!run.image) {
    run.action = Action::kPulling;
    group_.spawn("image", pull_image(index));
    return;
  }
  if (sandbox_ != Stage::kReady || volumes_ != Stage::kReady || held_back(index)) return;
  run.action = Action::kStarting;
  group_.spawn("container start", start_container(index));
}

// One after the other in the spec's order, and a postStart hook holds back those after it. Images are pulled beside,
// and a container that waits for its next try holds back nobody.
bool PodWorker::held_back(std::size_t index) const {
  if (runs_[index].kind == ContainerKind::kEphemeral) return false;
  return std::any_of(runs_.begin(), runs_.begin() + static_cast<std::ptrdiff_t>(index),
                     [](const ContainerRun& run) { return run.starting(); });
}

void PodWorker::reconcile_ended() {
  if (!all_ended()) return;
  if (!torn_down_) {
    if (!tearing_ && !may_tear_down()) return;
    if (teardown_retry_ && *teardown_retry_ > context_.clock.steady()) {
      wake_at(*teardown_retry_);
    } else if (!tearing_ && sandbox_ != Stage::kBusy && volumes_ != Stage::kBusy && !refreshing_) {
      tearing_ = true;
      group_.spawn("pod teardown", tear_down());
    }
    return;
  }
  if (shut_down_ && !removed_ && !object_->deleting()) {
    if (!writing_) {
      gone_told_ = true;
      gone_(uid_);
    }
    return;
  }
  if (!removed_ && !object_->deleting()) return;
  if (deleting_ || (writing_ && !removed_)) return;
  if (teardown_retry_ && *teardown_retry_ > context_.clock.steady()) {
    wake_at(*teardown_retry_);
    return;
  }
  deleting_ = true;
  group_.spawn("pod delete", delete_pod());
}

}  // namespace brume::node
