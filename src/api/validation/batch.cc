// Jobs and cron jobs.
#include <algorithm>
#include <array>

#include "api/validation/kinds.h"
#include "api/validation/pod.h"
#include "brume/api/selector.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

const Path kSpec("spec");

void check_indexed(Errors& errors, const Path& path, const Json& spec) {
  constexpr std::int64_t kMostParallel = 100000;
  const auto mode = str(spec, "completionMode");
  if (has(spec, "completionMode")) check_enum(errors, path / "completionMode", mode, {"NonIndexed", "Indexed"});
  if (mode == "Indexed") {
    const Json& completions = at(spec, "completions");
    const Json& failed = at(spec, "maxFailedIndexes");
    if (completions.is_null()) errors.required(path / "completions", "when completion mode is Indexed");
    if (num(spec, "parallelism") > kMostParallel) {
      errors.invalid(path / "parallelism", num(spec, "parallelism"),
                     "must be less than or equal to 100000 when completion mode is Indexed");
    }
    if (completions.is_number() && failed.is_number() && failed.get<std::int64_t>() > completions.get<std::int64_t>()) {
      errors.invalid(path / "maxFailedIndexes", failed, "must be less than or equal to completions");
    }
    return;
  }
  for (const char* key : {"backoffLimitPerIndex", "maxFailedIndexes"}) {
    if (has(spec, key)) errors.invalid(path / key, at(spec, key), "requires indexed completion mode");
  }
  if (has(spec, "successPolicy")) {
    errors.invalid(path / "successPolicy", at(spec, "successPolicy"), "requires indexed completion mode");
  }
}

void check_failure_policy(Errors& errors, const Path& path, const Json& spec) {
  const auto& rules = items(at(spec, "podFailurePolicy", "rules"));
  if (rules.size() > 20) errors.too_many(path / "rules", rules.size(), 20);
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const Path here = (path / "rules")[i];
    const auto action = str(rules[i], "action");
    if (action.empty()) {
      errors.required(here / "action", R"(valid values: ["Count" "FailIndex" "FailJob" "Ignore"])");
    } else {
      check_enum(errors, here / "action", action, {"Count", "FailIndex", "FailJob", "Ignore"});
    }
    const Json& codes = at(rules[i], "onExitCodes");
    const bool conditions = !blank(at(rules[i], "onPodConditions"));
    if (codes.is_object() && conditions) {
      errors.invalid(here, rules[i], "specifying both OnExitCodes and OnPodConditions is not supported");
    }
    if (!codes.is_object() && !conditions) {
      errors.invalid(here, rules[i], "specifying one of OnExitCodes and OnPodConditions is required");
    }
    if (!codes.is_object()) continue;
    check_enum(errors, here / "onExitCodes" / "operator", str(codes, "operator"), {"In", "NotIn"});
    const auto& values = items(at(codes, "values"));
    if (values.empty())
      errors.invalid(here / "onExitCodes" / "values", at(codes, "values"), "at least one value is required");
    if (values.size() > 255) errors.too_many(here / "onExitCodes" / "values", values.size(), 255);
    for (std::size_t v = 0; v < values.size(); ++v) {
      if (str(codes, "operator") == "In" && values[v] == Json(0)) {
        errors.invalid((here / "onExitCodes" / "values")[v], values[v], "must not be 0 for the In operator");
      }
    }
  }
}

void check_restart_policy(Errors& errors, const Path& path, const Json& spec) {
  const auto policy = str(at(spec, "template", "spec"), "restartPolicy");
  const Path here = path / "template" / "spec" / "restartPolicy";
  if (policy.empty() || policy == "Always") {
    errors.required(here, R"(valid values: "OnFailure", "Never")");
  } else if (policy != "OnFailure" && policy != "Never") {
    errors.not_supported(here, policy, {"OnFailure", "Never"});
  } else if (has(spec, "podFailurePolicy") && policy != "Never") {
    errors.invalid(here, policy, R"(only "Never" is supported when podFailurePolicy is specified)");
  }
}

