// The pod worker's state machine: coming up, init order, restarts, probes, ends.
#include "worker_fixture.h"

#include "brume/linux/fd.h"

using namespace brume;
using namespace brume::test;
using namespace std::chrono_literals;

namespace {

Json two_inits() {
  Json pod = WorkerFixture::pod_json();
  pod["spec"]["initContainers"] = Json::array({WorkerFixture::container_json("first", "docker.io/library/setup:1"),
                                               WorkerFixture::container_json("second", "docker.io/library/setup:1")});
  return pod;
}

}  // namespace

TEST_CASE("a pod comes up: Running, ready, with address, events and conditions") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.start(WorkerFixture::pod_json());
    const bool running = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(running);
    const Json status = f.status();
    CHECK(str(status, "podIP") == "10.42.0.7");
    CHECK(str(status, "hostIP") == "192.0.2.1");
    CHECK(str(status, "qosClass") == "BestEffort");
    for (const char* type : {"PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"})
      CHECK(f.condition(type));
    const Json app = f.container();
    CHECK(str(app, "containerID").starts_with("brume://"));
    CHECK(flag(app, "ready"));
    CHECK(flag(app, "started"));
    CHECK(num(app, "restartCount") == 0);
    CHECK(at(app, "state", "running").is_object());
    co_await f.events.flush();
    CHECK(f.has_event("Pulled", "already present on machine"));
    CHECK(f.has_event("Created", "Created container: app"));
    CHECK(f.has_event("Started", "Started container app"));
    CHECK(f.runtime.sandbox_specs.at("uid-web").cgroup_parent == "brume/kubepods/besteffort/poduid-web");
    const auto hosts = linux_os::read_file(f.context->pod_dir("uid-web") + "/etc-hosts");
    REQUIRE(hosts.has_value());
    CHECK(hosts->find("10.42.0.7\tweb\n") != std::string::npos);
  });
}

TEST_CASE("a status that has settled is written no more") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.start(WorkerFixture::pod_json());
    const bool running = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(running);
    co_await settle();
    const auto writes = f.client.count("patch", "pods", "status");
    for (int i = 0; i < 5; ++i) {
      f.sync();
      co_await settle(50);
    }
    CHECK(f.client.count("patch", "pods", "status") == writes);
  });
}

TEST_CASE("a status that cannot be written is tried again, ever more rarely, and arrives in the end") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.client.react([](const FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "patch" || call.subresource != "status") return std::nullopt;
      return Error{Code::kServiceUnavailable, "the disk is full"};
    });
    f.start(WorkerFixture::pod_json());
    const auto tries = [&] { return f.client.count("patch", "pods", "status"); };
    bool ok = co_await eventually([&] { return tries() == 1; });
    REQUIRE(ok);
    std::size_t expected = 1;
    for (const auto wait : {1s, 2s, 4s, 8s, 8s}) {
      co_await settle();
      f.clock.advance(wait - 1ms);
      co_await settle();
      CHECK(tries() == expected);
      f.clock.advance(1ms);
      ok = co_await eventually([&] { return tries() == expected + 1; });
      REQUIRE(ok);
      ++expected;
    }
    f.client.clear_reactors();
    co_await settle();
    f.clock.advance(8s);
    ok = co_await f.until([&] { return f.phase() == "Running"; });
    CHECK(ok);
  });
}

