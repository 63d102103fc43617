// Kinds that run pods.
#include <algorithm>
#include <cstdint>
#include <map>

#include "../strategy.h"
#include "brume/base/strings.h"

namespace brume::apiserver::strategies {

namespace {

class DeploymentStrategy final : public Strategy {
 public:
  DeploymentStrategy() : Strategy({.generation = true}) {}
  // An annotation may ask for a rollback or carry a pause reason: Kubernetes counts it as a change.
  [[nodiscard]] bool new_generation(const Json& object, const Json& old) const override {
    return Strategy::new_generation(object, old) ||
           at(object, "metadata", "annotations") != at(old, "metadata", "annotations");
  }
  Status prepare_subresource(std::string_view subresource, Json& object, const Json& old,
                             StrategyContext& /*context*/) const override {
    if (subresource != "status") return {};
    const Json& labels = at(old, "metadata", "labels");
    if (labels.is_null()) {
      object["metadata"].erase("labels");
    } else {
      object["metadata"]["labels"] = labels;
    }
    return {};
  }
};

// apps/v1 shows a daemon set's former field spec.templateGeneration, which counts changes of the template, as an
// annotation. Clients cannot set it.
class DaemonSetStrategy final : public Strategy {
 public:
  DaemonSetStrategy() : Strategy({.generation = true}) {}
  Status prepare_create(Json& object, StrategyContext& /*context*/) const override {
    set(object, std::max<std::int64_t>(count_of(object), 1));
    return {};
  }
  Status prepare_update(Json& object, const Json& old, StrategyContext& /*context*/) const override {
    const bool changed = at(object, "spec", "template") != at(old, "spec", "template");
    set(object, count_of(old) + (changed ? 1 : 0));
    return {};
  }
  Status prepare_subresource(std::string_view /*subresource*/, Json& object, const Json& old,
                             StrategyContext& /*context*/) const override {
    set(object, count_of(old));
    return {};
  }

 private:
  static constexpr const char* kTemplateGeneration = "deprecated.daemonset.template.generation";

  static std::int64_t count_of(const Json& object) {
    return parse_int(str(at(object, "metadata", "annotations"), kTemplateGeneration)).value_or(0);
  }
  static void set(Json& object, std::int64_t count) {
    object["metadata"]["annotations"][kTemplateGeneration] = std::to_string(count);
  }
};

// A job selects its pods by its own uid unless told otherwise.
class JobStrategy final : public Strategy {
 public:
  JobStrategy() : Strategy({.generation = true, .garbage = GarbageDefault::kOrphan}) {}
  Status prepare_create(Json& object, StrategyContext& /*context*/) const override {
    if (flag(at(object, "spec"), "manualSelector")) return {};
    const std::string uid(str(at(object, "metadata"), "uid"));
    const std::string name(str(at(object, "metadata"), "name"));
    Json& labels = object["spec"]["template"]["metadata"]["labels"];
    for (const char* key : {"controller-uid", "batch.kubernetes.io/controller-uid"}) {
      if (!labels.contains(key)) labels[key] = uid;
    }
    for (const char* key : {"job-name", "batch.kubernetes.io/job-name"}) labels[key] = name;
    // A selector with other requirements stays and is refused by validation, as Kubernetes does.
    object["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"] = uid;
    return {};
  }
};

class EndpointSliceStrategy final : public Strategy {
 public:
  EndpointSliceStrategy() : Strategy({.generation = true}) {}
  [[nodiscard]] bool new_generation(const Json& object, const Json& old) const override {
    for (const char* key : {"addressType", "endpoints", "ports"}) {
      if (at(object, key) != at(old, key)) return true;
    }
    return at(object, "metadata", "labels") != at(old, "metadata", "labels");
  }
};

}  // namespace

const Strategy* workload_kind(std::string_view group_resource) {
  static const DeploymentStrategy deployments;
  static const DaemonSetStrategy daemons;
  static const JobStrategy jobs;
  static const EndpointSliceStrategy slices;
  static const Strategy counted{{.generation = true}};
  static const Strategy controllers{{.generation = true, .garbage = GarbageDefault::kOrphan}};
  static const std::map<std::string_view, const Strategy*> kinds = {
      {"deployments.apps", &deployments},
      {"replicasets.apps", &counted},
      {"statefulsets.apps", &counted},
      {"daemonsets.apps", &daemons},
      {"replicationcontrollers", &controllers},
      {"jobs.batch", &jobs},
      {"cronjobs.batch", &counted},
      {"endpointslices.discovery.k8s.io", &slices},
  };
  const auto it = kinds.find(group_resource);
  return it == kinds.end() ? nullptr : it->second;
}

}  // namespace brume::apiserver::strategies
