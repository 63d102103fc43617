// Preemption: whom it sends away, whom it leaves alone, and what it writes.
#include <chrono>
#include <set>

#include "bench.h"

using namespace brume;
using namespace std::chrono_literals;
using test::settle;

namespace {

Json priority(int value, Json extra = Json::object()) {
  Json out = {{"spec", {{"priority", value}, {"terminationGracePeriodSeconds", 0}}}};
  out.merge_patch(extra);
  return out;
}

Json on(const std::string& node, int value, Json extra = Json::object()) {
  Json out = priority(value, {{"spec", {{"nodeName", node}}}, {"status", {{"phase", "Running"}}}});
  out.merge_patch(extra);
  return out;
}

}  // namespace

TEST_CASE("a pod of higher priority takes the place of a lower one") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one", "1");
    b.pod("low", "800m", priority(0));
    co_await settle();
    CHECK(b.node_of("low") == "one");
    b.pod("high", "800m", priority(100));
    co_await settle(1000);
    CHECK(b.api.find("pods", "default", "low") == nullptr);
    CHECK(b.node_of("high") == "one");
    const auto uid = std::string(str(at(b.api.json("pods", "default", "high"), "metadata"), "uid"));
    CHECK(b.events("Preempted") == std::vector<std::string>{"Preempted by pod " + uid + " on node one"});
    CHECK(b.events("FailedScheduling") == std::vector<std::string>{"0/1 nodes are available: 1 Insufficient cpu."});
  });
}

TEST_CASE("victims are told why, go in their own time, and the pod is nominated meanwhile") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one", "1");
    b.pod("low", "800m", on("one", 0, {{"spec", {{"terminationGracePeriodSeconds", 30}}}}));
    co_await settle();
    b.pod("high", "800m", priority(100));
    co_await settle(1000);
    const Json low = b.api.json("pods", "default", "low");
    CHECK(at(low, "metadata").contains("deletionTimestamp"));
    const Json why = client::find_condition(at(low, "status"), "DisruptionTarget");
    CHECK(str(why, "status") == "True");
    CHECK(str(why, "reason") == "PreemptionByScheduler");
    CHECK(str(why, "message") == "default-scheduler: preempting to accommodate a higher priority pod");
    CHECK(str(at(b.api.json("pods", "default", "high"), "status"), "nominatedNodeName") == "one");
    CHECK(b.node_of("high").empty());
    // A pod of lower priority does not get the room, though nobody is there yet.
    b.api.erase("pods", "default", "low");
    b.pod("middle", "800m", priority(50));
    co_await settle(1000);
    CHECK(b.node_of("high") == "one");
    CHECK(b.node_of("middle").empty());
    CHECK(str(b.condition("middle"), "message") ==
          "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims "
          "found for incoming pod.");
  });
}

TEST_CASE("nobody is sent away for a pod that may not preempt, or that would not fit anyway") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one", "1");
    b.node("two", "500m");
    b.pod("low", "800m", on("one", 0));
    b.pod("polite", "800m", priority(100, {{"spec", {{"preemptionPolicy", "Never"}}}}));
    co_await settle();
    CHECK(str(b.condition("polite"), "message") ==
          "0/2 nodes are available: 2 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.");
    b.pod("huge", "2", priority(100));
    co_await settle();
    CHECK(str(b.condition("huge"), "message") ==
          "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 Preemption is not "
          "helpful for scheduling.");
    b.pod("equal", "800m", priority(0));
    co_await settle();
    CHECK(str(b.condition("equal"), "message") ==
          "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 1 No preemption victims "
          "found for incoming pod, 1 Preemption is not helpful for scheduling.");
    CHECK(b.api.find("pods", "default", "low") != nullptr);
  });
}

TEST_CASE("no more go than must, the least important first") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one", "1");
    b.pod("a", "300m", on("one", 5));
    b.pod("b", "300m", on("one", 1));
    b.pod("c", "300m", on("one", 3));
    co_await settle();
    b.pod("high", "400m", priority(100));
    co_await settle(1000);
    CHECK(b.node_of("high") == "one");
    CHECK(b.api.find("pods", "default", "a") != nullptr);
    CHECK(b.api.find("pods", "default", "b") == nullptr);
    CHECK(b.api.find("pods", "default", "c") != nullptr);
  });
}

