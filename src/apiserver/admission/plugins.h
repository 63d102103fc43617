// The steps of admission, in the order in which the chain runs them (Kubernetes' recommended order).
#pragma once

#include <memory>

#include "../authz.h"
#include "plugin.h"

namespace brume::apiserver {

using PluginPtr = std::unique_ptr<AdmissionPlugin>;

/// Nothing is created in a namespace that is absent or ending; default, kube-system and kube-public stay.
PluginPtr namespace_lifecycle(const ObjectSource& objects);
/// Defaults and bounds of resource requests from the namespace's LimitRanges.
PluginPtr limit_ranger(const ObjectSource& objects);
/// Pods run as a service account that exists, and carry its token and pull secrets.
PluginPtr service_account(const ObjectSource& objects);
/// A node writes itself and its own pods only, and no label that attracts other pods.
PluginPtr node_restriction(const ObjectSource& objects);
/// New nodes start with the not-ready taint.
PluginPtr taint_nodes_by_condition();
/// The pod security standards that the namespace's labels ask for.
PluginPtr pod_security(const ObjectSource& objects);
/// spec.priority and spec.preemptionPolicy from the priority class.
PluginPtr priority(const ObjectSource& objects);
/// Pods stay five minutes on a node that fails.
PluginPtr default_toleration_seconds();
/// storageClassName of claims that say none.
PluginPtr default_storage_class(const ObjectSource& objects);
/// Finalizers that keep claims and volumes that are in use.
PluginPtr storage_object_in_use_protection();
/// Claims grow only where their class allows it.
PluginPtr persistent_volume_claim_resize(const ObjectSource& objects);
/// A bound pod grows no larger than its node.
PluginPtr pod_resize_validator(const ObjectSource& objects);
/// Overhead, selector and tolerations of the pod's RuntimeClass.
PluginPtr runtime_class(const ObjectSource& objects);
/// ingressClassName of an Ingress that says none.
PluginPtr default_ingress_class(const ObjectSource& objects);
/// Zone and region of a pod's node as labels of the pod.
PluginPtr pod_topology_labels(const ObjectSource& objects);
/// Nobody grants by a role or binding what he does not hold (unless he may `escalate` or `bind`).
PluginPtr rbac_escalation(const ChainAuthorizer& authorizer);

/// Whether a pod is created as the namespace's default service account which is not there yet: its controller makes it
/// a moment after the namespace, so waiting a little is kinder than an error.
[[nodiscard]] bool awaits_default_account(const AdmissionRequest& request, const ObjectSource& objects);

}  // namespace brume::apiserver
