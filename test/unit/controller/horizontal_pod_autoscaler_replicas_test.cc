// The arithmetic of autoscalers, on examples whose answers follow from Kubernetes' documentation of the algorithm.
#include "horizontal_pod_autoscaler_replicas.h"

#include <limits>

#include "brume/base/json.h"
#include "catch.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

const WallTime kNow = *parse_rfc3339("2026-01-01T12:00:00Z");

/// One pod of a table: its phase, readiness and what it uses (-1: no metrics).
struct P {
  std::int64_t use = 0;  ///< thousandths
  const char* ready = "True";
  PodPhase phase = PodPhase::kRunning;
  std::chrono::seconds started_ago = 1h;
  std::chrono::seconds ready_ago = 59min;
  bool deleting = false;
  std::int64_t request = 1000;  ///< -1: none
};

struct Scene {
  std::vector<ScaledPod> pods;
  PodMetrics metrics;
  PodSet set;

  Scene(const std::vector<P>& table, std::string_view resource) {
    int n = 0;
    for (const P& p : table) {
      ScaledPod pod{.name = "pod-" + std::to_string(n++),
                    .deleting = p.deleting,
                    .phase = p.phase,
                    .ready = p.ready,
                    .ready_since = kNow - p.ready_ago,
                    .started = kNow - p.started_ago,
                    .containers = {}};
      ScaledPod::Container container{.name = "c", .requests = {}};
      if (p.request >= 0)
        container.requests["cpu"] = container.requests["memory"] = api::Quantity::from_milli(p.request);
      pod.containers.push_back(std::move(container));
      if (p.use >= 0) metrics[pod.name] = {kNow - 5s, 15s, p.use};
      pods.push_back(std::move(pod));
    }
    for (const ScaledPod& pod : pods) set.pods.push_back(&pod);
    set.resource = resource;
    set.readiness.now = kNow;
  }
};

struct Case {
  const char* what;
  std::int64_t current, target;
  std::vector<P> pods;
  std::int64_t replicas;
  std::int64_t utilization = -1;
  Tolerances tolerances = {};
};

std::string error_of(const auto& result) { return result ? "" : result.error().message; }

}  // namespace

TEST_CASE("replicas by utilization") {
  const P pending{.use = 500, .ready = "False", .phase = PodPhase::kPending};
  const P unready_new{.use = 900, .ready = "False", .started_ago = 1min, .ready_ago = 1min};
  const P ready_new{.use = 900, .ready = "True", .started_ago = 1min, .ready_ago = 50s};
  const P ready_just{.use = 900, .ready = "True", .started_ago = 1min, .ready_ago = 10s};
  const P never_ready{.use = 900, .ready = "False", .started_ago = 1h, .ready_ago = 1h - 10s};
  const P was_ready{.use = 900, .ready = "False", .started_ago = 1h, .ready_ago = 5min};
  const P missing{.use = -1};
  const P dying{.use = 900, .deleting = true};
  const P failed{.use = 900, .phase = PodPhase::kFailed};
  const std::vector<Case> cases = {
      {"up", 3, 30, {{300}, {500}, {700}}, 5, 50},
      {"down", 5, 50, {{100}, {300}, {500}, {250}, {250}}, 3, 28},
      {"on the target", 4, 100, {{1010}, {1030}, {1020}, {1000}}, 4, 101},
      {"within the tolerance upwards", 10, 100, std::vector<P>(10, P{1090}), 10, 109},
      {"just beyond it", 10, 100, std::vector<P>(10, P{1110}), 12, 111},
      {"within the tolerance downwards", 10, 100, std::vector<P>(10, P{910}), 10, 91},
      {"a narrower tolerance", 10, 100, std::vector<P>(10, P{1090}), 11, 109, {.down = 0.1, .up = 0.05}},
      {"a wider tolerance", 10, 100, std::vector<P>(10, P{600}), 10, 60, {.down = 0.5, .up = 0.1}},
      {"a pending pod counts as idle upwards", 3, 30, {{500}, {700}, pending}, 4, 60},
      {"a pod that is not ready yet counts as idle upwards", 3, 30, {{500}, {700}, unready_new}, 4, 60},
      {"one that has been ready for a whole window counts", 3, 30, {{500}, {700}, ready_new}, 7, 70},
      {"one that became ready within the window does not", 3, 30, {{500}, {700}, ready_just}, 4, 60},
      {"one that never became ready does not", 3, 30, {{500}, {700}, never_ready}, 4, 60},
      {"one that lost its readiness does", 3, 30, {{500}, {700}, was_ready}, 7, 70},
      {"pods that go or have failed are nobody's", 2, 30, {{300}, {300}, dying, failed}, 2, 30},
      {"unready pods do not count downwards", 3, 50, {{200}, {200}, pending}, 1, 20},
      {"a missing pod counts as idle upwards", 4, 100, {{1500}, {1500}, {1500}, missing}, 5, 150},
      {"... which may undo it", 2, 100, {{1500}, missing}, 2, 150},
      {"a missing pod counts as busy downwards", 4, 50, {{100}, {100}, {100}, missing}, 3, 10},
      {"... by the target where that is above the requests", 2, 200, {{1000}, missing}, 2, 100},
      {"a missing pod keeps everything where usage is right on the target", 2, 100, {{1000}, missing}, 2, 100},
      {"unready and missing together", 6, 50, {{1000}, {1000}, pending, pending, missing, missing}, 6, 100},
  };
  for (const Case& k : cases) {
    INFO(k.what);
    Scene scene(k.pods, "cpu");
    const auto got = utilization_replicas(scene.set, scene.metrics, "", k.current, k.target, k.tolerances);
    REQUIRE(error_of(got) == "");
    CHECK(got->replicas == k.replicas);
    CHECK(got->utilization == k.utilization);
  }
}