TEST_CASE("the node where it harms least is chosen") {
  struct Case {
    const char* name;
    std::vector<Json> one, two;  // the pods of each node
    std::string chosen;
  };
  const Json early = {{"status", {{"startTime", "2025-01-01T00:00:00Z"}}}};
  const Json late = {{"status", {{"startTime", "2025-06-01T00:00:00Z"}}}};
  const std::vector<Case> cases = {
      {"by the highest priority of a victim", {on("one", 5)}, {on("two", 3)}, "two"},
      {"by the number of victims", {on("one", 5)}, {on("two", 5), on("two", 5)}, "one"},
      {"by how long they have run", {on("one", 5, early)}, {on("two", 5, late)}, "two"},
  };
  for (const auto& k : cases) {
    INFO(k.name);
    Bench b;
    b.run([&]() -> Task<void> {
      b.node("one", "1");
      b.node("two", "1");
      int n = 0;
      for (const auto* pods : {&k.one, &k.two}) {
        for (const auto& pod : *pods) {
          b.pod("p" + std::to_string(n++), pods->size() == 1 ? "1" : "500m", pod);
        }
      }
      co_await settle();
      b.pod("high", "1", priority(100));
      co_await settle(1000);
      CHECK(b.node_of("high") == k.chosen);
    });
  }
}

TEST_CASE("disruption budgets are spared where that is possible") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.api.seed("poddisruptionbudgets.policy", {{"metadata", {{"name", "web"}}},
                                               {"spec", {{"selector", {{"matchLabels", {{"app", "web"}}}}}}},
                                               {"status", {{"disruptionsAllowed", 0}}}});
    const Json web = {{"metadata", {{"labels", {{"app", "web"}}}}}};
    b.node("one", "1");
    b.node("two", "1");
    b.pod("guarded", "1", on("one", 0, web));
    b.pod("plain", "1", on("two", 5));
    co_await settle();
    b.pod("high", "1", priority(100));
    co_await settle(1000);
    // Though the guarded one is less important.
    CHECK(b.node_of("high") == "two");
    b.pod("higher", "1", priority(200));
    co_await settle(1000);
    // Among what is left it is the violation that counts most.
    CHECK(b.node_of("higher") == "two");
    b.pod("highest", "1", priority(150));
    co_await settle(1000);
    CHECK(b.node_of("highest") == "one");
  });
}

TEST_CASE("preemption undoes what keeps a pod away: anti-affinity, spread and ports") {
  struct Case {
    const char* name;
    Json there, spec;
  };
  const Json selector = {{"matchLabels", {{"app", "web"}}}};
  const Json port = {{"containers", Json::array({{{"name", "c"}, {"ports", Json::array({{{"hostPort", 80}}})}}})}};
  const Json avoids = {
      {"affinity",
       {{"podAntiAffinity",
         {{"requiredDuringSchedulingIgnoredDuringExecution",
           Json::array({{{"labelSelector", selector}, {"topologyKey", "kubernetes.io/hostname"}}})}}}}}};
  const std::vector<Case> cases = {
      {"its own anti-affinity", {{"metadata", {{"labels", {{"app", "web"}}}}}}, avoids},
      {"another's anti-affinity", {{"spec", avoids}}, Json::object()},
      {"ports", {{"spec", port}}, port},
  };
  for (const auto& k : cases) {
    INFO(k.name);
    Bench b;
    b.run([&]() -> Task<void> {
      b.node("one", "4");
      b.pod("low", "100m", on("one", 0, k.there));
      co_await settle();
      Json extra = priority(100, {{"metadata", {{"labels", {{"app", "web"}}}}}});
      extra["spec"].merge_patch(k.spec);
      b.pod("high", "100m", extra);
      co_await settle(1000);
      CHECK(b.api.find("pods", "default", "low") == nullptr);
      CHECK(b.node_of("high") == "one");
    });
  }
}

TEST_CASE("a better nomination takes an older one away") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one", "1");
    b.pod("low", "800m", on("one", 0, {{"spec", {{"terminationGracePeriodSeconds", 30}}}}));
    b.pod("other", "200m", on("one", 0));
    co_await settle();
    b.pod("high", "800m", priority(100));
    co_await settle(1000);
    CHECK(str(at(b.api.json("pods", "default", "high"), "status"), "nominatedNodeName") == "one");
    b.pod("highest", "1", priority(200));
    co_await settle(1000);
    CHECK(str(at(b.api.json("pods", "default", "highest"), "status"), "nominatedNodeName") == "one");
    CHECK(str(at(b.api.json("pods", "default", "high"), "status"), "nominatedNodeName").empty());
    b.api.erase("pods", "default", "low");
    co_await settle(1000);
    CHECK(b.node_of("highest") == "one");
    CHECK(b.node_of("high").empty());
  });
}

TEST_CASE("a nominated pod that is deleted leaves its room at once, whatever still holds it") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one", "4");
    b.pod("low", "2", on("one", 0, {{"spec", {{"terminationGracePeriodSeconds", 3600}}}}));
    co_await settle();
    b.pod("high", "3", priority(100, {{"metadata", {{"finalizers", Json::array({"example.com/x"})}}}}));
    co_await settle(1000);
    REQUIRE(str(at(b.api.json("pods", "default", "high"), "status"), "nominatedNodeName") == "one");
    b.pod("middle", "2", priority(50));
    co_await settle(1000);
    CHECK(b.node_of("middle").empty());
    Json gone = b.api.json("pods", "default", "high");
    gone["metadata"]["deletionTimestamp"] = format_rfc3339(b.clock.now());
    b.api.seed("pods", std::move(gone));
    co_await settle(1000);
    b.clock.advance(10s);
    co_await settle(1000);
    CHECK(b.node_of("middle") == "one");
  });
}

