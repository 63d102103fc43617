#include "horizontal_pod_autoscaler_behavior.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "brume/api/quantity.h"
#include "brume/base/json.h"

namespace brume::controller {

namespace {

// Without policies: twice as many pods at a time, or four (Kubernetes' scaleUpLimitFactor and -Minimum).
constexpr std::int64_t kGrowthFactor = 2;
constexpr std::int64_t kGrowthMinimum = 4;

constexpr std::string_view kWithinRange = "DesiredWithinRange";
constexpr std::string_view kWithinRangeText = "the desired count is within the acceptable range";
constexpr Bounded kTooFew{0, "TooFewReplicas", "the desired replica count is less than the minimum replica count"};
constexpr Bounded kTooMany{0, "TooManyReplicas", "the desired replica count is more than the maximum replica count"};
constexpr Bounded kUpLimit{0, "ScaleUpLimit",
                           "the desired replica count is increasing faster than the maximum scale rate"};
constexpr Bounded kDownLimit{0, "ScaleDownLimit",
                             "the desired replica count is decreasing faster than the maximum scale rate"};

Bounded with(Bounded what, std::int64_t replicas) {
  what.replicas = replicas;
  return what;
}

ScalingRules decode_rules(const Json& rules, ScalingRules defaults) {
  ScalingRules out = std::move(defaults);
  const auto select = str(rules, "selectPolicy");
  if (select == "Min") out.select = ScalingRules::Select::kMin;
  if (select == "Disabled") out.select = ScalingRules::Select::kDisabled;
  if (at(rules, "stabilizationWindowSeconds").is_number()) {
    out.stabilization = std::chrono::seconds(num(rules, "stabilizationWindowSeconds"));
  }
  if (const auto tolerance = str(rules, "tolerance"); !tolerance.empty()) {
    out.tolerance = api::quantity_or_zero(tolerance).as_double();
  }
  const Json& policies = at(rules, "policies");
  if (!policies.is_array()) return out;
  out.policies.clear();
  for (const Json& policy : policies) {
    out.policies.push_back({.percent = str(policy, "type") == "Percent",
                            .value = num(policy, "value"),
                            .period = std::chrono::seconds(num(policy, "periodSeconds"))});
  }
  return out;
}

std::int64_t changed_within(const std::vector<ScalingMemory::Change>& changes, std::chrono::seconds period,
                            SteadyTime now) {
  std::int64_t sum = 0;
  for (const auto& change : changes) {
    if (change.at > now - period) sum += change.replicas;
  }
  return sum;
}

// How many replicas the policies allow in one direction (`sign` 1: up, -1: down).
std::int64_t policy_limit(const ScalingMemory& memory, const ScalingRules& rules, std::int64_t current, int sign,
                          SteadyTime now) {
  if (rules.select == ScalingRules::Select::kDisabled) return current;
  std::optional<std::int64_t> limit;
  for (const ScalingRules::Policy& policy : rules.policies) {
    const std::int64_t start =
        current - changed_within(memory.ups, policy.period, now) + changed_within(memory.downs, policy.period, now);
    std::int64_t allowed = start + sign * policy.value;
    if (policy.percent) {
      const double exact = static_cast<double>(start) * (1 + sign * static_cast<double>(policy.value) / 100);
      // Rounded towards more pods upwards, so that few grow at all; downwards towards fewer.
      allowed = static_cast<std::int64_t>(sign > 0 ? std::ceil(exact) : std::trunc(exact));
    }
    // The greatest change upwards is the highest number, downwards the lowest.
    const bool higher = (rules.select == ScalingRules::Select::kMax) == (sign > 0);
    limit = !limit ? allowed : higher ? std::max(*limit, allowed) : std::min(*limit, allowed);
  }
  return limit.value_or(current);
}

}  // namespace

ScalingBehavior decode_behavior(const Json& behavior, std::chrono::seconds down_window) {
  constexpr std::chrono::seconds kPeriod{15};
  const ScalingRules up{.select = ScalingRules::Select::kMax,
                        .policies = {{.percent = false, .value = kGrowthMinimum, .period = kPeriod},
                                     {.percent = true, .value = 100, .period = kPeriod}},
                        .stabilization = std::chrono::seconds(0),
                        .tolerance = {}};
  const ScalingRules down{.select = ScalingRules::Select::kMax,
                          .policies = {{.percent = true, .value = 100, .period = kPeriod}},
                          .stabilization = down_window,
                          .tolerance = {}};
  return {.up = decode_rules(at(behavior, "scaleUp"), up), .down = decode_rules(at(behavior, "scaleDown"), down)};
}

std::int64_t stabilize(ScalingMemory& memory, std::int64_t desired, std::chrono::seconds window, SteadyTime now) {
  std::erase_if(memory.recommendations, [&](const auto& one) { return one.at < now - window; });
  std::int64_t highest = desired;
  for (const auto& one : memory.recommendations) highest = std::max(highest, one.replicas);
  memory.recommendations.push_back({desired, now});
  return highest;
}

Bounded bound(std::int64_t current, std::int64_t desired, std::int64_t least, std::int64_t most) {
  const std::int64_t growth = std::max(kGrowthFactor * current, kGrowthMinimum);
  if (desired < least) return with(kTooFew, least);
  if (desired > std::min(most, growth)) return most > growth ? with(kUpLimit, growth) : with(kTooMany, most);
  return {desired, kWithinRange, kWithinRangeText};
}

Bounded stabilize(ScalingMemory& memory, const ScalingBehavior& behavior, std::int64_t current, std::int64_t desired,
                  SteadyTime now) {
  const SteadyTime up_since = now - behavior.up.stabilization;
  const SteadyTime down_since = now - behavior.down.stabilization;
  std::erase_if(memory.recommendations, [&](const auto& one) { return one.at < up_since && one.at < down_since; });
  std::int64_t lowest = desired;
  std::int64_t highest = desired;
  for (const auto& one : memory.recommendations) {
    if (one.at > up_since) lowest = std::min(lowest, one.replicas);
    if (one.at > down_since) highest = std::max(highest, one.replicas);
  }
  memory.recommendations.push_back({desired, now});
  const std::int64_t replicas = std::min(std::max(current, lowest), highest);
  if (desired >= current) {
    return {replicas, "ScaleUpStabilized",
            "recent recommendations were lower than current one, applying the lowest recent recommendation"};
  }
  return {replicas, "ScaleDownStabilized",
          "recent recommendations were higher than current one, applying the highest recent recommendation"};
}

Bounded bound(const ScalingMemory& memory, const ScalingBehavior& behavior, std::int64_t current, std::int64_t desired,
              std::int64_t least, std::int64_t most, SteadyTime now) {
  if (desired > current) {
    const std::int64_t limit = std::max(policy_limit(memory, behavior.up, current, 1, now), current);
    if (desired > std::min(most, limit)) return most > limit ? with(kUpLimit, limit) : with(kTooMany, most);
  } else if (desired < current) {
    const std::int64_t limit = std::min(policy_limit(memory, behavior.down, current, -1, now), current);
    if (desired < std::max(least, limit)) return least < limit ? with(kDownLimit, limit) : with(kTooFew, least);
  }
  return {desired, kWithinRange, kWithinRangeText};
}

void remember_change(ScalingMemory& memory, const ScalingBehavior& behavior, std::int64_t before, std::int64_t after,
                     SteadyTime now) {
  const bool up = after > before;
  std::chrono::seconds longest{0};
  for (const auto& policy : (up ? behavior.up : behavior.down).policies) longest = std::max(longest, policy.period);
  auto& changes = up ? memory.ups : memory.downs;
  std::erase_if(changes, [&](const auto& change) { return change.at < now - longest; });
  changes.push_back({up ? after - before : before - after, now});
}

}  // namespace brume::controller
