#include <set>

#include "bench.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

std::size_t active(const Bench& b) {
  std::size_t count = 0;
  for (const auto& pod : b.api.all("pods")) count += pod->deleting() ? 0 : 1;
  return count;
}

Json status(const Bench& b, const char* name = "web") {
  return at(b.api.json("replicasets.apps", "default", name), "status");
}

}  // namespace

TEST_CASE("a ReplicaSet creates its pods once, and counts them") {
  Bench b({make_replicaset});
  b.run([&]() -> Task<void> {
    b.api.seed("replicasets.apps", replicaset("web", 7));
    co_await b.rest();
    REQUIRE(b.api.all("pods").size() == 7);
    CHECK(b.api.count("create", "pods") == 7);
    const auto pod = b.api.all("pods").front();
    CHECK(pod->name().starts_with("web-"));
    REQUIRE(pod->controller() != nullptr);
    CHECK(pod->controller()->kind == "ReplicaSet");
    CHECK(pod->controller()->block_owner_deletion);
    CHECK(num(status(b), "replicas") == 7);
    CHECK(num(status(b), "fullyLabeledReplicas") == 7);
    CHECK_FALSE(status(b).contains("readyReplicas"));
    CHECK(b.events("SuccessfulCreate").size() == 7);
    b.kubelet();
    co_await b.rest();
    CHECK(num(status(b), "readyReplicas") == 7);
    CHECK(num(status(b), "availableReplicas") == 7);
    CHECK(num(status(b), "observedGeneration") == 1);
  });
}

