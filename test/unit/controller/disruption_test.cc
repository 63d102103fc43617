#include "bench.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

const char* const kBudgets = "poddisruptionbudgets.policy";

Json budget(Json spec, const std::string& app = "web") {
  spec["selector"] = {{"matchLabels", {{"app", app}}}};
  return {{"metadata", {{"name", "pdb"}}}, {"spec", std::move(spec)}};
}

Json status(const Bench& b) { return at(b.api.json(kBudgets, "default", "pdb"), "status"); }

std::string reason(const Bench& b) {
  return std::string(str(client::find_condition(status(b), "DisruptionAllowed"), "reason"));
}

Json ready_pod(const std::string& name, bool ready = true, const std::string& app = "web") {
  return {{"metadata", {{"name", name}, {"labels", {{"app", app}}}}},
          {"spec", {{"nodeName", "node"}}},
          {"status",
           {{"phase", "Running"},
            {"conditions", Json::array({{{"type", "Ready"}, {"status", ready ? "True" : "False"}}})}}}};
}

Json owned(Json object, const std::string& api_version, const std::string& kind, const std::string& name,
           const std::string& uid) {
  object["metadata"]["ownerReferences"] =
      Json::array({{{"apiVersion", api_version}, {"kind", kind}, {"name", name}, {"uid", uid}, {"controller", true}}});
  return object;
}

Json scaled(const std::string& name, const std::string& uid, int replicas) {
  return {{"metadata", {{"name", name}, {"uid", uid}}}, {"spec", {{"replicas", replicas}}}};
}

}  // namespace

TEST_CASE("minAvailable as a number is of the pods that are there") {
  Bench b({make_disruption});
  b.run([&]() -> Task<void> {
    b.api.seed(kBudgets, budget({{"minAvailable", 2}}));
    co_await b.rest();
    CHECK(num(status(b), "disruptionsAllowed", -1) == 0);
    CHECK(num(status(b), "observedGeneration") == 1);
    CHECK(reason(b) == "InsufficientPods");
    CHECK(b.events("NoPods") == std::vector<std::string>{"No matching pods found"});
    for (const char* name : {"a", "b", "c"}) b.api.seed("pods", ready_pod(name));
    b.api.seed("pods", ready_pod("sick", false));
    b.api.seed("pods", ready_pod("other", true, "db"));
    co_await b.rest();
    CHECK(num(status(b), "expectedPods") == 4);
    CHECK(num(status(b), "currentHealthy") == 3);
    CHECK(num(status(b), "desiredHealthy") == 2);
    CHECK(num(status(b), "disruptionsAllowed") == 1);
    CHECK(reason(b) == "SufficientPods");
    CHECK(str(client::find_condition(status(b), "DisruptionAllowed"), "status") == "True");
    CHECK(client::find_condition(status(b), "DisruptionAllowed").contains("message"));
    b.api.erase("pods", "default", "a");
    co_await b.rest();
    CHECK(num(status(b), "disruptionsAllowed", -1) == 0);
    CHECK(reason(b) == "InsufficientPods");
    b.edit(kBudgets, "default", "pdb", [](Json& pdb) { pdb["spec"]["minAvailable"] = 1; });
    co_await b.rest();
    CHECK(num(status(b), "disruptionsAllowed") == 1);
    CHECK(num(status(b), "observedGeneration") == 2);
    b.edit("pods", "default", "b", [](Json& pod) { pod["metadata"]["labels"]["app"] = "debug"; });
    co_await b.rest();
    CHECK(num(status(b), "currentHealthy") == 1);
  });
}