TEST_CASE("a pod that loses its nomination looks for another node") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one", "1");
    b.pod("low", "800m", on("one", 0, {{"spec", {{"terminationGracePeriodSeconds", 3600}}}}));
    b.pod("other", "200m", on("one", 0, {{"spec", {{"terminationGracePeriodSeconds", 3600}}}}));
    co_await settle();
    b.pod("high", "800m", priority(100));
    co_await settle(1000);
    REQUIRE(str(at(b.api.json("pods", "default", "high"), "status"), "nominatedNodeName") == "one");
    // Another node's pod could make room, too, had the first asked for it.
    b.node("two", "1");
    b.pod("small", "900m", on("two", 0, {{"spec", {{"terminationGracePeriodSeconds", 3600}}}}));
    co_await settle(1000);
    b.pod("highest", "1", priority(200, {{"spec", {{"nodeSelector", {{"kubernetes.io/hostname", "one"}}}}}}));
    co_await settle(1000);
    b.clock.advance(10s);
    co_await settle(1000);
    CHECK(str(at(b.api.json("pods", "default", "highest"), "status"), "nominatedNodeName") == "one");
    CHECK(str(at(b.api.json("pods", "default", "high"), "status"), "nominatedNodeName") == "two");
  });
}

TEST_CASE("many pods preempt at once, each its own room") {
  Bench b;
  b.run([&]() -> Task<void> {
    for (int i = 0; i < 20; ++i) {
      b.node("n" + std::to_string(i), "1");
      b.pod("low" + std::to_string(i), "1", on("n" + std::to_string(i), 0));
    }
    co_await settle();
    for (int i = 0; i < 20; ++i) b.pod("high" + std::to_string(i), "1", priority(100));
    for (int i = 0; i < 15; ++i) {
      co_await settle(1000);
      b.clock.advance(1s);
    }
    std::set<std::string> used;
    for (int i = 0; i < 20; ++i) used.insert(b.node_of("high" + std::to_string(i)));
    CHECK(used.size() == 20);
    CHECK_FALSE(used.contains(""));
    CHECK(b.api.all("pods").size() == 20);
  });
}

TEST_CASE("a nomination survives a restart") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one", "1");
    // As the API keeps them when the scheduler was stopped between preempting and binding.
    Json nominated = priority(100);
    nominated["status"] = {{"phase", "Pending"}, {"nominatedNodeName", "one"}};
    b.api.seed("pods",
               {{"metadata", {{"name", "leaving"}, {"deletionTimestamp", "2026-01-01T00:00:00Z"}}},
                {"spec",
                 {{"nodeName", "one"},
                  {"priority", 0},
                  {"containers", Json::array({Json{{"name", "c"}, {"resources", {{"requests", {{"cpu", "1"}}}}}}})}}},
                {"status", {{"phase", "Running"}}}});
    b.pod("high", "1", nominated);
    b.pod("middle", "1", priority(50));
    co_await settle();
    b.api.erase("pods", "default", "leaving");
    co_await settle(1000);
    CHECK(b.node_of("high") == "one");
    CHECK(b.node_of("middle").empty());
  });
}

TEST_CASE("a pod whose victims cannot be sent away waits before it tries again") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one", "1");
    b.pod("low", "800m", priority(0));
    co_await settle();
    REQUIRE(b.node_of("low") == "one");
    bool refuse = true;
    b.api.react([&](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (!refuse || call.verb != "delete" || call.resource != "pods") return {};
      return Error{Code::kInternal, "a webhook says no"};
    });
    b.pod("high", "800m", priority(100));
    co_await settle(1000);
    CHECK(b.api.count("delete", "pods") == 1);
    // Neither an update of the pod nor one of the cluster makes it faster.
    b.api.set_status("pods", "default", "high", {{"message", "look again"}});
    b.node("two", "100m");
    b.clock.advance(900ms);
    co_await settle(1000);
    CHECK(b.api.count("delete", "pods") == 1);
    b.clock.advance(200ms);
    co_await settle(1000);
    CHECK(b.api.count("delete", "pods") == 2);
    refuse = false;
    for (int i = 0; i < 12; ++i) {
      b.clock.advance(1s);
      co_await settle(300);
    }
    CHECK(b.node_of("high") == "one");
    CHECK(b.api.find("pods", "default", "low") == nullptr);
  });
}
