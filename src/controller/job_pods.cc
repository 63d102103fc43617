// A Job's pods: how many, which indexes, which go.
#include <algorithm>
#include <set>

#include "brume/client/parallel.h"
#include "job.h"

namespace brume::controller {

namespace {

constexpr std::size_t kDeletesAtOnce = 100;  // of a Job with thousands of pods
constexpr std::int64_t kBurst = 500;         // pods made or deleted in one reconcile, as upstream
constexpr std::int64_t kSlowStartFirst = 1;  // of the first batch; each batch doubles while all succeed
constexpr std::size_t kNameLength = 58;      // of metadata.generateName, which five characters are added to
constexpr const char* kIndexVariable = "JOB_COMPLETION_INDEX";

/// Kubernetes' order of ActivePods: the cheapest to lose first.
template <typename Pod>
bool goes_before(const Pod& a, const Pod& b) {
  const auto& x = *a.view;
  const auto& y = *b.view;
  if (x.assigned != y.assigned) return !x.assigned;
  if (x.phase != y.phase) return x.phase < y.phase;
  if (x.ready != y.ready) return !x.ready;
  if (x.ready && x.ready_since != y.ready_since) return x.ready_since > y.ready_since;
  if (x.most_restarts != y.most_restarts) return x.most_restarts > y.most_restarts;
  if (x.created != y.created) return x.created > y.created;
  return a.object->name() < b.object->name();
}

void add_index_variable(Json& containers) {
  if (!containers.is_array()) return;
  for (auto& container : containers) {
    auto& env = container["env"];
    if (!env.is_array()) env = Json::array();
    const bool there =
        std::any_of(env.begin(), env.end(), [](const Json& v) { return str(v, "name") == kIndexVariable; });
    if (there) continue;
    const std::string path = "metadata.labels['" + std::string(kCompletionIndex) + "']";
    env.push_back({{"name", kIndexVariable}, {"valueFrom", {{"fieldRef", {{"fieldPath", path}}}}}});
  }
}

}  // namespace

// How many -----------------------------------------------------------------------------------------------------------

Task<Status> JobController::manage(Sync& sync) {
  const auto& spec = sync.spec;
  if (spec.suspended) co_return co_await delete_pods(sync, sync.active, true);
  std::int64_t wanted = spec.parallelism;
  if (spec.completions) {
    wanted = std::clamp<std::int64_t>(*spec.completions - sync.succeeded, 0, spec.parallelism);
  } else if (sync.succeeded > 0) {
    wanted = sync.active_count;  // what runs is left alone, and nothing is added
  }
  auto doomed = surplus(sync, std::max<std::int64_t>(sync.active_count - wanted, 0));
  if (doomed.size() > static_cast<std::size_t>(kBurst)) doomed.resize(static_cast<std::size_t>(kBurst));
  // One reconcile deletes or creates, never both.
  if (!doomed.empty()) co_return co_await delete_pods(sync, std::move(doomed), true);
  const auto ending = spec.replace_failed_only ? sync.terminating_count : 0;
  const auto missing = wanted - ending - sync.active_count;
  if (missing <= 0) co_return Status{};
  co_return co_await add_pods(sync, std::min(missing, kBurst));
}

Task<Status> JobController::add_pods(Sync& sync, std::int64_t count) {
  const auto now = clock().now();
  const bool per_index = sync.spec.backoff_limit_per_index.has_value();
  const auto wait = per_index ? WallTime::duration{} : sync.backoff.remaining(now);
  if (wait > WallTime::duration{}) {
    queue_.add_after(sync.key, std::max<WallTime::duration>(wait, kJobBatch));
    co_return Status{};
  }
  if (!sync.spec.indexed) co_return co_await create_pods(sync, count, {});
  std::vector<std::int64_t> indexes;
  std::optional<WallTime::duration> shortest;
  for (const auto index : pending_indexes(sync, count)) {
    const auto last = sync.kept.find(index);
    WallTime::duration pause{};
    if (per_index && last != sync.kept.end()) {
      const auto& pod = *last->second.view;
      pause =
          BackoffRecord{.failures = pod.failures + pod.ignored_failures + 1, .last_failure = pod.finished}.remaining(
              now);
    }
    if (pause == WallTime::duration{}) {
      indexes.push_back(index);
    } else {
      shortest = shortest ? std::min(*shortest, pause) : pause;
    }
  }
  if (shortest) queue_.add_after(sync.key, std::max<WallTime::duration>(*shortest, kJobBatch));
  const auto ready = static_cast<std::int64_t>(indexes.size());
  co_return co_await create_pods(sync, ready, std::move(indexes));
}

std::vector<std::int64_t> JobController::pending_indexes(const Sync& sync, std::int64_t count) {
  std::set<std::int64_t> busy;
  for (const auto& pod : sync.active) busy.insert(pod.view->index);
  if (sync.spec.replace_failed_only) {
    for (const auto& pod : sync.pods) {
      if (pod.object->deleting() && !pod.view->terminal()) busy.insert(pod.view->index);
    }
  }
  busy.erase(-1);
  auto taken = sync.succeeded_indexes.merged(Indexes(std::vector<std::int64_t>(busy.begin(), busy.end())));
  if (sync.failed_indexes) taken = taken.merged(*sync.failed_indexes);
  return taken.first_missing(count, sync.spec.completions.value_or(0));
}

// At least so many of the active pods; of an indexed Job also those whose index another pod has, or nobody wants.
std::vector<JobController::Pod> JobController::surplus(const Sync& sync, std::int64_t at_least) {
  auto left = sync.active;
  std::sort(left.begin(), left.end(), goes_before<Pod>);
  std::vector<Pod> doomed;
  if (sync.spec.indexed) {
    std::set<std::int64_t> seen;
    std::vector<Pod> good;
    for (auto it = left.rbegin(); it != left.rend(); ++it) {
      const bool keep = sync.spec.valid_index(it->view->index) && seen.insert(it->view->index).second;
      (keep ? good : doomed).push_back(*it);
    }
    std::reverse(good.begin(), good.end());
    left = std::move(good);
  }
  for (const auto& pod : left) {
    if (static_cast<std::int64_t>(doomed.size()) >= at_least) break;
    doomed.push_back(pod);
  }
  return doomed;
}

// Making them --------------------------------------------------------------------------------------------------------

Json JobController::pod_of_index(const Sync& sync, const Json& pod, std::int64_t index) {
  Json out = pod;
  const auto number = std::to_string(index);
  const auto suffix = "-" + number + "-";
  auto& meta = out["metadata"];
  meta["annotations"][std::string(kCompletionIndex)] = number;
  meta["labels"][std::string(kCompletionIndex)] = number;
  meta["generateName"] = sync.job->name().substr(0, kNameLength - suffix.size()) + suffix;
  out["spec"]["hostname"] = sync.job->name() + "-" + number;
  if (!sync.spec.backoff_limit_per_index) return out;
  std::int64_t failures = 0, ignored = 0;
  if (const auto last = sync.kept.find(index); last != sync.kept.end()) {
    failures = last->second.view->failures;
    ignored = last->second.view->ignored_failures;
    (verdict(sync, last->second).counts() ? failures : ignored) += 1;
  }
  meta["annotations"][std::string(kIndexFailures)] = std::to_string(failures);
  if (ignored > 0) meta["annotations"][std::string(kIndexIgnoredFailures)] = std::to_string(ignored);
  return out;
}

// In batches that double, so that a pod that cannot be created (quota, admission) costs a few calls and not hundreds.
Task<Status> JobController::create_pods(Sync& sync, std::int64_t count, std::vector<std::int64_t> indexes) {
  Json pod = pod_from_template(*sync.job, at(sync.value, "spec", "template"));
  auto& finalizers = pod["metadata"]["finalizers"];
  if (!finalizers.is_array()) finalizers = Json::array();
  const Json tracking(kTrackingFinalizer);
  if (std::find(finalizers.begin(), finalizers.end(), tracking) == finalizers.end()) finalizers.push_back(tracking);
  if (sync.spec.indexed) {
    if (pod["spec"].contains("initContainers")) add_index_variable(pod["spec"]["initContainers"]);
    add_index_variable(pod["spec"]["containers"]);
  }
  std::int64_t done = 0;
  for (auto batch = kSlowStartFirst; done < count; batch *= 2) {
    batch = std::min(batch, count - done);
    Status failed;
    // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): for_each_parallel keeps it
    const auto create_one = [&](std::size_t i) -> Task<void> {
      const auto nth = static_cast<std::size_t>(done) + i;
      Json body = indexes.empty() ? pod : pod_of_index(sync, pod, indexes[nth]);
      const auto created = co_await create_pod(sync, std::move(body));
      if (!created && failed) failed = created;
    };
    co_await client::for_each_parallel(static_cast<std::size_t>(batch), create_one);
    if (!failed) co_return failed;
    done += batch;
  }
  co_return Status{};
}

Task<Status> JobController::create_pod(Sync& sync, Json pod) {
  auto created = co_await client().create(pods_.resource(), sync.job->ns(), std::move(pod));
  if (created) {
    ++sync.active_count;
    expectations_.created(sync.job->uid(), (*created)->resource_version());
    events_.normal(*sync.job, "SuccessfulCreate", "Created pod: " + (*created)->name());
    co_return Status{};
  }
  if (namespace_goes(created.error())) co_return Status{};
  events_.warning(*sync.job, "FailedCreate", "Error creating: " + created.error().message);
  co_return fail(created.error());
}

// Deleting them ------------------------------------------------------------------------------------------------------

// `untrack`: they are not to be counted, so their finalizer goes first.
Task<Status> JobController::delete_pods(Sync& sync, std::vector<Pod> doomed, bool untrack) {
  Status failed;
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): for_each_parallel keeps it
  const auto delete_one = [&](std::size_t i) -> Task<void> {
    const auto done = co_await delete_pod(sync, doomed[i], untrack);
    if (!done && failed) failed = done;
  };
  co_await client::for_each_parallel(doomed.size(), delete_one, kDeletesAtOnce);
  co_return failed;
}

Task<Status> JobController::delete_pod(Sync& sync, Pod pod, bool untrack) {
  if (untrack && has_tracking_finalizer(*pod.object)) {
    auto done = co_await remove_finalizer(pod.object);
    if (!done) co_return fail(wrap(done.error(), "removing completion finalizer"));
    untracked_[sync.job->uid()][pod.object->uid()] = {.key = pod.object->key(), .revision = *done};
  }
  auto done =
      co_await client().remove(pods_.resource(), pod.object->ns(), pod.object->name(), {.uid = pod.object->uid()});
  if (!done && done.error().code != Code::kNotFound) {
    events_.warning(*sync.job, "FailedDelete", "Error deleting: " + done.error().message);
    co_return fail(done.error());
  }
  expectations_.deleting(sync.job->uid(), pod.object);
  if (done) events_.normal(*sync.job, "SuccessfulDelete", "Deleted pod: " + pod.object->name());
  --sync.active_count;
  ++sync.terminating_count;
  sync.ready_count -= pod.view->ready ? 1 : 0;
  co_return Status{};
}

}  // namespace brume::controller
