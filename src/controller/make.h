// One function a controller: what Controllers starts and tests start alone.
#pragma once

#include <memory>

#include "controller.h"

namespace brume::controller {

std::unique_ptr<Controller> make_deployment(Context& context);
std::unique_ptr<Controller> make_replicaset(Context& context);
std::unique_ptr<Controller> make_replication_controller(Context& context);
std::unique_ptr<Controller> make_statefulset(Context& context);
std::unique_ptr<Controller> make_daemonset(Context& context);
std::unique_ptr<Controller> make_endpoint_slice(Context& context);
std::unique_ptr<Controller> make_endpoint_slice_mirroring(Context& context);
std::unique_ptr<Controller> make_endpoints(Context& context);
std::unique_ptr<Controller> make_job(Context& context);
std::unique_ptr<Controller> make_ttl_after_finished(Context& context);
std::unique_ptr<Controller> make_cronjob(Context& context);
std::unique_ptr<Controller> make_namespace(Context& context);
std::unique_ptr<Controller> make_service_account(Context& context);
std::unique_ptr<Controller> make_root_ca(Context& context);
std::unique_ptr<Controller> make_client_ca(Context& context);
std::unique_ptr<Controller> make_garbage_collector(Context& context);
std::unique_ptr<Controller> make_node_lifecycle(Context& context);
std::unique_ptr<Controller> make_taint_eviction(Context& context);
std::unique_ptr<Controller> make_pod_gc(Context& context);
std::unique_ptr<Controller> make_disruption(Context& context);
std::unique_ptr<Controller> make_resource_quota(Context& context);
std::unique_ptr<Controller> make_cluster_role_aggregation(Context& context);
std::unique_ptr<Controller> make_token_secrets(Context& context);
std::unique_ptr<Controller> make_event_ttl(Context& context);
std::unique_ptr<Controller> make_horizontal_pod_autoscaler(Context& context);
std::unique_ptr<Controller> make_kubernetes_service(Context& context);
std::unique_ptr<Controller> make_volume_binding(Context& context);
std::unique_ptr<Controller> make_claim_protection(Context& context);
std::unique_ptr<Controller> make_volume_protection(Context& context);
std::unique_ptr<Controller> make_ephemeral_volumes(Context& context);
std::unique_ptr<Controller> make_volume_expand(Context& context);
std::unique_ptr<Controller> make_local_path(Context& context);

}  // namespace brume::controller
