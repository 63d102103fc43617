// metrics.k8s.io from summaries that a scripted node gives.
#include "../../../src/apiserver/resource_metrics.h"

#include "brume/base/go_duration.h"
#include "brume/base/parallel.h"
#include "catch.h"
#include "sec_fixture.h"
#include "support/fake_clock.h"
#include "support/run.h"

using namespace brume;
using namespace brume::apiserver;
using namespace std::chrono_literals;

namespace {

const api::Resource& kPods = api::res("pods.metrics.k8s.io");
const api::Resource& kNodes = api::res("nodes.metrics.k8s.io");
constexpr std::uint64_t kSecond = 1'000'000'000;

/// A clock that each sleep moves on, as nobody else does here.
class PassingClock : public brume::test::FakeClock {
 public:
  Task<void> sleep(std::chrono::steady_clock::duration duration) override {
    ++sleeps;
    advance(duration);
    co_await yield_now();
  }
  int sleeps = 0;
};

/// A node whose containers burn processor time at a known rate.
struct ScriptedNode {
  explicit ScriptedNode(PassingClock& clock_in) : clock(clock_in), start(clock_in.now()) {}

  struct Container {
    std::string pod, name;
    double cores = 0;
    WallTime started;
    bool memory = true;
  };

  [[nodiscard]] Json stats(double cores, WallTime started) const {
    const double seconds = std::chrono::duration<double>(clock.now() - started).count();
    return {{"cpu",
             {{"time", format_rfc3339_nano(clock.now())},
              {"usageCoreNanoSeconds", static_cast<std::uint64_t>(cores * seconds * kSecond)}}},
            {"memory", {{"workingSetBytes", 8 << 20}}}};
  }

  Task<Result<Json>> fetch(std::string node) {
    ++fetches;
    asked = std::move(node);
    for (int i = 0; slow && i < 20; ++i) co_await yield_now();
    if (broken) co_return fail(Code::kIo, "no route to host");
    Json out{{"node", stats(1.5, start - 24h)}, {"pods", Json::array()}};
    std::map<std::string, Json> pods;
    for (const Container& container : containers) {
      Json one = stats(container.cores, container.started);
      one["name"] = container.name;
      one["startTime"] = format_rfc3339(container.started);
      if (!container.memory) one.erase("memory");
      pods[container.pod]["podRef"]["uid"] = "uid-" + container.pod;
      pods[container.pod]["containers"].push_back(std::move(one));
    }
    for (auto& [name, pod] : pods) out["pods"].push_back(std::move(pod));
    co_return out;
  }

  PassingClock& clock;
  WallTime start;
  std::vector<Container> containers;
  bool broken = false;
  bool slow = false;
  int fetches = 0;
  std::string asked;
};

Json pod(const std::string& name, const std::string& ns, const std::string& app, const std::string& node = "n1") {
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", {{"name", name}, {"namespace", ns}, {"uid", "uid-" + name}, {"labels", {{"app", app}}}}},
          {"spec", {{"nodeName", node}}}};
}

Json node_object(const std::string& name, const char* ready) {
  return {{"apiVersion", "v1"},
          {"kind", "Node"},
          {"metadata", {{"name", name}, {"uid", "uid-" + name}, {"labels", {{"zone", "a"}}}}},
          {"status", {{"conditions", Json::array({{{"type", "Ready"}, {"status", ready}}})}}}};
}

struct Bench {
  Bench() {
    objects.put("nodes", node_object("n1", "True"));
    objects.put("nodes", node_object("gone", "Unknown"));
    objects.put("pods", pod("web", "default", "web"));
    objects.put("pods", pod("db", "other", "db"));
    objects.put("pods", pod("lost", "default", "web", "gone"));
    objects.put("pods", pod("waiting", "default", "web", ""));
    node.containers = {{"web", "main", 0.25, node.start - 1h},
                       {"web", "side", 0.5, node.start - 1h},
                       {"db", "db", 2, node.start - 30s}};
  }
  /// The names and windows of a list, and its items.
  std::vector<Json> list(const api::Resource& resource, ListQuery query = {}) {
    std::vector<Json> out;
    brume::test::run([&]() -> Task<void> {
      auto page = co_await metrics.list(resource, query);
      if (!page) co_return;
      CHECK(page->resource_version == 0);
      for (const auto& object : page->items) out.push_back(object->parse());
    });
    return out;
  }
  Result<api::ObjectPtr> get(const api::Resource& resource, const std::string& ns, const std::string& name) {
    return brume::test::value_of<Result<api::ObjectPtr>>([&] { return metrics.get(resource, ns, name); });
  }

  PassingClock clock;
  apiserver::testing::FakeObjects objects;
  ScriptedNode node{clock};
  ResourceMetrics metrics{objects, clock, [this](std::string name) { return node.fetch(std::move(name)); }};
};

}  // namespace

