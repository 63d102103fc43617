// What a write to a Job's status may say. Most rules look only at what the write changes, so that a status that is
// wrong already can still be mended or left alone.
#include <algorithm>
#include <set>

#include "api/validation/batch.h"
#include "api/validation/kinds.h"
#include "brume/base/time.h"

namespace brume::api::validation {

namespace {

const Path kStatus("status");

bool condition_is(const Json& status, std::string_view type, std::string_view value) {
  const auto& list = items(at(status, "conditions"));
  return std::any_of(list.begin(), list.end(),
                     [&](const Json& c) { return str(c, "type") == type && str(c, "status") == value; });
}
bool holds(const Json& status, std::string_view type) { return condition_is(status, type, "True"); }
bool finished(const Json& status) { return holds(status, "Complete") || holds(status, "Failed"); }

/// A status before and after a write.
struct Change {
  const Json& spec;
  const Json& now;
  const Json& old;

  [[nodiscard]] bool of(std::string_view field) const { return !same(at(now, field), at(old, field)); }
  [[nodiscard]] bool of_count(std::string_view field) const { return num(now, field) != num(old, field); }
  [[nodiscard]] bool of_condition(std::string_view type) const { return holds(now, type) != holds(old, type); }
  [[nodiscard]] bool of_end() const { return finished(now) != finished(old); }
};

void check_counts(Errors& errors, const Json& status) {
  for (const char* key : {"active", "succeeded", "failed", "ready", "terminating"}) {
    check_not_negative(errors, kStatus / key, at(status, key));
  }
  std::set<std::string_view> seen;
  for (const char* list : {"succeeded", "failed"}) {
    const auto& uids = items(at(status, "uncountedTerminatedPods", list));
    for (std::size_t i = 0; i < uids.size(); ++i) {
      const Path path = (kStatus / "uncountedTerminatedPods" / list)[i];
      if (str(uids[i]).empty()) {
        errors.invalid(path, "", "must not be empty");
      } else if (!seen.insert(str(uids[i])).second) {
        errors.duplicate(path, str(uids[i]));
      }
    }
  }
}

// Conditions that contradict one another or come without what goes before them.
void check_conditions(Errors& errors, const Change& change) {
  const auto& now = change.now;
  const Path path = kStatus / "conditions";
  const bool complete = holds(now, "Complete"), failed = holds(now, "Failed");
  const bool target = holds(now, "FailureTarget"), met = holds(now, "SuccessCriteriaMet");
  const bool complete_changed = change.of_condition("Complete");
  if ((complete_changed || change.of_condition("Failed")) && complete && failed) {
    errors.invalid(path, "cannot set Complete=True and Failed=true conditions");
  }
  if ((complete_changed || change.of_condition("FailureTarget")) && complete && target) {
    errors.invalid(path, "cannot set Complete=True and FailureTarget=true conditions");
  }
  if ((change.of_condition("Failed") || change.of("failedIndexes")) && failed && !target) {
    errors.invalid(path, "cannot set Failed=True condition without the FailureTarget=true condition");
  }
  if ((complete_changed || change.of_condition("SuccessCriteriaMet")) && complete && !met) {
    errors.invalid(path, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
  }
  if (met && failed) errors.invalid(path, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
  if (met && target) errors.invalid(path, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
  if (has(change.spec, "successPolicy") && !met && complete) {
    errors.invalid(path, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True");
  }
}

void check_times(Errors& errors, const Change& change) {
  const auto& now = change.now;
  const bool complete = holds(now, "Complete");
  const Json& start = at(now, "startTime");
  const Json& end = at(now, "completionTime");
  if (change.of_condition("Complete") || change.of("completionTime")) {
    if (!end.is_null() && !complete) {
      errors.invalid(kStatus / "completionTime", end,
                     "cannot set completionTime when there is no Complete=True condition");
    }
    if (end.is_null() && complete) {
      errors.required(kStatus / "completionTime", "completionTime is required for Complete jobs");
    }
  }
  if (change.of("startTime") || change.of("completionTime")) {
    const auto began = parse_rfc3339(str(start));
    const auto ended = parse_rfc3339(str(end));
    if (began && ended && *ended < *began) {
      errors.invalid(kStatus / "completionTime", end, "must be equal to or after `startTime`");
    }
  }
  const bool suspended_for_nothing = flag(change.spec, "suspend") && at(change.spec, "completions") == Json(0);
  if ((change.of_end() || change.of("startTime")) && !suspended_for_nothing && start.is_null() && finished(now)) {
    errors.required(kStatus / "startTime", "startTime is required for finished job");
  }
}

void check_what_is_left(Errors& errors, const Change& change) {
  const auto& now = change.now;
  const bool done = finished(now);
  if ((change.of_end() || change.of_count("active")) && num(now, "active") > 0 && done) {
    errors.invalid(kStatus / "active", num(now, "active"), "active>0 is invalid for finished job");
  }
  const Json& uncounted = at(now, "uncountedTerminatedPods");
  const bool some = !blank(at(uncounted, "succeeded")) || !blank(at(uncounted, "failed"));
  if ((change.of_end() || change.of("uncountedTerminatedPods")) && done && some) {
    errors.invalid(kStatus / "uncountedTerminatedPods", uncounted, "must be empty for finished job");
  }
  if ((change.of_end() || change.of("terminating")) && num(now, "terminating") > 0 && done) {
    errors.invalid(kStatus / "terminating", num(now, "terminating"), "terminating>0 is invalid for finished job");
  }
  if ((change.of("ready") || change.of_count("active")) && num(now, "ready") > num(now, "active")) {
    errors.invalid(kStatus / "ready", num(now, "ready"), "cannot set more ready pods than active");
  }
}

void check_indexes(Errors& errors, const Change& change) {
  const auto completed = str(change.now, "completedIndexes");
  const Json& failed = at(change.now, "failedIndexes");
  const Json& completions = at(change.spec, "completions");
  const bool limited = has(change.spec, "backoffLimitPerIndex");
  const bool completed_changed = change.of("completedIndexes"), failed_changed = change.of("failedIndexes");
  if (completed_changed && completions.is_number()) {
    const auto fault = count_indexes(completed, num(change.spec, "completions")).fault;
    if (!fault.empty()) {
      errors.invalid(kStatus / "completedIndexes", completed, "error parsing completedIndexes: " + fault);
    }
  }
  if (failed_changed && completions.is_number() && limited && failed.is_string()) {
    const auto fault = count_indexes(str(failed), num(change.spec, "completions")).fault;
    if (!fault.empty()) errors.invalid(kStatus / "failedIndexes", failed, "error parsing failedIndexes: " + fault);
  }
  if (completed_changed && !completed.empty() && str(change.spec, "completionMode") != "Indexed") {
    errors.invalid(kStatus / "completedIndexes", completed,
                   "cannot set non-empty completedIndexes when non-indexed completion mode");
  }
  if (failed_changed && !limited && failed.is_string()) {
    errors.invalid(kStatus / "failedIndexes", failed,
                   "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
  }
  if ((failed_changed || completed_changed) && completions.is_number() && failed.is_string()) {
    const auto fault = overlap_fault(completed, str(failed), num(change.spec, "completions"));
    if (!fault.empty()) errors.invalid(kStatus / "failedIndexes", failed, fault);
  }
}

// What may never be undone.
void check_transitions(Errors& errors, const Change& change) {
  const auto& now = change.now;
  const auto& old = change.old;
  for (const char* type : {"Failed", "Complete", "FailureTarget"}) {
    if (holds(old, type) && !holds(now, type)) {
      errors.invalid(kStatus / "conditions", "cannot disable the terminal " + std::string(type) + "=True condition");
    }
  }
  if (num(now, "failed") < num(old, "failed")) {
    errors.invalid(kStatus / "failed", num(now, "failed"), "cannot decrease the failed counter");
  }
  // An indexed Job can shrink, and with it what it has completed.
  const bool may_shrink = str(change.spec, "completionMode") == "Indexed" &&
                          at(change.spec, "completions") == at(change.spec, "parallelism");
  if (!may_shrink && num(now, "succeeded") < num(old, "succeeded")) {
    errors.invalid(kStatus / "succeeded", num(now, "succeeded"), "cannot decrease the succeeded counter");
  }
  if (has(now, "completionTime") && has(old, "completionTime") && change.of("completionTime")) {
    errors.invalid(kStatus / "completionTime", at(now, "completionTime"), kImmutable);
  }
  const bool resuming = holds(old, "Suspended") && condition_is(now, "Suspended", "False");
  if (change.of("startTime") && !resuming && has(old, "startTime") && !flag(change.spec, "suspend")) {
    errors.invalid(kStatus / "startTime", at(now, "startTime"), "field is immutable for unsuspended job once set");
  }
  if (holds(old, "SuccessCriteriaMet") && !holds(now, "SuccessCriteriaMet")) {
    errors.invalid(kStatus / "conditions", "cannot disable the SuccessCriteriaMet=True condition");
  }
  if (holds(old, "Complete") && !holds(old, "SuccessCriteriaMet") && holds(now, "SuccessCriteriaMet")) {
    errors.invalid(kStatus / "conditions",
                   "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions");
  }
}

}  // namespace

void update_job_status(Errors& errors, const Json& object, const Json& old) {
  const Change change{.spec = at(object, "spec"), .now = at(object, "status"), .old = at(old, "status")};
  check_counts(errors, change.now);
  check_conditions(errors, change);
  check_times(errors, change);
  check_what_is_left(errors, change);
  check_indexes(errors, change);
  check_transitions(errors, change);
}

}  // namespace brume::api::validation
