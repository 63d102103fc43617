// Pods: phase, quality of service, scheduling gates.
#include "../strategy.h"
#include "brume/api/pod_qos.h"

namespace brume::apiserver::strategies {

namespace {

class PodStrategy final : public Strategy {
 public:
  PodStrategy() : Strategy({.generation = true, .returns_deleted = true, .graceful = true}) {}

  Status prepare_create(Json& object, StrategyContext& /*context*/) const override {
    Json status{{"phase", "Pending"}, {"qosClass", api::pod_qos_class(at(object, "spec"))}};
    if (!at(object, "spec", "schedulingGates").empty()) {
      status["conditions"] =
          Json::array({Json{{"type", "PodScheduled"},
                            {"status", "False"},
                            {"reason", "SchedulingGated"},
                            {"lastProbeTime", nullptr},
                            {"lastTransitionTime", nullptr},
                            {"message", "Scheduling is blocked due to non-empty scheduling gates"}}});
    }
    object["status"] = std::move(status);
    return {};
  }

  Status prepare_subresource(std::string_view subresource, Json& object, const Json& old,
                             StrategyContext& /*context*/) const override {
    if (subresource != "status") return {};
    if (!object["status"].is_object()) object["status"] = Json::object();
    Json& status = object["status"];
    if (str(status, "qosClass").empty()) status["qosClass"] = at(old, "status", "qosClass");
    const Json& owners = at(old, "metadata", "ownerReferences");
    if (owners.is_null()) {
      object["metadata"].erase("ownerReferences");
    } else {
      object["metadata"]["ownerReferences"] = owners;
    }
    return {};
  }
};

}  // namespace

const Strategy* pod_kind(std::string_view group_resource) {
  static const PodStrategy pods;
  return group_resource == "pods" ? &pods : nullptr;
}

}  // namespace brume::apiserver::strategies