// What a job and a cron job's template share.
void check_job_spec(Errors& errors, const Path& path, const Json& spec) {
  for (const char* key : {"parallelism", "completions", "activeDeadlineSeconds", "backoffLimit",
                          "ttlSecondsAfterFinished", "backoffLimitPerIndex", "maxFailedIndexes"}) {
    check_not_negative(errors, path / key, at(spec, key));
  }
  if (has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex")) {
    errors.required(path / "backoffLimitPerIndex", "when maxFailedIndexes is specified");
  }
  if (const auto owner = str(spec, "managedBy"); !owner.empty()) {
    const auto slash = owner.find('/');
    if (slash == std::string_view::npos || slash == 0 || slash + 1 == owner.size()) {
      errors.invalid(path / "managedBy", owner, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    } else {
      check_format(errors, path / "managedBy", owner.substr(0, slash), dns1123_subdomain);
    }
    if (owner.size() > 63) errors.too_long(path / "managedBy", 63);
  }
  check_indexed(errors, path, spec);
  if (has(spec, "podFailurePolicy")) check_failure_policy(errors, path / "podFailurePolicy", spec);
  if (const auto policy = str(spec, "podReplacementPolicy"); !policy.empty()) {
    if (has(spec, "podFailurePolicy")) {
      check_enum(errors, path / "podReplacementPolicy", policy, {"Failed"});
    } else {
      check_enum(errors, path / "podReplacementPolicy", policy, {"Failed", "TerminatingOrFailed"});
    }
  }
  check_pod_template(errors, path / "template", at(spec, "template"));
  check_restart_policy(errors, path, spec);
}

void check_job(Errors& errors, const Json& object) {
  const Json& spec = at(object, "spec");
  check_job_spec(errors, kSpec, spec);
  const Json& selector = at(spec, "selector");
  if (!selector.is_object()) return errors.required(kSpec / "selector");
  check_label_selector(errors, kSpec / "selector", selector);
  const auto parsed = LabelSelector::from_json(selector);
  const Json& labels = at(spec, "template", "metadata", "labels");
  if (parsed && !parsed->matches_json(labels)) {
    errors.invalid(kSpec / "template" / "metadata" / "labels", labels, "`selector` does not match template `labels`");
  }
}

// ---- cron lines ----

struct CronField {
  std::string_view name;
  std::int64_t low, high;
  std::array<std::string_view, 12> names;
};
constexpr std::array<CronField, 5> kCronFields = {
    CronField{"minute", 0, 59, {}},
    CronField{"hour", 0, 23, {}},
    CronField{"day of month", 1, 31, {}},
    CronField{"month", 1, 12, {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
    CronField{"day of week", 0, 6, {"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
};

std::optional<std::int64_t> cron_value(const CronField& field, std::string_view text) {
  const std::string lower = to_lower(text);
  for (std::size_t i = 0; i < field.names.size(); ++i) {
    if (!lower.empty() && field.names[i] == lower) return field.low + static_cast<std::int64_t>(i);
  }
  const auto number = parse_int(text);
  return number && *number >= 0 ? number : std::nullopt;
}

// One of "*", "a", "a-b", "*/n", "a-b/n"; what is wrong with it, "" if nothing.
std::string cron_range_fault(const CronField& field, std::string_view text) {
  const auto slash = text.find('/');
  const auto range = text.substr(0, slash);
  const auto dash = range.find('-');
  std::int64_t low = field.low, high = field.high;
  if (range != "*" && range != "?") {
    const auto first = cron_value(field, range.substr(0, dash));
    if (!first) return "failed to parse int from " + std::string(range.substr(0, dash));
    low = high = *first;
    if (dash != std::string_view::npos) {
      const auto last = cron_value(field, range.substr(dash + 1));
      if (!last) return "failed to parse int from " + std::string(range.substr(dash + 1));
      high = *last;
    }
  }
  const auto whole = std::string(text);
  if (slash != std::string_view::npos) {
    const auto step = parse_int(text.substr(slash + 1));
    if (!step || *step < 0) return "failed to parse int from " + std::string(text.substr(slash + 1));
    if (*step == 0) return "step of range should be a positive number: " + whole;
  }
  if (low < field.low) {
    return "beginning of range (" + std::to_string(low) + ") below minimum (" + std::to_string(field.low) +
           "): " + whole;
  }
  if (high > field.high) {
    return "end of range (" + std::to_string(high) + ") above maximum (" + std::to_string(field.high) + "): " + whole;
  }
  if (low > high) {
    return "beginning of range (" + std::to_string(low) + ") beyond end of range (" + std::to_string(high) +
           "): " + whole;
  }
  return {};
}

std::string schedule_fault(std::string_view schedule) {
  if (schedule.starts_with('@')) {
    for (const char* known : {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}) {
      if (schedule == known) return {};
    }
    if (schedule.starts_with("@every ") && schedule.size() > 7 && schedule[7] >= '0' && schedule[7] <= '9') return {};
    return "unrecognized descriptor: " + std::string(schedule);
  }
  std::vector<std::string> fields;
  for (auto& part : split(schedule, ' ')) {
    if (auto text = trim(part); !text.empty()) fields.emplace_back(text);
  }
  if (fields.size() != kCronFields.size()) {
    std::string list = join(fields, " ");
    return "expected exactly 5 fields, found " + std::to_string(fields.size()) + ": [" + list + "]";
  }
  for (std::size_t i = 0; i < fields.size(); ++i) {
    for (const auto& part : split(fields[i], ',')) {
      if (auto fault = cron_range_fault(kCronFields[i], part); !fault.empty()) return fault;
    }
  }
  return {};
}

void check_time_zone(Errors& errors, const Path& path, const Json& zone) {
  if (zone.is_null()) return;
  const auto name = str(zone);
  if (name.empty()) return errors.invalid(path, name, "timeZone must be nil or non-empty string");
  for (const auto& part : split(name, '/')) {
    const bool plain = !part.empty() && part.size() <= 14 && part != "." && part != ".." && !part.starts_with('-') &&
                       std::all_of(part.begin(), part.end(), [](unsigned char c) {
                         return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_' || c == '+';
                       });
    if (!plain) return errors.invalid(path, name, "unknown time zone " + std::string(name));
  }
  if (iequals(name, "local")) {
    errors.invalid(path, name, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
  }
}

void check_cron_job(Errors& errors, const Json& spec, const Json& old) {
  const auto schedule = str(spec, "schedule");
  const Path path = kSpec / "schedule";
  if (schedule.empty()) {
    errors.required(path);
  } else {
    const bool had_zone = str(old, "schedule").find("TZ") != std::string_view::npos;
    const bool has_zone = schedule.find("TZ") != std::string_view::npos;
    auto line = schedule;
    if (has_zone && (line.starts_with("TZ=") || line.starts_with("CRON_TZ="))) {
      const auto space = line.find(' ');
      line = space == std::string_view::npos ? std::string_view() : trim(line.substr(space));
    }
    if (const auto fault = schedule_fault(line); !fault.empty()) errors.invalid(path, schedule, fault);
    if (had_zone && has_zone && has(spec, "timeZone")) {
      errors.invalid(path, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    } else if (!had_zone && has_zone) {
      errors.invalid(path, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    }
  }
  check_not_negative(errors, kSpec / "startingDeadlineSeconds", at(spec, "startingDeadlineSeconds"));
  if (at(spec, "timeZone") != at(old, "timeZone")) check_time_zone(errors, kSpec / "timeZone", at(spec, "timeZone"));
  if (const auto policy = str(spec, "concurrencyPolicy"); policy.empty()) {
    errors.required(kSpec / "concurrencyPolicy");
  } else {
    check_enum(errors, kSpec / "concurrencyPolicy", policy, {"Allow", "Forbid", "Replace"});
  }
  const Json& job = at(spec, "jobTemplate", "spec");
  const Path job_path = kSpec / "jobTemplate" / "spec";
  check_job_spec(errors, job_path, job);
  if (has(job, "selector")) {
    errors.invalid(job_path / "selector", at(job, "selector"), "`selector` will be auto-generated");
  }
  if (flag(job, "manualSelector")) {
    errors.add("FieldValueNotSupported", "Unsupported value: true", job_path / "manualSelector",
               R"(supported values: "nil", "false")");
  }
  check_not_negative(errors, kSpec / "successfulJobsHistoryLimit", at(spec, "successfulJobsHistoryLimit"));
  check_not_negative(errors, kSpec / "failedJobsHistoryLimit", at(spec, "failedJobsHistoryLimit"));
}

}  // namespace

void create_job(Errors& errors, const Json& object) {
  check_job(errors, object);
  const Json& spec = at(object, "spec");
  if (str(spec, "completionMode") != "Indexed" || num(spec, "completions") <= 0) return;
  const auto name = str(at(object, "metadata"), "name");
  const std::string host = std::string(name) + "-" + std::to_string(num(spec, "completions") - 1);
  if (!dns1123_label(host).empty()) {
    errors.invalid(Path("metadata") / "name", name, "will not able to create pod with invalid DNS label: " + host);
  }
}

void update_job(Errors& errors, const Json& object, const Json& old_object) {
  check_job(errors, object);
  const Json& spec = at(object, "spec");
  const Json& old = at(old_object, "spec");
  const bool indexed = str(spec, "completionMode") == "Indexed";
  // An indexed job can grow and shrink as long as it completes as many as it runs at once.
  if (!indexed || at(spec, "completions") != at(spec, "parallelism")) {
    check_immutable(errors, kSpec / "completions", at(spec, "completions"), at(old, "completions"));
  }
  check_immutable(errors, kSpec / "selector", at(spec, "selector"), at(old, "selector"));
  Json pods = at(spec, "template");
  const Json& before = at(old, "template");
  // While a job is suspended and has not started, where its pods may run can still be changed.
  if (flag(old, "suspend") && !has(at(old_object, "status"), "startTime") && at(pods, "metadata").is_object() &&
      at(pods, "spec").is_object()) {
    for (const char* key : {"annotations", "labels"}) {
      pods["metadata"].erase(key);
      if (has(at(before, "metadata"), key)) pods["metadata"][key] = at(before, "metadata", key);
    }
    for (const char* key : {"nodeSelector", "affinity", "tolerations", "schedulingGates"}) {
      pods["spec"].erase(key);
      if (has(at(before, "spec"), key)) pods["spec"][key] = at(before, "spec", key);
    }
  }
  check_immutable(errors, kSpec / "template", pods, before);
  for (const char* key : {"completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"}) {
    check_immutable(errors, kSpec / key, at(spec, key), at(old, key));
  }
}

void create_cron_job(Errors& errors, const Json& object) {
  check_cron_job(errors, at(object, "spec"), Json());
  // The controller adds eleven characters to name a job.
  if (const auto name = str(at(object, "metadata"), "name"); name.size() > 52) {
    errors.invalid(Path("metadata") / "name", name, "must be no more than 52 characters");
  }
}
void update_cron_job(Errors& errors, const Json& object, const Json& old) {
  check_cron_job(errors, at(object, "spec"), at(old, "spec"));
}

}  // namespace brume::api::validation