TEST_CASE("the first request takes two samples, a second apart") {
  Bench b;
  const auto pods = b.list(kPods);
  CHECK(b.node.fetches == 2);
  CHECK(b.clock.sleeps == 1);
  CHECK(b.node.asked == "n1");  // and no node that is not ready
  REQUIRE(pods.size() == 2);
  const Json& web = pods[0];
  CHECK(str(web, "kind") == "PodMetrics");
  CHECK(str(web, "apiVersion") == "metrics.k8s.io/v1beta1");
  CHECK(str(at(web, "metadata"), "name") == "web");
  CHECK(str(at(web, "metadata", "labels"), "app") == "web");
  CHECK(str(web, "timestamp") == format_rfc3339(b.clock.now()));
  CHECK(str(web, "window") == "1s");
  REQUIRE(at(web, "containers").size() == 2);
  CHECK(at(web, "containers")[0] == Json{{"name", "main"}, {"usage", {{"cpu", "250m"}, {"memory", "8Mi"}}}});
}

TEST_CASE("what began lately needs no second sample: it has the rate of its whole life") {
  Bench b;
  (void)b.list(kPods);
  b.clock.advance(20s);
  b.node.containers.push_back({"fresh", "main", 2, b.clock.now() - 4s});
  b.objects.put("pods", pod("fresh", "default", "fresh"));
  const auto pods = b.list(kPods, {.label_selector = "app=fresh"});
  CHECK(b.node.fetches == 3);
  REQUIRE(pods.size() == 1);
  CHECK(str(pods[0], "window") == "4s");
  CHECK(str(at(at(pods[0], "containers")[0], "usage"), "cpu") == "2");
}

TEST_CASE("later requests have the rate since earlier ones, and those of one second share a sample") {
  Bench b;
  (void)b.list(kPods);
  (void)b.list(kNodes);
  CHECK(b.node.fetches == 2);
  b.clock.advance(15s);
  b.node.containers[0].started = b.clock.now() - 64s;  // as if it had idled: 16 core seconds fewer
  const auto nodes = b.list(kNodes);
  CHECK(b.node.fetches == 3);
  REQUIRE(nodes.size() == 1);
  CHECK(str(nodes[0], "kind") == "NodeMetrics");
  CHECK(str(nodes[0], "window") == "16s");
  CHECK(at(nodes[0], "usage") == Json{{"cpu", "1500m"}, {"memory", "8Mi"}});
  CHECK_FALSE(at(nodes[0], "metadata").contains("namespace"));
  // Forgotten when nobody asks for long.
  b.clock.advance(10min);
  const auto again = b.list(kNodes);
  REQUIRE(again.size() == 1);
  CHECK(str(again[0], "window") == "1s");
  CHECK(b.clock.sleeps == 2);
}

TEST_CASE("lists of metrics are narrowed by namespace and selectors") {
  Bench b;
  CHECK(b.list(kPods, {.ns = "default"}).size() == 1);
  CHECK(b.list(kPods, {.label_selector = "app=db"}).size() == 1);
  CHECK(b.list(kPods, {.label_selector = "app=nothing"}).empty());
  CHECK(b.list(kPods, {.field_selector = "metadata.name=web"}).size() == 1);
  CHECK(b.list(kNodes, {.label_selector = "zone=b"}).empty());
}

TEST_CASE("one pod's metrics, and why there are none") {
  Bench b;
  const auto web = b.get(kPods, "default", "web");
  REQUIRE(web);
  CHECK((*web)->kind() == "PodMetrics");
  const auto missing = b.get(kPods, "default", "nobody");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message == "pods \"nobody\" not found");
  const auto waiting = b.get(kPods, "default", "waiting");
  REQUIRE_FALSE(waiting);
  CHECK(waiting.error().code == Code::kNotFound);
  CHECK(waiting.error().message == "podmetrics.metrics.k8s.io \"default/waiting\" not found");
  const auto gone = b.get(kNodes, "", "gone");
  REQUIRE_FALSE(gone);
  CHECK(gone.error().message == "nodemetrics.metrics.k8s.io \"gone\" not found");
}

TEST_CASE("a pod of which one figure lacks is left out") {
  Bench b;
  b.node.containers[1].memory = false;
  const auto pods = b.list(kPods);
  REQUIRE(pods.size() == 1);
  CHECK(str(at(pods[0], "metadata"), "name") == "db");
}

TEST_CASE("a container that was started anew counts from zero") {
  Bench b;
  (void)b.list(kPods);
  b.clock.advance(20s);
  b.node.containers[0].started = b.clock.now() - 5s;
  const auto pods = b.list(kPods, {.ns = "default"});
  REQUIRE(pods.size() == 1);
  CHECK(str(at(at(pods[0], "containers")[0], "usage"), "cpu") == "250m");
  CHECK(str(pods[0], "window") == "21s");  // the other container's
}

TEST_CASE("requests that come together share one sample") {
  Bench b;
  b.node.slow = true;
  std::size_t answers = 0;
  brume::test::run([&]() -> Task<void> {
    const auto ask = [&](std::size_t) -> Task<void> {
      const auto page = co_await b.metrics.list(kPods, {});
      answers += page ? page->items.size() : 0;
    };
    co_await for_each_parallel(5, ask);
  });
  CHECK(answers == 10);
  CHECK(b.node.fetches == 2);
}

TEST_CASE("a node that does not answer is not asked again at once") {
  Bench b;
  b.node.broken = true;
  CHECK(b.list(kPods).empty());
  CHECK(b.list(kPods).empty());
  CHECK(b.node.fetches == 1);
  b.node.broken = false;
  b.clock.advance(6s);
  CHECK(b.list(kPods).size() == 2);
}
