// Resources that change while the pod lives (KEP-1287): the node grants what the spec asks for when it has room, and
// running containers get what was granted, by their cgroups or by a new start.
#include <algorithm>
#include <utility>

#include "brume/api/pod_resources.h"
#include "brume/base/json.h"
#include "brume/base/log.h"
#include "brume/base/strings.h"
#include "brume/linux/fd.h"
#include "worker/pod_worker.h"

namespace brume::node {

namespace {

using State = ContainerRun::State;

constexpr std::chrono::seconds kRetry{10};  // of what the kernel or a container's use of memory stands against

std::int64_t limit_of(const Json& oci_resources) { return num(at(oci_resources, "memory"), "limit"); }

bool lowers_limit(const Json& from, const Json& to) {
  return limit_of(to) > 0 && (limit_of(from) == 0 || limit_of(to) < limit_of(from));
}

std::int64_t generation_of(const Json& pod) { return num(at(pod, "metadata"), "generation"); }

}  // namespace

// What the spec asks for is remembered, and the pod works on with what it was granted.
void PodWorker::keep_granted(Json& fresh_pod) {
  asked_ = allocation_of(fresh_pod);
  asked_differs_ = !same_amounts(asked_, granted_);
  if (!asked_differs_) granted_ = asked_;  // 1000m may be written 1 now
  put_allocation(fresh_pod, granted_);
}

void PodWorker::check_resize() {
  if (terminating_ || finished_) return;
  if (!asked_differs_) {
    resize_pending_.reset();
  } else if ((!resize_pending_ || resize_pending_->generation != generation_of(pod_)) && context_.resize_asked) {
    context_.resize_asked();
  }
}

ResizeWish PodWorker::resize_wish() const {
  Json asked = pod_;
  put_allocation(asked, asked_);
  ResizeWish wish;
  wish.request = pod_request(asked);
  const PodRequest has = pod_request(pod_);
  wish.grows = wish.request.milli_cpu > has.milli_cpu || wish.request.memory > has.memory;
  wish.priority = num(at(pod_, "spec"), "priority");
  wish.guaranteed = qos_class(pod_) == "Guaranteed";
  for (const Json& condition : at(pod_, "status", "conditions")) {
    if (str(condition, "type") == "PodResizePending") wish.since = str(condition, "lastTransitionTime");
  }
  return wish;
}

void PodWorker::decide_resize(std::optional<std::string> lacking) {
  const std::int64_t generation = generation_of(pod_);
  Json asked = pod_;
  put_allocation(asked, asked_);
  if (lacking) {
    const bool known = resize_pending_ && resize_pending_->generation == generation;
    if (!known) {
      event(true, "ResizeDeferred", "Pod resize Deferred: " + resize_summary(asked, generation, *lacking));
    }
    const bool changed = !known || resize_pending_->message != *lacking;
    resize_pending_ = ResizeNotice{"Deferred", *std::move(lacking), generation};
    save_granted();
    if (changed) wake();
    return;
  }
  event(false, "ResizeStarted", "Pod resize started: " + resize_summary(asked, generation));
  granted_ = asked_;
  asked_differs_ = false;
  pod_ = std::move(asked);
  save_granted();
  resize_pending_.reset();
  resize_progress_ = ResizeNotice{"", "", generation};
  resize_retry_.reset();
  objects_stale_ = true;  // downward API volumes show amounts, too
  wake();
}

// For the next process of the node, see restore_resize().
void PodWorker::save_granted() {
  save_again_ = true;
  if (saving_) return;
  saving_ = true;
  group_.spawn("allocation", write_granted());
}

Task<void> PodWorker::write_granted() {
  while (std::exchange(save_again_, false) && !tearing_ && !torn_down_) {
    Json all = Json::object();
    for (const auto& [name, resources] : granted_) all[name] = resources;
    auto written = co_await run_blocking([path = allocation_path(), text = dump_json(all)]() -> Status {
      BRUME_CHECK(linux_os::make_dirs(path.substr(0, path.rfind('/')), 0750));
      return linux_os::replace_file(path, text, 0600);
    });
    if (!written)
      log::warn("cannot keep a pod's resources", {{"pod", pod_text(pod_)}, {"error", written.error().message}});
  }
  saving_ = false;
}

bool PodWorker::must_update(const ContainerRun& run) const {
  return run.kind != ContainerKind::kEphemeral && run.state == State::kRunning &&
         !same_amounts(run.effective, effective_resources(pod_, at(spec_of(run), "resources")));
}

// One step towards what was granted. While a container still has what it had, the pod's cgroup has room for both.
void PodWorker::actuate_resize() {
  if (sandbox_ != Stage::kReady || resizing_) return;
  bool outstanding = false;
  bool updates = false;
  for (ContainerRun& run : runs_) {
    if (run.state == State::kRunning && run.effective.is_null()) {  // of an earlier process
      if (run.applied.is_null()) run.applied = at(spec_of(run), "resources");
      run.effective = effective_resources(pod_, run.applied);
    }
    if (!must_update(run)) continue;
    outstanding = true;
    if (run.stop != ContainerRun::Stop::kNone) continue;  // what it has will not matter for long
    if (resize_restarts(spec_of(run), run.effective, effective_resources(pod_, at(spec_of(run), "resources")))) {
      run.redefined = true;
      begin_stop(run, grace_period(), "Container " + run.name + " resize requires restart");
    } else {
      updates = true;
    }
  }
  if (!outstanding && !resize_progress_ && !pod_cgroup_.is_null()) return;  // nearly always
  const Json target = pod_resources(pod_, context_.options.pod_pids_limit);
  Json next = outstanding ? wider_resources(pod_cgroup_, target) : target;
  if (updates || next != pod_cgroup_) {
    if (resize_retry_ && *resize_retry_ > context_.clock.steady()) return wake_at(*resize_retry_);
    resizing_ = true;
    group_.spawn("resize", resize(std::move(next)));
  } else if (!outstanding && resize_progress_) {
    event(false, "ResizeCompleted", "Pod resize completed: " + resize_summary(pod_, resize_progress_->generation));
    resize_progress_.reset();
  }
}

Task<void> PodWorker::resize(Json pod_cgroup) {
  auto done = co_await apply_resize(std::move(pod_cgroup));
  resizing_ = false;
  if (done) {
    resize_retry_.reset();
  } else if (sandbox_ == Stage::kReady && !terminating_) {
    resize_retry_ = context_.clock.steady() + kRetry;
    if (!resize_progress_) resize_progress_ = ResizeNotice{"", "", generation_of(pod_)};
    // How much is in use changes all the time; that it is too much is told once.
    const bool told = resize_progress_->reason == "Error" &&
                      (resize_progress_->message == done.error().message || done.error().code == Code::kConflict);
    if (!told) {
      resize_progress_->reason = "Error";
      resize_progress_->message = done.error().message;
      event(true, "ResizeError",
            "Pod resize error: " + resize_summary(pod_, resize_progress_->generation, done.error().message));
    }
  }
  wake();
}

Task<Status> PodWorker::apply_resize(Json pod_cgroup) {
  BRUME_CO_CHECK(co_await refuse_too_little_memory(pod_cgroup));
  if (pod_cgroup != pod_cgroup_) {
    BRUME_CO_CHECK(co_await context_.runtime.update_resources(uid_, "", with_no_limits(pod_cgroup)));
    pod_cgroup_ = std::move(pod_cgroup);
  }
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    if (!must_update(runs_[i]) || runs_[i].stop != ContainerRun::Stop::kNone) continue;
    const std::string id = runs_[i].id;
    Json resources = at(spec_of(runs_[i]), "resources");
    Json effective = effective_resources(pod_, resources);
    Json oci = with_no_limits(container_resources(pod_, spec_of(runs_[i])));
    auto updated = co_await context_.runtime.update_resources(uid_, id, std::move(oci));
    if (runs_[i].id != id || runs_[i].state != State::kRunning) continue;  // ended meanwhile
    if (!updated) co_return updated;
    runs_[i].applied = std::move(resources);
    runs_[i].effective = std::move(effective);
  }
  co_return Status();
}