TEST_CASE("a pod is taken down once the API knows how its containers ended, or does not listen") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json once = WorkerFixture::pod_json();
    once["spec"]["restartPolicy"] = "Never";
    f.start(std::move(once));
    bool ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    bool refuse = true;
    std::size_t removed_before = 1;
    f.client.react([&](const FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "patch" || call.subresource != "status") return std::nullopt;
      removed_before = f.runtime.removed.size();
      if (refuse) return Error{Code::kServiceUnavailable, "the disk is full"};
      return std::nullopt;
    });
    const auto tries = f.client.count("patch", "pods", "status");
    f.runtime.finish("app", 0);
    ok = co_await eventually([&] { return f.client.count("patch", "pods", "status") > tries; });
    REQUIRE(ok);
    co_await settle();
    SECTION("it listens at the second try") {
      CHECK(f.runtime.removed.empty());
      refuse = false;
      f.clock.advance(1s);
      ok = co_await f.until([&] { return f.phase() == "Succeeded" && !f.runtime.removed.empty(); });
      CHECK(ok);
      CHECK(removed_before == 0);
    }
    SECTION("it never does") {
      f.clock.advance(9999ms);
      co_await settle();
      CHECK(f.runtime.removed.empty());
      f.clock.advance(1ms);
      ok = co_await f.until([&] { return !f.runtime.removed.empty(); });
      CHECK(ok);
    }
  });
}

TEST_CASE("init containers run one after the other, and only then the app") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.start(two_inits());
    const bool first = co_await f.until([&] { return f.runtime.starts("first") == 1; });
    REQUIRE(first);
    co_await settle();
    CHECK(f.runtime.starts("second") == 0);
    CHECK(str(at(f.container(), "state", "waiting"), "reason") == "PodInitializing");
    CHECK_FALSE(f.condition("Initialized"));
    f.runtime.finish("first", 0);
    const bool second = co_await f.until([&] { return f.runtime.starts("second") == 1; });
    REQUIRE(second);
    CHECK(f.runtime.starts("app") == 0);
    f.runtime.finish("second", 0);
    const bool running = co_await f.until([&] { return f.phase() == "Running"; });
    CHECK(running);
    CHECK(f.condition("Initialized"));
    CHECK(str(at(f.container(0, "initContainerStatuses"), "state", "terminated"), "reason") == "Completed");
  });
}

TEST_CASE("a failed init container of a pod that never restarts fails the pod") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = two_inits();
    pod["spec"]["restartPolicy"] = "Never";
    f.start(pod);
    const bool first = co_await f.until([&] { return f.runtime.starts("first") == 1; });
    REQUIRE(first);
    f.runtime.finish("first", 3);
    const bool failed = co_await f.until([&] { return f.phase() == "Failed"; });
    CHECK(failed);
    CHECK(f.runtime.starts("second") == 0);
    CHECK(f.runtime.starts("app") == 0);
  });
}

TEST_CASE("a sidecar starts before the app, is restarted, and ends after a Job's work") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    pod["spec"]["restartPolicy"] = "Never";
    Json sidecar = WorkerFixture::container_json("side");
    sidecar["restartPolicy"] = "Always";
    pod["spec"]["initContainers"] = Json::array({sidecar});
    f.start(pod);
    const bool app = co_await f.until([&] { return f.runtime.starts("app") == 1; });
    REQUIRE(app);
    CHECK(f.runtime.started.front() == "side");
    f.runtime.finish("side", 1);
    const bool again = co_await f.until([&] { return f.runtime.starts("side") == 2; });
    CHECK(again);
    f.runtime.finish("app", 0);
    const bool done = co_await f.until([&] { return f.phase() == "Succeeded" && !f.runtime.removed.empty(); });
    CHECK(done);
    CHECK(f.runtime.removed == std::vector<std::string>{"uid-web"});
  });
}