TEST_CASE("readiness matters to the processor alone") {
  const P unready{.use = 900, .ready = "False", .started_ago = 1min, .ready_ago = 1min};
  Scene scene({{500}, {700}, unready}, "memory");
  const auto got = utilization_replicas(scene.set, scene.metrics, "", 3, 30, {});
  REQUIRE(got);
  CHECK(got->replicas == 7);
  CHECK(got->average == 700);
}

TEST_CASE("what makes a utilization unknown") {
  const auto why = [](std::vector<P> pods, const char* container = "") {
    Scene scene(pods, "cpu");
    return error_of(utilization_replicas(scene.set, scene.metrics, container, 1, 50, {}));
  };
  CHECK(why({}) == "no pods returned by selector while calculating replica count");
  CHECK(why({P{.phase = PodPhase::kPending}}) == "did not receive metrics for targeted pods (pods might be unready)");
  CHECK(why({P{.use = -1}}) == "did not receive metrics for targeted pods (pods might be unready)");
  CHECK(why({P{}, P{.request = -1}}) == "missing request for cpu in container c of Pod pod-1");
  CHECK(why({P{}}, "other") == "container other not found in Pod pod-0");
  CHECK(why({P{.use = 5, .request = 0}}) == "no metrics returned matched known pods");
}

TEST_CASE("replicas by an average amount") {
  const P pending{.use = 30000, .ready = "False", .phase = PodPhase::kPending};
  const P missing{.use = -1};
  const std::vector<Case> cases = {
      {"up", 3, 15000, {{20000}, {10000}, {30000}}, 4},
      {"down", 5, 20000, std::vector<P>(5, P{10000}), 3},
      {"tolerated", 3, 20000, {{20666}, {20666}, {20666}}, 3},
      {"a pending pod counts as idle", 3, 15000, {{50000}, pending, {30000}}, 6},
      {"missing pods count as on the target downwards", 3, 20000, {{10000}, {10000}, missing}, 2},
      {"missing pods count as idle upwards", 4, 20000, {{40000}, {40000}, {40000}, missing}, 6},
  };
  for (const Case& k : cases) {
    INFO(k.what);
    Scene scene(k.pods, "");
    const auto got = average_replicas(scene.set, scene.metrics, k.current, k.target, k.tolerances);
    REQUIRE(error_of(got) == "");
    CHECK(got->replicas == k.replicas);
  }
}

TEST_CASE("amounts at the end of their range are summed and multiplied without running over") {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  // 26 pods without metrics count as 1024 times what they asked for; all that was asked for comes to -1 in 64 bits.
  std::vector<P> pods(26, P{.use = -1, .request = (std::int64_t{1} << 51) / 26});
  pods.push_back({.use = 0, .request = kMost});
  pods.push_back({.use = 0, .request = kMost - (std::int64_t{1} << 51) + 1});
  Scene idle(pods, "memory");
  auto proposal = utilization_replicas(idle.set, idle.metrics, "", 28, 102400, {});
  REQUIRE(proposal);
  CHECK(proposal->replicas == 1);
  Scene busy({{.use = kMost, .request = 1}, {.use = kMost, .request = 1}}, "memory");
  proposal = utilization_replicas(busy.set, busy.metrics, "", 2, 50, {});
  REQUIRE(proposal);
  CHECK(proposal->utilization == kMost);
  proposal = average_replicas(busy.set, busy.metrics, 2, kMost, {});
  REQUIRE(proposal);
  CHECK(proposal->replicas == 2);
}

