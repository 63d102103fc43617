// HorizontalPodAutoscalers, in the words of autoscaling/v2; what came as v1 is looked at in that form.
#include <algorithm>

#include "api/validation/kinds.h"
#include "api/validation/pod.h"
#include "brume/api/autoscaling.h"
#include "brume/api/quantity.h"

namespace brume::api::validation {

namespace {

constexpr std::int64_t kMaxPeriod = 1800;         // seconds
constexpr std::int64_t kMaxStabilization = 3600;  // seconds
constexpr std::initializer_list<std::string_view> kMetricTypes = {"ContainerResource", "External", "Object", "Pods",
                                                                  "Resource"};

/// What a change of an older object need not hold to, as it did not before.
struct Lenience {
  std::int64_t least_replicas = 1;  // 0 is behind the gate HPAScaleToZero, which is off
  bool any_target_version = false;
  bool core_target = false;
  bool any_object_version = false;
};

// Kubernetes' words for an API version that is none, or that names no group where one must be; "" when it is fine.
std::string version_fault(std::string_view version, bool allow_core) {
  const auto slashes = std::ranges::count(version, '/');
  if (slashes > 1) return "unexpected GroupVersion string: " + std::string(version);
  const bool core = slashes == 0 || version.starts_with('/');
  return core && !allow_core ? "apiVersion must specify API group" : "";
}

void check_reference(Errors& errors, const Path& path, const Json& reference, bool any_version, bool allow_core) {
  for (const char* key : {"kind", "name"}) {
    const auto text = str(reference, key);
    if (text.empty()) {
      errors.required(path / key);
    } else {
      check_format(errors, path / key, text, path_segment);
    }
  }
  if (any_version) return;
  const auto version = str(reference, "apiVersion");
  if (const auto fault = version_fault(version, allow_core); !fault.empty()) {
    errors.invalid(path / "apiVersion", version, fault);
  }
}

void check_metric_name(Errors& errors, const Path& path, const Json& metric) {
  const auto name = str(metric, "name");
  if (name.empty()) {
    errors.required(path / "name", "must specify a metric name");
  } else {
    check_format(errors, path / "name", name, path_segment);
  }
}

void check_target(Errors& errors, const Path& path, const Json& target) {
  const auto type = str(target, "type");
  if (type.empty()) errors.required(path / "type", "must specify a metric target type");
  if (type != "Utilization" && type != "Value" && type != "AverageValue") {
    errors.invalid(path / "type", type, "must be either Utilization, Value, or AverageValue");
  }
  for (const char* key : {"value", "averageValue"}) {
    const Json& amount = at(target, key);
    if (!amount.is_null() && quantity_or_zero(str(amount)).sign() <= 0) {
      errors.invalid(path / key, amount, "must be positive");
    }
  }
  const Json& percentage = at(target, "averageUtilization");
  if (percentage.is_number() && percentage.get<std::int64_t>() < 1) {
    errors.invalid(path / "averageUtilization", percentage, "must be greater than 0");
  }
}

void check_object(Errors& errors, const Path& path, const Json& source, const Lenience& lenience) {
  check_reference(errors, path / "describedObject", at(source, "describedObject"), lenience.any_object_version, true);
  check_metric_name(errors, path / "metric", at(source, "metric"));
  const Json& target = at(source, "target");
  check_target(errors, path / "target", target);
  if (!has(target, "value") && !has(target, "averageValue")) {
    errors.required(path / "target" / "averageValue", "must set either a target value or averageValue");
  }
}

void check_external(Errors& errors, const Path& path, const Json& source) {
  check_metric_name(errors, path / "metric", at(source, "metric"));
  const Json& target = at(source, "target");
  check_target(errors, path / "target", target);
  const bool value = has(target, "value");
  const bool average = has(target, "averageValue");
  if (!value && !average) {
    errors.required(path / "target" / "averageValue", "must set either a target value for metric or a per-pod target");
  }
  if (value && average) {
    errors.forbidden(path / "target" / "value", "may not set both a target value for metric and a per-pod target");
  }
}

void check_pods(Errors& errors, const Path& path, const Json& source) {
  check_metric_name(errors, path / "metric", at(source, "metric"));
  check_target(errors, path / "target", at(source, "target"));
  if (!has(at(source, "target"), "averageValue")) {
    errors.required(path / "target" / "averageValue", "must specify a positive target averageValue");
  }
}

void check_resource(Errors& errors, const Path& path, const Json& source, bool of_container) {
  const auto name = str(source, "name");
  if (name.empty()) {
    errors.required(path / "name", "must specify a resource name");
  } else if (of_container) {
    check_container_resource_name(errors, path / "name", name);
  }
  if (of_container) {
    const auto container = str(source, "container");
    if (container.empty()) {
      errors.required(path / "container", "must specify a container");
    } else {
      check_format(errors, path / "container", container, dns1123_label);
    }
  }
  const Json& target = at(source, "target");
  check_target(errors, path / "target", target);
  const bool percentage = has(target, "averageUtilization");
  const bool average = has(target, "averageValue");
  if (!percentage && !average) {
    errors.required(path / "target" / "averageUtilization",
                    "must set either a target raw value or a target utilization");
  }
  if (percentage && average) {
    errors.forbidden(path / "target" / "averageValue", "may not set both a target raw value and a target utilization");
  }
}

// The member that a metric of that type must have; "" for no type.
std::string_view member_of(std::string_view type) {
  if (type == "Object") return "object";
  if (type == "Pods") return "pods";
  if (type == "Resource") return "resource";
  if (type == "External") return "external";
  if (type == "ContainerResource") return "containerResource";
  return "";
}

void check_metric(Errors& errors, const Path& path, const Json& metric, const Lenience& lenience) {
  const auto type = str(metric, "type");
  const std::string_view expected = member_of(type);
  if (type.empty()) errors.required(path / "type", "must specify a metric source type");
  if (expected.empty()) errors.not_supported(path / "type", type, kMetricTypes);
  std::vector<std::string_view> present;
  for (const std::string_view source : {"object", "external", "pods", "resource", "containerResource"}) {
    if (!has(metric, source)) continue;
    present.push_back(source);
    if (present.size() > 1) continue;  // the first alone is looked at
    const Path here = path / source;
    const Json& value = at(metric, source);
    if (source == "object") check_object(errors, here, value, lenience);
    if (source == "external") check_external(errors, here, value);
    if (source == "pods") check_pods(errors, here, value);
    if (source == "resource") check_resource(errors, here, value, false);
    if (source == "containerResource") check_resource(errors, here, value, true);
  }
  if (expected.empty()) {
    errors.not_supported(path / "type", type, kMetricTypes);
  } else if (!has(metric, expected)) {
    errors.required(path / expected, "must populate information for the given metric source");
  }
  if (present.size() == 1) return;
  for (const std::string_view source : present) {
    if (source != expected) errors.forbidden(path / source, "must populate the given metric source only");
  }
}

void check_policy(Errors& errors, const Path& path, const Json& policy) {
  const auto type = str(policy, "type");
  if (type != "Pods" && type != "Percent") errors.not_supported(path / "type", type, {"Percent", "Pods"});
  for (const char* key : {"value", "periodSeconds"}) {
    if (num(policy, key) <= 0) errors.invalid(path / key, num(policy, key), "must be greater than zero");
  }
  if (num(policy, "periodSeconds") > kMaxPeriod) {
    errors.invalid(path / "periodSeconds", num(policy, "periodSeconds"),
                   "must be less than or equal to " + std::to_string(kMaxPeriod));
  }
}

void check_rules(Errors& errors, const Path& path, const Json& rules) {
  if (!rules.is_object()) return;
  if (has(rules, "stabilizationWindowSeconds")) {
    const auto window = num(rules, "stabilizationWindowSeconds");
    const Path here = path / "stabilizationWindowSeconds";
    if (window < 0) errors.invalid(here, window, "must be greater than or equal to zero");
    if (window > kMaxStabilization) {
      errors.invalid(here, window, "must be less than or equal to " + std::to_string(kMaxStabilization));
    }
  }
  if (has(rules, "selectPolicy")) {
    check_enum(errors, path / "selectPolicy", str(rules, "selectPolicy"), {"Disabled", "Max", "Min"});
  }
  if (items(at(rules, "policies")).empty()) {
    errors.required(path / "policies", "must specify at least one Policy");
  }
  std::size_t i = 0;
  for (const Json& policy : items(at(rules, "policies"))) check_policy(errors, (path / "policies")[i++], policy);
  const Json& tolerance = at(rules, "tolerance");
  if (!tolerance.is_null() && quantity_or_zero(str(tolerance)).sign() < 0) {
    errors.invalid(path / "tolerance", tolerance, "must be greater than or equal to 0");
  }
}

void check_replicas(Errors& errors, const Path& path, const Json& spec, const Lenience& lenience) {
  const Json& least = at(spec, "minReplicas");
  const auto most = num(spec, "maxReplicas");
  if (least.is_number() && least.get<std::int64_t>() < lenience.least_replicas) {
    errors.invalid(path / "minReplicas", least,
                   "must be greater than or equal to " + std::to_string(lenience.least_replicas));
  }
  if (most == 0) {
    errors.required(path / "maxReplicas", "must be set and greater than 0");
  } else if (most < 0) {
    errors.invalid(path / "maxReplicas", most, "must be greater than or equal to 1");
  }
  if (least.is_number() && most < least.get<std::int64_t>()) {
    errors.invalid(path / "maxReplicas", most, "must be greater than or equal to `minReplicas`");
  }
}

void check_spec(Errors& errors, const Json& spec, const Lenience& lenience) {
  const Path path("spec");
  check_replicas(errors, path, spec, lenience);
  check_reference(errors, path / "scaleTargetRef", at(spec, "scaleTargetRef"), lenience.any_target_version,
                  lenience.core_target);
  std::size_t i = 0;
  bool from_outside = false;
  for (const Json& metric : items(at(spec, "metrics"))) {
    check_metric(errors, (path / "metrics")[i++], metric, lenience);
    from_outside = from_outside || str(metric, "type") == "Object" || str(metric, "type") == "External";
  }
  if (at(spec, "minReplicas").is_number() && num(spec, "minReplicas") == 0 && !from_outside) {
    errors.forbidden(path / "metrics",
                     "must specify at least one Object or External metric to support scaling to zero replicas");
  }
  check_rules(errors, path / "behavior" / "scaleUp", at(spec, "behavior", "scaleUp"));
  check_rules(errors, path / "behavior" / "scaleDown", at(spec, "behavior", "scaleDown"));
}

Json in_v2(Json object) {
  if (str(object, "apiVersion") == "autoscaling/v1") autoscaler_to_v2(object);
  return object;
}

}  // namespace

void create_autoscaler(Errors& errors, const Json& object) {
  const Json v2 = in_v2(object);
  const Json& spec = at(v2, "spec");
  Lenience lenience;
  // The one kind of the core group that can be scaled.
  lenience.core_target = str(at(spec, "scaleTargetRef"), "kind") == "ReplicationController";
  check_spec(errors, spec, lenience);
}

void update_autoscaler(Errors& errors, const Json& object, const Json& old) {
  const Json v2 = in_v2(object);
  const Json before = in_v2(old);
  const Json& spec = at(v2, "spec");
  const Json& target = at(spec, "scaleTargetRef");
  const Json& old_target = at(before, "spec", "scaleTargetRef");
  Lenience lenience;
  if (at(before, "spec", "minReplicas").is_number() && num(at(before, "spec"), "minReplicas") == 0) {
    lenience.least_replicas = 0;
  }
  if (str(target, "apiVersion") == str(old_target, "apiVersion") && str(target, "kind") == str(old_target, "kind")) {
    lenience.any_target_version = true;
  } else {
    lenience.core_target = str(target, "kind") == "ReplicationController";
  }
  for (const Json& metric : items(at(before, "spec", "metrics"))) {
    const auto version = str(at(metric, "object", "describedObject"), "apiVersion");
    if (str(metric, "type") == "Object" && !version_fault(version, true).empty()) lenience.any_object_version = true;
  }
  check_spec(errors, spec, lenience);
}

void status_autoscaler(Errors& errors, const Json& object, const Json& /*old*/) {
  for (const char* key : {"currentReplicas", "desiredReplicas"}) {
    const auto count = num(at(object, "status"), key);
    if (count < 0) errors.invalid(Path("status") / key, count, "must be greater than or equal to 0");
  }
}

}  // namespace brume::api::validation
