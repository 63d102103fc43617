// ResourceQuotas over the registry: what is let in, and what the status tells.
#include <array>
#include <atomic>
#include <thread>

#include "core_fixture.h"

using namespace brume;
using namespace brume::apiserver;
using namespace brume::apiserver::core_test;

namespace {

const api::Resource& quotas() { return api::res("resourcequotas"); }

struct Bench : Fixture {
  Task<void> quota(Json hard, Json scopes = Json(), std::string name = "q") {
    Json body{{"metadata", {{"name", name}}}, {"spec", {{"hard", hard}}}};
    if (!scopes.is_null()) body["spec"]["scopes"] = scopes;
    auto made = co_await registry->create(quotas(), "default", body, {});
    REQUIRE(made);
  }
  std::string used(const char* what, const char* name = "q") const {
    return std::string(str(at(registry->get(quotas(), "default", name).value()->parse(), "status", "used"), what));
  }
  Task<Result<api::ObjectPtr>> make(Json pod_json) {
    return registry->create(pods(), "default", std::move(pod_json), {});
  }
};

Json sized(std::string name, std::string cpu) {
  Json out = pod(std::move(name));
  out["spec"]["containers"][0]["resources"]["requests"]["cpu"] = std::move(cpu);
  return out;
}

}  // namespace

TEST_CASE("a quota lets in what it has room for, and its status tells at once") {
  Bench f;
  f.run([&]() -> Task<void> {
    co_await f.quota({{"pods", "3"}, {"requests.cpu", "1"}, {"count/pods", "10"}});
    REQUIRE(co_await f.make(sized("a", "600m")));
    CHECK(f.used("pods") == "1");
    CHECK(f.used("requests.cpu") == "600m");
    CHECK(f.used("count/pods") == "1");
    const auto refused = co_await f.make(sized("b", "500m"));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Code::kForbidden);
    CHECK(refused.error().message ==
          "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: "
          "requests.cpu=1");
    const auto silent = co_await f.make(pod("c"));
    CHECK(why(silent) == "pods \"c\" is forbidden: failed quota: q: must specify requests.cpu for: c");
    REQUIRE(co_await f.make(sized("d", "100m")));
    REQUIRE(co_await f.make(sized("e", "300m")));
    CHECK(why(co_await f.make(sized("f", "1m"))) ==
          "pods \"f\" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=1m, used: pods=3,requests.cpu=1, "
          "limited: pods=3,requests.cpu=1");
    CHECK(f.used("requests.cpu") == "1");
  });
}

TEST_CASE("many writes at once, on several loops, never exceed a quota together") {
  Bench f;
  f.run([&]() -> Task<void> { co_await f.quota({{"pods", "10"}, {"configmaps", "7"}}); });
  std::atomic<int> admitted = 0, refused = 0, other = 0, maps = 0;
  // Coroutines that are spawned take their parameters by value.
  const auto one_pod = [&](int i) -> Task<void> {
    const auto done = co_await f.make(pod("p" + std::to_string(i)));
    ++(done ? admitted : done.error().code == Code::kForbidden ? refused : other);
  };
  const auto one_map = [&](int i) -> Task<void> {
    const auto done = co_await f.registry->create(config_maps(), "default", config_map("m" + std::to_string(i)), {});
    if (done) ++maps;
  };
  std::array<Loop, 4> loops{Loop("a"), Loop("b"), Loop("c"), Loop("d")};
  std::vector<std::thread> threads;
  for (auto& loop : loops) loop.start();
  for (std::size_t n = 0; n < loops.size(); ++n) {
    threads.emplace_back([&, n] {
      loops[n].run_and_wait([&, n]() -> Task<void> {
        TaskGroup group(loops[n].executor());
        for (int i = 0; i < 25; ++i) {
          group.spawn("pod", one_pod(static_cast<int>(n) * 25 + i));
          group.spawn("map", one_map(static_cast<int>(n) * 25 + i));
        }
        while (group.size() > 0) co_await yield_now();
      });
    });
  }
  for (auto& thread : threads) thread.join();
  for (auto& loop : loops) loop.stop();
  CHECK(admitted == 10);
  CHECK(refused == 90);
  CHECK(other == 0);
  CHECK(maps == 7);
  CHECK(f.used("pods") == "10");
  CHECK(f.used("configmaps") == "7");
}

