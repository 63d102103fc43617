// Jobs.
#include <algorithm>

#include "api/validation/batch.h"
#include "api/validation/kinds.h"
#include "api/validation/pod.h"
#include "brume/api/selector.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

const Path kSpec("spec");
constexpr std::int64_t kMostParallel = 100'000;
constexpr std::int64_t kMostFailedIndexes = 100'000;
// Of Jobs with more completions than this, fewer may run and fail at once: the status must stay small.
constexpr std::int64_t kManyCompletions = 100'000;
constexpr std::int64_t kLimitForMany = 10'000;

void check_many_completions(Errors& errors, const Path& path, const Json& spec) {
  if (num(spec, "completions") <= kManyCompletions || !has(spec, "backoffLimitPerIndex")) return;
  constexpr const char* kLimit =
      "must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index";
  if (!has(spec, "maxFailedIndexes")) {
    errors.required(path / "maxFailedIndexes", "must be specified when completions is above 100000");
  }
  for (const char* key : {"parallelism", "maxFailedIndexes"}) {
    if (num(spec, key) > kLimitForMany) errors.invalid(path / key, num(spec, key), kLimit);
  }
}

void check_completion_mode(Errors& errors, const Path& path, const Json& spec) {
  const auto mode = str(spec, "completionMode");
  if (has(spec, "completionMode")) check_enum(errors, path / "completionMode", mode, {"NonIndexed", "Indexed"});
  if (mode == "Indexed") {
    const auto failed = num(spec, "maxFailedIndexes");
    if (!has(spec, "completions")) errors.required(path / "completions", "when completion mode is Indexed");
    if (num(spec, "parallelism") > kMostParallel) {
      errors.invalid(path / "parallelism", num(spec, "parallelism"),
                     "must be less than or equal to 100000 when completion mode is Indexed");
    }
    if (has(spec, "completions") && failed > num(spec, "completions")) {
      errors.invalid(path / "maxFailedIndexes", failed, "must be less than or equal to completions");
    }
    if (failed > kMostFailedIndexes) {
      errors.invalid(path / "maxFailedIndexes", failed, "must be less than or equal to 100000");
    }
    check_many_completions(errors, path, spec);
  } else if (mode.empty() || mode == "NonIndexed") {
    for (const char* key : {"backoffLimitPerIndex", "maxFailedIndexes"}) {
      if (has(spec, key)) errors.invalid(path / key, at(spec, key), "requires indexed completion mode");
    }
  }
}

