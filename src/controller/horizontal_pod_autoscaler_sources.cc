// What each metric of a HorizontalPodAutoscaler asks for.
#include <algorithm>
#include <set>

#include "brume/api/quantity.h"
#include "horizontal_pod_autoscaler.h"

namespace brume::controller {

namespace {

std::string quantity_text(std::int64_t milli, std::string_view resource = "") {
  // As metrics-server writes them.
  const auto format = resource == "memory" ? api::Quantity::Format::kBinarySi : api::Quantity::Format::kDecimalSi;
  return api::Quantity::from_milli(milli, format).to_string();
}

std::int64_t milli_of(const Json& quantity) { return api::quantity_or_zero(str(quantity)).milli_value(); }

// The text form of a metric's selector; one that is absent selects everything (as LabelSelectorAsSelector of a metric
// identifier is used), one that does not parse is an error.
Result<std::string> metric_selector(const Json& selector) {
  if (!selector.is_object()) return std::string();
  BRUME_TRY(const auto parsed, api::LabelSelector::from_json(selector));
  return parsed.to_string();
}

Json identifier(const Json& metric) {
  Json out{{"name", at(metric, "name")}};
  if (metric.contains("selector")) out["selector"] = metric["selector"];
  return out;
}

}  // namespace

std::string go_selector_text(const Json& selector) {
  if (!selector.is_object()) return "nil";
  std::string labels;
  const Json& map = at(selector, "matchLabels");
  if (map.is_object()) {
    for (const auto& [key, value] : map.items()) labels += key + ": " + std::string(str(value)) + ",";
  }
  std::string expressions;
  for (const Json& one : at(selector, "matchExpressions")) {
    std::string values;
    for (const Json& value : at(one, "values")) values += (values.empty() ? "" : " ") + std::string(str(value));
    expressions += "LabelSelectorRequirement{Key:" + std::string(str(one, "key")) +
                   ",Operator:" + std::string(str(one, "operator")) + ",Values:[" + values + "],},";
  }
  return "&LabelSelector{MatchLabels:map[string]string{" + labels + "},MatchExpressions:[]LabelSelectorRequirement{" +
         expressions + "},}";
}

// All of them --------------------------------------------------------------------------------------------------------

// Pods of this autoscaler must be no other's.
bool HorizontalPodAutoscalerController::check_selector(World& world, const std::string& key, std::string& error) {
  world.selector_text = str(at(world.scale, "status"), "selector");
  const auto refuse = [&](std::string_view event, std::string_view reason, std::string message) {
    error = message;
    events_.warning(*world.object, event, std::move(message));
    condition(world, "ScalingActive", false, reason,
              event == "SelectorRequired" ? "the HPA target's scale is missing a selector" : error);
    return false;
  };
  if (world.selector_text.empty()) return refuse("SelectorRequired", "InvalidSelector", "selector is required");
  auto parsed = api::LabelSelector::parse(world.selector_text);
  if (!parsed) {
    return refuse("InvalidSelector", "InvalidSelector",
                  "couldn't convert selector into a corresponding internal selector object: " + parsed.error().message);
  }
  world.selector = *std::move(parsed);
  selectors_[key] = world.selector;
  const std::string prefix = world.object->ns() + "/";
  std::set<std::string> owners;  // as Go prints their keys
  for (const ObjectPtr& pod : pods_.list(world.object->ns())) {
    if (!world.selector.matches(pod->labels())) continue;
    for (auto other = selectors_.lower_bound(prefix); other != selectors_.end(); ++other) {
      if (!other->first.starts_with(prefix)) break;
      if (!other->second.matches(pod->labels())) continue;
      owners.insert("{" + other->first.substr(prefix.size()) + " " + pod->ns() + "}");
    }
  }
  if (owners.size() < 2) return true;
  std::string names;
  for (const std::string& owner : owners) names += (names.empty() ? "" : " ") + owner;
  return refuse("AmbiguousSelector", "AmbiguousSelector",
                "pods by selector " + world.selector_text + " are controlled by multiple HPAs: [" + names + "]");
}

// The greatest wish counts. A metric that cannot be read holds back scaling down, not up.
Task<HorizontalPodAutoscalerController::Wishes> HorizontalPodAutoscalerController::wishes(World& world,
                                                                                          std::string key) {
  Wishes out;
  if (!check_selector(world, key, out.error)) co_return out;
  out.statuses = Json::array();
  Wish first_failure;
  std::size_t failures = 0;
  std::int64_t most = 0;
  const Json metrics = at(world.spec(), "metrics");
  for (const Json& metric : metrics) {
    Wish one = co_await wish(world, metric);
    out.statuses.push_back(std::move(one.status));
    if (!one.reason.empty()) {
      if (failures++ == 0) first_failure = std::move(one);
    } else if (most == 0 || one.replicas > most) {
      most = one.replicas;
      out.metric = std::move(one.metric);
    }
  }
  if (failures > 0) {
    out.error = "invalid metrics (" + std::to_string(failures) + " invalid out of " + std::to_string(metrics.size()) +
                "), first error is: " + first_failure.error;
  }
  if (failures >= metrics.size() || (failures > 0 && most < world.current())) {
    condition(world, "ScalingActive", false, first_failure.reason, first_failure.condition);
    co_return out;
  }
  condition(world, "ScalingActive", true, "ValidMetricFound",
            "the HPA was able to successfully calculate a replica count from " + out.metric);
  out.replicas = most;
  co_return out;
}

// `message` is the event's and, after a few words, the condition's; `error` what FailedComputeMetricsReplicas says.
HorizontalPodAutoscalerController::Wish HorizontalPodAutoscalerController::failed(World& world, std::string_view reason,
                                                                                  const std::string& message,
                                                                                  std::string error) {
  events_.warning(*world.object, reason, message);
  Wish out;
  out.reason = reason;
  out.condition = "the HPA was unable to compute the replica count: " + message;
  out.error = std::move(error);
  return out;
}

Task<HorizontalPodAutoscalerController::Wish> HorizontalPodAutoscalerController::wish(World& world, Json metric) {
  const std::string type(str(metric, "type"));
  if (type == "Resource") co_return co_await resource_wish(world, at(metric, "resource"), false);
  if (type == "ContainerResource") co_return co_await resource_wish(world, at(metric, "containerResource"), true);
  if (type == "Pods") co_return co_await pods_wish(world, at(metric, "pods"));
  if (type == "Object") co_return co_await object_wish(world, at(metric, "object"));
  if (type == "External") co_return co_await external_wish(world, at(metric, "external"));
  const std::string why = "unknown metric source type \"" + type + "\"";
  co_return failed(world, "InvalidMetricSourceType", why, why);
}

PodSet HorizontalPodAutoscalerController::pod_set(const World& world, std::string_view resource) {
  PodSet out{
      .pods = {},
      .resource = resource,
      .readiness = {.cpu_initialization_period = context_.options.horizontal_pod_autoscaler_cpu_initialization_period,
                    .initial_readiness_delay = context_.options.horizontal_pod_autoscaler_initial_readiness_delay,
                    .now = clock().now()}};
  for (const ObjectPtr& pod : pods_.list(world.object->ns())) {
    if (world.selector.matches(pod->labels())) out.pods.push_back(&views_.of(pod));
  }
  return out;
}

// Resources ----------------------------------------------------------------------------------------------------------

Task<HorizontalPodAutoscalerController::Wish> HorizontalPodAutoscalerController::resource_wish(World& world,
                                                                                               Json source,
                                                                                               bool of_container) {
  const std::string resource(str(source, "name"));
  const std::string container(of_container ? str(source, "container") : "");
  const Json& target = at(source, "target");
  const bool by_value = at(target, "averageValue").is_string();
  Wish out;
  const auto fails = [&](std::string why) {
    const std::string what = of_container ? container + " container" : resource + " resource";
    std::string error = "failed to get " + what + " metric value: " + why;
    return failed(world, of_container ? "FailedGetContainerResourceMetric" : "FailedGetResourceMetric", why,
                  std::move(error));
  };
  if (!by_value && !at(target, "averageUtilization").is_number()) {
    co_return fails(
        "invalid resource metric source: neither an average utilization target nor an average value "
        "(usage) target was set");
  }
  const std::string context = "failed to get " + resource + (by_value ? " usage: " : " utilization: ");
  auto metrics = co_await metrics_.resource(world.object->ns(), world.selector_text, resource, container);
  if (!metrics) {
    co_return fails(context + "unable to get metrics for resource " + resource + ": " + metrics.error().message);
  }
  const PodSet set = pod_set(world, resource);
  const Tolerances tolerances = world.tolerances(context_.options.horizontal_pod_autoscaler_tolerance);
  const auto proposal = by_value ? average_replicas(set, *std::move(metrics), world.current(),
                                                    milli_of(at(target, "averageValue")), tolerances)
                                 : utilization_replicas(set, *std::move(metrics), container, world.current(),
                                                        num(target, "averageUtilization"), tolerances);
  if (!proposal) co_return fails(context + proposal.error().message);
  out.replicas = proposal->replicas;
  out.metric = resource + (by_value       ? " resource"
                           : of_container ? " container resource utilization (percentage of request)"
                                          : " resource utilization (percentage of request)");
  Json now{{"averageValue", quantity_text(proposal->average, resource)}};
  if (!by_value) now["averageUtilization"] = proposal->utilization;
  Json status{{"name", resource}, {"current", std::move(now)}};
  if (of_container) status["container"] = container;
  out.status = of_container ? Json{{"type", "ContainerResource"}, {"containerResource", std::move(status)}}
                            : Json{{"type", "Resource"}, {"resource", std::move(status)}};
  co_return out;
}

// Custom and external metrics ----------------------------------------------------------------------------------------

Task<HorizontalPodAutoscalerController::Wish> HorizontalPodAutoscalerController::pods_wish(World& world, Json source) {
  const Json& metric = at(source, "metric");
  const std::string name(str(metric, "name"));
  const auto fails = [&](const std::string& why) {
    return failed(world, "FailedGetPodsMetric", why, "failed to get pods metric value: " + why);
  };
  const auto selector = metric_selector(at(metric, "selector"));
  if (!selector) co_return fails(selector.error().message);
  auto metrics = co_await metrics_.of_pods(world.object->ns(), world.selector_text, name, *selector);
  if (!metrics) co_return fails("unable to get metric " + name + ": " + metrics.error().message);
  const auto proposal = average_replicas(pod_set(world, ""), *std::move(metrics), world.current(),
                                         milli_of(at(source, "target", "averageValue")),
                                         world.tolerances(context_.options.horizontal_pod_autoscaler_tolerance));
  if (!proposal) co_return fails(proposal.error().message);
  Wish out;
  out.replicas = proposal->replicas;
  out.metric = "pods metric " + name;
  out.status = {
      {"type", "Pods"},
      {"pods", {{"metric", identifier(metric)}, {"current", {{"averageValue", quantity_text(proposal->average)}}}}}};
  co_return out;
}

Task<HorizontalPodAutoscalerController::Wish> HorizontalPodAutoscalerController::object_wish(World& world,
                                                                                             Json source) {
  const Json& metric = at(source, "metric");
  const Json& target = at(source, "target");
  const std::string name(str(metric, "name"));
  const std::string kind(str(at(source, "describedObject"), "kind"));
  const bool whole = str(target, "type") == "Value" && at(target, "value").is_string();
  const bool each = str(target, "type") == "AverageValue" && at(target, "averageValue").is_string();
  // The average's error has one more wrapping than the condition, as upstream.
  const auto fails = [&](const std::string& why) {
    const std::string inner = each ? "failed to get " + name + " object metric: " + why : why;
    return failed(world, "FailedGetObjectMetric", why, "failed to get object metric value: " + inner);
  };
  const auto selector = metric_selector(at(metric, "selector"));
  if (!selector) co_return fails(selector.error().message);
  if (!whole && !each) {
    co_return fails("invalid object metric source: neither a value target nor an average value target was set");
  }
  const auto usage = co_await metrics_.of_object(world.object->ns(), at(source, "describedObject"), name, *selector);
  if (!usage) {
    const std::string described(str(at(source, "describedObject"), "name"));
    co_return fails("unable to get metric " + name + ": " + kind + " on " + world.object->ns() + " " + described + "/" +
                    usage.error().message);
  }
  const Tolerances tolerances = world.tolerances(context_.options.horizontal_pod_autoscaler_tolerance);
  Wish out;
  Json now;
  if (whole) {
    const auto replicas =
        value_replicas(pod_set(world, "").pods, world.current(), *usage, milli_of(at(target, "value")), tolerances);
    if (!replicas) co_return fails(replicas.error().message);
    out.replicas = *replicas;
    out.metric = kind + " metric " + name;
    now["value"] = quantity_text(*usage);
  } else {
    const Proposal proposal =
        value_per_pod_replicas(world.actual(), *usage, milli_of(at(target, "averageValue")), tolerances);
    out.replicas = proposal.replicas;
    out.metric = "external metric " + name + "(" + go_selector_text(at(metric, "selector")) + ")";
    now["averageValue"] = quantity_text(proposal.average);
  }
  out.status = {{"type", "Object"},
                {"object",
                 {{"describedObject", at(source, "describedObject")},
                  {"metric", identifier(metric)},
                  {"current", std::move(now)}}}};
  co_return out;
}

Task<HorizontalPodAutoscalerController::Wish> HorizontalPodAutoscalerController::external_wish(World& world,
                                                                                               Json source) {
  const Json& metric = at(source, "metric");
  const Json& target = at(source, "target");
  const std::string name(str(metric, "name"));
  const bool each = at(target, "averageValue").is_string();
  const std::string shown = go_selector_text(at(metric, "selector"));
  const auto fails = [&](const std::string& why) {
    const std::string inner = each ? "failed to get " + name + " external metric: " + why
                                   : "failed to get external metric " + name + ": " + why;
    return failed(world, "FailedGetExternalMetric", why, "failed to get " + name + " external metric value: " + inner);
  };
  if (!each && !at(target, "value").is_string()) {
    const std::string why =
        "invalid external metric source: neither a value target nor an average value target was set";
    co_return failed(world, "FailedGetExternalMetric", why, "failed to get " + name + " external metric value: " + why);
  }
  const auto selector = metric_selector(at(metric, "selector"));
  if (!selector) co_return fails(selector.error().message);
  const auto values = co_await metrics_.external(world.object->ns(), name, *selector);
  if (!values) {
    co_return fails("unable to get external metric " + world.object->ns() + "/" + name + "/" + shown + ": " +
                    values.error().message);
  }
  const std::int64_t usage = saturating_sum(*values);
  const Tolerances tolerances = world.tolerances(context_.options.horizontal_pod_autoscaler_tolerance);
  Wish out;
  Json now;
  if (each) {
    const Proposal proposal =
        value_per_pod_replicas(world.actual(), usage, milli_of(at(target, "averageValue")), tolerances);
    out.replicas = proposal.replicas;
    now["averageValue"] = quantity_text(proposal.average);
  } else {
    const auto replicas =
        value_replicas(pod_set(world, "").pods, world.current(), usage, milli_of(at(target, "value")), tolerances);
    if (!replicas) co_return fails(replicas.error().message);
    out.replicas = *replicas;
    now["value"] = quantity_text(usage);
  }
  out.metric = "external metric " + name + "(" + shown + ")";
  out.status = {{"type", "External"}, {"external", {{"metric", identifier(metric)}, {"current", std::move(now)}}}};
  co_return out;
}

}  // namespace brume::controller
