// Kinds that run pods.
#include <algorithm>
#include <cstdint>
#include <map>

#include "../strategy.h"
#include "brume/api/autoscaling.h"
#include "brume/api/validation.h"
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

// Validation lets the number of revisions to keep be negative, which keeps them all.
class StatefulSetStrategy final : public Strategy {
 public:
  StatefulSetStrategy() : Strategy({.generation = true}) {}
  Status prepare_create(Json& object, StrategyContext& context) const override {
    if (context.warnings != nullptr && num(at(object, "spec"), "revisionHistoryLimit") < 0) {
      context.warnings->push_back(
          "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended");
    }
    return {};
  }
  Status prepare_update(Json& object, const Json& /*old*/, StrategyContext& context) const override {
    return prepare_create(object, context);
  }
};

// Pods are named after a Job, and their host after them.
void warn_of_name(const Json& object, StrategyContext& context) {
  const auto name = str(at(object, "metadata"), "name");
  const auto faults = api::dns_label_faults(name);
  if (context.warnings == nullptr || faults.empty()) return;
  context.warnings->push_back(
      "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is "
      "recommended: [" +
      join(faults, " ") + "]");
}

// Kubernetes cannot keep track of indexed Jobs that are larger than this when many of their indexes fail.
void warn_of_size(const Json& spec, std::string_view path, StrategyContext& context) {
  constexpr std::int64_t kManyCompletions = 100'000;
  constexpr std::int64_t kManyParallel = 10'000;
  const bool large = str(spec, "completionMode") == "Indexed" && num(spec, "completions") > kManyCompletions &&
                     num(spec, "parallelism") > kManyParallel;
  if (context.warnings == nullptr || !large) return;
  context.warnings->push_back(
      std::string(path) +
      ": In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes "
      "might not be able to track completedIndexes when a big number of indexes fail");
}

// A job selects its pods by its own uid unless told otherwise. Labels and a selector of the same keys that were given
// are kept, and refused by validation when they say something else.
class JobStrategy final : public Strategy {
 public:
  JobStrategy() : Strategy({.generation = true, .garbage = GarbageDefault::kOrphan}) {}
  Status prepare_create(Json& object, StrategyContext& context) const override {
    warn_of_name(object, context);
    warn_of_size(at(object, "spec"), "spec", context);
    if (flag(at(object, "spec"), "manualSelector")) return {};
    const std::string uid(str(at(object, "metadata"), "uid"));
    const std::string name(str(at(object, "metadata"), "name"));
    Json& labels = object["spec"]["template"]["metadata"]["labels"];
    if (!labels.is_object()) labels = Json::object();
    for (const char* key : {"controller-uid", "batch.kubernetes.io/controller-uid"}) {
      if (!labels.contains(key)) labels[key] = uid;
    }
    for (const char* key : {"job-name", "batch.kubernetes.io/job-name"}) {
      if (!labels.contains(key)) labels[key] = name;
    }
    Json& wanted = object["spec"]["selector"]["matchLabels"];
    if (!wanted.is_object()) wanted = Json::object();
    if (!wanted.contains("batch.kubernetes.io/controller-uid")) wanted["batch.kubernetes.io/controller-uid"] = uid;
    return {};
  }
  Status prepare_update(Json& object, const Json& old, StrategyContext& context) const override {
    if (new_generation(object, old)) warn_of_size(at(object, "spec"), "spec", context);
    return {};
  }
};

class CronJobStrategy final : public Strategy {
 public:
  CronJobStrategy() : Strategy({.generation = true}) {}
  Status prepare_create(Json& object, StrategyContext& context) const override {
    warn_of_name(object, context);
    warn_of_size(at(object, "spec", "jobTemplate", "spec"), kTemplate, context);
    return {};
  }
  Status prepare_update(Json& object, const Json& old, StrategyContext& context) const override {
    if (new_generation(object, old)) warn_of_size(at(object, "spec", "jobTemplate", "spec"), kTemplate, context);
    if (context.warnings != nullptr && str(at(object, "spec"), "schedule").find("TZ") != std::string_view::npos) {
      context.warnings->push_back(
          "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see "
          "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details");
    }
    return {};
  }

 private:
  static constexpr std::string_view kTemplate = "spec.jobTemplate.spec";
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

// Of autoscaling/v1 annotations hold what its fields cannot: those of the status are no business of who writes the
// spec, and the other way round. Objects of v2 have none of them.
class AutoscalerStrategy final : public Strategy {
 public:
  AutoscalerStrategy() : Strategy({}) {}
  Status prepare_create(Json& object, StrategyContext& /*context*/) const override {
    api::keep_autoscaler_status_annotations(object, Json());
    return {};
  }
  Status prepare_update(Json& object, const Json& old, StrategyContext& /*context*/) const override {
    api::keep_autoscaler_status_annotations(object, old);
    return {};
  }
  Status prepare_subresource(std::string_view subresource, Json& object, const Json& old,
                             StrategyContext& /*context*/) const override {
    if (subresource == "status") api::keep_autoscaler_spec_annotations(object, old);
    return {};
  }
};

}  // namespace

const Strategy* workload_kind(std::string_view group_resource) {
  static const DeploymentStrategy deployments;
  static const DaemonSetStrategy daemons;
  static const StatefulSetStrategy stateful_sets;
  static const JobStrategy jobs;
  static const CronJobStrategy cron_jobs;
  static const AutoscalerStrategy autoscalers;
  static const EndpointSliceStrategy slices;
  static const Strategy counted{{.generation = true}};
  static const Strategy controllers{{.generation = true, .garbage = GarbageDefault::kOrphan}};
  static const std::map<std::string_view, const Strategy*> kinds = {
      {"deployments.apps", &deployments},
      {"horizontalpodautoscalers.autoscaling", &autoscalers},
      {"replicasets.apps", &counted},
      {"statefulsets.apps", &stateful_sets},
      {"daemonsets.apps", &daemons},
      {"replicationcontrollers", &controllers},
      {"jobs.batch", &jobs},
      {"cronjobs.batch", &cron_jobs},
      {"endpointslices.discovery.k8s.io", &slices},
  };
  const auto it = kinds.find(group_resource);
  return it == kinds.end() ? nullptr : it->second;
}

}  // namespace brume::apiserver::strategies