// A name such as acme.io/foo.
void check_manager(Errors& errors, const Path& path, std::string_view manager) {
  constexpr std::size_t kMostBytes = 63;
  constexpr std::string_view kPathBytes = "-._~%!$&'()*+,;=:/";  // beside letters and digits
  const auto slash = manager.find('/');
  if (manager.empty()) {
    errors.required(path);
  } else if (slash == std::string_view::npos || slash == 0 || slash + 1 == manager.size()) {
    errors.invalid(path, manager, "must be a domain-prefixed path (such as \"acme.io/foo\")");
  } else {
    check_format(errors, path, manager.substr(0, slash), dns1123_subdomain);
    const auto rest = manager.substr(slash + 1);
    const bool sound = std::all_of(rest.begin(), rest.end(), [&](unsigned char c) {
      return std::isalnum(c) != 0 || kPathBytes.find(static_cast<char>(c)) != std::string_view::npos;
    });
    if (!sound) {
      errors.invalid(path, rest, "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')");
    }
  }
  if (manager.size() > kMostBytes) errors.too_long(path, kMostBytes);
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

// The selector that is made for a Job must be there, with the labels that it selects by.
void check_generated_selector(Errors& errors, const Json& object, bool prefixed_labels) {
  const Json& spec = at(object, "spec");
  if (flag(spec, "manualSelector") || !has(spec, "selector")) return;
  const std::string uid(str(at(object, "metadata"), "uid"));
  const std::string name(str(at(object, "metadata"), "name"));
  if (uid.empty()) errors.required(Path("metadata") / "uid");
  const Json& labels = at(spec, "template", "metadata", "labels");
  Json expected = {{"controller-uid", uid}, {"job-name", name}};
  std::vector<std::pair<std::string_view, std::string>> wanted = {{"controller-uid", uid}, {"job-name", name}};
  if (prefixed_labels) {
    wanted.emplace_back("batch.kubernetes.io/controller-uid", uid);
    wanted.emplace_back("batch.kubernetes.io/job-name", name);
  }
  const Path path = kSpec / "template" / "metadata" / "labels";
  for (const auto& [key, value] : wanted) {
    expected[std::string(key)] = value;
    if (!has(labels, key)) {
      errors.required(path.key(key), "must be '" + value + "'");
    } else if (str(labels, key) != value) {
      errors.invalid(path.key(key), labels, "must be '" + value + "'");
    }
  }
  const auto selector = LabelSelector::from_json(at(spec, "selector"));
  if (selector && !selector->matches_json(expected)) {
    errors.invalid(kSpec / "selector", at(spec, "selector"), "`selector` not auto-generated");
  }
}

void check_job(Errors& errors, const Json& object, bool prefixed_labels) {
  const Json& spec = at(object, "spec");
  check_generated_selector(errors, object, prefixed_labels);
  check_job_spec(errors, kSpec, spec);
  const Json& selector = at(spec, "selector");
  if (selector.is_object()) {
    check_label_selector(errors, kSpec / "selector", selector);
    const auto parsed = LabelSelector::from_json(selector);
    const Json& labels = at(spec, "template", "metadata", "labels");
    if (parsed && !parsed->matches_json(labels)) {
      errors.invalid(kSpec / "template" / "metadata" / "labels", labels, "`selector` does not match template `labels`");
    }
  } else {
    errors.required(kSpec / "selector");
  }
  // The pods' host names are the Job's name and an index.
  if (str(spec, "completionMode") != "Indexed" || num(spec, "completions") <= 0) return;
  const auto name = str(at(object, "metadata"), "name");
  const std::string host = std::string(name) + "-" + std::to_string(num(spec, "completions") - 1);
  if (!dns1123_label(host).empty()) {
    errors.invalid(Path("metadata") / "name", name, "will not able to create pod with invalid DNS label: " + host);
  }
}

/// Suspended, and no pod has run since: where its pods run and what they may use can still be changed.
bool template_may_change(const Json& old) {
  const Json& status = at(old, "status");
  const auto& conditions = items(at(status, "conditions"));
  const bool suspended = std::any_of(conditions.begin(), conditions.end(), [](const Json& c) {
    return str(c, "type") == "Suspended" && str(c, "status") == "True";
  });
  return flag(at(old, "spec"), "suspend") && (!has(status, "startTime") || suspended) && num(status, "active") == 0;
}

void copy_member(Json& to, const Json& from, const char* key) {
  if (!to.is_object()) to = Json::object();
  to.erase(key);
  if (has(from, key)) to[key] = at(from, key);
}

void copy_resources(Json& to, const Json& from, const char* list) {
  const auto& next = items(at(from, list));
  if (!to.contains(list) || items(to[list]).size() != next.size()) return;
  for (std::size_t i = 0; i < next.size(); ++i) {
    Json& container = to[list][i];
    if (str(container, "name") == str(next[i], "name")) copy_member(container, next[i], "resources");
  }
}

void check_template_update(Errors& errors, const Json& next, const Json& old_object) {
  const Json& old = at(old_object, "spec", "template");
  if (!template_may_change(old_object)) return check_immutable(errors, kSpec / "template", next, old);
  Json before = at(old, "spec");
  const Json& after = at(next, "spec");
  for (const char* key : {"nodeSelector", "tolerations", "schedulingGates"}) copy_member(before, after, key);
  if (has(before, "affinity") || has(after, "affinity")) {
    copy_member(before["affinity"], at(after, "affinity"), "nodeAffinity");
  }
  for (const char* list : {"containers", "initContainers"}) copy_resources(before, after, list);
  check_immutable(errors, kSpec / "template" / "spec", after, before);
}

// Completions of an indexed Job can change together with its parallelism.
void check_completions_update(Errors& errors, const Json& spec, const Json& old) {
  const Json& completions = at(spec, "completions");
  const Path path = kSpec / "completions";
  if (str(spec, "completionMode") != "Indexed") {
    check_immutable(errors, path, completions, at(old, "completions"));
  } else if (completions != at(old, "completions") && completions.is_number() &&
             completions != at(spec, "parallelism")) {
    errors.invalid(path, completions, "can only be modified in tandem with spec.parallelism");
  }
}

}  // namespace

void check_job_spec(Errors& errors, const Path& path, const Json& spec) {
  for (const char* key : {"parallelism", "completions", "activeDeadlineSeconds", "backoffLimit",
                          "ttlSecondsAfterFinished", "backoffLimitPerIndex", "maxFailedIndexes"}) {
    check_not_negative(errors, path / key, at(spec, key));
  }
  if (has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex")) {
    errors.required(path / "backoffLimitPerIndex", "when maxFailedIndexes is specified");
  }
  if (has(spec, "managedBy")) check_manager(errors, path / "managedBy", str(spec, "managedBy"));
  check_completion_mode(errors, path, spec);
  if (has(spec, "podFailurePolicy")) check_failure_policy(errors, path / "podFailurePolicy", spec);
  if (has(spec, "successPolicy")) {
    if (str(spec, "completionMode") == "Indexed") {
      check_success_policy(errors, path / "successPolicy", spec);
    } else {
      errors.invalid(path / "successPolicy", at(spec, "successPolicy"), "requires indexed completion mode");
    }
  }
  if (const Json& policy = at(spec, "podReplacementPolicy"); policy.is_string()) {
    if (has(spec, "podFailurePolicy")) {
      check_enum(errors, path / "podReplacementPolicy", str(policy), {"Failed"});
    } else {
      check_enum(errors, path / "podReplacementPolicy", str(policy), {"Failed", "TerminatingOrFailed"});
    }
  }
  check_pod_template(errors, path / "template", at(spec, "template"));
  check_restart_policy(errors, path, spec);
}

void create_job(Errors& errors, const Json& object) { check_job(errors, object, true); }

void update_job(Errors& errors, const Json& object, const Json& old_object) {
  const Json& old = at(old_object, "spec");
  // Jobs from before these labels may go on without them.
  const Json& labels = at(old, "template", "metadata", "labels");
  check_job(errors, object,
            has(labels, "batch.kubernetes.io/job-name") && has(labels, "batch.kubernetes.io/controller-uid"));
  const Json& spec = at(object, "spec");
  check_completions_update(errors, spec, old);
  check_immutable(errors, kSpec / "selector", at(spec, "selector"), at(old, "selector"));
  check_template_update(errors, at(spec, "template"), old_object);
  for (const char* key : {"completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"}) {
    check_immutable(errors, kSpec / key, at(spec, key), at(old, key));
  }
}

}  // namespace brume::api::validation
