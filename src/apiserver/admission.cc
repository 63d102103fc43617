#include "admission.h"

#include "brume/base/task.h"

namespace brume::apiserver {
namespace {

using std::chrono::milliseconds;

/// How long a pod's creation waits for its namespace's default service account, which a controller makes: about as long
/// as Kubernetes waits, but looked for more often.
constexpr milliseconds kAccountPatience{1500};
constexpr milliseconds kAccountPoll{10};

}  // namespace

AdmissionChain::AdmissionChain(const ObjectSource& objects, const ChainAuthorizer& authorizer, Clock& clock,
                               bool storage_protection)
    : objects_(objects), clock_(clock) {
  plugins_.push_back(namespace_lifecycle(objects));
  plugins_.push_back(limit_ranger(objects));
  plugins_.push_back(service_account(objects));
  plugins_.push_back(node_restriction(objects));
  plugins_.push_back(taint_nodes_by_condition());
  plugins_.push_back(pod_security(objects));
  plugins_.push_back(priority(objects));
  plugins_.push_back(default_toleration_seconds());
  plugins_.push_back(default_storage_class(objects));
  if (storage_protection) plugins_.push_back(storage_object_in_use_protection());
  plugins_.push_back(persistent_volume_claim_resize(objects));
  plugins_.push_back(pod_resize_validator(objects));
  plugins_.push_back(runtime_class(objects));
  plugins_.push_back(default_ingress_class(objects));
  plugins_.push_back(pod_topology_labels(objects));
  plugins_.push_back(rbac_escalation(authorizer));
}

Status AdmissionChain::mutate_now(AdmissionRequest& request) const {
  for (const auto& plugin : plugins_) BRUME_CHECK(plugin->mutate(request));
  return {};
}

Status AdmissionChain::validate_now(const AdmissionRequest& request) const {
  for (const auto& plugin : plugins_) BRUME_CHECK(plugin->validate(request));
  return {};
}

Task<Status> AdmissionChain::mutate(AdmissionRequest& request) {
  for (milliseconds waited{0}; waited < kAccountPatience && awaits_default_account(request, objects_);
       waited += kAccountPoll) {
    co_await clock_.sleep(kAccountPoll);
  }
  co_return mutate_now(request);
}

Task<Status> AdmissionChain::validate(const AdmissionRequest& request) { co_return validate_now(request); }

}  // namespace brume::apiserver
