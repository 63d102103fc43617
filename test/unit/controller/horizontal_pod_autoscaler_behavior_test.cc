// How fast autoscalers may scale.
#include "horizontal_pod_autoscaler_behavior.h"

#include "brume/base/json.h"
#include "catch.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

constexpr SteadyTime kNow{100'000s};
using Select = ScalingRules::Select;

ScalingRules rules(Select select, std::vector<ScalingRules::Policy> policies, std::chrono::seconds window = 0s) {
  return {.select = select, .policies = std::move(policies), .stabilization = window, .tolerance = {}};
}

}  // namespace

TEST_CASE("behaviour is read with its defaults") {
  const ScalingBehavior none = decode_behavior(Json(), 300s);
  CHECK(none.up.stabilization == 0s);
  REQUIRE(none.up.policies.size() == 2);
  CHECK(none.up.policies[0].value == 4);
  CHECK(none.up.policies[1].percent);
  CHECK(none.down.stabilization == 300s);
  CHECK(none.down.policies.size() == 1);
  const ScalingBehavior some = decode_behavior(
      *parse_json(
          R"({"scaleUp":{"selectPolicy":"Min","tolerance":"250m"},"scaleDown":{"selectPolicy":"Disabled","stabilizationWindowSeconds":0,
              "policies":[{"type":"Pods","value":2,"periodSeconds":60}]}})"),
      300s);
  CHECK(some.up.select == Select::kMin);
  CHECK(some.up.tolerance == 0.25);
  CHECK(some.down.select == Select::kDisabled);
  CHECK(some.down.stabilization == 0s);
  CHECK(some.down.policies[0].period == 60s);
}

TEST_CASE("without behaviour the highest of recent recommendations counts") {
  ScalingMemory memory;
  CHECK(stabilize(memory, 10, 300s, kNow) == 10);
  CHECK(stabilize(memory, 4, 300s, kNow + 100s) == 10);
  CHECK(stabilize(memory, 6, 300s, kNow + 200s) == 10);
  CHECK(stabilize(memory, 2, 300s, kNow + 301s) == 6);
  CHECK(stabilize(memory, 12, 300s, kNow + 302s) == 12);
  CHECK(memory.recommendations.size() <= 5);
}

TEST_CASE("without behaviour the bounds are minReplicas, maxReplicas and twice the pods") {
  struct Case {
    std::int64_t current, desired, least, most, replicas;
    std::string_view reason;
  };
  for (const Case& k : {Case{3, 4, 1, 10, 4, "DesiredWithinRange"}, Case{3, 0, 1, 10, 1, "TooFewReplicas"},
                        Case{3, 20, 1, 10, 6, "ScaleUpLimit"}, Case{1, 20, 1, 10, 4, "ScaleUpLimit"},
                        Case{8, 20, 1, 10, 10, "TooManyReplicas"}, Case{5, 10, 1, 10, 10, "DesiredWithinRange"}}) {
    INFO(k.current << " to " << k.desired);
    const Bounded got = bound(k.current, k.desired, k.least, k.most);
    CHECK(got.replicas == k.replicas);
    CHECK(got.reason == k.reason);
  }
}

TEST_CASE("windows hold back both directions") {
  ScalingBehavior behavior{.up = rules(Select::kMax, {}, 60s), .down = rules(Select::kMax, {}, 300s)};
  ScalingMemory memory;
  // Upwards, the lowest recommendation of a minute counts.
  CHECK(stabilize(memory, behavior, 2, 3, kNow).replicas == 3);
  const Bounded held = stabilize(memory, behavior, 2, 8, kNow + 30s);
  CHECK(held.replicas == 3);
  CHECK(held.reason == "ScaleUpStabilized");
  CHECK(stabilize(memory, behavior, 3, 8, kNow + 61s).replicas == 8);
  // Downwards, the highest of five minutes.
  const Bounded down = stabilize(memory, behavior, 8, 2, kNow + 200s);
  CHECK(down.replicas == 8);
  CHECK(down.reason == "ScaleDownStabilized");
  CHECK(stabilize(memory, behavior, 8, 2, kNow + 400s).replicas == 2);
}

