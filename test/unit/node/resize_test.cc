// Resources of a living pod that change (KEP-1287), among fakes.
#include "spec/allocation.h"
#include "worker_fixture.h"

using namespace brume;
using namespace brume::test;

namespace {

Json resources(const std::string& cpu, const std::string& memory) {
  return {{"requests", {{"cpu", cpu}, {"memory", memory}}}, {"limits", {{"cpu", cpu}, {"memory", memory}}}};
}

Json sized_pod() {
  Json pod = WorkerFixture::pod_json();
  pod["spec"]["containers"][0]["resources"] = resources("100m", "64Mi");
  return pod;
}

// What the API does with a resize: another spec, another generation.
void resize(WorkerFixture& f, const Json& wanted, std::size_t container = 0) {
  Json pod = f.client.json("pods", "default", "web");
  pod["spec"]["containers"][container]["resources"] = wanted;
  pod["metadata"]["generation"] = num(at(pod, "metadata"), "generation") + 1;
  f.client.seed("pods", pod);
  f.sync();
}

Json condition(const WorkerFixture& f, const std::string& type) {
  for (const Json& c : at(f.status(), "conditions")) {
    if (str(c, "type") == type) return c;
  }
  return {};
}

std::int64_t memory_limit(const Json& oci) { return num(at(oci, "memory"), "limit"); }
constexpr std::int64_t kMi = 1 << 20;

}  // namespace

TEST_CASE(
    "a container that runs gets what the spec asks for, the pod before it when it grows and after when it shrinks") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.start(sized_pod());
    bool ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    CHECK(at(f.container(), "resources") == resources("100m", "64Mi"));
    CHECK(at(f.container(), "allocatedResources") == resources("100m", "64Mi")["requests"]);
    CHECK(at(f.status(), "allocatedResources") == resources("100m", "64Mi")["requests"]);

    resize(f, resources("200m", "128Mi"));
    ok = co_await f.until([&] { return f.has_event("ResizeCompleted", R"("generation":2)"); });
    REQUIRE(ok);
    REQUIRE(f.runtime.updates.size() == 2);
    CHECK(f.runtime.updates[0].first.empty());
    CHECK(memory_limit(f.runtime.updates[0].second) == 128 * kMi);
    CHECK(f.runtime.updates[1].first == "app");
    CHECK(memory_limit(f.runtime.updates[1].second) == 128 * kMi);
    CHECK(f.runtime.updates[1].second["cpu"]["quota"] == 20000);
    ok = co_await f.until([&] { return at(f.container(), "resources") == resources("200m", "128Mi"); });
    CHECK(ok);
    CHECK(at(f.status(), "resources") == resources("200m", "128Mi"));
    CHECK(num(f.status(), "observedGeneration") == 2);
    CHECK(condition(f, "PodResizeInProgress").is_null());
    CHECK(f.runtime.starts("app") == 1);
    CHECK(f.has_event("ResizeStarted", R"("containers":[{"name":"app","resources":)"));

    f.runtime.updates.clear();
    resize(f, resources("100m", "32Mi"));
    ok = co_await f.until([&] { return f.has_event("ResizeCompleted", R"("generation":3)"); });
    REQUIRE(ok);
    REQUIRE(f.runtime.updates.size() == 2);
    CHECK(f.runtime.updates[0].first == "app");
    CHECK(f.runtime.updates[1].first.empty());
    CHECK(memory_limit(f.runtime.updates[1].second) == 32 * kMi);
  });
}

TEST_CASE("a container that resizes by a new start is started anew, and no other") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = sized_pod();
    pod["spec"]["containers"][0]["resizePolicy"] =
        Json::array({{{"resourceName", "memory"}, {"restartPolicy", "RestartContainer"}}});
    pod["spec"]["containers"].push_back(WorkerFixture::container_json("other"));
    f.start(pod);
    bool ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    resize(f, resources("200m", "64Mi"));  // of cpu alone
    ok = co_await f.until([&] { return f.has_event("ResizeCompleted", R"("generation":2)"); });
    REQUIRE(ok);
    CHECK(f.runtime.starts("app") == 1);
    resize(f, resources("200m", "128Mi"));
    ok = co_await f.until([&] { return f.has_event("ResizeCompleted", R"("generation":3)") && f.condition("Ready"); });
    REQUIRE(ok);
    CHECK(f.has_event("Killing", "Container app resize requires restart"));
    CHECK(f.runtime.starts("app") == 2);
    CHECK(f.runtime.starts("other") == 1);
    CHECK(memory_limit(at(f.runtime.specs["app"].oci, "linux", "resources")) == 128 * kMi);
    ok = co_await f.until([&] {
      return num(f.container(), "restartCount") == 1 && at(f.container(), "resources") == resources("200m", "128Mi");
    });
    CHECK(ok);
  });
}