TEST_CASE("a write that fails, and one that is not meant, take no room") {
  Bench f;
  f.run([&]() -> Task<void> {
    co_await f.quota({{"pods", "2"}});
    REQUIRE(co_await f.make(pod("a")));
    for (int i = 0; i < 3; ++i) {
      CHECK(why(co_await f.make(pod("a"))) == "pods \"a\" already exists");
      WriteContext dry{.dry_run = true};
      REQUIRE(co_await f.registry->create(pods(), "default", pod("dry"), dry));
    }
    CHECK(f.used("pods") == "1");
    REQUIRE(co_await f.make(pod("b")));
    WriteContext dry{.dry_run = true};
    CHECK(why(co_await f.registry->create(pods(), "default", pod("c"), dry)).starts_with("pods \"c\" is forbidden"));
    // A pod that has finished makes room before anything was counted anew.
    REQUIRE(co_await f.registry->patch(pods(), "default", "a", "status", PatchType::kMerge,
                                       json(R"({"status":{"phase":"Succeeded"}})"), {}));
    REQUIRE(co_await f.make(pod("c")));
    CHECK(f.used("pods") == "2");
  });
}

TEST_CASE("an update is charged what it adds, and may always take less") {
  Bench f;
  f.run([&]() -> Task<void> {
    co_await f.quota({{"services", "2"}, {"services.nodeports", "2"}, {"services.loadbalancers", "0"}});
    const auto service = [](const char* type, int ports) {
      Json out{{"metadata", {{"name", "s"}}}, {"spec", {{"type", type}, {"ports", Json::array()}}}};
      for (int i = 0; i < ports; ++i) {
        out["spec"]["ports"].push_back({{"name", "p" + std::to_string(i)}, {"port", 80 + i}});
      }
      return out;
    };
    REQUIRE(co_await f.registry->create(services(), "default", service("NodePort", 1), {}));
    CHECK(f.used("services.nodeports") == "1");
    CHECK(f.used("services") == "1");
    const auto change = [&](Json body) { return f.registry->update(services(), "default", "s", "", body, {}); };
    CHECK(why(co_await change(service("NodePort", 3))) ==
          "services \"s\" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: "
          "services.nodeports=1, limited: services.nodeports=2");
    REQUIRE(co_await change(service("NodePort", 2)));
    CHECK(f.used("services.nodeports") == "2");
    CHECK(why(co_await change(service("LoadBalancer", 2))).find("requested: services.loadbalancers=1") !=
          std::string::npos);
    // The quota shrinks below what is used: less may still be asked for.
    REQUIRE(co_await f.registry->patch(quotas(), "default", "q", "", PatchType::kMerge,
                                       json(R"({"spec":{"hard":{"services.nodeports":"0"}}})"), {}));
    REQUIRE(co_await change(service("ClusterIP", 2)));
    CHECK(f.used("services.nodeports") == "0");
  });
}

TEST_CASE("a resize is charged its difference") {
  Bench f;
  f.run([&]() -> Task<void> {
    co_await f.quota({{"requests.cpu", "1"}});
    REQUIRE(co_await f.make(sized("a", "600m")));
    const auto resize = [&](const char* cpu) {
      Json patch = json(R"({"spec":{"containers":[{"name":"c","resources":{"requests":{}}}]}})");
      patch["spec"]["containers"][0]["resources"]["requests"]["cpu"] = cpu;
      return f.registry->patch(pods(), "default", "a", "resize", PatchType::kStrategic, patch, {});
    };
    CHECK(why(co_await resize("1100m")) ==
          "pods \"a\" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: "
          "requests.cpu=1");
    REQUIRE(co_await resize("1"));
    CHECK(f.used("requests.cpu") == "1");
  });
}

TEST_CASE("scopes, other namespaces and other kinds are left alone") {
  Bench f;
  f.run([&]() -> Task<void> {
    co_await f.quota({{"pods", "0"}}, Json::array({"BestEffort"}), "effort");
    co_await f.quota({{"count/deployments.apps", "0"}}, Json(), "rollouts");
    REQUIRE(co_await f.make(sized("burst", "1")));
    CHECK(why(co_await f.make(pod("effort"))).find("exceeded quota: effort") != std::string::npos);
    REQUIRE(co_await f.registry->create(pods(), "other", pod("effort"), {}));
    REQUIRE(co_await f.registry->create(config_maps(), "default", config_map("m"), {}));
    const Json body = json(R"({"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{
      "metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}})");
    CHECK(why(co_await f.registry->create(deployments(), "default", body, {})) ==
          "deployments.apps \"d\" is forbidden: exceeded quota: rollouts, requested: count/deployments.apps=1, used: "
          "count/deployments.apps=0, limited: count/deployments.apps=0");
  });
}
