// Defaults of apps, batch and autoscaling that depend on other fields.
#include <limits>

#include "api/defaults/defaults_impl.h"
#include "brume/api/autoscaling.h"

namespace brume::api::defaults {

namespace {

void pod_template(Json& spec) {
  if (Json* pod = object_in(spec, "template")) {
    if (Json* pod_spec_json = object_in(*pod, "spec")) pod_spec(*pod_spec_json);
  }
}

Json& child_object(Json& object, std::string_view key) {
  Json& child = object[key];
  if (!child.is_object()) child = Json::object();
  return child;
}

void deployment(Json& spec) {
  Json& strategy = child_object(spec, "strategy");
  set_empty(strategy, "type", "RollingUpdate");
  if (str(strategy, "type") != "RollingUpdate") return;
  Json& rolling = child_object(strategy, "rollingUpdate");
  set_absent(rolling, "maxUnavailable", "25%");
  set_absent(rolling, "maxSurge", "25%");
}

void daemon_set(Json& spec) {
  Json& strategy = child_object(spec, "updateStrategy");
  set_empty(strategy, "type", "RollingUpdate");
  if (str(strategy, "type") != "RollingUpdate") return;
  Json& rolling = child_object(strategy, "rollingUpdate");
  set_absent(rolling, "maxUnavailable", 1);
  set_absent(rolling, "maxSurge", 0);
}

void stateful_set(Json& spec) {
  Json& strategy = child_object(spec, "updateStrategy");
  if (is_empty(strategy, "type")) {
    strategy["type"] = "RollingUpdate";
    set_absent(strategy, "rollingUpdate", Json::object());
  }
  if (str(strategy, "type") != "RollingUpdate") return;
  if (Json* rolling = object_in(strategy, "rollingUpdate")) set_absent(*rolling, "partition", 0);
}

void job(Json& object, Json& spec) {
  if (at(spec, "completions").is_null() && at(spec, "parallelism").is_null()) spec["completions"] = 1;
  set_absent(spec, "parallelism", 1);
  bool per_index = !at(spec, "backoffLimitPerIndex").is_null();
  set_absent(spec, "backoffLimit", per_index ? std::numeric_limits<std::int32_t>::max() : 6);
  set_absent(spec, "completionMode", "NonIndexed");
  set_absent(spec, "suspend", false);
  set_absent(spec, "manualSelector", false);
  bool policy = !at(spec, "podFailurePolicy").is_null();
  set_absent(spec, "podReplacementPolicy", policy ? "Failed" : "TerminatingOrFailed");
  const Json& labels = at(spec, "template", "metadata", "labels");
  Json* metadata = object_in(object, "metadata");
  if (labels.is_object() && !labels.empty() && metadata != nullptr) set_empty(*metadata, "labels", labels);
}

// How a HorizontalPodAutoscaler scales when its behaviour is given only in part.
void scaling_rules(Json& behavior) {
  Json& up = child_object(behavior, "scaleUp");
  set_absent(up, "stabilizationWindowSeconds", 0);
  set_absent(up, "selectPolicy", "Max");
  set_absent(up, "policies",
             Json::array({{{"type", "Pods"}, {"value", 4}, {"periodSeconds", 15}},
                          {{"type", "Percent"}, {"value", 100}, {"periodSeconds", 15}}}));
  Json& down = child_object(behavior, "scaleDown");
  set_absent(down, "selectPolicy", "Max");
  set_absent(down, "policies", Json::array({{{"type", "Percent"}, {"value", 100}, {"periodSeconds", 15}}}));
}

}  // namespace

void apps(std::string_view kind, Json& object) {
  Json* spec = object_in(object, "spec");
  if (spec == nullptr) return;
  pod_template(*spec);
  if (kind == "Deployment") deployment(*spec);
  if (kind == "DaemonSet") daemon_set(*spec);
  if (kind == "StatefulSet") stateful_set(*spec);
}

void batch(std::string_view kind, Json& object) {
  Json* spec = object_in(object, "spec");
  if (spec == nullptr) return;
  if (kind == "Job") {
    pod_template(*spec);
    job(object, *spec);
  } else if (kind == "CronJob") {
    if (Json* job_template = object_in(*spec, "jobTemplate")) {
      if (Json* job_spec = object_in(*job_template, "spec")) pod_template(*job_spec);
    }
  }
}

void autoscaling(std::string_view version, Json& object) {
  Json* spec = object_in(object, "spec");
  if (spec == nullptr) return;
  constexpr int kCpuPercent = 80;
  if (version == "v1") {
    bool other_metrics = !at(object, "metadata", "annotations", "autoscaling.alpha.kubernetes.io/metrics").is_null();
    if (!other_metrics) set_absent(*spec, "targetCPUUtilizationPercentage", kCpuPercent);
    return;
  }
  drop_autoscaler_annotations(object);
  if (is_empty(*spec, "metrics")) {
    Json target = {{"type", "Utilization"}, {"averageUtilization", kCpuPercent}};
    (*spec)["metrics"] = Json::array({{{"type", "Resource"}, {"resource", {{"name", "cpu"}, {"target", target}}}}});
  }
  if (Json* behavior = object_in(*spec, "behavior")) scaling_rules(*behavior);
}

}  // namespace brume::api::defaults
