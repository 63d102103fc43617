// Counting a Job's pods, so that no crash at any point counts one twice or not at all (KEP-2307):
//  1. the uids of pods that have ended go into status.uncountedTerminatedPods (of an indexed Job that succeeded: their
//     indexes into completedIndexes), and why the Job ends into an interim condition;
//  2. these pods lose their finalizer, so that they may go;
//  3. uids whose pod has no finalizer any more leave the list and enter the counts, and the Job is finished when
//  nothing
//     is left to count.
#include <algorithm>
#include <unordered_set>

#include "brume/client/parallel.h"
#include "job.h"

namespace brume::controller {

namespace {

constexpr std::size_t kMaxUncounted = 500;  // keeps the status below 20 KB, as upstream

/// Moves uids that are not in `tracked` from the list to the count.
void settle(std::vector<std::string>& uncounted, std::int64_t& count, const std::unordered_set<std::string>& tracked) {
  count += static_cast<std::int64_t>(
      std::erase_if(uncounted, [&](const std::string& uid) { return !tracked.contains(uid); }));
}

}  // namespace

void JobController::prune_untracked(const std::string& job_uid) {
  std::erase_if(untracked_[job_uid], [this](const auto& entry) {
    const auto now = pods_.get(entry.second.key);
    // A later version that has the finalizer got it anew.
    return !now || now->uid() != entry.first || !has_tracking_finalizer(*now) ||
           now->resource_version() > entry.second.revision;
  });
}

Task<Status> JobController::track(Sync& sync) {
  std::unordered_set<std::string> tracked;
  for (const auto& pod : sync.pods) {
    if (pod.tracked) tracked.insert(pod.object->uid());
  }
  auto& status = sync.status;
  settle(status.uncounted_succeeded, status.succeeded, tracked);
  settle(status.uncounted_failed, status.failed, tracked);
  bool more = false;
  const auto ended = note_ended_pods(sync, more);
  note_interim_condition(sync);
  BRUME_CO_CHECK(co_await write_status(sync));

  const Status removed = co_await remove_finalizers(sync, ended);
  const auto& untracked = untracked_[sync.job->uid()];
  std::erase_if(tracked, [&](const std::string& uid) { return untracked.contains(uid); });
  settle(status.uncounted_succeeded, status.succeeded, tracked);
  settle(status.uncounted_failed, status.failed, tracked);
  const bool finished = removed && !more && finish(sync);
  BRUME_CO_CHECK(co_await write_status(sync));
  if (finished && sync.finished) report_finished(sync, *sync.finished);
  co_return removed;
}

bool JobController::may_lose_finalizer(const Sync& sync, const Pod& pod, bool failed) {
  if (sync.job->deleting() || sync.finished || pod.view->phase == PodPhase::kSucceeded) return true;
  if (!failed) return false;
  const auto kept = sync.kept.find(pod.view->index);
  return kept == sync.kept.end() || kept->second.object->uid() != pod.object->uid();
}

std::vector<JobController::Pod> JobController::note_ended_pods(Sync& sync, bool& more) {
  auto& status = sync.status;
  if (sync.spec.indexed) {  // so that indexes are completed in order when not all fit
    std::sort(sync.pods.begin(), sync.pods.end(),
              [](const Pod& a, const Pod& b) { return a.view->index < b.view->index; });
  }
  const std::unordered_set<std::string> succeeded(status.uncounted_succeeded.begin(), status.uncounted_succeeded.end());
  const std::unordered_set<std::string> failed(status.uncounted_failed.begin(), status.uncounted_failed.end());
  // What still runs of a Job that fails has failed; what still runs of one that succeeded is not counted.
  const bool all_failed = sync.finished && sync.finished->type != "SuccessCriteriaMet";
  std::vector<std::int64_t> indexes;
  std::vector<Pod> ended;
  for (const auto& pod : sync.pods) {
    const bool has_failed = is_failed(sync, pod);
    if (!pod.tracked || !may_lose_finalizer(sync, pod, has_failed)) continue;
    ended.push_back(pod);
    const auto& uid = pod.object->uid();
    const auto index = pod.view->index;
    const bool counts = !sync.spec.indexed || sync.spec.valid_index(index);
    if (pod.view->phase == PodPhase::kSucceeded && !failed.contains(uid)) {
      if (sync.spec.indexed) {
        if (counts && !sync.succeeded_before.has(index)) indexes.push_back(index);
      } else if (!succeeded.contains(uid)) {
        status.uncounted_succeeded.push_back(uid);
      }
    } else if ((has_failed || all_failed) && counts && !failed.contains(uid) && verdict(sync, pod).counts()) {
      status.uncounted_failed.push_back(uid);
    }
    more = indexes.size() + status.uncounted_succeeded.size() + status.uncounted_failed.size() >= kMaxUncounted;
    if (more) break;
  }
  if (sync.spec.indexed) {
    // Those that did not fit wait for the next time, with their pods.
    const auto all = more ? sync.succeeded_before.merged(Indexes(indexes)) : sync.succeeded_indexes;
    status.succeeded = all.total();
    status.completed_indexes = all.text();
    status.failed_indexes = sync.failed_indexes ? std::optional(sync.failed_indexes->text()) : std::nullopt;
  }
  return ended;
}

// FailureTarget becomes Failed in what remains to be written, SuccessCriteriaMet becomes Complete.
void JobController::note_interim_condition(Sync& sync) {
  if (!sync.finished || sync.finished->type == "Failed") return;
  auto& finished = *sync.finished;
  if (!sync.status.holds(finished.type)) {
    sync.status.conditions.push_back(
        job_condition(finished.type, true, finished.reason, finished.message, clock().now()));
  }
  finished.type = finished.type == "FailureTarget" ? "Failed" : "Complete";
}

Task<Status> JobController::remove_finalizers(Sync& sync, std::vector<Pod> pods) {
  Status failed;
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): for_each_parallel keeps it
  const auto remove_one = [&](std::size_t i) -> Task<void> {
    const auto pod = pods[i].object;
    auto done = co_await remove_finalizer(pod);
    if (done) {
      untracked_[sync.job->uid()][pod->uid()] = {.key = pod->key(), .revision = *done};
    } else if (failed) {
      failed = fail(wrap(done.error(), "removing tracking finalizer"));
    }
  };
  co_await client::for_each_parallel(pods.size(), remove_one);
  co_return failed;
}

