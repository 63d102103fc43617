#include "job.h"

#include <algorithm>

#include "make.h"

namespace brume::controller {

namespace {

// Queue keys beside the Jobs' ns/name: a pod that may be nobody's, and the pods of a Job that is finished or gone.
constexpr std::string_view kOrphanPod = "pod:";
constexpr std::string_view kPodsOf = "of:";

// pkg/controller/job: DefaultJobApiBackOff and MaxJobApiBackOff.
constexpr client::WorkQueueOptions kQueue = {.base_delay = std::chrono::seconds(1),
                                             .max_delay = std::chrono::minutes(1)};

}  // namespace

JobController::JobController(Context& context)
    : Controller(context, "job-controller", kQueue),
      jobs_(use("jobs.batch")),
      pods_(use("pods")),
      expectations_(pods_),
      views_(jobs_, decode),
      pod_views_(pods_, decode_job_pod) {
  pods_.add_index(kByController, index_by_controller);
  jobs_.add_handler({.added = [this](const ObjectPtr& now) { job_changed(nullptr, now); },
                     .updated = [this](const ObjectPtr& old, const ObjectPtr& now) { job_changed(old, now); },
                     .deleted = [this](const ObjectPtr& last) { job_gone(last); }});
  pods_.add_handler({.added = [this](const ObjectPtr& now) { pod_changed(nullptr, now); },
                     .updated = [this](const ObjectPtr& old, const ObjectPtr& now) { pod_changed(old, now); },
                     .deleted = [this](const ObjectPtr& last) { pod_changed(last, last); }});
}

// What to reconcile --------------------------------------------------------------------------------------------------

JobController::View JobController::decode(const Object& job) {
  const Json value = job.parse();
  auto selector = api::LabelSelector::from_json(at(value, "spec", "selector"));
  // One without requirements, which a manual selector may be, matches every pod.
  return {.selector = selector ? *selector : api::LabelSelector::nothing(),
          .finished = !finished_condition(at(value, "status")).empty(),
          .foreign = JobSpec::decode(at(value, "spec")).foreign};
}

void JobController::job_changed(const ObjectPtr& old, const ObjectPtr& now) {
  if (views_.of(now).finished) queue_.add(std::string(kPodsOf) + now->uid());
  if (old && old->generation() == now->generation()) {
    queue_.add_after(now->key(), kJobBatch);
  } else {
    enqueue(now);
  }
}

void JobController::job_gone(const ObjectPtr& last) {
  forget(last->uid());
  queue_.add(std::string(kPodsOf) + last->uid());
}

void JobController::forget(const std::string& uid) {
  expectations_.forget(uid);
  backoffs_.erase(uid);
  written_.erase(uid);
  untracked_.erase(uid);
}

ObjectPtr JobController::owner_of(const ObjectPtr& pod) {
  const auto* ref = pod->controller();
  if (ref == nullptr || ref->kind != jobs_.resource().kind) return nullptr;
  auto job = jobs_.get(pod->ns(), ref->name);
  return job && job->uid() == ref->uid ? job : nullptr;
}

void JobController::enqueue_matching(const ObjectPtr& orphan) {
  if (orphan->deleting()) return;
  for (const auto& job : jobs_.list(orphan->ns())) {
    if (views_.of(job).selector.matches(orphan->labels())) queue_.add_after(job->key(), kJobBatch);
  }
}

void JobController::pod_changed(const ObjectPtr& old, const ObjectPtr& now) {
  const auto* ref = now->controller();
  const auto* old_ref = old ? old->controller() : nullptr;
  const bool released = old_ref != nullptr && (ref == nullptr || ref->uid != old_ref->uid);
  if (released) {
    if (const auto before = owner_of(old)) queue_.add_after(before->key(), kJobBatch);
  }
  if (ref != nullptr && ref->kind != jobs_.resource().kind) return;
  const auto job = owner_of(now);
  const bool nobodys = ref == nullptr || (now->deleting() && (!job || views_.of(job).finished));
  if (nobodys && has_tracking_finalizer(*now)) queue_.add(std::string(kOrphanPod) + now->key());
  if (job) queue_.add_after(job->key(), kJobBatch);
  if (ref == nullptr && (!old || released || old->labels() != now->labels())) enqueue_matching(now);
}

// Pods that no Job counts --------------------------------------------------------------------------------------------

Task<Status> JobController::release_pods_of(std::string job_uid) {
  const auto pods = pods_.by_index(kByController, job_uid);
  for (const auto& pod : pods) BRUME_CO_CHECK(co_await release_orphan(pod));
  co_return Status{};
}

Task<Status> JobController::release_orphan(ObjectPtr pod) {
  if (!has_tracking_finalizer(*pod)) co_return Status{};
  if (const auto* ref = pod->controller()) {
    if (ref->kind != jobs_.resource().kind || ref->api_version != jobs_.resource().api_version()) co_return Status{};
    const auto job = owner_of(pod);
    if (job && (views_.of(job).foreign || !views_.of(job).finished)) co_return Status{};
  }
  auto done = co_await remove_finalizer(pod);
  if (!done) co_return fail(done.error());
  co_return Status{};
}

// Reconcile ----------------------------------------------------------------------------------------------------------

Task<Status> JobController::reconcile(std::string key) {
  if (key.starts_with(kPodsOf)) co_return co_await release_pods_of(key.substr(kPodsOf.size()));
  if (key.starts_with(kOrphanPod)) {
    const auto pod = pods_.get(key.substr(kOrphanPod.size()));
    if (!pod) co_return Status{};
    co_return co_await release_orphan(pod);
  }
  co_return co_await sync_job(std::move(key));
}

Task<Status> JobController::sync_job(std::string key) {
  const auto job = jobs_.get(key);
  if (!job || views_.of(job).foreign) co_return Status{};
  if (views_.of(job).finished) {
    forget(job->uid());
    co_return Status{};
  }
  const Status done = co_await sync_unfinished(std::move(key), job);
  // What was noted after the Job was known to be gone would stay for ever.
  const auto now = jobs_.get(job->key());
  if (!now || now->uid() != job->uid()) forget(job->uid());
  co_return done;
}

Task<Status> JobController::sync_unfinished(std::string key, ObjectPtr job) {
  if (const auto it = written_.find(job->uid()); it != written_.end() && it->second > jobs_.revision()) {
    queue_.add_after(key, kJobLookAgain);  // the copy is older than what was written: its counts are of no use
    co_return Status{};
  }
  Sync sync{.key = key, .job = job, .value = job->parse()};
  sync.spec = JobSpec::decode(at(sync.value, "spec"));
  sync.status = JobStatus::decode(at(sync.value, "status"));
  BRUME_CO_CHECK(co_await look(sync));
  if (!sync.status.start_time && !sync.spec.suspended) sync.status.start_time = clock().now();
  judge(sync);
  const Status acted = co_await act(sync);
  sync.status.active = sync.active_count;
  sync.status.ready = sync.ready_count;
  sync.status.terminating = sync.terminating_count;
  BRUME_CO_CHECK(co_await track(sync));
  co_return acted;
}

bool JobController::is_failed(const Sync& sync, const Pod& pod) {
  if (pod.view->phase == PodPhase::kFailed) return true;
  if (sync.spec.replace_failed_only) return false;
  // A pod that goes away counts as failed at once, also because one of a lost node never reaches that phase.
  return pod.object->deleting() && pod.view->phase != PodPhase::kSucceeded;
}

FailureVerdict JobController::verdict(const Sync& sync, const Pod& pod) {
  return judge_failure(at(sync.value, "spec", "podFailurePolicy"), *pod.object, *pod.view);
}

Task<Status> JobController::look(Sync& sync) {
  const auto& uid = sync.job->uid();
  sync.may_scale = expectations_.satisfied(uid);
  if (!sync.may_scale) queue_.add_after(sync.key, kJobLookAgain);
  const auto selector = views_.of(sync.job).selector;
  const auto any = [](const ObjectPtr&) { return true; };
  auto claimed =
      co_await claim(client(), pods_, jobs_.resource(), sync.job, selector, any, std::string(kTrackingFinalizer));
  if (!claimed) co_return fail(claimed.error());
  prune_untracked(uid);
  const auto& untracked = untracked_[uid];
  for (const auto& pod : *claimed) {
    auto now = pods_.get(pod->key());
    if (!now || now->uid() != pod->uid()) continue;
    // One that was adopted just now may lack the finalizer in the copy.
    const bool finalizer = has_tracking_finalizer(*now) || now->controller() == nullptr;
    sync.pods.push_back(
        {.object = now, .view = pod_views_.of(now), .tracked = finalizer && !untracked.contains(now->uid())});
    const auto& found = sync.pods.back();
    if (!found.view->terminal() && now->deleting()) ++sync.terminating_count;
    if (found.view->terminal() || now->deleting()) continue;
    sync.active.push_back(found);
    sync.ready_count += found.view->ready ? 1 : 0;
  }
  sync.active_count = static_cast<std::int64_t>(sync.active.size());
  look_at_finished(sync);
  if (sync.spec.indexed) look_at_indexes(sync);
  co_return Status{};
}

// Counts what has ended since the last time, and what that means for the back-off.
void JobController::look_at_finished(Sync& sync) {
  const auto& status = sync.status;
  const auto has = [](const std::vector<std::string>& uids, const Pod& pod) {
    return std::find(uids.begin(), uids.end(), pod.object->uid()) != uids.end();
  };
  std::vector<WallTime> succeeded, failed;
  std::int64_t counting = 0;
  for (const auto& pod : sync.pods) {
    if (!pod.tracked || (sync.spec.indexed && !sync.spec.valid_index(pod.view->index))) continue;
    if (pod.view->phase == PodPhase::kSucceeded && !has(status.uncounted_succeeded, pod)) {
      succeeded.push_back(pod.view->finished);
    }
    if (is_failed(sync, pod) && !has(status.uncounted_failed, pod)) {
      failed.push_back(pod.view->finished);
      counting += verdict(sync, pod).counts() ? 1 : 0;
    }
  }
  sync.succeeded = status.succeeded + static_cast<std::int64_t>(succeeded.size() + status.uncounted_succeeded.size());
  sync.failed = status.failed + counting + static_cast<std::int64_t>(status.uncounted_failed.size());
  const auto before = backoffs_.find(sync.job->uid());
  sync.backoff =
      (before == backoffs_.end() ? BackoffRecord{} : before->second).after(std::move(succeeded), std::move(failed));
}

void JobController::look_at_indexes(Sync& sync) {
  const auto completions = sync.spec.completions.value_or(0);
  std::vector<std::int64_t> succeeded, failed;
  for (const auto& pod : sync.pods) {
    if (!pod.tracked || !sync.spec.valid_index(pod.view->index)) continue;
    if (pod.view->phase == PodPhase::kSucceeded) succeeded.push_back(pod.view->index);
    if (!sync.spec.backoff_limit_per_index || !is_failed(sync, pod)) continue;
    const auto judged = verdict(sync, pod);
    const bool spent = judged.counts() && pod.view->failures >= *sync.spec.backoff_limit_per_index;
    if (judged.action == FailureVerdict::Action::kFailIndex || spent) failed.push_back(pod.view->index);
  }
  std::sort(succeeded.begin(), succeeded.end());
  std::sort(failed.begin(), failed.end());
  sync.succeeded_before = Indexes::parse(sync.status.completed_indexes, completions);
  sync.succeeded_indexes = sync.succeeded_before.merged(Indexes(succeeded));
  sync.succeeded = sync.succeeded_indexes.total();
  if (!sync.spec.backoff_limit_per_index) return;
  sync.failed_indexes = Indexes::parse(sync.status.failed_indexes.value_or(""), completions).merged(Indexes(failed));

  const auto is_active = [&](std::int64_t index) {
    return std::any_of(sync.active.begin(), sync.active.end(), [&](const Pod& p) { return p.view->index == index; });
  };
  for (const auto& pod : sync.pods) {
    const auto index = pod.view->index;
    if (!pod.tracked || !sync.spec.valid_index(index) || !is_failed(sync, pod)) continue;
    if (sync.succeeded_indexes.has(index) || sync.failed_indexes->has(index) || is_active(index)) continue;
    const auto [it, fresh] = sync.kept.try_emplace(index, pod);
    if (fresh) continue;
    const auto& last = *it->second.view;
    const bool more = last.failures + last.ignored_failures <= pod.view->failures + pod.view->ignored_failures;
    if (more && pod.view->finished >= last.finished) it->second = pod;
  }
}

// Whether it ends ----------------------------------------------------------------------------------------------------

// What an earlier reconcile decided stands; then failures, then success. FailureTarget and SuccessCriteriaMet are
// written before the pods' finalizers go, Failed and Complete when all pods have ended (KEP-3939).
void JobController::judge(Sync& sync) {
  for (const auto& condition : sync.status.conditions) {
    const auto type = str(condition, "type");
    if (str(condition, "status") != "True" || (type != "SuccessCriteriaMet" && type != "FailureTarget")) continue;
    sync.finished = Condition{.type = type == "FailureTarget" ? "Failed" : "SuccessCriteriaMet",
                              .reason = std::string(str(condition, "reason")),
                              .message = std::string(str(condition, "message"))};
    if (type == "SuccessCriteriaMet") break;
  }
  for (const auto& pod : sync.pods) {
    if (sync.finished || !is_failed(sync, pod)) continue;
    auto judged = verdict(sync, pod);
    if (judged.action != FailureVerdict::Action::kFailJob) continue;
    sync.finished = Condition{.type = "FailureTarget", .reason = "PodFailurePolicy", .message = judged.message};
  }
  if (!sync.finished) judge_limits(sync);
  if (!sync.finished && sync.spec.indexed) judge_indexes(sync);
}

void JobController::judge_limits(Sync& sync) {
  const auto& spec = sync.spec;
  std::int64_t restarts = 0;
  for (const auto& pod : sync.pods) {
    const bool lives = pod.view->phase == PodPhase::kRunning || pod.view->phase == PodPhase::kPending;
    if (spec.restarts_on_failure && lives) restarts += pod.view->total_restarts;
  }
  const bool too_many_restarts =
      spec.restarts_on_failure && (spec.backoff_limit == 0 ? restarts > 0 : restarts >= spec.backoff_limit);
  if (sync.failed > spec.backoff_limit || too_many_restarts) {
    sync.finished = Condition{.type = "FailureTarget",
                              .reason = "BackoffLimitExceeded",
                              .message = "Job has reached the specified backoff limit"};
    return;
  }
  if (!spec.active_deadline_seconds || spec.suspended || !sync.status.start_time) return;
  const auto deadline =
      *sync.status.start_time + std::chrono::seconds(std::min(*spec.active_deadline_seconds, kMostSeconds));
  const auto now = clock().now();
  if (deadline > now) return queue_.add_after(sync.key, deadline - now);
  sync.finished = Condition{.type = "FailureTarget",
                            .reason = "DeadlineExceeded",
                            .message = "Job was active longer than specified deadline"};
}

void JobController::judge_indexes(Sync& sync) {
  const auto completions = sync.spec.completions.value_or(0);
  const auto failed = sync.failed_indexes ? sync.failed_indexes->total() : 0;
  if (sync.failed_indexes && sync.spec.max_failed_indexes && failed > *sync.spec.max_failed_indexes) {
    sync.finished = Condition{.type = "FailureTarget",
                              .reason = "MaxFailedIndexesExceeded",
                              .message = "Job has exceeded the specified maximal number of failed indexes"};
  } else if (failed > 0 && failed + sync.succeeded_indexes.total() >= completions) {
    sync.finished = Condition{.type = "FailureTarget", .reason = "FailedIndexes", .message = "Job has failed indexes"};
  } else if (auto met =
                 success_policy_met(at(sync.value, "spec", "successPolicy"), completions, sync.succeeded_indexes)) {
    sync.finished = Condition{.type = "SuccessCriteriaMet", .reason = "SuccessPolicy", .message = std::move(*met)};
  }
}

// Acting on it -------------------------------------------------------------------------------------------------------

Task<Status> JobController::act(Sync& sync) {
  if (sync.finished) {
    Status deleted;
    if (sync.may_scale) deleted = co_await delete_pods(sync, sync.active, false);
    // Pods may be left that are not deleted, or that the copy does not show yet.
    if (!sync.may_scale || sync.active_count > 0) sync.finished.reset();
    co_return deleted;
  }
  Status managed;
  const bool manages = sync.may_scale && !sync.job->deleting();
  if (manages) managed = co_await manage(sync);
  const auto& completions = sync.spec.completions;
  // Without a number of completions one success is enough, and what runs then is waited for.
  const bool enough = completions ? sync.succeeded >= *completions : sync.succeeded > 0;
  if (enough && sync.active_count == 0 && sync.may_scale) {
    sync.finished = Condition{.type = "SuccessCriteriaMet",
                              .reason = "CompletionsReached",
                              .message = "Reached expected number of succeeded pods"};
  } else if (manages) {
    report_suspension(sync);
  }
  co_return managed;
}

void JobController::report_suspension(Sync& sync) {
  const auto now = clock().now();
  if (sync.spec.suspended) {
    if (!sync.status.ensure("Suspended", true, "JobSuspended", "Job suspended", now)) return;
    events_.normal(*sync.job, "Suspended", "Job suspended");
    sync.status.start_time.reset();
  } else if (sync.status.ensure("Suspended", false, "JobResumed", "Job resumed", now)) {
    events_.normal(*sync.job, "Resumed", "Job resumed");
    sync.status.start_time = now;  // activeDeadlineSeconds count from here
  }
}

std::unique_ptr<Controller> make_job(Context& context) { return std::make_unique<JobController>(context); }

}  // namespace brume::controller
