// A Job's spec.podFailurePolicy and spec.successPolicy.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "brume/base/json_fwd.h"
#include "job_indexes.h"
#include "job_view.h"

namespace brume::controller {

/// What a pod failure policy says of one failed pod.
struct FailureVerdict {
  enum class Action : std::uint8_t { kNone, kIgnore, kCount, kFailIndex, kFailJob };
  Action action = Action::kNone;  ///< of the first rule that matches
  std::string message = {};       ///< of kFailJob: why the Job fails

  /// Whether the failure counts towards backoffLimit and backoffLimitPerIndex.
  [[nodiscard]] bool counts() const { return action != Action::kIgnore; }
};

/// `policy` may be null: then every failure counts.
FailureVerdict judge_failure(const Json& policy, const api::Object& pod, const JobPod& view);

/// The message of SuccessCriteriaMet when the indexes that succeeded are enough for a rule of `policy` (or null).
std::optional<std::string> success_policy_met(const Json& policy, std::int64_t completions, const Indexes& succeeded);

}  // namespace brume::controller