TEST_CASE("a crashing container waits 10 s, then 20 s, as CrashLoopBackOff") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.start(WorkerFixture::pod_json());
    bool ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    f.runtime.finish("app", 7);
    ok = co_await f.until([&] { return f.runtime.starts("app") == 2; });
    REQUIRE(ok);  // the first restart is at once
    ok = co_await f.until([&] { return num(f.container(), "restartCount") == 1; });
    CHECK(ok);
    CHECK(num(at(f.container(), "lastState", "terminated"), "exitCode") == 7);
    f.runtime.finish("app", 7);
    ok = co_await f.until([&] { return str(at(f.container(), "state", "waiting"), "reason") == "CrashLoopBackOff"; });
    REQUIRE(ok);
    CHECK(str(at(f.container(), "state", "waiting"), "message") ==
          "back-off 10s restarting failed container=app pod=web_default(uid-web)");
    CHECK(f.phase() == "Running");
    CHECK_FALSE(f.condition("Ready"));
    f.clock.advance(9s);
    co_await settle();
    CHECK(f.runtime.starts("app") == 2);
    f.clock.advance(1s);
    ok = co_await f.until([&] { return f.runtime.starts("app") == 3; });
    CHECK(ok);
    ok = co_await f.until([&] { return num(f.container(), "restartCount") == 2; });
    REQUIRE(ok);
    f.runtime.finish("app", 7);
    ok = co_await f.until(
        [&] { return str(at(f.container(), "state", "waiting"), "message").starts_with("back-off 20s"); });
    CHECK(ok);
    // Ten quiet minutes after its last restart a container is forgiven.
    f.clock.advance(20s);
    ok = co_await f.until([&] { return f.runtime.starts("app") == 4; });
    REQUIRE(ok);
    ok = co_await f.until([&] { return num(f.container(), "restartCount") == 3; });
    REQUIRE(ok);
    f.clock.advance(11min);
    f.runtime.finish("app", 7);
    ok = co_await f.until([&] { return f.runtime.starts("app") == 5 || f.clock.sleepers() > 0; });
    co_await f.events.flush();
    CHECK(f.has_event("BackOff", "Back-off restarting failed container app in pod web_default(uid-web)"));
  });
}

TEST_CASE("OnFailure ends with Succeeded, and OOM is told") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    pod["spec"]["restartPolicy"] = "OnFailure";
    f.start(pod);
    bool ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    f.runtime.finish("app", 137, 9, true);
    ok = co_await f.until([&] { return num(f.container(), "restartCount") == 1; });
    REQUIRE(ok);
    CHECK(str(at(f.container(), "lastState", "terminated"), "reason") == "OOMKilled");
    f.runtime.finish("app", 0);
    ok = co_await f.until([&] { return f.phase() == "Succeeded" && !f.network.detached.empty(); });
    CHECK(ok);
    CHECK(f.network.detached == std::vector<std::string>{"uid-web"});
  });
}

TEST_CASE("a program that cannot be started is a StartError and is tried again") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.runtime.start_errors["app"] = Error{Code::kNotFound, "exec: \"/bin/app\": no such file or directory"};
    f.start(WorkerFixture::pod_json());
    bool ok =
        co_await f.until([&] { return str(at(f.container(), "state", "waiting"), "reason") == "CrashLoopBackOff"; });
    REQUIRE(ok);
    CHECK(num(at(f.container(), "lastState", "terminated"), "exitCode") == 128);
    CHECK(str(at(f.container(), "lastState", "terminated"), "reason") == "StartError");
    f.runtime.start_errors.clear();
    f.clock.advance(10s);
    ok = co_await f.until([&] { return f.condition("Ready"); });
    CHECK(ok);
  });
}

TEST_CASE("image problems are told with their reason and tried again") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    pod["spec"]["containers"][0]["image"] = "registry.example/none:1";
    f.images.pull_error = Error{Code::kNotFound, "manifest unknown"};
    f.start(pod);
    const auto reason = [&] { return std::string(str(at(f.container(), "state", "waiting"), "reason")); };
    bool ok = co_await f.until([&] { return reason() == "ErrImagePull"; });
    REQUIRE(ok);
    CHECK(str(at(f.container(), "state", "waiting"), "message") == "manifest unknown");
    f.clock.advance(1s);
    ok = co_await f.until([&] { return reason() == "ImagePullBackOff"; });
    CHECK(ok);
    CHECK(f.images.pulls.size() == 1);
    f.images.pull_error.reset();
    f.clock.advance(10s);
    ok = co_await f.until([&] { return f.phase() == "Running"; });
    CHECK(ok);
    co_await f.events.flush();
    CHECK(f.has_event("Failed", "Failed to pull image \"registry.example/none:1\": manifest unknown"));
    CHECK(f.has_event("Pulled", "Successfully pulled image"));
  });
}

