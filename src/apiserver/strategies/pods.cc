// Pods: phase, quality of service, scheduling gates.
#include <array>
#include <map>

#include "../strategy.h"
#include "brume/api/quantity.h"

namespace brume::apiserver::strategies {

namespace {

using Amounts = std::map<std::string, api::Quantity, std::less<>>;

// cpu and memory of one requests or limits map, zeroes left out.
Amounts amounts_of(const Json& map) {
  Amounts out;
  if (!map.is_object()) return out;
  for (const char* name : {"cpu", "memory"}) {
    const auto it = map.find(name);
    if (it == map.end()) continue;
    const auto amount = api::Quantity::parse(it->is_string() ? std::string(str(*it)) : it->dump());
    if (amount && !amount->is_zero()) out[name] = *amount;
  }
  return out;
}

std::string_view class_of(const Amounts& requests, const Amounts& limits, bool all_limited) {
  if (requests.empty() && limits.empty()) return "BestEffort";
  return all_limited && limits.size() == 2 && requests == limits ? "Guaranteed" : "Burstable";
}

// As Kubernetes' qos package: pod-level resources stand for the whole pod when given.
std::string_view qos_class(const Json& spec) {
  const Json& whole = at(spec, "resources");
  if (!amounts_of(at(whole, "requests")).empty() || !amounts_of(at(whole, "limits")).empty()) {
    const auto limits = amounts_of(at(whole, "limits"));
    return class_of(amounts_of(at(whole, "requests")), limits, limits.size() == 2);
  }
  Amounts requests, limits;
  bool all_limited = true;
  for (const char* list : {"containers", "initContainers"}) {
    for (const Json& container : at(spec, list)) {
      for (const auto& [name, amount] : amounts_of(at(container, "resources", "requests"))) requests[name] += amount;
      const auto own = amounts_of(at(container, "resources", "limits"));
      for (const auto& [name, amount] : own) limits[name] += amount;
      all_limited = all_limited && own.size() == 2;
    }
  }
  return class_of(requests, limits, all_limited);
}

class PodStrategy final : public Strategy {
 public:
  PodStrategy() : Strategy({.generation = true, .returns_deleted = true, .graceful = true}) {}

  Status prepare_create(Json& object, StrategyContext& /*context*/) const override {
    Json status{{"phase", "Pending"}, {"qosClass", qos_class(at(object, "spec"))}};
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
