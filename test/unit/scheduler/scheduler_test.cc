// The scheduler as a whole: from a pod in the API to its binding.
#include <chrono>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "bench.h"
#include "resources.h"

using namespace brume;
using namespace std::chrono_literals;
using test::settle;

TEST_CASE("a pod is bound, and an event says where") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one");
    b.pod("a");
    co_await settle();
    CHECK(b.node_of("a") == "one");
    CHECK(str(b.condition("a"), "status") == "True");
    CHECK(b.events("Scheduled") == std::vector<std::string>{"Successfully assigned default/a to one"});
    const Json event = b.api.all("events").front()->parse();
    CHECK(str(at(event, "source"), "component") == "default-scheduler");
    CHECK(b.it->pending() == 0);
    CHECK(b.api.count("patch", "pods", "status") == 0);  // it waited for nothing, so there was no nomination to publish
  });
}

TEST_CASE("a pod that fits nowhere says why, and is placed when room appears") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one", "1");
    b.node("two", "500m",
           {{"spec", {{"taints", Json::array({{{"key", "gpu"}, {"value", "yes"}, {"effect", "NoSchedule"}}})}}}});
    b.pod("first", "800m");
    co_await settle();
    CHECK(b.node_of("first") == "one");
    b.pod("big", "900m");
    co_await settle();
    CHECK(b.node_of("big").empty());
    const std::string want =
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). preemption: 0/2 nodes "
        "are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.";
    CHECK(str(b.condition("big"), "message") == want);
    CHECK(str(b.condition("big"), "reason") == "Unschedulable");
    REQUIRE(b.events("FailedScheduling").size() == 1);
    CHECK(b.events("FailedScheduling")[0] == str(b.condition("big"), "message"));
    // Its own condition coming back as an update is no reason to try again.
    CHECK(b.api.count("patch", "pods", "status") == 1);
    b.api.erase("pods", "default", "first");
    co_await settle();
    b.clock.advance(2s);
    co_await settle();
    CHECK(b.node_of("big") == "one");
  });
}

TEST_CASE("a pod that is being resized counts with the most of what it asks for, was granted and has") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one", "1");
    b.pod("first", "800m");
    co_await settle();
    Json running = {{"status", {{"phase", "Running"}}}};
    const auto shows = [&](const char* cpu) {
      running["status"]["containerStatuses"] = Json::array(
          {{{"name", "c"}, {"resources", {{"requests", {{"cpu", cpu}}}}}, {"allocatedResources", {{"cpu", cpu}}}}});
      Json pod = b.api.json("pods", "default", "first");
      pod.merge_patch(running);
      b.api.seed("pods", std::move(pod));
    };
    shows("800m");
    Json pod = b.api.json("pods", "default", "first");
    pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "100m";
    pod["metadata"]["generation"] = num(at(pod, "metadata"), "generation") + 1;
    b.api.seed("pods", std::move(pod));
    b.pod("second", "900m");
    co_await settle();
    CHECK(b.node_of("second").empty());
    // Neither a sidecar nor another init container changes that.
    pod = b.api.json("pods", "default", "first");
    pod["spec"]["initContainers"] =
        Json::array({{{"name", "setup"}}, {{"name", "proxy"}, {"restartPolicy", "Always"}}});
    pod["status"]["initContainerStatuses"] = Json::array(
        {{{"name", "setup"}, {"resources", Json::object()}}, {{"name", "proxy"}, {"resources", Json::object()}}});
    b.api.seed("pods", std::move(pod));
    co_await settle();
    CHECK(b.node_of("second").empty());
    shows("100m");  // the node has made it smaller
    co_await settle();
    b.clock.advance(2s);
    co_await settle();
    CHECK(b.node_of("second") == "one");
  });
}

TEST_CASE("no nodes") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.pod("a");
    co_await settle();
    CHECK(str(b.condition("a"), "message") == "no nodes available to schedule pods");
    b.node("one");
    co_await settle();
    b.clock.advance(1s);
    co_await settle();
    CHECK(b.node_of("a") == "one");
  });
}

TEST_CASE("gated pods wait until their gates are gone; other schedulers' pods are left alone") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one");
    b.pod("gated", "100m", {{"spec", {{"schedulingGates", Json::array({{{"name", "wait"}}})}}}});
    b.pod("theirs", "100m", {{"spec", {{"schedulerName", "custom"}}}});
    co_await settle();
    CHECK(b.node_of("gated").empty());
    CHECK(str(b.condition("gated"), "reason") == "SchedulingGated");
    CHECK(b.node_of("theirs").empty());
    Json open = b.api.json("pods", "default", "gated");
    open["spec"].erase("schedulingGates");
    open["metadata"]["generation"] = 2;
    b.api.seed("pods", open);
    co_await settle();
    CHECK(b.node_of("gated") == "one");
  });
}