TEST_CASE("a resize without room waits, is told once, and comes when there is room") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.start(sized_pod());
    bool ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    f.lacking = "Pod was rejected: Node didn't have enough resource: cpu";
    resize(f, resources("3", "64Mi"));
    ok = co_await f.until([&] { return str(condition(f, "PodResizePending"), "reason") == "Deferred"; });
    REQUIRE(ok);
    CHECK(str(condition(f, "PodResizePending"), "message") == *f.lacking);
    CHECK(num(condition(f, "PodResizePending"), "observedGeneration") == 2);
    CHECK(f.has_event("ResizeDeferred", R"("error":"Pod was rejected)"));
    CHECK(f.runtime.updates.empty());
    CHECK(f.worker->resize_asked());
    CHECK(f.worker->resize_wish().grows);
    CHECK(f.worker->resize_wish().request.milli_cpu == 3000);
    CHECK(at(f.container(), "allocatedResources", "cpu") == "100m");

    // A new process of the node knows what was granted from the status.
    co_await f.restart();
    CHECK(f.worker->resize_asked());
    CHECK(at(f.worker->pod()["spec"]["containers"][0], "resources") == resources("100m", "64Mi"));

    f.lacking.reset();
    f.worker->decide_resize(std::nullopt);
    ok = co_await f.until([&] { return f.has_event("ResizeCompleted"); });
    REQUIRE(ok);
    ok = co_await f.until([&] { return condition(f, "PodResizePending").is_null(); });
    CHECK(ok);
    CHECK(f.runtime.starts("app") == 1);
    CHECK(f.runtime.updates.back().second["cpu"]["quota"] == 300000);
  });
}

TEST_CASE("a container that has not run yet keeps what it was granted, over a restart of the node's process too") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = sized_pod();
    pod["spec"]["initContainers"] = Json::array({WorkerFixture::container_json("setup", "docker.io/library/setup:1")});
    f.start(pod);
    bool ok = co_await f.until([&] { return f.runtime.starts("setup") == 1; });
    REQUIRE(ok);
    f.lacking = "no room";
    resize(f, resources("3", "64Mi"));
    ok = co_await f.until([&] { return !condition(f, "PodResizePending").is_null(); });
    REQUIRE(ok);
    co_await sleep_for(std::chrono::milliseconds(20));
    co_await f.restart();
    CHECK(f.worker->resize_asked());
    f.runtime.finish("setup", 0);
    ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    CHECK(at(f.runtime.specs["app"].oci, "linux", "resources")["cpu"]["quota"] == 10000);
  });
}

TEST_CASE("a resize that is taken back before it had room leaves nothing") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.start(sized_pod());
    bool ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    f.lacking = "no room";
    resize(f, resources("3", "64Mi"));
    ok = co_await f.until([&] { return !condition(f, "PodResizePending").is_null(); });
    REQUIRE(ok);
    resize(f, resources("100m", "65536Ki"));  // as it was, in other words
    ok = co_await f.until([&] { return condition(f, "PodResizePending").is_null(); });
    CHECK(ok);
    CHECK(f.runtime.updates.empty());
    CHECK_FALSE(f.has_event("ResizeStarted"));
  });
}

TEST_CASE("a memory limit below what is in use is not set, and is told") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.start(sized_pod());
    bool ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    f.runtime.memory["app"] = 50 * kMi;
    resize(f, resources("100m", "32Mi"));
    ok = co_await f.until([&] { return str(condition(f, "PodResizeInProgress"), "reason") == "Error"; });
    REQUIRE(ok);
    CHECK(str(condition(f, "PodResizeInProgress"), "message") ==
          "cannot decrease memory limits: attempting to set container \"app\" memory limit (33554432) below current "
          "usage (52428800)");
    CHECK(f.runtime.updates.empty());
    CHECK(at(f.container(), "resources") == resources("100m", "64Mi"));
    CHECK(at(f.container(), "allocatedResources") == resources("100m", "32Mi")["requests"]);
    ok = co_await f.until([&] { return f.has_event("ResizeError", "below current usage"); });
    CHECK(ok);
    // More or less of too much is no news.
    f.runtime.memory["app"] = 51 * kMi;
    const auto writes = f.client.count("patch", "pods", "status");
    f.clock.advance(std::chrono::seconds(10));
    co_await sleep_for(std::chrono::milliseconds(30));
    CHECK(f.client.count("patch", "pods", "status") == writes);
    f.runtime.memory["app"] = 10 * kMi;
    f.clock.advance(std::chrono::seconds(10));
    ok = co_await f.until([&] { return f.has_event("ResizeCompleted"); });
    CHECK(ok);
    CHECK(f.runtime.updates.size() == 2);
  });
}

