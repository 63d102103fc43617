#include "job_view.h"

#include <algorithm>
#include <limits>

#include "brume/base/strings.h"
#include "brume/client/helpers.h"
#include "controller.h"

namespace brume::controller {

bool has_tracking_finalizer(const api::Object& pod) {
  const auto& finalizers = pod.finalizers();
  return std::find(finalizers.begin(), finalizers.end(), kTrackingFinalizer) != finalizers.end();
}

// Job ----------------------------------------------------------------------------------------------------------------

namespace {

std::optional<std::int64_t> optional_number(const Json& value, std::string_view key) {
  const auto& member = at(value, key);
  return member.is_number_integer() ? std::optional(member.get<std::int64_t>()) : std::nullopt;
}

std::vector<std::string> texts(const Json& list) {
  std::vector<std::string> out;
  if (list.is_array()) {
    for (const auto& item : list) out.emplace_back(str(item));
  }
  return out;
}

}  // namespace

JobSpec JobSpec::decode(const Json& spec) {
  JobSpec out;
  out.indexed = str(spec, "completionMode") == "Indexed";
  out.completions = optional_number(spec, "completions");
  out.parallelism = num(spec, "parallelism", 1);
  out.backoff_limit = num(spec, "backoffLimit", 6);
  out.backoff_limit_per_index = optional_number(spec, "backoffLimitPerIndex");
  out.max_failed_indexes = optional_number(spec, "maxFailedIndexes");
  out.active_deadline_seconds = optional_number(spec, "activeDeadlineSeconds");
  out.suspended = flag(spec, "suspend");
  out.replace_failed_only = str(spec, "podReplacementPolicy") == "Failed" || at(spec, "podFailurePolicy").is_object();
  out.restarts_on_failure = str(at(spec, "template", "spec"), "restartPolicy") == "OnFailure";
  const auto manager = str(spec, "managedBy");
  out.foreign = !manager.empty() && manager != kJobController;
  return out;
}

JobStatus JobStatus::decode(const Json& status) {
  JobStatus out;
  out.active = num(status, "active");
  out.succeeded = num(status, "succeeded");
  out.failed = num(status, "failed");
  out.ready = num(status, "ready");
  out.terminating = num(status, "terminating");
  out.completed_indexes = str(status, "completedIndexes");
  if (at(status, "failedIndexes").is_string()) out.failed_indexes = std::string(str(status, "failedIndexes"));
  out.uncounted_succeeded = texts(at(status, "uncountedTerminatedPods", "succeeded"));
  out.uncounted_failed = texts(at(status, "uncountedTerminatedPods", "failed"));
  out.start_time = parse_rfc3339(str(status, "startTime"));
  out.completion_time = parse_rfc3339(str(status, "completionTime"));
  if (at(status, "conditions").is_array()) out.conditions = at(status, "conditions");
  return out;
}

Json JobStatus::encode() const {
  Json out = {{"ready", ready}, {"terminating", terminating}, {"uncountedTerminatedPods", Json::object()}};
  set_count(out, "active", active);
  set_count(out, "succeeded", succeeded);
  set_count(out, "failed", failed);
  if (!completed_indexes.empty()) out["completedIndexes"] = completed_indexes;
  if (failed_indexes) out["failedIndexes"] = *failed_indexes;
  if (!uncounted_succeeded.empty()) out["uncountedTerminatedPods"]["succeeded"] = uncounted_succeeded;
  if (!uncounted_failed.empty()) out["uncountedTerminatedPods"]["failed"] = uncounted_failed;
  if (start_time) out["startTime"] = format_rfc3339(*start_time);
  if (completion_time) out["completionTime"] = format_rfc3339(*completion_time);
  if (!conditions.empty()) out["conditions"] = conditions;
  return out;
}

bool JobStatus::holds(std::string_view condition) const {
  return std::any_of(conditions.begin(), conditions.end(),
                     [&](const Json& have) { return str(have, "type") == condition && str(have, "status") == "True"; });
}

bool JobStatus::ensure(std::string_view type, bool holds, std::string_view reason, std::string_view message,
                       WallTime now) {
  Json wanted = job_condition(type, holds, reason, message, now);
  for (auto& have : conditions) {
    if (str(have, "type") != type) continue;
    if (str(have, "status") == str(wanted, "status") && str(have, "reason") == reason &&
        str(have, "message") == message) {
      return false;
    }
    have = std::move(wanted);
    return true;
  }
  if (!holds) return false;
  conditions.push_back(std::move(wanted));
  return true;
}

Json job_condition(std::string_view type, bool holds, std::string_view reason, std::string_view message, WallTime now) {
  const auto time = format_rfc3339(now);
  return {{"type", type},          {"status", holds ? "True" : "False"},
          {"lastProbeTime", time}, {"lastTransitionTime", time},
          {"reason", reason},      {"message", message}};
}

std::string_view finished_condition(const Json& job_status) {
  const auto& conditions = at(job_status, "conditions");
  if (!conditions.is_array()) return {};
  for (const auto& condition : conditions) {
    const auto type = str(condition, "type");
    if ((type == "Complete" || type == "Failed") && str(condition, "status") == "True") return type;
  }
  return {};
}

// Pods ---------------------------------------------------------------------------------------------------------------

namespace {

std::vector<ContainerEnd> ended(const Json& statuses) {
  std::vector<ContainerEnd> out;
  if (!statuses.is_array()) return out;
  for (const auto& status : statuses) {
    const auto& end = at(status, "state", "terminated");
    if (end.is_object()) out.push_back({.name = std::string(str(status, "name")), .exit_code = num(end, "exitCode")});
  }
  return out;
}

void add_restarts(JobPod& pod, const Json& statuses, bool containers) {
  if (!statuses.is_array()) return;
  for (const auto& status : statuses) {
    const auto count = num(status, "restartCount");
    pod.total_restarts += count;
    if (containers) pod.most_restarts = std::max(pod.most_restarts, count);
  }
}

// The latest end of the containers that `counts`; false when one of them has not ended.
template <typename Counts>
bool latest_end(const Json& statuses, Counts counts, std::optional<WallTime>& latest) {
  if (!statuses.is_array()) return true;
  for (const auto& status : statuses) {
    if (!counts(str(status, "name"))) continue;
    const auto end = parse_rfc3339(str(at(status, "state", "terminated"), "finishedAt"));
    if (!end) return false;
    latest = latest ? std::max(*latest, *end) : *end;
  }
  return true;
}

// Sidecars end after the containers, so they count too.
std::optional<WallTime> end_of_containers(const Json& pod) {
  std::vector<std::string_view> sidecars;
  const auto& init = at(pod, "spec", "initContainers");
  if (init.is_array()) {
    for (const auto& container : init) {
      if (str(container, "restartPolicy") == "Always") sidecars.push_back(str(container, "name"));
    }
  }
  const auto& status = at(pod, "status");
  std::optional<WallTime> latest;
  const auto all = [](std::string_view) { return true; };
  const auto sidecar = [&](std::string_view name) {
    return std::find(sidecars.begin(), sidecars.end(), name) != sidecars.end();
  };
  if (!latest_end(at(status, "containerStatuses"), all, latest)) return std::nullopt;
  if (!latest_end(at(status, "initContainerStatuses"), sidecar, latest)) return std::nullopt;
  return latest;
}

// The end of the containers; else when the pod stopped being ready, was deleted, or was made.
WallTime finish_time(const api::Object& object, const Json& pod, const Json& ready, WallTime created) {
  if (const auto end = end_of_containers(pod)) return *end;
  if (str(ready, "status") == "False") {
    if (const auto since = parse_rfc3339(str(ready, "lastTransitionTime"))) return *since;
  }
  if (const auto deletion = parse_rfc3339(object.deletion_timestamp())) {
    return *deletion - std::chrono::seconds(num(at(pod, "metadata"), "deletionGracePeriodSeconds"));
  }
  return created;
}

// A count in an annotation, which users may have changed: what makes no sense counts as none.
std::int64_t annotated_count(const Json& annotations, std::string_view key) {
  const auto value = parse_int(str(annotations, key)).value_or(0);
  return value < 0 || value > std::numeric_limits<std::int32_t>::max() ? 0 : value;
}

}  // namespace

std::shared_ptr<const JobPod> decode_job_pod(const api::Object& object) {
  const Json value = object.parse();
  const auto& status = at(value, "status");
  const auto& annotations = at(value, "metadata", "annotations");
  const PodView view = decode_pod(object);
  auto pod = std::make_shared<JobPod>();
  pod->phase = view.phase;
  pod->assigned = !view.node_name.empty();
  pod->ready = view.ready;
  pod->ready_since = view.ready_since;
  pod->created = view.created;
  pod->finished = finish_time(object, value, client::find_condition(status, "Ready"), view.created);
  add_restarts(*pod, at(status, "containerStatuses"), true);
  add_restarts(*pod, at(status, "initContainerStatuses"), false);
  pod->index = std::max<std::int64_t>(parse_int(str(annotations, kCompletionIndex)).value_or(-1), -1);
  pod->failures = annotated_count(annotations, kIndexFailures);
  pod->ignored_failures = annotated_count(annotations, kIndexIgnoredFailures);
  pod->ended = ended(at(status, "containerStatuses"));
  pod->ended_init = ended(at(status, "initContainerStatuses"));
  const auto& conditions = at(status, "conditions");
  if (conditions.is_array()) {
    for (const auto& c : conditions) pod->conditions.emplace_back(str(c, "type"), str(c, "status"));
  }
  return pod;
}

}  // namespace brume::controller