// The worker takes over the pod that a status write answers with, and does so between two of these reads.
TEST_CASE("every pull secret is read, though the pod changes meanwhile") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    for (const char* name : {"one", "two", "three", "four"})
      pod["spec"]["imagePullSecrets"].push_back({{"name", name}});
    f.start(pod);
    const bool running = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(running);
    co_await f.events.flush();
    for (const char* name : {"one", "two", "three", "four"})
      CHECK(f.has_event("FailedToRetrieveImagePullSecret", "(" + std::string(name) + ")"));
  });
}

TEST_CASE("labels that come with the answer to a status write reach the pod's files") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    const Json item = {{"path", "labels"}, {"fieldRef", {{"fieldPath", "metadata.labels"}}}};
    pod["spec"]["volumes"] = Json::array({{{"name", "about"}, {"downwardAPI", {{"items", Json::array({item})}}}}});
    f.start(pod);
    bool ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    Json now = f.client.json("pods", "default", "web");
    now["metadata"]["labels"] = {{"tier", "front"}};
    f.client.seed("pods", now);
    f.runtime.finish("app", 7);  // a status is written before the watch tells of the label
    ok = co_await f.until([&] { return num(f.container(), "restartCount") == 1; });
    REQUIRE(ok);
    f.sync();
    const std::string path = f.context->pod_dir("uid-web") + "/volumes/kubernetes.io~downward-api/about/labels";
    ok = co_await f.until([&] { return linux_os::read_file(path).value_or("").find("tier") != std::string::npos; });
    CHECK(ok);
  });
}

TEST_CASE("a missing ConfigMap holds the pod until it comes") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    pod["spec"]["containers"][0]["envFrom"] = Json::array({{{"configMapRef", {{"name", "settings"}}}}});
    f.start(pod);
    bool ok = co_await f.until(
        [&] { return str(at(f.container(), "state", "waiting"), "reason") == "CreateContainerConfigError"; });
    REQUIRE(ok);
    CHECK(str(at(f.container(), "state", "waiting"), "message") == "configmap \"settings\" not found");
    f.client.seed("configmaps",
                  {{"metadata", {{"name", "settings"}, {"namespace", "default"}}}, {"data", {{"COLOR", "red"}}}});
    // No clock moves: the watch wakes the worker.
    ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    const Json env = f.runtime.specs.at("app").oci["process"]["env"];
    CHECK(std::find(env.begin(), env.end(), Json("COLOR=red")) != env.end());
  });
}