TEST_CASE("a container that has the pod's limits is resized with them") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    pod["spec"]["resources"] = resources("1", "128Mi");
    pod["spec"]["containers"].push_back(WorkerFixture::container_json("other"));
    pod["spec"]["containers"][1]["resizePolicy"] =
        Json::array({{{"resourceName", "memory"}, {"restartPolicy", "RestartContainer"}}});
    f.start(pod);
    bool ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    CHECK(at(f.status(), "resources") == resources("1", "128Mi"));
    Json now = f.client.json("pods", "default", "web");
    now["spec"]["resources"] = resources("1", "256Mi");
    now["metadata"]["generation"] = 2;
    f.client.seed("pods", now);
    f.sync();
    ok = co_await f.until([&] { return f.has_event("ResizeCompleted") && f.condition("Ready"); });
    REQUIRE(ok);
    REQUIRE(f.runtime.updates.size() == 2);
    CHECK(memory_limit(f.runtime.updates[0].second) == 256 * kMi);
    CHECK(f.runtime.updates[1].first == "app");
    CHECK(memory_limit(f.runtime.updates[1].second) == 256 * kMi);
    CHECK(f.runtime.starts("app") == 1);
    CHECK(f.runtime.starts("other") == 2);
    ok = co_await f.until([&] { return at(f.status(), "resources") == resources("1", "256Mi"); });
    CHECK(ok);
    CHECK(at(f.container(), "resources") == Json::object());
  });
}

TEST_CASE("the wider of two cgroup settings, and what decides that a resize restarts") {
  const Json small = {{"cpu", {{"shares", 102}, {"quota", 10000}, {"period", 100000}}}, {"memory", {{"limit", 64}}}};
  const Json open = {{"cpu", {{"shares", 512}}}};
  const Json both = node::wider_resources(small, open);
  CHECK(both["cpu"]["shares"] == 512);
  CHECK_FALSE(at(both, "cpu").contains("quota"));
  CHECK(at(both, "memory").is_null());
  CHECK(node::wider_resources(small, small) == small);
  CHECK(node::wider_resources(Json(), small) == small);

  const Json one = {{"limits", {{"cpu", "1"}}}};
  CHECK(node::same_amounts(one, Json{{"limits", {{"cpu", "1000m"}}}}));
  CHECK_FALSE(node::same_amounts(one, Json{{"requests", {{"cpu", "1"}}}}));
  const Json policy = {
      {"resizePolicy", Json::array({{{"resourceName", "cpu"}, {"restartPolicy", "RestartContainer"}}})}};
  CHECK(node::resize_restarts(policy, resources("1", "1Gi"), resources("2", "1Gi")));
  CHECK_FALSE(node::resize_restarts(policy, resources("1", "1Gi"), resources("1", "2Gi")));
}

TEST_CASE("a limit that is taken back is lifted, and overhead is no amount of the pod's own") {
  const Json none = node::with_no_limits({{"cpu", {{"shares", 2}}}});
  CHECK(none["cpu"]["quota"] == -1);
  CHECK(none["memory"]["limit"] == -1);
  const Json some = {{"cpu", {{"quota", 5000}}}, {"memory", {{"limit", 64}}}};
  CHECK(node::with_no_limits(some) == some);
  Json pod = sized_pod();
  pod["spec"]["overhead"] = {{"cpu", "1"}, {"memory", "1Gi"}};
  CHECK(node::pod_effective_resources(pod) == resources("100m", "64Mi"));
  CHECK(node::pod_request(pod).milli_cpu == 1100);
}

TEST_CASE("limits of the pod as a whole hold for its cgroup and for containers without their own") {
  Json pod = WorkerFixture::pod_json();
  pod["spec"]["resources"] = {{"requests", {{"cpu", "500m"}, {"memory", "128Mi"}}},
                              {"limits", {{"cpu", "1"}, {"memory", "256Mi"}}}};
  const Json oci = node::pod_resources(pod, 0);
  CHECK(oci["cpu"]["quota"] == 100000);
  CHECK(oci["cpu"]["shares"] == 512);
  CHECK(memory_limit(oci) == 256 * kMi);
  Json& app = pod["spec"]["containers"][0];
  CHECK(memory_limit(node::container_resources(pod, app)) == 256 * kMi);
  app["resources"] = {{"limits", {{"memory", "64Mi"}}}};
  CHECK(memory_limit(node::container_resources(pod, app)) == 64 * kMi);
  CHECK(node::container_resources(pod, app)["cpu"]["quota"] == 100000);
  CHECK(node::pod_effective_resources(pod) == pod["spec"]["resources"]);
  // Memory that no container has asked for counts for each of them alike: 128 of 8192 MiB.
  app.erase("resources");
  const Json ref = {{"resource", "limits.memory"}};
  CHECK(node::resource_field(pod, app, ref, {}).value() == std::to_string(256 * kMi));
  CHECK(node::oom_score_adj(pod, app, 8192 * kMi) == 1000 - 1000 * 128 / 8192);
}
