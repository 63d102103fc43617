#include "brume/controller/controllers.h"

#include <vector>

#include "brume/base/task.h"
#include "make.h"

namespace brume::controller {

struct Controllers::State {
  State(client::InformerFactory& informers, Options options)
      : views(informers.informer("pods"), decode_pod), context{informers, std::move(options), views} {}

  PodViews views;
  Context context;
  std::vector<std::unique_ptr<Controller>> all;
};

Controllers::Controllers(client::InformerFactory& informers, Options options)
    : state_(std::make_unique<State>(informers, std::move(options))) {
  auto& context = state_->context;
  auto& all = state_->all;
  all.push_back(make_kubernetes_service(context));
  all.push_back(make_service_account(context));
  if (!context.options.root_ca_pem.empty()) all.push_back(make_root_ca(context));
  if (!context.options.client_ca_pem.empty()) all.push_back(make_client_ca(context));
  all.push_back(make_deployment(context));
  all.push_back(make_replicaset(context));
  all.push_back(make_replication_controller(context));
  all.push_back(make_statefulset(context));
  all.push_back(make_daemonset(context));
  all.push_back(make_job(context));
  all.push_back(make_cronjob(context));
  all.push_back(make_ttl_after_finished(context));
  all.push_back(make_endpoint_slice(context));
  all.push_back(make_endpoint_slice_mirroring(context));
  all.push_back(make_endpoints(context));
  all.push_back(make_namespace(context));
  all.push_back(make_node_lifecycle(context));
  all.push_back(make_taint_eviction(context));
  all.push_back(make_pod_gc(context));
  all.push_back(make_disruption(context));
  all.push_back(make_resource_quota(context));
  all.push_back(make_cluster_role_aggregation(context));
  all.push_back(make_token_secrets(context));
  all.push_back(make_event_ttl(context));
  all.push_back(make_volume_binding(context));
  all.push_back(make_claim_protection(context));
  all.push_back(make_volume_protection(context));
  all.push_back(make_ephemeral_volumes(context));
  all.push_back(make_volume_expand(context));
  all.push_back(make_local_path(context));
  all.push_back(make_horizontal_pod_autoscaler(context));
  if (context.options.garbage_collection) all.push_back(make_garbage_collector(context));
}

Controllers::~Controllers() = default;

void Controllers::start() {
  state_->context.informers.start();
  for (auto& controller : state_->all) controller->start();
}

void Controllers::set_advertise_address(std::string address) {
  state_->context.options.advertise_address = std::move(address);
  for (auto& controller : state_->all) controller->options_changed();
}

Task<void> Controllers::stop() {
  for (auto& controller : state_->all) co_await controller->stop();
}

}  // namespace brume::controller