TEST_CASE("policies limit what is added in a period") {
  struct Case {
    const char* what;
    ScalingRules up;
    std::vector<ScalingMemory::Change> ups, downs;
    std::int64_t current, desired, replicas;
    std::string_view reason;
  };
  const std::vector<Case> cases = {
      {"four pods or twice, the greater",
       rules(Select::kMax, {{false, 4, 15s}, {true, 100, 15s}}),
       {},
       {},
       10,
       100,
       20,
       "ScaleUpLimit"},
      {"... for few pods", rules(Select::kMax, {{false, 4, 15s}, {true, 100, 15s}}), {}, {}, 1, 100, 5, "ScaleUpLimit"},
      {"the lesser", rules(Select::kMin, {{false, 4, 15s}, {true, 100, 15s}}), {}, {}, 10, 100, 14, "ScaleUpLimit"},
      {"a percentage is rounded up", rules(Select::kMax, {{true, 10, 15s}}), {}, {}, 3, 100, 4, "ScaleUpLimit"},
      {"none", rules(Select::kDisabled, {{false, 4, 15s}}), {}, {}, 10, 11, 10, "ScaleUpLimit"},
      {"what was added in the period counts",
       rules(Select::kMax, {{false, 4, 60s}}),
       {{3, kNow - 30s}},
       {},
       10,
       100,
       11,
       "ScaleUpLimit"},
      {"... but not what was added before",
       rules(Select::kMax, {{false, 4, 60s}}),
       {{3, kNow - 60s}},
       {},
       10,
       100,
       14,
       "ScaleUpLimit"},
      {"... and what went makes room",
       rules(Select::kMax, {{false, 4, 60s}}),
       {},
       {{2, kNow - 10s}},
       10,
       100,
       16,
       "ScaleUpLimit"},
      {"too much was added already",
       rules(Select::kMax, {{false, 1, 60s}}),
       {{5, kNow - 1s}},
       {},
       10,
       12,
       10,
       "ScaleUpLimit"},
      {"maxReplicas", rules(Select::kMax, {{false, 400, 15s}}), {}, {}, 10, 100, 50, "TooManyReplicas"},
      {"within all", rules(Select::kMax, {{false, 400, 15s}}), {}, {}, 10, 20, 20, "DesiredWithinRange"},
  };
  for (const Case& k : cases) {
    INFO(k.what);
    const ScalingMemory memory{.recommendations = {}, .ups = k.ups, .downs = k.downs};
    const ScalingBehavior behavior{.up = k.up, .down = {}};
    const Bounded got = bound(memory, behavior, k.current, k.desired, 1, 50, kNow);
    CHECK(got.replicas == k.replicas);
    CHECK(got.reason == k.reason);
  }
}

TEST_CASE("policies limit what is taken away in a period") {
  struct Case {
    const char* what;
    ScalingRules down;
    std::vector<ScalingMemory::Change> ups, downs;
    std::int64_t current, desired, replicas;
    std::string_view reason;
  };
  const std::vector<Case> cases = {
      {"the greater change",
       rules(Select::kMax, {{false, 4, 15s}, {true, 60, 15s}}),
       {},
       {},
       10,
       1,
       4,
       "ScaleDownLimit"},
      {"the lesser change",
       rules(Select::kMin, {{false, 4, 15s}, {true, 60, 15s}}),
       {},
       {},
       10,
       1,
       6,
       "ScaleDownLimit"},
      {"a percentage leaves whole pods", rules(Select::kMax, {{true, 50, 15s}}), {}, {}, 7, 2, 3, "ScaleDownLimit"},
      {"none", rules(Select::kDisabled, {{true, 50, 15s}}), {}, {}, 7, 2, 7, "ScaleDownLimit"},
      {"what went in the period counts",
       rules(Select::kMax, {{false, 4, 60s}}),
       {},
       {{3, kNow - 30s}},
       10,
       2,
       9,
       "ScaleDownLimit"},
      {"what came makes room",
       rules(Select::kMax, {{false, 4, 60s}}),
       {{3, kNow - 30s}},
       {},
       10,
       2,
       3,
       "ScaleDownLimit"},
      {"too much went already",
       rules(Select::kMax, {{false, 1, 60s}}),
       {},
       {{5, kNow - 1s}},
       10,
       2,
       10,
       "ScaleDownLimit"},
      {"minReplicas", rules(Select::kMax, {{true, 100, 15s}}), {}, {}, 10, 1, 2, "TooFewReplicas"},
      {"within all", rules(Select::kMax, {{true, 100, 15s}}), {}, {}, 10, 5, 5, "DesiredWithinRange"},
  };
  for (const Case& k : cases) {
    INFO(k.what);
    const ScalingMemory memory{.recommendations = {}, .ups = k.ups, .downs = k.downs};
    const ScalingBehavior behavior{.up = {}, .down = k.down};
    const Bounded got = bound(memory, behavior, k.current, k.desired, 2, 50, kNow);
    CHECK(got.replicas == k.replicas);
    CHECK(got.reason == k.reason);
  }
}

TEST_CASE("changes are remembered for as long as the longest policy looks back") {
  const ScalingBehavior behavior{.up = rules(Select::kMax, {{false, 4, 15s}, {false, 9, 60s}}),
                                 .down = rules(Select::kMax, {{false, 4, 15s}})};
  ScalingMemory memory;
  remember_change(memory, behavior, 1, 4, kNow);
  remember_change(memory, behavior, 4, 5, kNow + 50s);
  CHECK(memory.ups.size() == 2);
  remember_change(memory, behavior, 5, 9, kNow + 70s);
  REQUIRE(memory.ups.size() == 2);
  CHECK(memory.ups.back().replicas == 4);
  remember_change(memory, behavior, 9, 2, kNow + 71s);
  REQUIRE(memory.downs.size() == 1);
  CHECK(memory.downs[0].replicas == 7);
}
