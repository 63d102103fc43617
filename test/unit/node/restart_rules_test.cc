// restartPolicyRules: what an exit code means for a container, and for its pod.
#include "spec/env_file.h"
#include "worker/lifecycle.h"
#include "worker_fixture.h"

using namespace brume;
using namespace brume::test;

namespace {

Json rule(const char* action, const char* operation, const Json& codes) {
  return {{"action", action}, {"exitCodes", {{"operator", operation}, {"values", codes}}}};
}

Json pod_with(const Json& rules, const char* policy = "Never") {
  Json pod = WorkerFixture::pod_json();
  pod["spec"]["restartPolicy"] = "Never";
  pod["spec"]["containers"][0]["restartPolicy"] = policy;
  pod["spec"]["containers"][0]["restartPolicyRules"] = rules;
  return pod;
}

}  // namespace

TEST_CASE("an exit code that a rule names restarts a container that else would not") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.start(pod_with(Json::array({rule("Restart", "In", {42, 43})})));
    bool ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    f.runtime.finish("app", 42);
    ok = co_await f.until([&] { return num(f.container(), "restartCount") == 1 && f.condition("Ready"); });
    REQUIRE(ok);
    CHECK(num(at(f.container(), "lastState", "terminated"), "exitCode") == 42);
    f.runtime.finish("app", 7);
    ok = co_await f.until([&] { return f.phase() == "Failed"; });
    CHECK(ok);
    CHECK(f.runtime.starts("app") == 2);
  });
}

TEST_CASE("rules count in their order, before the policy") {
  node::ContainerRun run;
  run.state = node::ContainerRun::State::kExited;
  run.rules = node::make_runs(
                  pod_with(Json::array({rule("Restart", "NotIn", {0, 1}), rule("RestartAllContainers", "In", {1})})))[0]
                  .rules;
  run.exit_code = 0;
  CHECK(node::matching_rule(run) == nullptr);
  run.exit_code = 1;
  REQUIRE(node::matching_rule(run) != nullptr);
  CHECK(node::matching_rule(run)->whole_pod);
  run.exit_code = 2;
  CHECK_FALSE(node::matching_rule(run)->whole_pod);
  run.state = node::ContainerRun::State::kRunning;
  CHECK(node::matching_rule(run) == nullptr);
}

TEST_CASE("a container may start its whole pod over: init containers run again, in the same sandbox") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = pod_with(Json::array({rule("RestartAllContainers", "In", {42})}));
    pod["spec"]["initContainers"] = Json::array(
        {WorkerFixture::container_json("setup", "docker.io/library/setup:1"), WorkerFixture::container_json("proxy")});
    pod["spec"]["initContainers"][1]["restartPolicy"] = "Always";
    pod["spec"]["containers"].push_back(WorkerFixture::container_json("other"));
    f.start(pod);
    bool ok = co_await f.until([&] { return f.runtime.starts("setup") == 1; });
    REQUIRE(ok);
    f.runtime.finish("setup", 0);
    ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    f.runtime.finish("app", 42);
    ok = co_await f.until([&] { return f.runtime.starts("setup") == 2; });
    REQUIRE(ok);
    CHECK(f.has_event("Killing", "restarted with its whole pod"));
    f.runtime.finish("setup", 0);
    ok = co_await f.until([&] { return f.condition("Ready") && f.runtime.starts("other") == 2; });
    REQUIRE(ok);
    CHECK(f.runtime.starts("proxy") == 2);
    CHECK(f.runtime.starts("app") == 2);
    CHECK(num(f.container(), "restartCount") == 1);
    CHECK(num(at(f.container(), "lastState", "terminated"), "exitCode") == 42);
    CHECK(num(at(f.container(1), "lastState", "terminated"), "exitCode") == 137);
    CHECK_FALSE(f.condition("AllContainersRestarting"));
    CHECK(f.runtime.removed.empty());
  });
}

TEST_CASE("a pod that starts over again and again waits between, and a new process goes on where the last was") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = pod_with(Json::array({rule("RestartAllContainers", "In", {42})}));
    pod["spec"]["initContainers"] = Json::array({WorkerFixture::container_json("setup", "docker.io/library/setup:1")});
    f.start(pod);
    const auto up = [&](int starts) -> Task<void> {
      bool ok = co_await f.until([&] { return f.runtime.starts("setup") == starts; });
      REQUIRE(ok);
      f.runtime.finish("setup", 0);
      ok = co_await f.until([&] { return f.runtime.starts("app") == starts && f.condition("Ready"); });
      REQUIRE(ok);
    };
    co_await up(1);
    f.runtime.finish("app", 42);
    co_await up(2);
    f.runtime.finish("app", 42);
    bool ok = co_await f.until([&] { return f.condition("AllContainersRestarting"); });
    REQUIRE(ok);
    co_await sleep_for(std::chrono::milliseconds(30));
    CHECK(f.runtime.starts("setup") == 2);
    f.clock.advance(std::chrono::seconds(10));
    ok = co_await f.until([&] { return f.runtime.starts("setup") == 3 && !f.condition("AllContainersRestarting"); });
    REQUIRE(ok);

    co_await f.restart();  // while setup runs
    co_await sleep_for(std::chrono::milliseconds(30));
    CHECK(f.runtime.starts("app") == 2);
    CHECK(f.phase() == "Pending");
    f.runtime.finish("setup", 0);
    ok = co_await f.until([&] { return f.runtime.starts("app") == 3 && f.condition("Ready"); });
    CHECK(ok);
    CHECK(f.runtime.starts("setup") == 3);
    CHECK(num(f.container(), "restartCount") == 2);
  });
}

TEST_CASE("files of environment variables") {
  using node::env_file_value;
  const std::string_view text =
      "# comment\n\n  A='one' # why\nB='two\nlines # and more'\r\nC= 'apart'\nD=''\nA='again'\nE=bad\nF='after'\n";
  CHECK(env_file_value(text, "A").value() == "one");
  CHECK(env_file_value(text, "B").value() == "two\nlines # and more");
  CHECK(env_file_value(text, "C").value() == std::nullopt);
  CHECK(env_file_value(text, "D").value() == std::nullopt);
  CHECK_FALSE(env_file_value(text, "F").has_value());
  CHECK(env_file_value(text, "F").error().message ==
        "invalid environment variable format at line 9: value must be enclosed in single quotes");
  CHECK(env_file_value("", "A").value() == std::nullopt);
  for (const char* wrong : {"A", "='x'", "A ='x'", "A='x", "A='x'y"})
    CHECK_FALSE(env_file_value(wrong, "Z").has_value());
}