TEST_CASE("percentages and maxUnavailable are of what the controllers want") {
  Bench b({make_disruption});
  b.run([&]() -> Task<void> {
    b.api.seed("deployments.apps", scaled("web", "d-uid", 7));
    b.api.seed("replicasets.apps", owned(scaled("web-1", "r1", 3), "apps/v1", "Deployment", "web", "d-uid"));
    b.api.seed("replicasets.apps", owned(scaled("web-2", "r2", 4), "apps/v1", "Deployment", "web", "d-uid"));
    b.api.seed("replicasets.apps", scaled("lone", "r3", 2));
    b.api.seed("statefulsets.apps", scaled("set", "s1", 1));
    b.api.seed("replicationcontrollers", scaled("rc", "c1", 10));
    b.api.seed("pods", owned(ready_pod("w1"), "apps/v1", "ReplicaSet", "web-1", "r1"));
    b.api.seed("pods", owned(ready_pod("w2"), "apps/v1", "ReplicaSet", "web-2", "r2"));
    b.api.seed("pods", owned(ready_pod("l"), "apps/v1", "ReplicaSet", "lone", "r3"));
    b.api.seed("pods", owned(ready_pod("s"), "apps/v1", "StatefulSet", "set", "s1"));
    b.api.seed("pods", owned(ready_pod("c"), "v1", "ReplicationController", "rc", "c1"));
    b.api.seed(kBudgets, budget({{"minAvailable", "21%"}}));
    co_await b.rest();
    CHECK(num(status(b), "expectedPods") == 20);  // the Deployment once, not its ReplicaSets
    CHECK(num(status(b), "desiredHealthy") == 5);
    CHECK(num(status(b), "currentHealthy") == 5);
    CHECK(num(status(b), "disruptionsAllowed", -1) == 0);
    b.edit(kBudgets, "default", "pdb", [](Json& pdb) {
      pdb["spec"].erase("minAvailable");
      pdb["spec"]["maxUnavailable"] = "79%";
    });
    co_await b.rest();
    CHECK(num(status(b), "desiredHealthy") == 4);
    CHECK(num(status(b), "disruptionsAllowed") == 1);
    b.edit(kBudgets, "default", "pdb", [](Json& pdb) { pdb["spec"]["maxUnavailable"] = 30; });
    co_await b.rest();
    CHECK(num(status(b), "desiredHealthy", -1) == 0);
    CHECK(num(status(b), "disruptionsAllowed") == 5);
  });
}

TEST_CASE("a count that cannot be made allows nothing") {
  Bench b({make_disruption});
  b.run([&]() -> Task<void> {
    b.api.seed("pods", owned(ready_pod("j"), "batch/v1", "Job", "job", "j1"));
    b.api.seed(kBudgets, budget({{"maxUnavailable", 1}}));
    co_await b.rest();
    CHECK(reason(b) == "SyncFailed");
    CHECK(num(status(b), "disruptionsAllowed", -1) == 0);
    const Json condition = client::find_condition(status(b), "DisruptionAllowed");
    CHECK(str(condition, "message") == "jobs.batch does not implement the scale subresource");
    CHECK(b.events("CalculateExpectedPodCountFailed").at(0) ==
          "Failed to calculate the number of expected pods: jobs.batch does not implement the scale subresource");
    b.edit("pods", "default", "j", [](Json& pod) {
      pod["metadata"]["ownerReferences"][0]["kind"] = "ReplicaSet";
      pod["metadata"]["ownerReferences"][0]["apiVersion"] = "apps/v1";
    });
    co_await b.rest();
    CHECK(str(client::find_condition(status(b), "DisruptionAllowed"), "message") ==
          "found no controllers for pod \"j\"");
  });
}

TEST_CASE("pods without a controller are told of") {
  Bench b({make_disruption});
  b.run([&]() -> Task<void> {
    b.api.seed("pods", ready_pod("bare"));
    b.api.seed(kBudgets, budget({{"maxUnavailable", 1}}));
    co_await b.rest();
    CHECK(num(status(b), "expectedPods", -1) == 0);
    CHECK(num(status(b), "disruptionsAllowed", -1) == 0);
    REQUIRE_FALSE(b.events("UnmanagedPods").empty());
    CHECK(b.events("UnmanagedPods")
              .front()
              .starts_with("Pods selected by this PodDisruptionBudget (selector: "
                           "&LabelSelector{MatchLabels:map[string]string{app: "
                           "web,},MatchExpressions:[]LabelSelectorRequirement{},}) were found to be unmanaged."));
  });
}

