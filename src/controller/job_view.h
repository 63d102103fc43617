// What the Job controller reads of a Job and of its pods, and the Job's status as it builds it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "brume/api/object.h"
#include "brume/base/json.h"
#include "brume/base/time.h"
#include "pod_view.h"

namespace brume::controller {

/// Keeps a pod until the Job has counted it (KEP-2307).
inline constexpr std::string_view kTrackingFinalizer = "batch.kubernetes.io/job-tracking";
inline constexpr std::string_view kCompletionIndex = "batch.kubernetes.io/job-completion-index";
inline constexpr std::string_view kIndexFailures = "batch.kubernetes.io/job-index-failure-count";
inline constexpr std::string_view kIndexIgnoredFailures = "batch.kubernetes.io/job-index-ignored-failure-count";
inline constexpr std::string_view kJobController = "kubernetes.io/job-controller";  // spec.managedBy of brume's own

bool has_tracking_finalizer(const api::Object& pod);

struct JobSpec {
  bool indexed = false;
  std::optional<std::int64_t> completions;
  std::int64_t parallelism = 1;
  std::int64_t backoff_limit = 0;
  std::optional<std::int64_t> backoff_limit_per_index;
  std::optional<std::int64_t> max_failed_indexes;
  std::optional<std::int64_t> active_deadline_seconds;
  bool suspended = false;
  bool replace_failed_only = false;  ///< a pod that is being deleted is replaced when it has ended, not before
  bool restarts_on_failure = false;  ///< the pods' restartPolicy is OnFailure
  bool foreign = false;              ///< spec.managedBy names another controller

  static JobSpec decode(const Json& spec);
  /// Whether an index of a pod is one that this Job wants.
  [[nodiscard]] bool valid_index(std::int64_t index) const { return index >= 0 && index < completions.value_or(0); }
};

/// batch/v1 JobStatus. Lists of uncounted pods hold uids.
struct JobStatus {
  std::int64_t active = 0;
  std::int64_t succeeded = 0;
  std::int64_t failed = 0;
  std::int64_t ready = 0;
  std::int64_t terminating = 0;
  std::string completed_indexes;
  std::optional<std::string> failed_indexes;
  std::vector<std::string> uncounted_succeeded;
  std::vector<std::string> uncounted_failed;
  std::optional<WallTime> start_time;
  std::optional<WallTime> completion_time;
  Json conditions = Json::array();

  static JobStatus decode(const Json& status);
  [[nodiscard]] Json encode() const;
  [[nodiscard]] bool holds(std::string_view condition) const;
  /// Puts the condition there or changes it; nothing is added for a status of False. False when all was so before.
  bool ensure(std::string_view type, bool holds, std::string_view reason, std::string_view message, WallTime now);
};

Json job_condition(std::string_view type, bool holds, std::string_view reason, std::string_view message, WallTime now);
/// "Complete" or "Failed" when the Job's status has that condition, else "".
std::string_view finished_condition(const Json& job_status);

/// A container's terminated state.
struct ContainerEnd {
  std::string name;
  std::int64_t exit_code = 0;
};

struct JobPod {
  PodPhase phase = PodPhase::kPending;
  bool assigned = false;
  bool ready = false;
  WallTime ready_since = {};
  WallTime created = {};
  WallTime finished = {};             ///< when it ended, as near as its status tells
  std::int64_t most_restarts = 0;     ///< of one container
  std::int64_t total_restarts = 0;    ///< of all containers, init containers too
  std::int64_t index = -1;            ///< completion index; -1 without one
  std::int64_t failures = 0;          ///< of its index, before it
  std::int64_t ignored_failures = 0;  ///< those that a pod failure policy ignored
  std::vector<ContainerEnd> ended = {};
  std::vector<ContainerEnd> ended_init = {};
  std::vector<std::pair<std::string, std::string>> conditions = {};  ///< type and status

  [[nodiscard]] bool terminal() const { return phase == PodPhase::kSucceeded || phase == PodPhase::kFailed; }
};

std::shared_ptr<const JobPod> decode_job_pod(const api::Object& pod);

}  // namespace brume::controller