TEST_CASE("replicas by one value of the whole") {
  Scene scene({{0}, {0}, {0}, P{.ready = "False"}}, "");
  const auto value = [&](std::int64_t current, std::int64_t usage, std::int64_t target) {
    const auto got = value_replicas(scene.set.pods, current, usage, target, {});
    return got ? *got : -1;
  };
  CHECK(value(4, 20000, 10000) == 6);  // twice the target, for three ready pods
  CHECK(value(4, 10500, 10000) == 4);
  CHECK(value(4, 5000, 10000) == 2);
  CHECK(value(0, 15000, 10000) == 2);
  CHECK(value(0, 0, 10000) == 0);
  CHECK(value(4, std::numeric_limits<std::int64_t>::max(), 1) == std::numeric_limits<std::int32_t>::max());
  CHECK(error_of(value_replicas({}, 1, 5, 1, {})) ==
        "unable to calculate ready pods: no pods returned by selector while calculating replica count");

  CHECK(value_per_pod_replicas(3, 60000, 10000, {}).replicas == 6);
  CHECK(value_per_pod_replicas(3, 60000, 10000, {}).average == 20000);
  CHECK(value_per_pod_replicas(3, 31000, 10000, {}).replicas == 3);
  CHECK(value_per_pod_replicas(3, 31000, 10000, {}).average == 10334);
  CHECK(value_per_pod_replicas(0, 31000, 10000, {}).replicas == 4);
  CHECK(value_per_pod_replicas(3, std::numeric_limits<std::int64_t>::max(), 1, {}).replicas ==
        std::numeric_limits<std::int32_t>::max());
  CHECK(saturating_sum({1, 2, 3}) == 6);
  CHECK(saturating_sum({std::numeric_limits<std::int64_t>::max(), 1}) == std::numeric_limits<std::int64_t>::max());
}

TEST_CASE("requests are those of the containers, of one of them, or of the pod as a whole") {
  const auto pod = [](const char* spec) {
    Json value{{"metadata", {{"name", "p"}, {"namespace", "n"}}}, {"spec", *parse_json(spec)}};
    value["status"] = *parse_json(
        R"({"phase":"Running","startTime":"2026-01-01T00:00:00Z","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:09Z"}]})");
    return decode_scaled_pod(**api::Object::from_json(value));
  };
  const auto request = [](const ScaledPod& one, std::string_view resource, std::string_view container = "") {
    const PodSet set{.pods = {&one}, .resource = resource, .readiness = {}};
    const auto got = requests_of(set, container);
    return got ? std::to_string(got->at("p")) : got.error().message;
  };
  const ScaledPod plain = pod(R"({"containers":[{"name":"a","resources":{"requests":{"cpu":"100m"}}},
      {"name":"b","resources":{"requests":{"cpu":"50m","memory":"1Ki"}}}],
      "initContainers":[{"name":"once","resources":{"requests":{"cpu":"5"}}},
      {"name":"side","restartPolicy":"Always","resources":{"requests":{"cpu":"7m"}}}]})");
  CHECK(plain.phase == PodPhase::kRunning);
  CHECK(plain.ready == "True");
  CHECK(format_rfc3339(*plain.started) == "2026-01-01T00:00:00Z");
  CHECK(format_rfc3339(plain.ready_since) == "2026-01-01T00:00:09Z");
  CHECK(request(plain, "cpu") == "157");
  CHECK(request(plain, "cpu", "b") == "50");
  CHECK(request(plain, "memory", "b") == "1024000");
  CHECK(request(plain, "memory") == "missing request for memory in container a of Pod p");
  const ScaledPod whole = pod(R"({"resources":{"requests":{"cpu":"1"}},"containers":[{"name":"a"}]})");
  CHECK(request(whole, "cpu") == "1000");
  CHECK(request(whole, "memory") == "missing pod-level request for memory in Pod p");
  CHECK(request(whole, "cpu", "a") == "missing request for cpu in container a of Pod p");
}