TEST_CASE("a pod whose eviction was granted counts as gone for two minutes") {
  Bench b({make_disruption});
  b.run([&]() -> Task<void> {
    for (const char* name : {"a", "b", "c"}) b.api.seed("pods", ready_pod(name));
    b.api.seed(kBudgets, budget({{"minAvailable", 1}}));
    co_await b.rest();
    CHECK(num(status(b), "disruptionsAllowed") == 2);
    const std::string now = format_rfc3339(b.clock.now());
    b.api.set_status(kBudgets, "default", "pdb",
                     {{"disruptionsAllowed", 0}, {"disruptedPods", {{"a", now}, {"gone", now}}}});
    co_await b.rest();
    CHECK(num(status(b), "currentHealthy") == 2);
    CHECK(num(status(b), "disruptionsAllowed") == 1);
    CHECK(at(status(b), "disruptedPods").size() == 1);
    b.clock.advance(2min);
    co_await b.rest();
    CHECK(num(status(b), "currentHealthy") == 3);
    CHECK(at(status(b), "disruptedPods").empty());
    CHECK(b.events("NotDeleted") ==
          std::vector<std::string>{"Pod was expected by PDB default/pdb to be deleted but it wasn't"});
  });
}

TEST_CASE("an eviction granted meanwhile is not undone") {
  Bench b({make_disruption});
  b.run([&]() -> Task<void> {
    for (const char* name : {"a", "b"}) b.api.seed("pods", ready_pod(name));
    b.api.seed(kBudgets, budget({{"minAvailable", 1}}));
    co_await b.rest();
    // The eviction is written while the controller, on its old copy, is about to write its own count.
    bool spent = false;
    b.api.react([&](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (spent || call.verb != "update" || call.resource != kBudgets) return std::nullopt;
      spent = true;
      b.api.set_status(kBudgets, "default", "pdb",
                       {{"disruptionsAllowed", 0}, {"disruptedPods", {{"a", format_rfc3339(b.clock.now())}}}});
      return std::nullopt;
    });
    b.api.seed("pods", ready_pod("c", false));
    co_await b.rest();
    REQUIRE(spent);
    CHECK(at(status(b), "disruptedPods").contains("a"));
    CHECK(num(status(b), "disruptionsAllowed", -1) == 0);
    CHECK(num(status(b), "expectedPods") == 3);
  });
}

TEST_CASE("a pod of two budgets is told of") {
  Bench b({make_disruption});
  b.run([&]() -> Task<void> {
    b.api.seed(kBudgets, budget({{"minAvailable", 1}}));
    Json second = budget({{"minAvailable", 1}});
    second["metadata"]["name"] = "second";
    b.api.seed(kBudgets, second);
    co_await b.rest();
    b.api.seed("pods", ready_pod("a"));
    co_await b.rest();
    CHECK(b.events("MultiplePodDisruptionBudgets") ==
          std::vector<std::string>{
              "Pod \"default\"/\"a\" matches multiple PodDisruptionBudgets.  Chose \"pdb\" arbitrarily."});
    CHECK(num(at(b.api.json(kBudgets, "default", "second"), "status"), "expectedPods") == 1);
  });
}

TEST_CASE("a condition DisruptionTarget from which nothing came is taken back") {
  Bench b({make_disruption});
  b.run([&]() -> Task<void> {
    const auto target = [&](const char* name, const char* reason_text) {
      Json pod = ready_pod(name);
      pod["status"]["conditions"].push_back({{"type", "DisruptionTarget"},
                                             {"status", "True"},
                                             {"reason", reason_text},
                                             {"lastTransitionTime", format_rfc3339(b.clock.now())}});
      b.api.seed("pods", std::move(pod));
    };
    target("stale", "EvictionByEvictionAPI");
    target("kubelet", "TerminationByKubelet");
    co_await b.rest();
    const auto condition = [&](const char* name) {
      return std::string(
          str(client::find_condition(at(b.api.json("pods", "default", name), "status"), "DisruptionTarget"), "status"));
    };
    CHECK(condition("stale") == "True");
    b.clock.advance(2min);
    co_await b.rest();
    CHECK(condition("stale") == "False");
    CHECK(condition("kubelet") == "True");
  });
}
