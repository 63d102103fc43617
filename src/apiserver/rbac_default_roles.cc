// User-facing and system roles, and who they are bound to.
#include "rbac_defaults.h"

namespace brume::apiserver::defaults {
namespace {

constexpr Rule kClusterAdminRules[] = {
    {.verbs = "*", .groups = "*", .resources = "*"},
    {.verbs = "*", .urls = "*"},
};

constexpr Rule kAggregateToAdminRules[] = {
    {.verbs = "create", .groups = "authorization.k8s.io", .resources = "localsubjectaccessreviews"},
    {.verbs = kReadWrite, .groups = "rbac.authorization.k8s.io", .resources = "rolebindings roles"},
};

constexpr Rule kAggregateToEditRules[] = {
    {.verbs = kRead,
     .groups = "core",
     .resources = "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"},
    {.verbs = "impersonate", .groups = "core", .resources = "serviceaccounts"},
    {.verbs = kWrite, .groups = "core", .resources = "pods pods/attach pods/exec pods/portforward pods/proxy"},
    {.verbs = "create", .groups = "core", .resources = "pods/eviction"},
    {.verbs = kWrite,
     .groups = "core",
     .resources = "configmaps persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
                  "serviceaccounts services services/proxy"},
    {.verbs = "create", .groups = "core", .resources = "serviceaccounts/token"},
    {.verbs = kWrite, .groups = "core events.k8s.io", .resources = "events"},
    {.verbs = kWrite,
     .groups = "apps",
     .resources =
         "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets "
         "statefulsets/scale"},
    {.verbs = kWrite, .groups = "autoscaling", .resources = "horizontalpodautoscalers"},
    {.verbs = kWrite, .groups = "batch", .resources = "cronjobs jobs"},
    {.verbs = kWrite,
     .groups = "extensions",
     .resources = "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets "
                  "replicasets/scale replicationcontrollers/scale"},
    {.verbs = kWrite, .groups = "policy", .resources = "poddisruptionbudgets"},
    {.verbs = kWrite, .groups = "networking.k8s.io", .resources = "ingresses networkpolicies"},
    {.verbs = kReadWrite, .groups = "coordination.k8s.io", .resources = "leases"},
    {.verbs = kWrite, .groups = "resource.k8s.io", .resources = "resourceclaims resourceclaimtemplates"},
};

constexpr Rule kAggregateToViewRules[] = {
    {.verbs = kRead,
     .groups = "core",
     .resources =
         "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
         "replicationcontrollers/scale serviceaccounts services services/status"},
    {.verbs = kRead,
     .groups = "core",
     .resources =
         "bindings limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas "
         "resourcequotas/status"},
    {.verbs = kRead, .groups = "core", .resources = "namespaces"},
    {.verbs = kRead, .groups = "core events.k8s.io", .resources = "events"},
    {.verbs = kRead, .groups = "discovery.k8s.io", .resources = "endpointslices"},
    {.verbs = kRead,
     .groups = "apps",
     .resources =
         "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
         "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"},
    {.verbs = kRead, .groups = "autoscaling", .resources = "horizontalpodautoscalers horizontalpodautoscalers/status"},
    {.verbs = kRead, .groups = "batch", .resources = "cronjobs cronjobs/status jobs jobs/status"},
    {.verbs = kRead,
     .groups = "extensions",
     .resources =
         "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status "
         "networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale"},
    {.verbs = kRead, .groups = "policy", .resources = "poddisruptionbudgets poddisruptionbudgets/status"},
    {.verbs = kRead, .groups = "networking.k8s.io", .resources = "ingresses ingresses/status networkpolicies"},
    {.verbs = kRead,
     .groups = "resource.k8s.io",
     .resources = "resourceclaims resourceclaims/status resourceclaimtemplates"},
};

// As metrics-server has it.
constexpr Rule kAggregatedMetricsReaderRules[] = {
    {.verbs = kRead, .groups = "metrics.k8s.io", .resources = "pods nodes"},
};

constexpr Rule kAuthDelegatorRules[] = {
    {.verbs = "create", .groups = "authentication.k8s.io", .resources = "tokenreviews"},
    {.verbs = "create", .groups = "authorization.k8s.io", .resources = "subjectaccessreviews"},
};

constexpr Rule kBasicUserRules[] = {
    {.verbs = "create",
     .groups = "authorization.k8s.io",
     .resources = "selfsubjectaccessreviews selfsubjectrulesreviews"},
    {.verbs = "create", .groups = "authentication.k8s.io", .resources = "selfsubjectreviews"},
};

constexpr Rule kCertificatesK8sIoCertificatesigningrequestsNodeclientRules[] = {
    {.verbs = "create", .groups = "certificates.k8s.io", .resources = "certificatesigningrequests/nodeclient"},
};

constexpr Rule kCertificatesK8sIoCertificatesigningrequestsSelfnodeclientRules[] = {
    {.verbs = "create", .groups = "certificates.k8s.io", .resources = "certificatesigningrequests/selfnodeclient"},
};

constexpr Rule kCertificatesK8sIoKubeApiserverClientApproverRules[] = {
    {.verbs = "approve",
     .groups = "certificates.k8s.io",
     .resources = "signers",
     .names = "kubernetes.io/kube-apiserver-client"},
};

constexpr Rule kCertificatesK8sIoKubeApiserverClientKubeletApproverRules[] = {
    {.verbs = "approve",
     .groups = "certificates.k8s.io",
     .resources = "signers",
     .names = "kubernetes.io/kube-apiserver-client-kubelet"},
};

constexpr Rule kCertificatesK8sIoKubeletServingApproverRules[] = {
    {.verbs = "approve",
     .groups = "certificates.k8s.io",
     .resources = "signers",
     .names = "kubernetes.io/kubelet-serving"},
};

constexpr Rule kCertificatesK8sIoLegacyUnknownApproverRules[] = {
    {.verbs = "approve",
     .groups = "certificates.k8s.io",
     .resources = "signers",
     .names = "kubernetes.io/legacy-unknown"},
};

constexpr Rule kDiscoveryRules[] = {
    {.verbs = "get",
     .urls = "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version "
             "/version/"},
};

constexpr Rule kHeapsterRules[] = {
    {.verbs = kRead, .groups = "core", .resources = "events namespaces nodes pods"},
    {.verbs = kRead, .groups = "extensions", .resources = "deployments"},
};

constexpr Rule kKubeAggregatorRules[] = {
    {.verbs = kRead, .groups = "core", .resources = "endpoints services"},
};

constexpr Rule kKubeControllerManagerRules[] = {
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
    {.verbs = "create", .groups = "coordination.k8s.io", .resources = "leases"},
    {.verbs = "get update", .groups = "coordination.k8s.io", .resources = "leases", .names = "kube-controller-manager"},
    {.verbs = "create", .groups = "core", .resources = "secrets serviceaccounts"},
    {.verbs = "delete", .groups = "core", .resources = "secrets"},
    {.verbs = "get", .groups = "core", .resources = "configmaps namespaces secrets serviceaccounts"},
    {.verbs = "update", .groups = "core", .resources = "secrets serviceaccounts"},
    {.verbs = "create", .groups = "authentication.k8s.io", .resources = "tokenreviews"},
    {.verbs = "create", .groups = "authorization.k8s.io", .resources = "subjectaccessreviews"},
    {.verbs = "list watch", .groups = "*", .resources = "*"},
    {.verbs = "create", .groups = "core", .resources = "serviceaccounts/token"},
};

constexpr Rule kKubeDnsRules[] = {
    {.verbs = "list watch", .groups = "core", .resources = "endpoints services"},
};

constexpr Rule kKubeSchedulerRules[] = {
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
    {.verbs = "create", .groups = "coordination.k8s.io", .resources = "leases"},
    {.verbs = "get list update watch",
     .groups = "coordination.k8s.io",
     .resources = "leases",
     .names = "kube-scheduler"},
    {.verbs = kReadWrite, .groups = "coordination.k8s.io", .resources = "leasecandidates"},
    {.verbs = kRead, .groups = "core", .resources = "nodes"},
    {.verbs = "delete get list watch", .groups = "core", .resources = "pods"},
    {.verbs = "create", .groups = "core", .resources = "bindings pods/binding"},
    {.verbs = "patch update", .groups = "core", .resources = "pods/status"},
    {.verbs = kRead, .groups = "core", .resources = "replicationcontrollers services"},
    {.verbs = kRead, .groups = "apps extensions", .resources = "replicasets"},
    {.verbs = kRead, .groups = "apps", .resources = "statefulsets"},
    {.verbs = kRead, .groups = "policy", .resources = "poddisruptionbudgets"},
    {.verbs = kRead, .groups = "core", .resources = "persistentvolumeclaims persistentvolumes"},
    {.verbs = "create", .groups = "authentication.k8s.io", .resources = "tokenreviews"},
    {.verbs = "create", .groups = "authorization.k8s.io", .resources = "subjectaccessreviews"},
    {.verbs = kRead, .groups = "storage.k8s.io", .resources = "csinodes"},
    {.verbs = kRead, .groups = "storage.k8s.io", .resources = "volumeattachments"},
    {.verbs = kRead, .groups = "core", .resources = "namespaces"},
    {.verbs = kRead, .groups = "storage.k8s.io", .resources = "csidrivers"},
    {.verbs = kRead, .groups = "storage.k8s.io", .resources = "csistoragecapacities"},
    {.verbs = kRead, .groups = "resource.k8s.io", .resources = "deviceclasses"},
    {.verbs = kReadUpdate, .groups = "resource.k8s.io", .resources = "resourceclaims"},
    {.verbs = kReadUpdate, .groups = "resource.k8s.io", .resources = "resourceclaims/status"},
    {.verbs = "update", .groups = "core", .resources = "pods/finalizers"},
    {.verbs = kRead, .groups = "resource.k8s.io", .resources = "resourceslices"},
    {.verbs = "create delete", .groups = "resource.k8s.io", .resources = "resourceclaims"},
    {.verbs = "patch update", .groups = "resource.k8s.io", .resources = "resourceclaims/binding"},
};

constexpr Rule kKubeletApiAdminRules[] = {
    {.verbs = kRead, .groups = "core", .resources = "nodes"},
    {.verbs = "proxy", .groups = "core", .resources = "nodes"},
    {.verbs = "*", .groups = "core", .resources = "nodes/log nodes/metrics nodes/proxy nodes/stats"},
    {.verbs = "*", .groups = "core", .resources = "nodes/configz nodes/healthz nodes/pods"},
};

constexpr Rule kMonitoringRules[] = {
    {.verbs = "get",
     .urls = "/flagz /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/* "
             "/statusz"},
    {.verbs = "get", .groups = "core", .resources = "nodes/metrics"},
};

constexpr Rule kNodeRules[] = {
    {.verbs = "create", .groups = "authentication.k8s.io", .resources = "tokenreviews"},
    {.verbs = "create",
     .groups = "authorization.k8s.io",
     .resources = "localsubjectaccessreviews subjectaccessreviews"},
    {.verbs = kRead, .groups = "core", .resources = "services"},
    {.verbs = "create get list watch", .groups = "core", .resources = "nodes"},
    {.verbs = "patch update", .groups = "core", .resources = "nodes/status"},
    {.verbs = "patch update", .groups = "core", .resources = "nodes"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
    {.verbs = kRead, .groups = "core", .resources = "pods"},
    {.verbs = "create delete", .groups = "core", .resources = "pods"},
    {.verbs = "patch update", .groups = "core", .resources = "pods/status"},
    {.verbs = "create", .groups = "core", .resources = "pods/eviction"},
    {.verbs = kRead, .groups = "core", .resources = "configmaps secrets"},
    {.verbs = "get", .groups = "core", .resources = "persistentvolumeclaims persistentvolumes"},
    {.verbs = "get", .groups = "core", .resources = "endpoints"},
    {.verbs = "create get list watch", .groups = "certificates.k8s.io", .resources = "certificatesigningrequests"},
    {.verbs = "create delete get patch update", .groups = "coordination.k8s.io", .resources = "leases"},
    {.verbs = "get", .groups = "storage.k8s.io", .resources = "volumeattachments"},
    {.verbs = "create", .groups = "core", .resources = "serviceaccounts/token"},
    {.verbs = "get patch update", .groups = "core", .resources = "persistentvolumeclaims/status"},
    {.verbs = kRead, .groups = "storage.k8s.io", .resources = "csidrivers"},
    {.verbs = "create delete get patch update", .groups = "storage.k8s.io", .resources = "csinodes"},
    {.verbs = kRead, .groups = "node.k8s.io", .resources = "runtimeclasses"},
    {.verbs = "get", .groups = "resource.k8s.io", .resources = "resourceclaims"},
    {.verbs = "deletecollection", .groups = "resource.k8s.io", .resources = "resourceslices"},
    {.verbs = "get", .groups = "core", .resources = "serviceaccounts"},
};

constexpr Rule kNodeBootstrapperRules[] = {
    {.verbs = "create get list watch", .groups = "certificates.k8s.io", .resources = "certificatesigningrequests"},
};

constexpr Rule kNodeProblemDetectorRules[] = {
    {.verbs = "get", .groups = "core", .resources = "nodes"},
    {.verbs = "patch", .groups = "core", .resources = "nodes/status"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kNodeProxierRules[] = {
    {.verbs = "list watch", .groups = "core", .resources = "endpoints services"},
    {.verbs = kRead, .groups = "core", .resources = "nodes"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
    {.verbs = "list watch", .groups = "networking.k8s.io", .resources = "servicecidrs"},
    {.verbs = "list watch", .groups = "discovery.k8s.io", .resources = "endpointslices"},
};

constexpr Rule kPersistentVolumeProvisionerRules[] = {
    {.verbs = "create delete get list watch", .groups = "core", .resources = "persistentvolumes"},
    {.verbs = "get list update watch", .groups = "core", .resources = "persistentvolumeclaims"},
    {.verbs = kRead, .groups = "storage.k8s.io", .resources = "storageclasses"},
    {.verbs = "watch", .groups = "core", .resources = "events"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kPublicInfoViewerRules[] = {
    {.verbs = "get", .urls = "/healthz /livez /readyz /version /version/"},
};

constexpr Rule kServiceAccountIssuerDiscoveryRules[] = {
    {.verbs = "get",
     .urls = "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks "
             "/openid/v1/jwks/"},
};

constexpr Rule kVolumeSchedulerRules[] = {
    {.verbs = kReadUpdate, .groups = "core", .resources = "persistentvolumes"},
    {.verbs = kRead, .groups = "storage.k8s.io", .resources = "storageclasses"},
    {.verbs = kReadUpdate, .groups = "core", .resources = "persistentvolumeclaims"},
};

constexpr Role kClusterRoles[] = {
    {.name = "admin", .aggregates = "admin"},
    {.name = "cluster-admin", .rules = kClusterAdminRules},
    {.name = "edit", .aggregate_to = "admin", .aggregates = "edit"},
    {.name = "system:aggregate-to-admin", .aggregate_to = "admin", .rules = kAggregateToAdminRules},
    {.name = "system:aggregate-to-edit", .aggregate_to = "edit", .rules = kAggregateToEditRules},
    {.name = "system:aggregate-to-view", .aggregate_to = "view", .rules = kAggregateToViewRules},
    {.name = "system:aggregated-metrics-reader",
     .aggregate_to = "admin edit view",
     .rules = kAggregatedMetricsReaderRules},
    {.name = "system:auth-delegator", .rules = kAuthDelegatorRules},
    {.name = "system:basic-user", .rules = kBasicUserRules},
    {.name = "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
     .rules = kCertificatesK8sIoCertificatesigningrequestsNodeclientRules},
    {.name = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
     .rules = kCertificatesK8sIoCertificatesigningrequestsSelfnodeclientRules},
    {.name = "system:certificates.k8s.io:kube-apiserver-client-approver",
     .rules = kCertificatesK8sIoKubeApiserverClientApproverRules},
    {.name = "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
     .rules = kCertificatesK8sIoKubeApiserverClientKubeletApproverRules},
    {.name = "system:certificates.k8s.io:kubelet-serving-approver",
     .rules = kCertificatesK8sIoKubeletServingApproverRules},
    {.name = "system:certificates.k8s.io:legacy-unknown-approver",
     .rules = kCertificatesK8sIoLegacyUnknownApproverRules},
    {.name = "system:discovery", .rules = kDiscoveryRules},
    {.name = "system:heapster", .rules = kHeapsterRules},
    {.name = "system:kube-aggregator", .rules = kKubeAggregatorRules},
    {.name = "system:kube-controller-manager", .rules = kKubeControllerManagerRules},
    {.name = "system:kube-dns", .rules = kKubeDnsRules},
    {.name = "system:kube-scheduler", .rules = kKubeSchedulerRules},
    {.name = "system:kubelet-api-admin", .rules = kKubeletApiAdminRules},
    {.name = "system:monitoring", .rules = kMonitoringRules},
    {.name = "system:node", .rules = kNodeRules},
    {.name = "system:node-bootstrapper", .rules = kNodeBootstrapperRules},
    {.name = "system:node-problem-detector", .rules = kNodeProblemDetectorRules},
    {.name = "system:node-proxier", .rules = kNodeProxierRules},
    {.name = "system:persistent-volume-provisioner", .rules = kPersistentVolumeProvisionerRules},
    {.name = "system:public-info-viewer", .rules = kPublicInfoViewerRules},
    {.name = "system:service-account-issuer-discovery", .rules = kServiceAccountIssuerDiscoveryRules},
    {.name = "system:volume-scheduler", .rules = kVolumeSchedulerRules},
    {.name = "view", .aggregate_to = "edit", .aggregates = "view"},
};

constexpr Binding kClusterBindings[] = {
    {.name = "cluster-admin", .subjects = "group=system:masters"},
    {.name = "system:basic-user", .subjects = "group=system:authenticated"},
    {.name = "system:discovery", .subjects = "group=system:authenticated"},
    {.name = "system:kube-controller-manager", .subjects = "user=system:kube-controller-manager"},
    {.name = "system:kube-dns", .subjects = "sa=kube-system/kube-dns"},
    {.name = "system:kube-scheduler", .subjects = "user=system:kube-scheduler"},
    {.name = "system:monitoring", .subjects = "group=system:monitoring"},
    {.name = "system:node", .subjects = ""},
    {.name = "system:node-proxier", .subjects = "user=system:kube-proxy"},
    {.name = "system:public-info-viewer", .subjects = "group=system:authenticated group=system:unauthenticated"},
    {.name = "system:service-account-issuer-discovery", .subjects = "group=system:serviceaccounts"},
    {.name = "system:volume-scheduler", .subjects = "user=system:kube-scheduler"},
};

constexpr Rule kKubePublicBootstrapSignerRules[] = {
    {.verbs = kRead, .groups = "core", .resources = "configmaps"},
    {.verbs = "update", .groups = "core", .resources = "configmaps", .names = "cluster-info"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Rule kKubeSystemExtensionApiserverAuthenticationReaderRules[] = {
    {.verbs = kRead, .groups = "core", .resources = "configmaps", .names = "extension-apiserver-authentication"},
};

constexpr Rule kKubeSystemLeaderLockingKubeControllerManagerRules[] = {
    {.verbs = "create get list update watch", .groups = "coordination.k8s.io", .resources = "leases"},
    {.verbs = "create get list update watch", .groups = "coordination.k8s.io", .resources = "leasecandidates"},
};

constexpr Rule kKubeSystemLeaderLockingKubeSchedulerRules[] = {
    {.verbs = "create get list update watch", .groups = "coordination.k8s.io", .resources = "leases"},
    {.verbs = "create get list update watch", .groups = "coordination.k8s.io", .resources = "leasecandidates"},
};

constexpr Rule kKubeSystemBootstrapSignerRules[] = {
    {.verbs = kRead, .groups = "core", .resources = "secrets"},
};

constexpr Rule kKubeSystemCloudProviderRules[] = {
    {.verbs = "create get list watch", .groups = "core", .resources = "configmaps"},
};

constexpr Rule kKubeSystemTokenCleanerRules[] = {
    {.verbs = "delete get list watch", .groups = "core", .resources = "secrets"},
    {.verbs = "create patch update", .groups = "core events.k8s.io", .resources = "events"},
};

constexpr Role kNamespaceRoles[] = {
    {.ns = "kube-public", .name = "system:controller:bootstrap-signer", .rules = kKubePublicBootstrapSignerRules},
    {.ns = "kube-system",
     .name = "extension-apiserver-authentication-reader",
     .rules = kKubeSystemExtensionApiserverAuthenticationReaderRules},
    {.ns = "kube-system",
     .name = "system::leader-locking-kube-controller-manager",
     .rules = kKubeSystemLeaderLockingKubeControllerManagerRules},
    {.ns = "kube-system",
     .name = "system::leader-locking-kube-scheduler",
     .rules = kKubeSystemLeaderLockingKubeSchedulerRules},
    {.ns = "kube-system", .name = "system:controller:bootstrap-signer", .rules = kKubeSystemBootstrapSignerRules},
    {.ns = "kube-system", .name = "system:controller:cloud-provider", .rules = kKubeSystemCloudProviderRules},
    {.ns = "kube-system", .name = "system:controller:token-cleaner", .rules = kKubeSystemTokenCleanerRules},
};

constexpr Binding kNamespaceBindings[] = {
    {.ns = "kube-public", .name = "system:controller:bootstrap-signer", .subjects = "sa=kube-system/bootstrap-signer"},
    {.ns = "kube-system",
     .name = "system::extension-apiserver-authentication-reader",
     .role = "extension-apiserver-authentication-reader",
     .subjects = "user=system:kube-controller-manager user=system:kube-scheduler"},
    {.ns = "kube-system",
     .name = "system::leader-locking-kube-controller-manager",
     .subjects = "user=system:kube-controller-manager sa=kube-system/kube-controller-manager "
                 "sa=kube-system/leader-election-controller"},
    {.ns = "kube-system",
     .name = "system::leader-locking-kube-scheduler",
     .subjects = "user=system:kube-scheduler sa=kube-system/kube-scheduler"},
    {.ns = "kube-system", .name = "system:controller:bootstrap-signer", .subjects = "sa=kube-system/bootstrap-signer"},
    {.ns = "kube-system", .name = "system:controller:cloud-provider", .subjects = "sa=kube-system/cloud-provider"},
    {.ns = "kube-system", .name = "system:controller:token-cleaner", .subjects = "sa=kube-system/token-cleaner"},
};

}  // namespace

std::span<const Role> cluster_roles() { return kClusterRoles; }
std::span<const Binding> cluster_bindings() { return kClusterBindings; }
std::span<const Role> namespace_roles() { return kNamespaceRoles; }
std::span<const Binding> namespace_bindings() { return kNamespaceBindings; }
std::span<const Rule> node_rules() { return kNodeRules; }

}  // namespace brume::apiserver::defaults