TEST_CASE("probes: startup holds the others back, readiness decides Ready, liveness restarts") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    Json& app = pod["spec"]["containers"][0];
    app["startupProbe"] = {{"exec", {{"command", {"started"}}}}, {"periodSeconds", 1}, {"failureThreshold", 30}};
    app["readinessProbe"] = {{"exec", {{"command", {"ready"}}}}, {"periodSeconds", 2}, {"failureThreshold", 1}};
    app["livenessProbe"] = {{"exec", {{"command", {"live"}}}}, {"periodSeconds", 3}, {"failureThreshold", 2}};
    std::map<std::string, bool> verdict{{"started", false}, {"ready", true}, {"live", true}};
    std::map<std::string, int> asked;
    f.handlers.answer = [&](const node::HandlerRequest& request) {
      const std::string name(str(request.handler["exec"]["command"][0]));
      ++asked[name];
      return node::HandlerResult{verdict[name], "it said no"};
    };
    f.start(pod);
    bool ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    CHECK(asked["started"] == 0);  // a container gets a moment before its first probe
    f.clock.advance(100ms);
    ok = co_await f.until([&] { return asked["started"] > 0; });
    REQUIRE(ok);
    for (int i = 0; i < 4; ++i) {
      f.clock.advance(1s);
      co_await settle();
    }
    CHECK(asked["ready"] == 0);
    CHECK(asked["live"] == 0);
    CHECK_FALSE(flag(f.container(), "started"));
    verdict["started"] = true;
    for (int i = 0; i < 4; ++i) {
      f.clock.advance(1s);
      co_await settle();
    }
    ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    CHECK(flag(f.container(), "started"));
    verdict["ready"] = false;
    f.clock.advance(2s);
    ok = co_await f.until([&] { return !f.condition("Ready"); });
    CHECK(ok);
    verdict["live"] = false;
    // Ending a container and starting it again waits for other threads, so the clock goes on for as long as they take.
    ok = co_await f.until([&] {
      if (f.runtime.starts("app") < 2) f.clock.advance(100ms);
      return f.runtime.starts("app") == 2;
    });
    CHECK(ok);
    co_await f.events.flush();
    CHECK(f.has_event("Unhealthy", "Liveness probe failed: it said no"));
    CHECK(f.has_event("Killing", "Container app failed liveness probe, will be restarted"));
  });
}

TEST_CASE("deletion: TERM, the grace, KILL, then the API object goes") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    f.runtime.obey_all = false;
    f.start(pod);
    bool ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    client::DeleteOptions options;
    options.grace_period_seconds = 5;
    (void)co_await f.client.remove(api::res("pods"), "default", "web", options);
    f.sync();
    ok = co_await f.until([&] { return f.runtime.signals.size() == 1; });
    REQUIRE(ok);
    CHECK(f.runtime.signals[0].second == 15);
    f.clock.advance(4s);
    co_await settle();
    CHECK(f.runtime.signals.size() == 1);
    f.clock.advance(1s);
    ok = co_await f.until([&] { return f.runtime.signals.size() == 2; });
    REQUIRE(ok);
    CHECK(f.runtime.signals[1].second == 9);
    ok = co_await f.until([&] { return f.gone; });
    CHECK(ok);
    CHECK(f.client.find("pods", "default", "web") == nullptr);
    CHECK_FALSE(std::filesystem::exists(f.context->pod_dir("uid-web")));
  });
}

TEST_CASE("preStop runs before the stop signal and its time counts in the grace") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    pod["spec"]["containers"][0]["lifecycle"] = {{"preStop", {{"exec", {{"command", {"bye"}}}}}}};
    f.start(pod);
    bool ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    client::DeleteOptions options;
    options.grace_period_seconds = 5;
    (void)co_await f.client.remove(api::res("pods"), "default", "web", options);
    f.sync();
    ok = co_await f.until([&] { return f.gone; });
    CHECK(ok);
    REQUIRE(f.handlers.requests.size() == 1);
    CHECK(f.handlers.requests[0].handler.contains("exec"));
    CHECK(f.runtime.signals.size() == 1);
  });
}

TEST_CASE("a forced delete stops the containers of a pod that the API no longer has") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.start(WorkerFixture::pod_json());
    bool ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    f.client.erase("pods", "default", "web");
    f.sync();
    ok = co_await f.until([&] { return f.gone; });
    CHECK(ok);
    CHECK(f.runtime.removed.size() == 1);
  });
}

TEST_CASE("a postStart hook that fails ends the container") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    pod["spec"]["containers"][0]["lifecycle"] = {{"postStart", {{"exec", {{"command", {"hello"}}}}}}};
    f.handlers.answer = [](const node::HandlerRequest&) { return node::HandlerResult{false, "no"}; };
    f.start(pod);
    const bool ok = co_await f.until([&] { return f.runtime.starts("app") >= 2; });
    CHECK(ok);
    co_await f.events.flush();
    CHECK(f.has_event("FailedPostStartHook"));
  });
}

