#include "job_policy.h"

#include <algorithm>

#include "brume/base/json.h"

namespace brume::controller {

namespace {

using Action = FailureVerdict::Action;

Action action_of(const Json& rule) {
  const auto action = str(rule, "action");
  if (action == "Ignore") return Action::kIgnore;
  if (action == "FailIndex") return Action::kFailIndex;
  if (action == "FailJob") return Action::kFailJob;
  return action == "Count" ? Action::kCount : Action::kNone;
}

// The first container that ended with a code that the requirement names; an exit code of 0 never matches.
const ContainerEnd* match_exit_code(const std::vector<ContainerEnd>& ends, const Json& requirement) {
  const auto& values = at(requirement, "values");
  const auto& name = at(requirement, "containerName");
  const auto op = str(requirement, "operator");
  for (const auto& end : ends) {
    if (end.exit_code == 0 || (name.is_string() && str(name) != end.name)) continue;
    const bool listed = std::find(values.begin(), values.end(), Json(end.exit_code)) != values.end();
    if ((op == "In" && listed) || (op == "NotIn" && !listed)) return &end;
  }
  return nullptr;
}

bool match_condition(const std::pair<std::string, std::string>& condition, const Json& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const Json& pattern) {
    return str(pattern, "type") == condition.first && str(pattern, "status") == condition.second;
  });
}

// What of the pod matches the rule, as a sentence; nothing when none does.
std::optional<std::string> match_rule(const Json& rule, const std::string& key, const JobPod& pod) {
  if (const auto& codes = at(rule, "onExitCodes"); codes.is_object()) {
    const auto* end = match_exit_code(pod.ended, codes);
    if (end == nullptr) end = match_exit_code(pod.ended_init, codes);
    if (end == nullptr) return std::nullopt;
    return "Container " + end->name + " for pod " + key + " failed with exit code " + std::to_string(end->exit_code);
  }
  const auto& patterns = at(rule, "onPodConditions");
  if (!patterns.is_array()) return std::nullopt;
  for (const auto& condition : pod.conditions) {
    if (match_condition(condition, patterns)) return "Pod " + key + " has condition " + condition.first;
  }
  return std::nullopt;
}

}  // namespace

FailureVerdict judge_failure(const Json& policy, const api::Object& pod, const JobPod& view) {
  const auto& rules = at(policy, "rules");
  if (!rules.is_array()) return {};
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const auto action = action_of(rules[i]);
    if (action == Action::kNone) continue;
    const auto match = match_rule(rules[i], pod.key(), view);
    if (!match) continue;
    FailureVerdict verdict{.action = action};
    if (action == Action::kFailJob) verdict.message = *match + " matching FailJob rule at index " + std::to_string(i);
    return verdict;
  }
  return {};
}

std::optional<std::string> success_policy_met(const Json& policy, std::int64_t completions, const Indexes& succeeded) {
  const auto& rules = at(policy, "rules");
  if (!rules.is_array() || succeeded.empty()) return std::nullopt;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const auto& wanted = at(rules[i], "succeededIndexes");
    const auto& count = at(rules[i], "succeededCount");
    bool met = false;
    if (wanted.is_string()) {
      const auto required = Indexes::parse(str(wanted), completions);
      const auto have = required.overlap(succeeded);
      met = !required.empty() && (have == required.total() || (count.is_number() && have >= count.get<std::int64_t>()));
    } else {
      met = count.is_number() && succeeded.total() >= count.get<std::int64_t>();
    }
    if (met) return "Matched rules at index " + std::to_string(i);
  }
  return std::nullopt;
}

}  // namespace brume::controller
