// The roles of the controllers, one each. Outside controllers that use Kubernetes' own service accounts find them too.
#include "rbac_defaults.h"

namespace brume::apiserver::defaults {
namespace {

constexpr Rule kAttachdetachControllerRules[] = {
    {.verbs = "list watch", .groups = "core", .resources = "persistentvolumeclaims persistentvolumes"},
    {.verbs = kRead, .groups = "core", .resources = "nodes"},
    {.verbs = "patch update", .groups = "core", .resources = "nodes/status"},
    {.verbs = "list watch", .groups = "core", .resources = "pods"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
    {.verbs = "create delete get list watch", .groups = "storage.k8s.io", .resources = "volumeattachments"},
    {.verbs = kRead, .groups = "storage.k8s.io", .resources = "csidrivers"},
    {.verbs = kRead, .groups = "storage.k8s.io", .resources = "csinodes"},
};

constexpr Rule kCertificateControllerRules[] = {
    {.verbs = "delete get list watch", .groups = "certificates.k8s.io", .resources = "certificatesigningrequests"},
    {.verbs = "update",
     .groups = "certificates.k8s.io",
     .resources = "certificatesigningrequests/approval certificatesigningrequests/status"},
    {.verbs = "approve",
     .groups = "certificates.k8s.io",
     .resources = "signers",
     .names = "kubernetes.io/kube-apiserver-client-kubelet"},
    {.verbs = "sign",
     .groups = "certificates.k8s.io",
     .resources = "signers",
     .names = "kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet "
              "kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown"},
    {.verbs = "create", .groups = "authorization.k8s.io", .resources = "subjectaccessreviews"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kClusterroleAggregationControllerRules[] = {
    {.verbs = "escalate get list patch update watch",
     .groups = "rbac.authorization.k8s.io",
     .resources = "clusterroles"},
};

constexpr Rule kCronjobControllerRules[] = {
    {.verbs = "get list update watch", .groups = "batch", .resources = "cronjobs"},
    {.verbs = "create delete get list patch update watch", .groups = "batch", .resources = "jobs"},
    {.verbs = "update", .groups = "batch", .resources = "cronjobs/status"},
    {.verbs = "update", .groups = "batch", .resources = "cronjobs/finalizers"},
    {.verbs = "delete list watch", .groups = "core", .resources = "pods"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kDaemonSetControllerRules[] = {
    {.verbs = kRead, .groups = "apps extensions", .resources = "daemonsets"},
    {.verbs = "update", .groups = "apps extensions", .resources = "daemonsets/status"},
    {.verbs = "update", .groups = "apps extensions", .resources = "daemonsets/finalizers"},
    {.verbs = "list watch", .groups = "core", .resources = "nodes"},
    {.verbs = "create delete list patch watch", .groups = "core", .resources = "pods"},
    {.verbs = "create", .groups = "core", .resources = "pods/binding"},
    {.verbs = "create delete get list patch update watch", .groups = "apps", .resources = "controllerrevisions"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kDeploymentControllerRules[] = {
    {.verbs = "get list update watch", .groups = "apps extensions", .resources = "deployments"},
    {.verbs = "update", .groups = "apps extensions", .resources = "deployments/status"},
    {.verbs = "update", .groups = "apps extensions", .resources = "deployments/finalizers"},
    {.verbs = "create delete get list patch update watch", .groups = "apps extensions", .resources = "replicasets"},
    {.verbs = "get list update watch", .groups = "core", .resources = "pods"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kDeviceTaintEvictionControllerRules[] = {
    {.verbs = "delete get list watch", .groups = "core", .resources = "pods"},
    {.verbs = "patch update", .groups = "core", .resources = "pods/status"},
    {.verbs = kRead, .groups = "resource.k8s.io", .resources = "resourceclaims"},
    {.verbs = kRead, .groups = "resource.k8s.io", .resources = "resourceslices"},
    {.verbs = kRead, .groups = "resource.k8s.io", .resources = "deviceclasses"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kDisruptionControllerRules[] = {
    {.verbs = kRead, .groups = "apps extensions", .resources = "deployments"},
    {.verbs = kRead, .groups = "apps extensions", .resources = "replicasets"},
    {.verbs = kRead, .groups = "core", .resources = "replicationcontrollers"},
    {.verbs = kRead, .groups = "policy", .resources = "poddisruptionbudgets"},
    {.verbs = kRead, .groups = "apps", .resources = "statefulsets"},
    {.verbs = "update", .groups = "policy", .resources = "poddisruptionbudgets/status"},
    {.verbs = "patch update", .groups = "core", .resources = "pods/status"},
    {.verbs = "get", .groups = "*", .resources = "*/scale"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kEndpointControllerRules[] = {
    {.verbs = kRead, .groups = "core", .resources = "pods services"},
    {.verbs = "create delete get list update watch", .groups = "core", .resources = "endpoints"},
    {.verbs = "create", .groups = "core", .resources = "endpoints/restricted"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kEndpointsliceControllerRules[] = {
    {.verbs = kRead, .groups = "core", .resources = "nodes pods services"},
    {.verbs = "update", .groups = "core", .resources = "services/finalizers"},
    {.verbs = "create delete get list update watch", .groups = "discovery.k8s.io", .resources = "endpointslices"},
    {.verbs = "create", .groups = "discovery.k8s.io", .resources = "endpointslices/restricted"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kEndpointslicemirroringControllerRules[] = {
    {.verbs = kRead, .groups = "core", .resources = "endpoints services"},
    {.verbs = "update", .groups = "core", .resources = "services/finalizers"},
    {.verbs = "update", .groups = "core", .resources = "endpoints/finalizers"},
    {.verbs = "create delete get list update watch", .groups = "discovery.k8s.io", .resources = "endpointslices"},
    {.verbs = "create", .groups = "discovery.k8s.io", .resources = "endpointslices/restricted"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kEphemeralVolumeControllerRules[] = {
    {.verbs = kRead, .groups = "core", .resources = "pods"},
    {.verbs = "update", .groups = "core", .resources = "pods/finalizers"},
    {.verbs = "create get list watch", .groups = "core", .resources = "persistentvolumeclaims"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kExpandControllerRules[] = {
    {.verbs = kReadUpdate, .groups = "core", .resources = "persistentvolumes"},
    {.verbs = "patch update", .groups = "core", .resources = "persistentvolumeclaims/status"},
    {.verbs = kRead, .groups = "core", .resources = "persistentvolumeclaims"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kGenericGarbageCollectorRules[] = {
    {.verbs = "delete get list patch update watch", .groups = "*", .resources = "*"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kHorizontalPodAutoscalerRules[] = {
    {.verbs = kRead, .groups = "autoscaling", .resources = "horizontalpodautoscalers"},
    {.verbs = "update", .groups = "autoscaling", .resources = "horizontalpodautoscalers/status"},
    {.verbs = "get update", .groups = "*", .resources = "*/scale"},
    {.verbs = "list watch", .groups = "core", .resources = "pods"},
    {.verbs = "list watch", .groups = "metrics.k8s.io", .resources = "pods"},
    {.verbs = kRead, .groups = "custom.metrics.k8s.io", .resources = "*"},
    {.verbs = kRead, .groups = "external.metrics.k8s.io", .resources = "*"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kJobControllerRules[] = {
    {.verbs = kReadUpdate, .groups = "batch", .resources = "jobs"},
    {.verbs = "update", .groups = "batch", .resources = "jobs/status"},
    {.verbs = "update", .groups = "batch", .resources = "jobs/finalizers"},
    {.verbs = "create delete list patch watch", .groups = "core", .resources = "pods"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kLegacyServiceAccountTokenCleanerRules[] = {
    {.verbs = "get",
     .groups = "core",
     .resources = "configmaps",
     .names = "kube-apiserver-legacy-service-account-token-tracking"},
    {.verbs = "delete patch", .groups = "core", .resources = "secrets"},
};

constexpr Rule kNamespaceControllerRules[] = {
    {.verbs = "delete get list watch", .groups = "core", .resources = "namespaces"},
    {.verbs = "update", .groups = "core", .resources = "namespaces/finalize namespaces/status"},
    {.verbs = "delete deletecollection get list watch", .groups = "*", .resources = "*"},
};

constexpr Rule kNodeControllerRules[] = {
    {.verbs = "delete get list patch update watch", .groups = "core", .resources = "nodes"},
    {.verbs = "patch update", .groups = "core", .resources = "nodes/status"},
    {.verbs = "patch update", .groups = "core", .resources = "pods/status"},
    {.verbs = "delete get list watch", .groups = "core", .resources = "pods"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kPersistentVolumeBinderRules[] = {
    {.verbs = "create delete get list update watch", .groups = "core", .resources = "persistentvolumes"},
    {.verbs = "update", .groups = "core", .resources = "persistentvolumes/status"},
    {.verbs = "get list update watch", .groups = "core", .resources = "persistentvolumeclaims"},
    {.verbs = "update", .groups = "core", .resources = "persistentvolumeclaims/status"},
    {.verbs = "create delete get list watch", .groups = "core", .resources = "pods"},
    {.verbs = kRead, .groups = "storage.k8s.io", .resources = "storageclasses"},
    {.verbs = "list watch", .groups = "core", .resources = "nodes"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
    {.verbs = "watch", .groups = "core", .resources = "events"},
};

constexpr Rule kPodGarbageCollectorRules[] = {
    {.verbs = "delete list watch", .groups = "core", .resources = "pods"},
    {.verbs = kRead, .groups = "core", .resources = "nodes"},
    {.verbs = "patch", .groups = "core", .resources = "pods/status"},
};

constexpr Rule kPvProtectionControllerRules[] = {
    {.verbs = "get list update watch", .groups = "core", .resources = "persistentvolumes"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kPvcProtectionControllerRules[] = {
    {.verbs = "get list update watch", .groups = "core", .resources = "persistentvolumeclaims"},
    {.verbs = "update", .groups = "core", .resources = "persistentvolumeclaims/status"},
    {.verbs = kRead, .groups = "core", .resources = "pods"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kReplicasetControllerRules[] = {
    {.verbs = "get list update watch", .groups = "apps extensions", .resources = "replicasets"},
    {.verbs = "update", .groups = "apps extensions", .resources = "replicasets/status"},
    {.verbs = "update", .groups = "apps extensions", .resources = "replicasets/finalizers"},
    {.verbs = "create delete list patch watch", .groups = "core", .resources = "pods"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kReplicationControllerRules[] = {
    {.verbs = "get list update watch", .groups = "core", .resources = "replicationcontrollers"},
    {.verbs = "update", .groups = "core", .resources = "replicationcontrollers/status"},
    {.verbs = "update", .groups = "core", .resources = "replicationcontrollers/finalizers"},
    {.verbs = "create delete list patch watch", .groups = "core", .resources = "pods"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kResourceClaimControllerRules[] = {
    {.verbs = kRead, .groups = "core", .resources = "pods"},
    {.verbs = "update", .groups = "core", .resources = "pods/finalizers"},
    {.verbs = "create delete get list watch", .groups = "resource.k8s.io", .resources = "resourceclaims"},
    {.verbs = "patch update", .groups = "resource.k8s.io", .resources = "resourceclaims resourceclaims/status"},
    {.verbs = "patch update", .groups = "core", .resources = "pods/status"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
    {.verbs = "patch update", .groups = "resource.k8s.io", .resources = "resourceclaims/binding"},
};

constexpr Rule kResourcequotaControllerRules[] = {
    {.verbs = "list watch", .groups = "*", .resources = "*"},
    {.verbs = "update", .groups = "core", .resources = "resourcequotas/status"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kRootCaCertPublisherRules[] = {
    {.verbs = "create update", .groups = "core", .resources = "configmaps"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kRouteControllerRules[] = {
    {.verbs = "list watch", .groups = "core", .resources = "nodes"},
    {.verbs = "patch", .groups = "core", .resources = "nodes/status"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kSelinuxWarningControllerRules[] = {
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
    {.verbs = kRead, .groups = "core", .resources = "persistentvolumes"},
    {.verbs = kRead, .groups = "core", .resources = "persistentvolumeclaims"},
    {.verbs = kRead, .groups = "core", .resources = "pods"},
    {.verbs = kRead, .groups = "storage.k8s.io", .resources = "csidrivers"},
};

constexpr Rule kServiceAccountControllerRules[] = {
    {.verbs = "create", .groups = "core", .resources = "serviceaccounts"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kServiceCidrsControllerRules[] = {
    {.verbs = kReadUpdate, .groups = "networking.k8s.io", .resources = "servicecidrs"},
    {.verbs = "patch update", .groups = "networking.k8s.io", .resources = "servicecidrs/finalizers"},
    {.verbs = "patch update", .groups = "networking.k8s.io", .resources = "servicecidrs/status"},
    {.verbs = kRead, .groups = "networking.k8s.io", .resources = "ipaddresses"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kServiceControllerRules[] = {
    {.verbs = kRead, .groups = "core", .resources = "services"},
    {.verbs = "patch update", .groups = "core", .resources = "services/status"},
    {.verbs = "list watch", .groups = "core", .resources = "nodes"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kStatefulsetControllerRules[] = {
    {.verbs = "list watch", .groups = "core", .resources = "pods"},
    {.verbs = kRead, .groups = "apps", .resources = "statefulsets"},
    {.verbs = "update", .groups = "apps", .resources = "statefulsets/status"},
    {.verbs = "update", .groups = "apps", .resources = "statefulsets/finalizers"},
    {.verbs = "create delete get patch update", .groups = "core", .resources = "pods"},
    {.verbs = "create delete get list patch update watch", .groups = "apps", .resources = "controllerrevisions"},
    {.verbs = "create get list watch", .groups = "core", .resources = "persistentvolumeclaims"},
    {.verbs = "delete update", .groups = "core", .resources = "persistentvolumeclaims"},
    {.verbs = "update", .groups = "core", .resources = "pods/finalizers"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kTtlAfterFinishedControllerRules[] = {
    {.verbs = "delete get list watch", .groups = "batch", .resources = "jobs"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kTtlControllerRules[] = {
    {.verbs = "list patch update watch", .groups = "core", .resources = "nodes"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kValidatingadmissionpolicyStatusControllerRules[] = {
    {.verbs = kRead, .groups = "admissionregistration.k8s.io", .resources = "validatingadmissionpolicies"},
    {.verbs = "get patch update",
     .groups = "admissionregistration.k8s.io",
     .resources = "validatingadmissionpolicies/status"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kVolumeattributesclassProtectionControllerRules[] = {
    {.verbs = kRead, .groups = "core", .resources = "persistentvolumeclaims"},
    {.verbs = kRead, .groups = "core", .resources = "persistentvolumes"},
    {.verbs = "get list update watch", .groups = "storage.k8s.io", .resources = "volumeattributesclasses"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Role kControllerRoles[] = {
    {.name = "system:controller:attachdetach-controller", .rules = kAttachdetachControllerRules},
    {.name = "system:controller:certificate-controller", .rules = kCertificateControllerRules},
    {.name = "system:controller:clusterrole-aggregation-controller", .rules = kClusterroleAggregationControllerRules},
    {.name = "system:controller:cronjob-controller", .rules = kCronjobControllerRules},
    {.name = "system:controller:daemon-set-controller", .rules = kDaemonSetControllerRules},
    {.name = "system:controller:deployment-controller", .rules = kDeploymentControllerRules},
    {.name = "system:controller:device-taint-eviction-controller", .rules = kDeviceTaintEvictionControllerRules},
    {.name = "system:controller:disruption-controller", .rules = kDisruptionControllerRules},
    {.name = "system:controller:endpoint-controller", .rules = kEndpointControllerRules},
    {.name = "system:controller:endpointslice-controller", .rules = kEndpointsliceControllerRules},
    {.name = "system:controller:endpointslicemirroring-controller", .rules = kEndpointslicemirroringControllerRules},
    {.name = "system:controller:ephemeral-volume-controller", .rules = kEphemeralVolumeControllerRules},
    {.name = "system:controller:expand-controller", .rules = kExpandControllerRules},
    {.name = "system:controller:generic-garbage-collector", .rules = kGenericGarbageCollectorRules},
    {.name = "system:controller:horizontal-pod-autoscaler", .rules = kHorizontalPodAutoscalerRules},
    {.name = "system:controller:job-controller", .rules = kJobControllerRules},
    {.name = "system:controller:legacy-service-account-token-cleaner", .rules = kLegacyServiceAccountTokenCleanerRules},
    {.name = "system:controller:namespace-controller", .rules = kNamespaceControllerRules},
    {.name = "system:controller:node-controller", .rules = kNodeControllerRules},
    {.name = "system:controller:persistent-volume-binder", .rules = kPersistentVolumeBinderRules},
    {.name = "system:controller:pod-garbage-collector", .rules = kPodGarbageCollectorRules},
    {.name = "system:controller:pv-protection-controller", .rules = kPvProtectionControllerRules},
    {.name = "system:controller:pvc-protection-controller", .rules = kPvcProtectionControllerRules},
    {.name = "system:controller:replicaset-controller", .rules = kReplicasetControllerRules},
    {.name = "system:controller:replication-controller", .rules = kReplicationControllerRules},
    {.name = "system:controller:resource-claim-controller", .rules = kResourceClaimControllerRules},
    {.name = "system:controller:resourcequota-controller", .rules = kResourcequotaControllerRules},
    {.name = "system:controller:root-ca-cert-publisher", .rules = kRootCaCertPublisherRules},
    {.name = "system:controller:route-controller", .rules = kRouteControllerRules},
    {.name = "system:controller:selinux-warning-controller", .rules = kSelinuxWarningControllerRules},
    {.name = "system:controller:service-account-controller", .rules = kServiceAccountControllerRules},
    {.name = "system:controller:service-cidrs-controller", .rules = kServiceCidrsControllerRules},
    {.name = "system:controller:service-controller", .rules = kServiceControllerRules},
    {.name = "system:controller:statefulset-controller", .rules = kStatefulsetControllerRules},
    {.name = "system:controller:ttl-after-finished-controller", .rules = kTtlAfterFinishedControllerRules},
    {.name = "system:controller:ttl-controller", .rules = kTtlControllerRules},
    {.name = "system:controller:validatingadmissionpolicy-status-controller",
     .rules = kValidatingadmissionpolicyStatusControllerRules},
    {.name = "system:controller:volumeattributesclass-protection-controller",
     .rules = kVolumeattributesclassProtectionControllerRules},
};

}  // namespace

std::span<const Role> controller_roles() { return kControllerRoles; }

}  // namespace brume::apiserver::defaults