TEST_CASE("containers start in the spec's order, each after the postStart hook of the one before") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    Json& containers = pod["spec"]["containers"];
    for (const char* name : {"second", "third"}) {
      containers.push_back(containers[0]);
      containers.back()["name"] = name;
    }
    containers[0]["lifecycle"] = {{"postStart", {{"exec", {{"command", {"hello"}}}}}}};
    f.handlers.hold = true;
    f.start(pod);
    bool ok = co_await f.until([&] { return f.handlers.requests.size() == 1; });
    REQUIRE(ok);
    co_await settle();
    CHECK(f.runtime.started == std::vector<std::string>{"app"});
    f.handlers.hold = false;
    ok = co_await f.until([&] { return f.runtime.started.size() == 3; });
    CHECK(ok);
    CHECK(f.runtime.started == std::vector<std::string>{"app", "second", "third"});
  });
}

TEST_CASE("a container that cannot start holds none back") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    Json& containers = pod["spec"]["containers"];
    containers.push_back(containers[0]);
    containers.back()["name"] = "second";
    f.runtime.start_errors["app"] = Error{Code::kInvalid, "no such command"};
    f.start(pod);
    const bool ok = co_await f.until([&] { return f.runtime.starts("second") == 1; });
    CHECK(ok);
  });
}

TEST_CASE("a pod with a user namespace of its own waits, and is told why") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    pod["spec"]["hostUsers"] = false;
    f.start(pod);
    co_await settle();
    co_await f.events.flush();
    CHECK(f.has_event("FailedCreatePodSandBox", "runtime does not support user namespaces"));
    CHECK(f.runtime.sandboxes.empty());
  });
}

TEST_CASE("activeDeadlineSeconds fails the pod") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    pod["spec"]["activeDeadlineSeconds"] = 60;
    f.start(pod);
    bool ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    f.clock.advance(60s);
    ok = co_await f.until([&] { return f.phase() == "Failed"; });
    CHECK(ok);
    CHECK(str(f.status(), "reason") == "DeadlineExceeded");
  });
}

TEST_CASE("a rejected pod fails with the reason") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.make(WorkerFixture::pod_json());
    f.worker->reject("OutOfcpu", "Pod was rejected: no cpu");
    f.worker->start();
    const bool ok = co_await f.until([&] { return f.phase() == "Failed"; });
    CHECK(ok);
    CHECK(str(f.status(), "reason") == "OutOfcpu");
    CHECK_FALSE(f.status().contains("containerStatuses"));  // kubectl would show what they wait for
    CHECK(f.runtime.started.empty());
  });
}

TEST_CASE("a failed sandbox is told and tried again") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.network.error = Error{Code::kIo, "no address left"};
    f.start(WorkerFixture::pod_json());
    bool ok = co_await f.until([&] { return f.network.attached.size() == 1; });
    REQUIRE(ok);
    co_await settle();
    co_await f.events.flush();
    CHECK(f.has_event("FailedCreatePodSandBox", "no address left"));
    f.network.error.reset();
    f.clock.advance(2s);
    ok = co_await f.until([&] { return f.phase() == "Running"; });
    CHECK(ok);
  });
}

TEST_CASE("a pod whose sandbox has ended gets another, and its init containers run again") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = two_inits();
    f.start(pod);
    bool ok = co_await eventually([&] { return f.runtime.starts("first") == 1; });
    REQUIRE(ok);
    f.runtime.finish("first", 0);
    ok = co_await eventually([&] { return f.runtime.starts("second") == 1; });
    REQUIRE(ok);
    f.runtime.finish("second", 0);
    ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    f.runtime.end_sandbox("uid-web");
    ok = co_await eventually([&] { return f.runtime.starts("first") == 2; });
    REQUIRE(ok);
    CHECK(f.runtime.removed == std::vector<std::string>{"uid-web"});
    CHECK(f.network.attached.size() == 2);
    f.runtime.finish("first", 0);
    ok = co_await eventually([&] { return f.runtime.starts("second") == 2; });
    REQUIRE(ok);
    f.runtime.finish("second", 0);
    ok = co_await f.until([&] { return f.runtime.starts("app") == 2 && f.condition("Ready"); });
    CHECK(ok);
    CHECK(num(f.container(), "restartCount") == 1);
    co_await f.events.flush();
    CHECK(f.has_event("SandboxChanged", "re-created"));
  });
}

