// HorizontalPodAutoscalers: read the scale, ask the metrics, bound the answer, write the scale.
#include "horizontal_pod_autoscaler.h"

#include <algorithm>
#include <cmath>

#include "brume/api/quantity.h"
#include "brume/base/log.h"
#include "make.h"

namespace brume::controller {

namespace {

constexpr int kScaleTries = 5;  // client-go's DefaultRetry
/// An average that moved by less than this part of it is not written down.
constexpr double kSmallMove = 0.02;

bool about_equal(const Json& before, const Json& after) {
  if (before == after) return true;
  if (!before.is_string() || !after.is_string()) return false;
  const double a = api::quantity_or_zero(str(before)).as_double();
  const double b = api::quantity_or_zero(str(after)).as_double();
  return std::abs(a - b) <= kSmallMove * std::max(std::abs(a), std::abs(b));
}

// The `current` of a MetricStatus, which stands below the name of its type.
const Json& current_of(const Json& metric) {
  for (const char* source : {"resource", "containerResource", "pods", "object", "external"}) {
    if (metric.contains(source)) return at(metric, source, "current");
  }
  return at(metric, "");
}

bool figures_are_close(const Json& before, const Json& after) {
  if (before.size() != after.size()) return false;
  for (std::size_t i = 0; i < after.size(); ++i) {
    Json a = before[i];
    Json b = after[i];
    const Json was = current_of(a);
    const Json is = current_of(b);
    for (Json* metric : {&a, &b}) {
      for (auto& [source, value] : metric->items()) {
        if (value.is_object()) value.erase("current");
      }
    }
    if (a != b) return false;
    if (at(was, "averageUtilization") != at(is, "averageUtilization")) return false;
    // People and the arithmetic go by the percentage where there is one.
    if (at(is, "averageUtilization").is_number()) continue;
    if (!about_equal(at(was, "averageValue"), at(is, "averageValue"))) return false;
    if (!about_equal(at(was, "value"), at(is, "value"))) return false;
  }
  return true;
}

}  // namespace

bool worth_writing(const Json& before, const Json& after) {
  Json a = before.is_object() ? before : Json::object();
  Json b = after;
  const Json was = at(a, "currentMetrics");
  const Json is = at(b, "currentMetrics");
  for (Json* status : {&a, &b}) {
    status->erase("currentMetrics");
    if (num(*status, "desiredReplicas") == 0) status->erase("desiredReplicas");
  }
  return a != b || !figures_are_close(was, is);
}

HorizontalPodAutoscalerController::HorizontalPodAutoscalerController(Context& context)
    : Controller(context, "horizontal-pod-autoscaler"),
      autoscalers_(use("horizontalpodautoscalers.autoscaling")),
      pods_(use("pods")),
      views_(pods_, decode_scaled_pod),
      metrics_(context.client()) {
  autoscalers_.add_handler({.added = [this](const ObjectPtr& now) { enqueue_next(now->key()); },
                            .updated = [this](const ObjectPtr&, const ObjectPtr& now) { enqueue_next(now->key()); },
                            .deleted = [this](const ObjectPtr& last) { enqueue(last); }});
}

// All autoscalers are looked at in the same moments, so that they share the nodes' samples; one that has just come or
// changed waits for the next.
void HorizontalPodAutoscalerController::enqueue_next(const std::string& key) {
  const auto period = std::chrono::steady_clock::duration(context_.options.horizontal_pod_autoscaler_sync_period);
  const auto now = clock().steady().time_since_epoch();
  queue_.add_after(key, period - now % period);
}

Task<Status> HorizontalPodAutoscalerController::reconcile(std::string key) {
  World world{.object = autoscalers_.get(key), .value = {}, .status = {}, .scale = {}};
  if (!world.object) {
    memory_.erase(key);
    selectors_.erase(key);
    co_return Status{};
  }
  world.value = world.object->parse();
  world.status = at(world.value, "status");
  if (!world.status.is_object()) world.status = Json::object();
  world.behavior =
      decode_behavior(at(world.spec(), "behavior"), context_.options.horizontal_pod_autoscaler_downscale_stabilization);
  // Until it has been reconciled with success, one that others could mistake for theirs selects nothing.
  selectors_.try_emplace(key, api::LabelSelector::nothing());
  co_await autoscale(world, key);
  enqueue_next(key);
  co_return Status{};
}

Task<void> HorizontalPodAutoscalerController::autoscale(World& world, std::string key) {
  if (!co_await read_scale(world)) {
    co_await write(world);
    co_return;
  }
  ScalingMemory& memory = memory_[key];
  if (memory.recommendations.empty()) memory.recommendations.push_back({world.current(), clock().steady()});
  const std::int64_t current = world.current();
  std::int64_t desired = current;
  std::string reason;
  Json metrics;
  if (current == 0) {
    // Scaling from zero is behind the gate HPAScaleToZero, which is off.
    condition(world, "ScalingActive", false, "ScalingDisabled",
              "scaling is disabled since the replica count of the target is zero");
  } else if (current > world.most()) {
    reason = "Current number of replicas above Spec.MaxReplicas";
    desired = world.most();
  } else if (current < world.least()) {
    reason = "Current number of replicas below Spec.MinReplicas";
    desired = world.least();
  } else {
    Wishes wished = co_await wishes(world, key);
    metrics = std::move(wished.statuses);
    if (wished.replicas < 0) {
      set_status(world, num(world.status, "desiredReplicas"), std::move(metrics), false);
      co_await write(world);
      events_.warning(*world.object, "FailedComputeMetricsReplicas", wished.error);
      co_return;
    }
    if (wished.replicas > current) reason = wished.metric + " above target";
    if (wished.replicas < current) reason = "All metrics below target";
    desired = normalize(world, key, wished.replicas);
  }
  const bool scaled = desired != current;
  if (scaled) {
    if (!co_await rescale(world, desired, reason)) {
      set_status(world, num(world.status, "desiredReplicas"), std::move(metrics), false);
      co_await write(world);
      co_return;
    }
    if (world.has_behavior()) {
      remember_change(memory_[key], world.behavior, current, desired, clock().steady());
    }
  }
  client::remove_condition(world.status, "ScaledToZero");
  set_status(world, desired, std::move(metrics), scaled);
  co_await write(world);
}

// The target's scale -----------------------------------------------------------------------------------------------

Result<const api::Resource*> HorizontalPodAutoscalerController::find_target(const World& world) const {
  const Json& reference = at(world.spec(), "scaleTargetRef");
  const std::string version(str(reference, "apiVersion"));
  const std::string kind(str(reference, "kind"));
  const auto slash = version.find('/');
  if (slash != std::string::npos && version.find('/', slash + 1) != std::string::npos) {
    return fail(Code::kInvalid, "unexpected GroupVersion string: " + version);
  }
  const std::string group = slash == std::string::npos ? "" : version.substr(0, slash);
  for (const api::Resource& resource : api::builtin_resources()) {
    if (resource.group == group && resource.kind == kind) return &resource;
  }
  return fail(Code::kNotFound, "no matches for kind \"" + kind + "\" in group \"" + group + "\"");
}

Task<bool> HorizontalPodAutoscalerController::read_scale(World& world) {
  Result<Json> scale = fail(Code::kNotFound, "");
  auto target = find_target(world);
  if (target) {
    world.target = *target;
    scale = co_await client().get_subresource(*world.target, world.object->ns(), world.target_name(), "scale");
  } else {
    scale = fail(target.error());
  }
  if (!scale) {
    const std::string& why = scale.error().message;
    events_.warning(*world.object, "FailedGetScale", why);
    condition(world, "AbleToScale", false, "FailedGetScale",
              "the HPA controller was unable to get the target's current scale: " + why);
    co_return false;
  }
  world.scale = *std::move(scale);
  condition(world, "AbleToScale", true, "SucceededGetScale",
            "the HPA controller was able to get the target's current scale");
  co_return true;
}

Task<bool> HorizontalPodAutoscalerController::rescale(World& world, std::int64_t wanted, std::string reason) {
  const std::string size = std::to_string(wanted);
  Result<ObjectPtr> done = fail(Code::kConflict, "");
  Json scale = world.scale;
  for (int i = 0; i < kScaleTries && !done && done.error().code == Code::kConflict; ++i) {
    scale["spec"]["replicas"] = wanted;
    done = co_await client().update(*world.target, world.object->ns(), world.target_name(), scale,
                                    {.subresource = "scale"});
    if (done || done.error().code != Code::kConflict) break;
    auto newest = co_await client().get_subresource(*world.target, world.object->ns(), world.target_name(), "scale");
    if (newest) scale = *std::move(newest);
  }
  if (!done) {
    const std::string& why = done.error().message;
    events_.warning(*world.object, "FailedRescale", "New size: " + size + "; reason: " + reason + "; error: " + why);
    condition(world, "AbleToScale", false, "FailedUpdateScale",
              "the HPA controller was unable to update the target scale: " + why);
    co_return false;
  }
  condition(world, "AbleToScale", true, "SucceededRescale",
            "the HPA controller was able to update the target scale to " + size);
  events_.normal(*world.object, "SuccessfulRescale", "New size: " + size + "; reason: " + reason);
  log::info("rescaled", {{"autoscaler", world.object->key()},
                         {"from", std::to_string(world.current())},
                         {"to", size},
                         {"reason", reason}});
  co_return true;
}

// What the metrics ask for, made slower and bounded.
std::int64_t HorizontalPodAutoscalerController::normalize(World& world, const std::string& key, std::int64_t desired) {
  ScalingMemory& memory = memory_[key];
  const auto now = clock().steady();
  const std::int64_t current = world.current();
  Bounded stable{desired, "", ""};
  if (world.has_behavior()) {
    stable = stabilize(memory, world.behavior, current, desired, now);
  } else {
    stable = {stabilize(memory, desired, context_.options.horizontal_pod_autoscaler_downscale_stabilization, now),
              "ScaleDownStabilized",
              "recent recommendations were higher than current one, applying the highest recent recommendation"};
  }
  if (stable.replicas == desired) {
    stable.reason = "ReadyForNewScale";
    stable.message = "recommended size matches current size";
  }
  condition(world, "AbleToScale", true, stable.reason, std::string(stable.message));
  const Bounded within = world.has_behavior()
                             ? bound(memory, world.behavior, current, stable.replicas, world.least(), world.most(), now)
                             : bound(current, stable.replicas, world.least(), world.most());
  condition(world, "ScalingLimited", within.replicas != stable.replicas, within.reason, std::string(within.message));
  return within.replicas;
}

// Status -----------------------------------------------------------------------------------------------------------

void HorizontalPodAutoscalerController::condition(World& world, std::string_view type, bool holds,
                                                  std::string_view reason, std::string message) {
  client::set_condition(
      world.status,
      Json{{"type", type}, {"status", holds ? "True" : "False"}, {"reason", reason}, {"message", std::move(message)}},
      clock().now());
}

void HorizontalPodAutoscalerController::set_status(World& world, std::int64_t desired, Json metrics, bool scaled) {
  Json status{{"desiredReplicas", desired}, {"currentMetrics", std::move(metrics)}};
  set_count(status, "currentReplicas", world.current());
  for (const char* kept : {"lastScaleTime", "conditions"}) {
    if (world.status.contains(kept)) status[kept] = world.status[kept];
  }
  if (scaled) status["lastScaleTime"] = format_rfc3339(clock().now());
  world.status = std::move(status);
}

Task<void> HorizontalPodAutoscalerController::write(World& world) {
  const Json& before = at(world.value, "status");
  if (!worth_writing(before, world.status)) co_return;
  auto written = co_await write_status(client(), autoscalers_.resource(), world.object, before, world.status);
  if (written) co_return;
  events_.warning(*world.object, "FailedUpdateStatus", written.error().message);
  log::warn("an autoscaler's status was not written",
            {{"autoscaler", world.object->key()}, {"error", written.error().message}});
}

std::unique_ptr<Controller> make_horizontal_pod_autoscaler(Context& context) {
  return std::make_unique<HorizontalPodAutoscalerController>(context);
}

}  // namespace brume::controller