TEST_CASE("a binding that fails is undone and tried again") {
  Bench b;
  b.run([&]() -> Task<void> {
    int failures = 2;
    b.api.react([&](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.subresource != "binding" || failures == 0) return std::nullopt;
      --failures;
      return Error{.code = Code::kInternal, .message = "store is busy"};
    });
    b.node("one", "1");
    b.pod("a", "1");
    co_await settle();
    CHECK(b.node_of("a").empty());
    for (int i = 0; i < 5; ++i) {
      b.clock.advance(2s);
      co_await settle();
    }
    CHECK(b.node_of("a") == "one");
    CHECK(failures == 0);
  });
}

TEST_CASE("pods being bound count: a node is never overcommitted") {
  Bench b;
  b.run([&]() -> Task<void> {
    for (int i = 0; i < 5; ++i) b.node("n" + std::to_string(i), "1");
    for (int i = 0; i < 30; ++i) b.pod("p" + std::to_string(i), "300m");
    co_await settle(1000);
    std::map<std::string, int> count;
    for (const auto& pod : b.api.all("pods")) ++count[std::string(str(at(pod->parse(), "spec"), "nodeName"))];
    CHECK(count[""] == 15);
    for (int i = 0; i < 5; ++i) CHECK(count["n" + std::to_string(i)] == 3);
  });
}

TEST_CASE("higher priority goes first") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.pod("low", "1", {{"spec", {{"priority", 0}}}});
    b.pod("high", "1", {{"spec", {{"priority", 1000}}}});
    co_await settle();
    b.clock.advance(5s);
    b.node("one", "1");
    co_await settle();
    CHECK(b.node_of("high") == "one");
    CHECK(b.node_of("low").empty());
    CHECK(str(b.condition("low"), "message").find("Insufficient cpu") != std::string::npos);
  });
}

TEST_CASE("spreading and packing") {
  for (const bool pack : {false, true}) {
    Bench b;
    b.run([&]() -> Task<void> {
      for (int i = 0; i < 4; ++i) b.node("n" + std::to_string(i));
      for (int i = 0; i < 4; ++i) {
        b.pod("p" + std::to_string(i), "500m",
              {{"spec", {{"schedulerName", pack ? "bin-packing" : "default-scheduler"}}}});
        co_await settle();
      }
      std::set<std::string> used;
      for (int i = 0; i < 4; ++i) used.insert(b.node_of("p" + std::to_string(i)));
      CHECK(used.size() == (pack ? 1 : 4));
    });
  }
}

TEST_CASE("cordoned nodes take nothing until they are uncordoned") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one", "4", {{"spec", {{"unschedulable", true}}}});
    b.pod("a");
    co_await settle();
    CHECK(str(b.condition("a"), "message").find("1 node(s) were unschedulable") != std::string::npos);
    b.node("one");
    b.clock.advance(1s);
    co_await settle();
    b.clock.advance(1s);
    co_await settle();
    CHECK(b.node_of("a") == "one");
  });
}

TEST_CASE("pods that finished or went free their room") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one", "1");
    b.pod("job", "1");
    co_await settle();
    b.pod("next", "1");
    co_await settle();
    CHECK(b.node_of("next").empty());
    b.api.set_status("pods", "default", "job", {{"phase", "Succeeded"}});
    co_await settle();
    b.clock.advance(2s);
    co_await settle();
    CHECK(b.node_of("next") == "one");
  });
}

TEST_CASE("names of resources that pods invent do not pile up, and those in use keep their amounts") {
  Bench b;
  b.run([&]() -> Task<void> {
    b.node("one", "4", {{"status", {{"allocatable", {{"example.com/gpu", "2"}}}}}});
    const auto asks = [](const std::string& name) {
      Json container = {{"name", "c"}, {"resources", {{"requests", {{"cpu", "1m"}, {name, "1"}}}}}};
      return Json{{"spec", {{"containers", Json::array({std::move(container)})}}}};
    };
    b.pod("first", "1m", asks("example.com/gpu"));
    co_await settle();
    CHECK(b.node_of("first") == "one");
    for (int i = 0; i < 1500; ++i) {
      const std::string name = "p" + std::to_string(i);
      b.pod(name, "1m", asks("example.com/" + name));
      co_await settle(5);
      if (i >= 20) b.api.erase("pods", "default", "p" + std::to_string(i - 20));
    }
    co_await settle();
    CHECK(scheduler::resource_names() < 600);
    CHECK(str(b.condition("p1499"), "message").find("1 Insufficient example.com/p1499.") != std::string::npos);
    b.pod("second", "1m", asks("example.com/gpu"));
    b.pod("third", "1m", asks("example.com/gpu"));
    co_await settle();
    CHECK(b.node_of("second").size() + b.node_of("third").size() == 3);
    // What an id stood for before is not taken for what it stands for now.
    b.node("two", "4", {{"status", {{"allocatable", {{"example.com/p1499", "1"}}}}}});
    co_await settle();
    CHECK(b.node_of("p1499") == "two");
  });
}
