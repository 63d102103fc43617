// PodSecurity: the levels that a namespace's labels ask for (KEP-2579).
#include "pod_security.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <unordered_set>

#include "brume/api/validation.h"
#include "brume/base/strings.h"
#include "plugins.h"

namespace brume::apiserver {
namespace {

constexpr std::string_view kPrefix = "pod-security.kubernetes.io/";
constexpr std::size_t kMaxPods = 3000;  // of a namespace that are looked at when its level rises

struct Policy {
  PodLevel level = PodLevel::kPrivileged;
  int minor = kLatestPodStandard;

  /// "restricted:latest"
  [[nodiscard]] std::string shown() const {
    constexpr std::array<const char*, 3> kNames = {"privileged", "baseline", "restricted"};
    return std::string(kNames[static_cast<std::size_t>(level)]) + ":" +
           (minor == kLatestPodStandard ? "latest" : "v1." + std::to_string(minor));
  }
  bool operator==(const Policy&) const = default;
};

struct Policies {
  Policy enforce, warn;
  std::vector<Cause> faults;  ///< labels that cannot be read
};

std::optional<PodLevel> parse_level(std::string_view text) {
  if (text == "privileged") return PodLevel::kPrivileged;
  if (text == "baseline") return PodLevel::kBaseline;
  if (text == "restricted") return PodLevel::kRestricted;
  return {};
}

std::optional<int> parse_version(std::string_view text) {
  if (text == "latest") return kLatestPodStandard;
  if (!text.starts_with("v1.") || text.size() < 4 || text[3] < '0' || text[3] > '9') return {};
  const auto number = text.substr(3);
  if (number.size() > 1 && number[0] == '0') return {};
  const auto minor = parse_int(number);
  if (!minor || *minor >= kLatestPodStandard) return {};
  return static_cast<int>(*minor);
}

void blame(Policies& out, const std::string& label, std::string_view value, const char* why) {
  out.faults.push_back(
      {"FieldValueInvalid", "Invalid value: \"" + std::string(value) + "\": " + why, "metadata.labels[" + label + "]"});
}

/// One mode's labels. What cannot be read counts as `otherwise` in the newest version; true when the level is said
/// well.
bool read_mode(const Json& labels, std::string_view mode, PodLevel otherwise, Policy& policy, Policies& out) {
  bool said = false;
  const std::string label = std::string(kPrefix) + std::string(mode);
  if (const Json& value = at(labels, label); !value.is_null()) {
    const auto level = parse_level(str(value));
    policy.level = level.value_or(otherwise);
    said = level.has_value();
    if (!level) blame(out, label, str(value), "must be one of privileged, baseline, restricted");
  }
  if (const Json& value = at(labels, label + "-version"); !value.is_null()) {
    const auto version = parse_version(str(value));
    policy.minor = version.value_or(kLatestPodStandard);
    if (!version) blame(out, label + "-version", str(value), "must be \"latest\" or \"v1.x\"");
  }
  return said;
}

/// What a namespace asks for. A typing error in what is enforced must not open a door; one in what is only told does
/// not make noise. What is enforced is told of, too, unless the labels say what to tell.
Policies policies_of(const Json& labels) {
  Policies out;
  const bool enforced = read_mode(labels, "enforce", PodLevel::kRestricted, out.enforce, out);
  Policy audit;  // nothing here keeps an audit log, but its labels are checked
  read_mode(labels, "audit", PodLevel::kPrivileged, audit, out);
  read_mode(labels, "warn", PodLevel::kPrivileged, out.warn, out);
  const bool has_warn = labels.is_object() && labels.contains(std::string(kPrefix) + "warn");
  if (!has_warn && enforced && out.enforce.level > out.warn.level) {
    out.warn.level = out.enforce.level;
    if (!labels.contains(std::string(kPrefix) + "warn-version")) out.warn.minor = out.enforce.minor;
  }
  return out;
}

std::string violations_text(const Json& metadata, const Json& spec, const Policy& policy) {
  std::vector<std::string> parts;
  for (const auto& violation : pod_violations(metadata, spec, policy.level, policy.minor)) {
    parts.push_back(violation.detail.empty() ? violation.reason : violation.reason + " (" + violation.detail + ")");
  }
  return join(parts, ", ");
}

/// Without who and what: what pods of one kind have in common.
std::string violations_summary(const api::Object& pod, const Policy& policy) {
  const Json json = pod.parse();
  std::vector<std::string> parts;
  for (auto& violation : pod_violations(at(json, "metadata"), at(json, "spec"), policy.level, policy.minor)) {
    parts.push_back(std::move(violation.reason));
  }
  return join(parts, ", ");
}

/// Whether a pod's update can change what is looked at: containers that come, and images.
bool is_significant(const Json& spec, const Json& old) {
  for (const char* list : {"containers", "initContainers"}) {
    const Json& now = at(spec, list);
    const Json& before = at(old, list);
    if (now.size() != before.size()) return true;
    for (std::size_t i = 0; i < now.size(); ++i) {
      if (str(now[i], "image") != str(before[i], "image")) return true;
    }
  }
  const Json& before = at(old, "ephemeralContainers");
  return std::ranges::any_of(at(spec, "ephemeralContainers"), [&](const Json& container) {
    return std::ranges::none_of(before, [&](const Json& other) {
      return str(other, "name") == str(container, "name") && str(other, "image") == str(container, "image");
    });
  });
}

/// Where a workload's pods are described; null for other kinds.
const Json& template_of(const AdmissionRequest& request) {
  static constexpr std::array<std::string_view, 6> kWorkloads = {"deployments.apps",  "replicasets.apps",
                                                                 "statefulsets.apps", "daemonsets.apps",
                                                                 "jobs.batch",        "replicationcontrollers"};
  for (const auto workload : kWorkloads) {
    if (is_for(request, workload)) return at(*request.object, "spec", "template");
  }
  if (is_for(request, "cronjobs.batch")) return at(*request.object, "spec", "jobTemplate", "spec", "template");
  if (is_for(request, "podtemplates")) return at(*request.object, "template");
  return at(*request.object, "");
}

class PodSecurity : public AdmissionPlugin {
 public:
  explicit PodSecurity(const ObjectSource& objects) : objects_(objects) {}