// Gives the revision written; that of the copy when the pod is gone.
Task<Result<std::int64_t>> JobController::remove_finalizer(ObjectPtr pod) {
  Json patch = {
      {"metadata",
       {{"uid", pod->uid()}, {"$deleteFromPrimitiveList/finalizers", Json::array({std::string(kTrackingFinalizer)})}}}};
  auto done = co_await client().patch(pods_.resource(), pod->ns(), pod->name(), client::PatchType::kStrategic,
                                      std::move(patch));
  if (done) co_return (*done)->resource_version();
  if (done.error().code == Code::kNotFound) co_return pod->resource_version();
  co_return fail(done.error());
}

bool JobController::finish(Sync& sync) {
  auto& status = sync.status;
  if (!sync.finished || !status.uncounted_succeeded.empty() || !status.uncounted_failed.empty()) return false;
  if (status.terminating > 0) return false;
  const auto now = clock().now();
  status.ensure(sync.finished->type, true, sync.finished->reason, sync.finished->message, now);
  if (sync.finished->type == "Complete") status.completion_time = now;
  return true;
}

void JobController::report_finished(const Sync& sync, const Condition& end) {
  if (end.type == "Failed") return events_.warning(*sync.job, end.reason, end.message);
  if (sync.spec.completions && sync.status.succeeded > *sync.spec.completions) {
    events_.warning(*sync.job, "TooManySucceededPods",
                    "Too many succeeded pods running after completion count reached");
  }
  events_.normal(*sync.job, "Completed", "Job completed");
}

// Demands the revision that was read: counts made from an older copy are wrong. Nothing is sent when nothing changed.
Task<Status> JobController::write_status(Sync& sync) {
  Json body = sync.value;
  body["status"] = sync.status.encode();
  if (body["status"] == at(sync.value, "status")) co_return Status{};
  auto done =
      co_await client().update(jobs_.resource(), sync.job->ns(), sync.job->name(), body, {.subresource = "status"});
  if (!done) co_return fail(done.error());
  written_[sync.job->uid()] = (*done)->resource_version();
  backoffs_[sync.job->uid()] = sync.backoff;
  sync.value = std::move(body);
  sync.value["metadata"]["resourceVersion"] = std::to_string((*done)->resource_version());
  co_return Status{};
}

}  // namespace brume::controller
