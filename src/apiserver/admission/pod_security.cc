// PodSecurity: the levels that a namespace's labels ask for.
#include "pod_security.h"

#include <array>

#include "brume/base/strings.h"
#include "plugins.h"

namespace brume::apiserver {
namespace {

struct Policy {
  PodLevel level = PodLevel::kPrivileged;
  std::string shown;  ///< "restricted:latest"
};

/// The policy of one mode: enforce, warn. What cannot be read counts as restricted, for a typing error must not open a
/// door.
Policy policy_of(const api::Object& ns, std::string_view mode) {
  const std::string label = "pod-security.kubernetes.io/" + std::string(mode);
  const std::string_view value = ns.label(label);
  if (value.empty()) return {};
  const std::string_view version = ns.label(label + "-version");
  Policy policy;
  policy.level = value == "privileged" ? PodLevel::kPrivileged
                 : value == "baseline" ? PodLevel::kBaseline
                                       : PodLevel::kRestricted;
  policy.shown = std::string(policy.level == PodLevel::kBaseline ? "baseline" : "restricted") + ":" +
                 std::string(version.empty() ? "latest" : version);
  return policy;
}

std::string violations_text(const Json& metadata, const Json& spec, const Policy& policy) {
  std::vector<std::string> parts;
  for (const auto& violation : pod_violations(metadata, spec, policy.level)) {
    parts.push_back(violation.detail.empty() ? violation.reason : violation.reason + " (" + violation.detail + ")");
  }
  return join(parts, ", ");
}

constexpr std::array<std::string_view, 6> kWorkloads = {"deployments.apps",  "replicasets.apps",
                                                        "statefulsets.apps", "daemonsets.apps",
                                                        "jobs.batch",        "replicationcontrollers"};

class PodSecurity : public AdmissionPlugin {
 public:
  explicit PodSecurity(const ObjectSource& objects) : objects_(objects) {}

  Status validate(const AdmissionRequest& request) const override {
    const bool write = request.operation == Operation::kCreate || request.operation == Operation::kUpdate;
    if (!write || request.object == nullptr || !request.resource->namespaced) return {};
    const bool ephemeral = request.resource->group.empty() && request.resource->plural == "pods" &&
                           request.subresource == "ephemeralcontainers";
    if (is_for(request, "pods") || ephemeral) return check_pod(request);
    for (const auto workload : kWorkloads) {
      if (is_for(request, workload)) warn(request, at(*request.object, "spec", "template"));
    }
    if (is_for(request, "cronjobs.batch"))
      warn(request, at(*request.object, "spec", "jobTemplate", "spec", "template"));
    return {};
  }

 private:
  [[nodiscard]] Status check_pod(const AdmissionRequest& request) const {
    // Labels, tolerations and images may change in any pod; what this looks at may not, but for images and seconds.
    if (request.old_object != nullptr && at(*request.object, "spec") == at(*request.old_object, "spec")) return {};
    const auto ns = objects_.find(api::res("namespaces"), "", request.ns);
    if (!ns) return {};
    const Policy enforce = policy_of(*ns, "enforce");
    const Json& metadata = at(*request.object, "metadata");
    const auto why = violations_text(metadata, at(*request.object, "spec"), enforce);
    if (!why.empty()) return forbid(request, "violates PodSecurity \"" + enforce.shown + "\": " + why);
    warn(request, *request.object);
    return {};
  }

  /// `holder` has the pod's metadata and spec.
  void warn(const AdmissionRequest& request, const Json& holder) const {
    const auto ns = request.warnings == nullptr ? nullptr : objects_.find(api::res("namespaces"), "", request.ns);
    if (!ns) return;
    const Policy policy = policy_of(*ns, "warn");
    const auto why = violations_text(at(holder, "metadata"), at(holder, "spec"), policy);
    if (!why.empty()) request.warnings->push_back("would violate PodSecurity \"" + policy.shown + "\": " + why);
  }

  const ObjectSource& objects_;
};

}  // namespace

PluginPtr pod_security(const ObjectSource& objects) { return std::make_unique<PodSecurity>(objects); }

}  // namespace brume::apiserver