// A limit below what is in use would have the kernel kill: it is not set until it fits.
Task<Status> PodWorker::refuse_too_little_memory(Json pod_cgroup) {
  struct Check {
    std::string id, what;
    std::int64_t limit = 0;
  };
  std::vector<Check> checks;
  if (lowers_limit(pod_cgroup_, pod_cgroup)) checks.push_back({"", "pod", limit_of(pod_cgroup)});
  for (const ContainerRun& run : runs_) {
    if (!must_update(run) || run.stop != ContainerRun::Stop::kNone) continue;
    Json before = spec_of(run);
    before["resources"] = run.effective;
    const Json now = container_resources(pod_, spec_of(run));
    if (lowers_limit(container_resources(pod_, before), now)) {
      checks.push_back({run.id, "container \"" + run.name + "\"", limit_of(now)});
    }
  }
  std::vector<std::string> faults;
  for (const Check& check : checks) {
    auto used = co_await context_.runtime.memory_use(uid_, check.id);
    if (!used) co_return fail(std::move(used).error());
    const std::optional<runtime::MemoryUse> has = *used;
    if (!has || has->usage < static_cast<std::uint64_t>(check.limit)) continue;
    faults.push_back("attempting to set " + check.what + " memory limit (" + std::to_string(check.limit) +
                     ") below current usage (" + std::to_string(has->usage) + ")");
  }
  if (faults.empty()) co_return Status();
  const std::string text = faults.size() == 1 ? faults.front() : "[" + join(faults, ", ") + "]";
  co_return fail(Code::kConflict, "cannot decrease memory limits: " + text);
}

}  // namespace brume::node
