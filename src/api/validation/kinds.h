// The rules of each kind, for the table in rules.cc: `create_x` of a new object, `update_x` of a changed one
// (everything, not only what may not change), `update_x_status` of its status.
#pragma once

#include "api/validation/errors.h"
#include "api/validation/formats.h"

namespace brume::api::validation {

// core.cc
void create_config_map(Errors& errors, const Json& object);
void update_config_map(Errors& errors, const Json& object, const Json& old);
void create_secret(Errors& errors, const Json& object);
void update_secret(Errors& errors, const Json& object, const Json& old);
void create_namespace(Errors& errors, const Json& object);
void update_namespace(Errors& errors, const Json& object, const Json& old);
void update_namespace_status(Errors& errors, const Json& object, const Json& old);
void create_node(Errors& errors, const Json& object);
void update_node(Errors& errors, const Json& object, const Json& old);
void create_endpoints(Errors& errors, const Json& object);
void create_limit_range(Errors& errors, const Json& object);
void create_resource_quota(Errors& errors, const Json& object);
void update_resource_quota(Errors& errors, const Json& object, const Json& old);
/// An address that a service can send to: not unspecified, loopback or link-local.
void check_endpoint_ip(Errors& errors, const Path& path, std::string_view ip);

// service.cc
void create_service(Errors& errors, const Json& object);
void update_service(Errors& errors, const Json& object, const Json& old);
void update_service_status(Errors& errors, const Json& object, const Json& old);

// storage.cc
void create_volume(Errors& errors, const Json& object);
void update_volume(Errors& errors, const Json& object, const Json& old);
void create_claim(Errors& errors, const Json& object);
void update_claim(Errors& errors, const Json& object, const Json& old);
void create_storage_class(Errors& errors, const Json& object);
void update_storage_class(Errors& errors, const Json& object, const Json& old);

// workload.cc
void create_deployment(Errors& errors, const Json& object);
void update_deployment(Errors& errors, const Json& object, const Json& old);
void create_replica_set(Errors& errors, const Json& object);
void update_replica_set(Errors& errors, const Json& object, const Json& old);
void create_stateful_set(Errors& errors, const Json& object);
void update_stateful_set(Errors& errors, const Json& object, const Json& old);
void create_daemon_set(Errors& errors, const Json& object);
void update_daemon_set(Errors& errors, const Json& object, const Json& old);
void create_replication_controller(Errors& errors, const Json& object);
void create_pod_template(Errors& errors, const Json& object);
void create_controller_revision(Errors& errors, const Json& object);
void update_controller_revision(Errors& errors, const Json& object, const Json& old);
void check_replica_counts(Errors& errors, const Json& object, const Json& old);
void check_stateful_counts(Errors& errors, const Json& object, const Json& old);

// batch.cc, batch_status.cc, batch_cron.cc
void create_job(Errors& errors, const Json& object);
void update_job(Errors& errors, const Json& object, const Json& old);
void update_job_status(Errors& errors, const Json& object, const Json& old);
void create_cron_job(Errors& errors, const Json& object);
void update_cron_job(Errors& errors, const Json& object, const Json& old);

// policy.cc
void create_role(Errors& errors, const Json& object);
void create_cluster_role(Errors& errors, const Json& object);
void create_role_binding(Errors& errors, const Json& object);
void create_cluster_role_binding(Errors& errors, const Json& object);
void update_role_binding(Errors& errors, const Json& object, const Json& old);
void update_cluster_role_binding(Errors& errors, const Json& object, const Json& old);
void create_priority_class(Errors& errors, const Json& object);
void update_priority_class(Errors& errors, const Json& object, const Json& old);
void create_disruption_budget(Errors& errors, const Json& object);
void create_autoscaler(Errors& errors, const Json& object);
void update_autoscaler(Errors& errors, const Json& object, const Json& old);
void status_autoscaler(Errors& errors, const Json& object, const Json& old);
void create_runtime_class(Errors& errors, const Json& object);
void update_runtime_class(Errors& errors, const Json& object, const Json& old);
void create_lease(Errors& errors, const Json& object);
void create_definition(Errors& errors, const Json& object);

// network.cc
void create_endpoint_slice(Errors& errors, const Json& object);
void update_endpoint_slice(Errors& errors, const Json& object, const Json& old);
void create_ingress(Errors& errors, const Json& object);
void create_ingress_class(Errors& errors, const Json& object);
void update_ingress_class(Errors& errors, const Json& object, const Json& old);
void create_network_policy(Errors& errors, const Json& object);
void create_ip_address(Errors& errors, const Json& object);
void update_ip_address(Errors& errors, const Json& object, const Json& old);
void create_service_cidr(Errors& errors, const Json& object);
void update_service_cidr(Errors& errors, const Json& object, const Json& old);

}  // namespace brume::api::validation