  Status validate(const AdmissionRequest& request) const override {
    const bool write = request.operation == Operation::kCreate || request.operation == Operation::kUpdate;
    if (!write || request.object == nullptr) return {};
    if (is_for(request, "namespaces")) return check_namespace(request);
    if (!request.resource->namespaced) return {};
    if (request.resource->group.empty() && request.resource->plural == "pods") {
      const std::string& sub = request.subresource;
      if (sub.empty() || sub == "ephemeralcontainers" || sub == "resize") return check_pod(request);
      return {};
    }
    if (const Json& pod = template_of(request); pod.is_object() && request.warnings != nullptr) {
      const auto policies = policies_in(request.ns);
      if (policies) warn(request, pod, policies->warn);
    }
    return {};
  }

 private:
  [[nodiscard]] std::optional<Policies> policies_in(const std::string& ns) const {
    const auto space = objects_.find(api::res("namespaces"), "", ns);
    if (!space) return {};
    // Most namespaces ask for nothing: their labels, which are at hand, say so.
    const bool asks =
        std::ranges::any_of(space->labels(), [](const auto& label) { return label.first.starts_with(kPrefix); });
    if (!asks) return {};
    return policies_of(at(space->parse(), "metadata", "labels"));
  }

  [[nodiscard]] Status check_pod(const AdmissionRequest& request) const {
    const Json& spec = at(*request.object, "spec");
    if (request.old_object != nullptr && !is_significant(spec, at(*request.old_object, "spec"))) return {};
    const auto policies = policies_in(request.ns);
    if (!policies) return {};
    const auto why = violations_text(at(*request.object, "metadata"), spec, policies->enforce);
    if (!why.empty()) return forbid(request, "violates PodSecurity \"" + policies->enforce.shown() + "\": " + why);
    if (request.warnings != nullptr) warn(request, *request.object, policies->warn);
    return {};
  }

  /// `holder` has the pod's metadata and spec.
  static void warn(const AdmissionRequest& request, const Json& holder, const Policy& policy) {
    const auto why = violations_text(at(holder, "metadata"), at(holder, "spec"), policy);
    if (!why.empty()) request.warnings->push_back("would violate PodSecurity \"" + policy.shown() + "\": " + why);
  }

  [[nodiscard]] Status check_namespace(const AdmissionRequest& request) const {
    const auto now = policies_of(at(*request.object, "metadata", "labels"));
    Policies before;
    if (request.old_object != nullptr) before = policies_of(at(*request.old_object, "metadata", "labels"));
    // Faults that were there already may stay.
    const auto same = [](const Cause& a, const Cause& b) { return a.field == b.field && a.message == b.message; };
    if (!now.faults.empty() && !std::ranges::equal(now.faults, before.faults, same)) {
      return fail(api::invalid_error(*request.resource, shown_name(request), now.faults));
    }
    if (request.old_object == nullptr || request.warnings == nullptr) return {};
    const bool relaxed = now.enforce.minor == before.enforce.minor && now.enforce.level <= before.enforce.level;
    if (now.enforce.level != PodLevel::kPrivileged && !relaxed) warn_of_pods(request, now.enforce);
    return {};
  }

  /// Of each controller one pod comes first: its others are like it.
  [[nodiscard]] std::vector<api::ObjectPtr> by_importance(const std::string& ns) const {
    std::vector<api::ObjectPtr> first, others;
    std::unordered_set<std::string> controllers;
    for (auto& pod : objects_.all(api::res("pods"), ns)) {
      const auto* owner = pod->controller();
      (owner == nullptr || controllers.insert(owner->uid).second ? first : others).push_back(std::move(pod));
    }
    first.insert(first.end(), others.begin(), others.end());
    return first;
  }

  void warn_of_pods(const AdmissionRequest& request, const Policy& policy) const {
    auto pods = by_importance(request.name);
    const std::size_t all = pods.size();
    pods.resize(std::min(all, kMaxPods));
    std::map<std::string, std::vector<std::string>> violators;  // summary to names
    for (const auto& pod : pods) {
      if (const auto summary = violations_summary(*pod, policy); !summary.empty()) {
        violators[summary].push_back(pod->name());
      }
    }
    auto& warnings = *request.warnings;
    if (pods.size() < all) {
      warnings.push_back("new PodSecurity enforce level only checked against the first " + std::to_string(pods.size()) +
                         " of " + std::to_string(all) + " existing pods");
    }
    if (violators.empty()) return;
    warnings.push_back("existing pods in namespace \"" + request.name +
                       "\" violate the new PodSecurity enforce level \"" + policy.shown() + "\"");
    std::vector<std::string> lines;
    for (const auto& [summary, names] : violators) {
      std::string line = *std::ranges::min_element(names);
      if (names.size() == 2) line += " (and 1 other pod)";
      if (names.size() > 2) line += " (and " + std::to_string(names.size() - 1) + " other pods)";
      lines.push_back(line + ": " + summary);
    }
    std::ranges::sort(lines);
    warnings.insert(warnings.end(), lines.begin(), lines.end());
  }

  const ObjectSource& objects_;
};

}  // namespace

PluginPtr pod_security(const ObjectSource& objects) { return std::make_unique<PodSecurity>(objects); }

}  // namespace brume::apiserver
