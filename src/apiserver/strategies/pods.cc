// Pods: phase, quality of service, scheduling gates, selectors by the pod's own labels.
#include "../strategy.h"
#include "brume/api/pod_qos.h"

namespace brume::apiserver::strategies {

namespace {

// Calls `visit` for each item of a list that may be absent.
template <typename Visit>
void each(Json& object, const char* list, Visit visit) {
  if (!object.is_object() || !object.contains(list) || !object[list].is_array()) return;
  for (Json& item : object[list]) visit(item);
}

// The values of the pod's own labels under `keys` go into the term's selector (KEP-3633, KEP-3243).
void merge_keys(Json& term, const char* keys, const char* op, const Json& labels) {
  if (!at(term, "labelSelector").is_object()) return;
  for (const Json& key : at(term, keys)) {
    const Json& value = at(labels, str(key));
    if (!value.is_string()) continue;
    term["labelSelector"]["matchExpressions"].push_back(
        {{"key", key}, {"operator", op}, {"values", Json::array({value})}});
  }
}

void merge_label_keys(Json& spec, const Json& labels) {
  const auto merge = [&](Json& term) {
    merge_keys(term, "matchLabelKeys", "In", labels);
    merge_keys(term, "mismatchLabelKeys", "NotIn", labels);
  };
  each(spec, "topologySpreadConstraints", merge);
  if (!at(spec, "affinity").is_object()) return;
  for (const char* kind : {"podAffinity", "podAntiAffinity"}) {
    if (!at(spec, "affinity", kind).is_object()) continue;
    Json& affinity = spec["affinity"][kind];
    each(affinity, "requiredDuringSchedulingIgnoredDuringExecution", merge);
    each(affinity, "preferredDuringSchedulingIgnoredDuringExecution", [&](Json& entry) {
      if (at(entry, "podAffinityTerm").is_object()) merge(entry["podAffinityTerm"]);
    });
  }
}

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
    if (at(object, "spec").is_object()) merge_label_keys(object["spec"], at(object, "metadata", "labels"));
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