TEST_CASE("scaling down deletes the least valuable pods") {
  Bench b({make_replicaset});
  b.run([&]() -> Task<void> {
    b.api.seed("replicasets.apps", replicaset("web", 4));
    co_await b.rest();
    b.kubelet();
    co_await b.rest();
    auto pods = b.api.all("pods");
    REQUIRE(pods.size() == 4);
    b.api.set_status("pods", "default", pods[2]->name(),
                     {{"conditions", Json::array({{{"type", "Ready"}, {"status", "False"}}})}});
    b.edit("pods", "default", pods[1]->name(),
           [](Json& pod) { pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"] = "-5"; });
    co_await b.rest();
    b.edit("replicasets.apps", "default", "web", [](Json& rs) { rs["spec"]["replicas"] = 2; });
    co_await b.rest();
    CHECK(active(b) == 2);
    CHECK(b.api.find("pods", "default", pods[2]->name())->deleting());
    CHECK(b.api.find("pods", "default", pods[1]->name())->deleting());
    CHECK(num(status(b), "terminatingReplicas") == 2);
    CHECK(b.events("SuccessfulDelete").size() == 2);
    b.kubelet();
    co_await b.rest();
    CHECK(num(status(b), "terminatingReplicas") == 0);
    CHECK(num(status(b), "replicas") == 2);
  });
}

TEST_CASE("failing creations stop early, are reported, and recover") {
  Bench b({make_replicaset});
  b.run([&]() -> Task<void> {
    b.api.react([](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "create" || call.resource != "pods") return std::nullopt;
      return Error{.code = Code::kForbidden, .message = "exceeded quota"};
    });
    b.api.seed("replicasets.apps", replicaset("web", 100));
    co_await test::settle(100);
    CHECK(b.api.count("create", "pods") <= 2);
    const Json condition = client::find_condition(status(b), "ReplicaFailure");
    CHECK(str(condition, "reason") == "FailedCreate");
    CHECK(str(condition, "message") == "exceeded quota");
    CHECK_FALSE(b.events("FailedCreate").empty());
    b.api.clear_reactors();
    co_await b.rest(40);
    CHECK(active(b) == 100);
    CHECK(client::find_condition(status(b), "ReplicaFailure").is_null());
  });
}

TEST_CASE("orphans are adopted and strays released") {
  Bench b({make_replicaset});
  b.run([&]() -> Task<void> {
    b.api.seed("pods", {{"metadata", {{"name", "orphan"}, {"labels", {{"app", "web"}}}}}});
    b.api.seed("replicasets.apps", replicaset("web", 2));
    co_await b.rest();
    CHECK(active(b) == 2);
    REQUIRE(b.api.find("pods", "default", "orphan")->controller() != nullptr);
    b.edit("pods", "default", "orphan", [](Json& pod) { pod["metadata"]["labels"]["app"] = "debug"; });
    co_await b.rest();
    CHECK(b.api.find("pods", "default", "orphan")->controller() == nullptr);
    CHECK(active(b) == 3);
  });
}

TEST_CASE("a ReplicaSet that is being deleted creates nothing") {
  Bench b({make_replicaset});
  b.run([&]() -> Task<void> {
    Json rs = replicaset("web", 3);
    rs["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
    rs["metadata"]["finalizers"] = Json::array({"foregroundDeletion"});
    b.api.seed("replicasets.apps", rs);
    co_await b.rest();
    CHECK(b.api.all("pods").empty());
  });
}

TEST_CASE("minReadySeconds delays availability, without an event to tell") {
  Bench b({make_replicaset});
  b.run([&]() -> Task<void> {
    Json rs = replicaset("web", 1);
    rs["spec"]["minReadySeconds"] = 30;
    b.api.seed("replicasets.apps", rs);
    co_await b.rest();
    b.kubelet();
    co_await b.rest();
    CHECK(num(status(b), "readyReplicas") == 1);
    CHECK(num(status(b), "availableReplicas") == 0);
    b.clock.advance(31s);
    co_await b.rest();
    CHECK(num(status(b), "availableReplicas") == 1);
  });
}

TEST_CASE("a stale copy leads to no second creation") {
  Bench b({make_replicaset});
  b.run([&]() -> Task<void> {
    b.api.seed("replicasets.apps", replicaset("web", 3));
    co_await b.rest();
    // While the pod watch is cut, reconciles are triggered again and again.
    b.api.break_watches({.code = Code::kServiceUnavailable, .message = "cut"});
    b.edit("replicasets.apps", "default", "web", [](Json& rs) { rs["spec"]["replicas"] = 5; });
    for (int i = 0; i < 20; ++i) {
      b.edit("replicasets.apps", "default", "web",
             [i](Json& rs) { rs["metadata"]["annotations"]["n"] = std::to_string(i); });
      b.clock.advance(7ms);
      co_await test::settle(40);
    }
    co_await b.rest(20);
    CHECK(b.api.count("create", "pods") == 5);
    CHECK(active(b) == 5);
  });
}

TEST_CASE("ReplicationControllers run by the same code") {
  Bench b({make_replication_controller});
  b.run([&]() -> Task<void> {
    b.api.seed("replicationcontrollers",
               {{"metadata", {{"name", "rc"}}},
                {"spec", {{"replicas", 2}, {"selector", {{"app", "rc"}}}, {"template", pod_template("rc")}}}});
    co_await b.rest();
    CHECK(active(b) == 2);
    CHECK(b.api.all("pods").front()->controller()->kind == "ReplicationController");
    CHECK(num(at(b.api.json("replicationcontrollers", "default", "rc"), "status"), "replicas") == 2);
  });
}

TEST_CASE("the order of deletion") {
  const WallTime now{std::chrono::seconds(1'800'000'000)};
  struct Case {
    const char* what;
    PodView first, second;
    int rank_first = 0, rank_second = 0;
  };
  const auto ago = [&](int seconds) { return now - std::chrono::seconds(seconds); };
  std::vector<Case> cases;
  cases.push_back({"unassigned before assigned", {}, {.node_name = "n"}});
  cases.push_back({"pending before running",
                   {.phase = PodPhase::kPending, .node_name = "n"},
                   {.phase = PodPhase::kRunning, .node_name = "n"}});
  cases.push_back({"unready before ready", {.node_name = "n"}, {.ready = true, .node_name = "n"}});
  cases.push_back({"cheap before dear", {.deletion_cost = -1}, {.deletion_cost = 0}});
  cases.push_back({"crowded before lonely", {}, {}, 3, 1});
  cases.push_back({"ready lately before ready long",
                   {.ready = true, .ready_since = ago(10)},
                   {.ready = true, .ready_since = ago(10'000)}});
  cases.push_back({"many restarts before few", {.restarts = 5}, {.restarts = 1}});
  cases.push_back({"young before old", {.created = ago(10)}, {.created = ago(100'000)}});
  auto a = api::Object::from_json({{"metadata", {{"name", "a"}, {"uid", "zz"}}}});
  auto c = api::Object::from_json({{"metadata", {{"name", "c"}, {"uid", "aa"}}}});
  REQUIRE(a);
  REQUIRE(c);
  for (const auto& k : cases) {
    INFO(k.what);
    const Candidate first{.pod = *a, .view = &k.first, .rank = k.rank_first};
    const Candidate second{.pod = *c, .view = &k.second, .rank = k.rank_second};
    CHECK(delete_before(first, second, now));
    CHECK_FALSE(delete_before(second, first, now));
  }
}
