#include "api/validation/rules.h"

#include <algorithm>
#include <array>

#include "api/validation/kinds.h"
#include "api/validation/pod.h"

namespace brume::api::validation {

namespace {

constexpr Rules kDefault{};
constexpr std::string_view kRbac = "rbac.authorization.k8s.io";

constexpr std::array kRules = {
    Rules{"", "pods", dns1123_subdomain, create_pod, update_pod, update_pod_status},
    Rules{"", "configmaps", dns1123_subdomain, create_config_map, update_config_map},
    Rules{"", "secrets", dns1123_subdomain, create_secret, update_secret},
    Rules{"", "namespaces", dns1123_label, create_namespace, update_namespace, update_namespace_status},
    Rules{"", "nodes", dns1123_subdomain, create_node, update_node, update_node},
    Rules{"", "services", dns1123_label, create_service, update_service, update_service_status},
    Rules{"", "endpoints", dns1123_subdomain, create_endpoints},
    Rules{"", "limitranges", dns1123_subdomain, create_limit_range},
    Rules{"", "resourcequotas", dns1123_subdomain, create_resource_quota, update_resource_quota},
    Rules{"", "persistentvolumes", dns1123_subdomain, create_volume, update_volume},
    Rules{"", "persistentvolumeclaims", dns1123_subdomain, create_claim, update_claim},
    Rules{"storage.k8s.io", "storageclasses", dns1123_subdomain, create_storage_class, update_storage_class},
    Rules{"", "replicationcontrollers", dns1123_subdomain, create_replication_controller, nullptr,
          check_replica_counts},
    Rules{"", "podtemplates", dns1123_subdomain, create_pod_template},
    Rules{"apps", "deployments", dns1123_subdomain, create_deployment, update_deployment, check_replica_counts},
    Rules{"apps", "replicasets", dns1123_subdomain, create_replica_set, update_replica_set, check_replica_counts},
    Rules{"apps", "statefulsets", dns1123_label, create_stateful_set, update_stateful_set, check_stateful_counts},
    Rules{"apps", "daemonsets", dns1123_subdomain, create_daemon_set, update_daemon_set, check_replica_counts},
    Rules{"apps", "controllerrevisions", dns1123_subdomain, create_controller_revision, update_controller_revision},
    Rules{"batch", "jobs", dns1123_subdomain, create_job, update_job, update_job_status},
    Rules{"batch", "cronjobs", dns1123_subdomain, create_cron_job, update_cron_job},
    Rules{"autoscaling", "horizontalpodautoscalers", dns1123_subdomain, create_autoscaler, update_autoscaler,
          status_autoscaler},
    Rules{"policy", "poddisruptionbudgets", dns1123_subdomain, create_disruption_budget},
    Rules{kRbac, "roles", path_segment, create_role},
    Rules{kRbac, "clusterroles", path_segment, create_cluster_role},
    Rules{kRbac, "rolebindings", path_segment, create_role_binding, update_role_binding},
    Rules{kRbac, "clusterrolebindings", path_segment, create_cluster_role_binding, update_cluster_role_binding},
    Rules{"scheduling.k8s.io", "priorityclasses", dns1123_subdomain, create_priority_class, update_priority_class},
    Rules{"node.k8s.io", "runtimeclasses", dns1123_subdomain, create_runtime_class, update_runtime_class},
    Rules{"coordination.k8s.io", "leases", dns1123_subdomain, create_lease},
    Rules{"apiextensions.k8s.io", "customresourcedefinitions", dns1123_subdomain, create_definition},
    Rules{"discovery.k8s.io", "endpointslices", dns1123_subdomain, create_endpoint_slice, update_endpoint_slice},
    Rules{"networking.k8s.io", "ingresses", dns1123_subdomain, create_ingress},
    Rules{"networking.k8s.io", "ingressclasses", dns1123_subdomain, create_ingress_class, update_ingress_class},
    Rules{"networking.k8s.io", "networkpolicies", dns1123_subdomain, create_network_policy},
    Rules{"networking.k8s.io", "ipaddresses", canonical_ip_name, create_ip_address, update_ip_address},
    Rules{"networking.k8s.io", "servicecidrs", dns1123_subdomain, create_service_cidr, update_service_cidr},
};

}  // namespace

const Rules& rules_of(std::string_view group, std::string_view plural) {
  const auto it = std::find_if(kRules.begin(), kRules.end(),
                               [&](const Rules& rules) { return rules.group == group && rules.plural == plural; });
  return it == kRules.end() ? kDefault : *it;
}

}  // namespace brume::api::validation
