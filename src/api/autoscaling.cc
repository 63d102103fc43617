#include "brume/api/autoscaling.h"

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "brume/api/decode.h"
#include "brume/api/quantity.h"
#include "brume/api/schema.h"
#include "brume/base/json.h"

namespace brume::api {

namespace {

constexpr std::string_view kMetrics = "autoscaling.alpha.kubernetes.io/metrics";
constexpr std::string_view kStatuses = "autoscaling.alpha.kubernetes.io/current-metrics";
constexpr std::string_view kConditions = "autoscaling.alpha.kubernetes.io/conditions";
constexpr std::string_view kBehavior = "autoscaling.alpha.kubernetes.io/behavior";
constexpr std::array kOfSpec = {kMetrics, kBehavior,
                                std::string_view("autoscaling.alpha.kubernetes.io/scale-down-tolerance"),
                                std::string_view("autoscaling.alpha.kubernetes.io/scale-up-tolerance")};
constexpr std::array kOfStatus = {kStatuses, kConditions};
constexpr int kDefaultCpuPercent = 80;

// Puts the member `from` of a value, if it is there, under another name.
void copy(Json& out, std::string_view to, const Json& value, std::string_view from) {
  if (const Json& found = at(value, from); !found.is_null()) out[to] = found;
}
// A quantity that v1 always has.
void copy_quantity(Json& out, std::string_view to, const Json& value, std::string_view from) {
  const Json& found = at(value, from);
  out[to] = found.is_null() ? Json("0") : found;
}

bool is_cpu_percentage(const Json& metric) {
  return str(metric, "type") == "Resource" && str(at(metric, "resource"), "name") == "cpu" &&
         !at(metric, "resource", "target", "averageUtilization").is_null();
}

// v2 to v1 -----------------------------------------------------------------------------------------------------------

// A metric's source (`now` false) or status below the name of its type.
Json source_to_v1(std::string_view type, const Json& source, bool now) {
  const std::string prefix = now ? "current" : "target";
  const Json& value = at(source, now ? "current" : "target");
  Json out = Json::object();
  if (type == "resource" || type == "containerResource") {
    copy(out, "name", source, "name");
    copy(out, "container", source, "container");
    copy(out, prefix + "AverageUtilization", value, "averageUtilization");
    if (now) {
      copy_quantity(out, prefix + "AverageValue", value, "averageValue");
    } else {
      copy(out, prefix + "AverageValue", value, "averageValue");
    }
    return out;
  }
  copy(out, "metricName", at(source, "metric"), "name");
  copy(out, type == "external" ? "metricSelector" : "selector", at(source, "metric"), "selector");
  if (type == "pods") {
    copy_quantity(out, prefix + "AverageValue", value, "averageValue");
  } else if (type == "object") {
    copy(out, "target", source, "describedObject");
    copy_quantity(out, prefix + "Value", value, "value");
    copy(out, "averageValue", value, "averageValue");
  } else {
    if (now) {
      copy_quantity(out, prefix + "Value", value, "value");
    } else {
      copy(out, prefix + "Value", value, "value");
    }
    copy(out, prefix + "AverageValue", value, "averageValue");
  }
  return out;
}

constexpr std::array<std::string_view, 5> kSources = {"object", "pods", "resource", "containerResource", "external"};

Json metric_to_v1(const Json& metric, bool now) {
  Json out{{"type", str(metric, "type")}};
  for (const std::string_view source : kSources) {
    if (const Json& found = at(metric, source); found.is_object()) out[source] = source_to_v1(source, found, now);
  }
  return out;
}

// The annotation holds Go's internal type, whose fields have no JSON names.
Json rules_to_v1(const Json& rules) {
  if (!rules.is_object()) return {};
  Json out{{"StabilizationWindowSeconds", at(rules, "stabilizationWindowSeconds")},
           {"SelectPolicy", at(rules, "selectPolicy")},
           {"Policies", Json()},
           {"Tolerance", at(rules, "tolerance")}};
  for (const Json& policy : at(rules, "policies")) {
    out["Policies"].push_back(Json{
        {"Type", at(policy, "type")}, {"Value", at(policy, "value")}, {"PeriodSeconds", at(policy, "periodSeconds")}});
  }
  return out;
}

// v1 to v2 -----------------------------------------------------------------------------------------------------------

Json source_to_v2(std::string_view type, const Json& source, bool now) {
  const std::string prefix = now ? "current" : "target";
  Json out = Json::object();
  Json value = Json::object();
  if (type == "resource" || type == "containerResource") {
    copy(out, "name", source, "name");
    copy(out, "container", source, "container");
    copy(value, "averageUtilization", source, prefix + "AverageUtilization");
    copy(value, "averageValue", source, prefix + "AverageValue");
    if (!now) value["type"] = value.contains("averageUtilization") ? "Utilization" : "AverageValue";
  } else {
    copy(out["metric"], "name", source, "metricName");
    copy(out["metric"], "selector", source, type == "external" ? "metricSelector" : "selector");
    copy(value, "averageValue", source, type == "object" ? std::string("averageValue") : prefix + "AverageValue");
    if (type != "pods") copy(value, "value", source, prefix + "Value");
    if (type == "object") copy(out, "describedObject", source, "target");
    if (!now) {
      const bool by_value = type == "external" ? value.contains("value") : !value.contains("averageValue");
      value["type"] = by_value && type != "pods" ? "Value" : "AverageValue";
      // v1 cannot leave an Object's value out: its zero beside an average means that there is none.
      if (type == "object" && !by_value && quantity_or_zero(str(value, "value")).is_zero()) value.erase("value");
    }
  }
  out[now ? "current" : "target"] = std::move(value);
  return out;
}

Json metric_to_v2(const Json& metric, bool now) {
  if (!metric.is_object()) return metric;  // which v2 does not take either
  Json out{{"type", at(metric, "type")}};
  for (const std::string_view source : kSources) {
    if (const Json& found = at(metric, source); found.is_object()) out[source] = source_to_v2(source, found, now);
  }
  return out;
}

// Go reads the names of fields in any case.
const Json& member(const Json& value, std::string name) {
  if (const Json& found = at(value, name); !found.is_null()) return found;
  name[0] = static_cast<char>(name[0] - 'A' + 'a');
  return at(value, name);
}

Json rules_to_v2(const Json& rules) {
  if (!rules.is_object()) return {};
  Json out = Json::object();
  for (const auto& [to, from] : {std::pair("stabilizationWindowSeconds", "StabilizationWindowSeconds"),
                                 std::pair("selectPolicy", "SelectPolicy"), std::pair("tolerance", "Tolerance")}) {
    if (const Json& found = member(rules, from); !found.is_null()) out[to] = found;
  }
  for (const Json& policy : member(rules, "Policies")) {
    out["policies"].push_back(Json{{"type", member(policy, "Type")},
                                   {"value", member(policy, "Value")},
                                   {"periodSeconds", member(policy, "PeriodSeconds")}});
  }
  return out;
}

// What an annotation holds; null for what is absent or no JSON.
Json parsed_annotation(const Json& object, std::string_view key) {
  const Json& text = at(object, "metadata", "annotations", key);
  if (!text.is_string()) return {};
  return parse_json(str(text)).value_or(Json());
}

// Whether the parts of an object have the types that v2 wants of them: nobody has checked what annotations hold.
bool fits_v2(Json object) {
  static const Type* type = find_type("autoscaling/v2", "HorizontalPodAutoscaler");
  return coerce(*type, object).has_value();
}

void take_metrics(Json& object, Json& spec) {
  const Json others = parsed_annotation(object, kMetrics);
  Json metrics = Json::array();
  if (others.is_array()) {
    for (const Json& metric : others) metrics.push_back(metric_to_v2(metric, false));
    if (!fits_v2({{"spec", {{"metrics", metrics}}}})) metrics = Json::array();
  }
  const Json percentage = at(spec, "targetCPUUtilizationPercentage");
  spec.erase("targetCPUUtilizationPercentage");
  if (!percentage.is_null() || metrics.empty()) {
    Json target{{"type", "Utilization"},
                {"averageUtilization", percentage.is_null() ? Json(kDefaultCpuPercent) : percentage}};
    metrics.push_back(Json{{"type", "Resource"}, {"resource", {{"name", "cpu"}, {"target", std::move(target)}}}});
  }
  spec["metrics"] = std::move(metrics);
}

void take_behavior(const Json& object, Json& spec) {
  const Json internal = parsed_annotation(object, kBehavior);
  if (!internal.is_object()) return;
  Json behavior = Json::object();
  for (const auto& [to, from] : {std::pair("scaleUp", "ScaleUp"), std::pair("scaleDown", "ScaleDown")}) {
    if (Json rules = rules_to_v2(member(internal, from)); !rules.is_null()) behavior[to] = std::move(rules);
  }
  if (!behavior.empty() && fits_v2({{"spec", {{"behavior", behavior}}}})) spec["behavior"] = std::move(behavior);
}

void take_status(const Json& object, Json& status) {
  const Json percentage = at(status, "currentCPUUtilizationPercentage");
  status.erase("currentCPUUtilizationPercentage");
  Json metrics;
  if (!percentage.is_null()) {
    metrics.push_back(
        Json{{"type", "Resource"}, {"resource", {{"name", "cpu"}, {"current", {{"averageUtilization", percentage}}}}}});
  }
  if (const Json kept = parsed_annotation(object, kStatuses); kept.is_array()) {
    Json all = Json::array();
    for (const Json& metric : kept) all.push_back(metric_to_v2(metric, true));
    if (fits_v2({{"status", {{"currentMetrics", all}}}})) metrics = std::move(all);
  }
  status["currentMetrics"] = std::move(metrics);
  if (const Json conditions = parsed_annotation(object, kConditions);
      conditions.is_array() && fits_v2({{"status", {{"conditions", conditions}}}})) {
    status["conditions"] = conditions;
  }
}

void keep_annotations(Json& object, const Json& old, std::span<const std::string_view> keys) {
  Json& metadata = object["metadata"];
  if (!at(metadata, "annotations").is_object()) metadata["annotations"] = Json::object();
  for (const std::string_view key : keys) {
    const Json& before = at(old, "metadata", "annotations", key);
    if (before.is_null()) {
      metadata["annotations"].erase(std::string(key));
    } else {
      metadata["annotations"][std::string(key)] = before;
    }
  }
  if (metadata["annotations"].empty()) metadata.erase("annotations");
}

}  // namespace

void drop_autoscaler_annotations(Json& object) {
  if (!at(object, "metadata", "annotations").is_object()) return;
  Json& annotations = object["metadata"]["annotations"];
  for (const std::string_view key : kOfSpec) annotations.erase(std::string(key));
  for (const std::string_view key : kOfStatus) annotations.erase(std::string(key));
  if (annotations.empty()) object["metadata"].erase("annotations");
}

void keep_autoscaler_spec_annotations(Json& object, const Json& old) { keep_annotations(object, old, kOfSpec); }

void keep_autoscaler_status_annotations(Json& object, const Json& old) { keep_annotations(object, old, kOfStatus); }

void autoscaler_to_v1(Json& object) {
  drop_autoscaler_annotations(object);
  const auto annotate = [&object](std::string_view key, const Json& value) {
    object["metadata"]["annotations"][key] = dump_json(value);
  };
  for (const char* part : {"spec", "status"}) {
    if (!at(object, part).is_object()) object[part] = Json::object();
  }
  Json& spec = object["spec"];
  Json& status = object["status"];
  Json others = Json::array();
  for (const Json& metric : at(spec, "metrics")) {
    if (!is_cpu_percentage(metric)) {
      others.push_back(metric_to_v1(metric, false));
    } else if (!spec.contains("targetCPUUtilizationPercentage")) {
      spec["targetCPUUtilizationPercentage"] = at(metric, "resource", "target", "averageUtilization");
    }
  }
  Json current = Json::array();
  for (const Json& metric : at(status, "currentMetrics")) {
    current.push_back(metric_to_v1(metric, true));
    const Json& percentage = at(metric, "resource", "current", "averageUtilization");
    if (str(at(metric, "resource"), "name") == "cpu" && !percentage.is_null()) {
      status["currentCPUUtilizationPercentage"] = percentage;
    }
  }
  if (!others.empty()) annotate(kMetrics, others);
  if (!current.empty()) annotate(kStatuses, current);
  if (const Json& behavior = at(spec, "behavior"); behavior.is_object()) {
    annotate(kBehavior, Json{{"ScaleUp", rules_to_v1(at(behavior, "scaleUp"))},
                             {"ScaleDown", rules_to_v1(at(behavior, "scaleDown"))}});
  }
  if (const Json& conditions = at(status, "conditions"); !conditions.empty()) annotate(kConditions, conditions);
  for (const char* gone : {"metrics", "behavior"}) spec.erase(gone);
  for (const char* gone : {"currentMetrics", "conditions"}) status.erase(gone);
  for (const char* always : {"currentReplicas", "desiredReplicas"}) status[always] = num(status, always);
  object["apiVersion"] = "autoscaling/v1";
}

void autoscaler_to_v2(Json& object) {
  for (const char* part : {"spec", "status"}) {
    if (!at(object, part).is_object()) object[part] = Json::object();
  }
  take_metrics(object, object["spec"]);
  take_behavior(object, object["spec"]);
  Json& status = object["status"];
  take_status(object, status);
  status["desiredReplicas"] = num(status, "desiredReplicas");
  if (num(status, "currentReplicas") == 0) status.erase("currentReplicas");
  drop_autoscaler_annotations(object);
  object["apiVersion"] = "autoscaling/v2";
}

}  // namespace brume::api