TEST_CASE("a pod that runs once is over when its sandbox ends: nothing of it runs again") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = two_inits();
    pod["spec"]["restartPolicy"] = "Never";
    f.start(pod);
    for (const char* name : {"first", "second"}) {
      const bool begun = co_await eventually([&] { return f.runtime.starts(name) == 1; });
      REQUIRE(begun);
      f.runtime.finish(name, 0);
    }
    bool ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    f.runtime.end_sandbox("uid-web");
    ok = co_await f.until([&] { return f.phase() == "Failed"; });
    CHECK(ok);
    co_await settle();
    CHECK(f.runtime.starts("first") == 1);
    CHECK(f.network.attached.size() == 1);
  });
}

TEST_CASE("a sandbox of which something stays is removed before the next try") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.runtime.sandbox_error = Error{Code::kIo, "no more of these"};
    f.start(WorkerFixture::pod_json());
    bool ok = co_await eventually([&] { return f.runtime.sandboxes.size() == 1; });
    REQUIRE(ok);
    f.runtime.sandbox_error.reset();
    ok = co_await f.until([&] {
      f.clock.advance(1s);
      return f.phase() == "Running";
    });
    CHECK(ok);
  });
}

TEST_CASE("a sandbox that ends while its network is made is made again") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.network.attaching = [&f] {
      if (f.network.attached.size() == 1) f.runtime.end_sandbox("uid-web");
    };
    f.start(WorkerFixture::pod_json());
    const bool ok = co_await f.until([&] {
      f.clock.advance(1s);
      return f.phase() == "Running";
    });
    CHECK(ok);
    CHECK(f.network.attached.size() == 2);
  });
}

TEST_CASE("a new worker takes over what runs: no restart, same address, an exit code is not lost") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    pod["spec"]["containers"].push_back(WorkerFixture::container_json("other"));
    f.start(pod);
    bool ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    const std::string id(str(f.container(), "containerID"));
    co_await f.worker->stop();
    f.worker.reset();
    // Between the two workers nobody listens, and one container ends.
    f.runtime.finish("other", 42);
    f.worker = std::make_unique<node::PodWorker>(*f.context, f.client.find("pods", "default", "web"),
                                                 [&f](const std::string&) { f.gone = true; });
    f.worker->adopt(f.runtime.sandboxes.at("uid-web"));
    f.worker->start();
    ok = co_await f.until([&] { return num(f.container(1), "restartCount") == 1; });
    REQUIRE(ok);
    CHECK(num(at(f.container(1), "lastState", "terminated"), "exitCode") == 42);
    CHECK(f.runtime.starts("app") == 1);
    CHECK(str(f.container(), "containerID") == id);
    CHECK(str(f.status(), "podIP") == "10.42.0.7");
    CHECK(f.network.attached.size() == 1);
  });
}

TEST_CASE("after a reboot the containers start again as further attempts") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.start(WorkerFixture::pod_json());
    bool ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    co_await f.worker->stop();
    f.worker.reset();
    f.runtime.sandboxes.clear();
    f.runtime.containers_.clear();
    f.worker = std::make_unique<node::PodWorker>(*f.context, f.client.find("pods", "default", "web"),
                                                 [](const std::string&) {});
    f.worker->start();
    ok = co_await f.until([&] { return num(f.container(), "restartCount") == 1 && f.condition("Ready"); });
    CHECK(ok);
    CHECK(str(at(f.container(), "lastState", "terminated"), "reason") == "ContainerStatusUnknown");
  });
}
