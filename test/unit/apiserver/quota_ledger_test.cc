// ResourceQuotas over the registry: what is let in, and what the status tells.
#include "../../../src/apiserver/quota_ledger.h"

#include <array>
#include <atomic>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "core_fixture.h"
#include "support/fake_clock.h"

using namespace brume;
using namespace brume::apiserver;
using namespace brume::apiserver::core_test;
using test::FakeClock;

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

namespace {

/// A watch cache in which a ConfigMap appears the moment after somebody has listed them, as the store's thread may have
/// it.
class RacingCache final : public ObjectSource {
 public:
  [[nodiscard]] api::ObjectPtr find(const api::Resource& resource, std::string_view,
                                    std::string_view name) const override {
    for (const auto& object : resource.plural == "configmaps" ? maps : quota) {
      if (object->name() == name) return object;
    }
    return nullptr;
  }
  [[nodiscard]] std::vector<api::ObjectPtr> all(const api::Resource& resource, std::string_view) const override {
    if (resource.plural != "configmaps") return quota;
    auto out = maps;
    if (next) maps.push_back(std::exchange(next, nullptr));
    return out;
  }
  [[nodiscard]] std::int64_t version(const api::Resource&) const override { return 0; }

  std::vector<api::ObjectPtr> quota;
  mutable std::vector<api::ObjectPtr> maps;
  mutable api::ObjectPtr next;
};

}  // namespace

TEST_CASE("a write that becomes visible while another is counted is counted once") {
  RacingCache cache;
  const auto object = [](const char* text) { return *api::Object::from_json(Json::parse(text)); };
  cache.quota = {
      object(R"({"metadata":{"name":"q","namespace":"default","uid":"u"},"spec":{"hard":{"configmaps":"2"}}})")};
  QuotaLedger ledger(cache, system_clock());
  const auto claim = [&](std::string name) {
    Json body{{"metadata", {{"name", name}, {"namespace", "default"}, {"uid", "uid-" + name}}}};
    return ledger.claim({.resource = &config_maps(), .ns = "default", .name = name, .object = &body});
  };
  const auto first = claim("a");
  REQUIRE(first);
  cache.next = object(R"({"metadata":{"name":"a","namespace":"default","uid":"uid-a"}})");
  const auto second = claim("b");
  REQUIRE(second);
  cache.next = object(R"({"metadata":{"name":"b","namespace":"default","uid":"uid-b"}})");
  const auto third = claim("c");
  REQUIRE_FALSE(third);
  CHECK(third.error().message.find("used: configmaps=2, limited: configmaps=2") != std::string::npos);
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

// The ledger by itself -----------------------------------------------------------------------------------------------

namespace {

/// Objects as a test puts them.
class Source final : public ObjectSource {
 public:
  std::function<void(std::string_view plural, std::string_view ns)> looked = nullptr;

  void put(const api::Resource& resource, const std::string& ns, Json object) {
    object["metadata"]["namespace"] = ns;
    auto made = api::Object::from_json(object).value();
    const std::lock_guard lock(mutex_);
    objects_[{std::string(resource.plural), ns}][made->name()] = made;
  }
  void drop(const api::Resource& resource, const std::string& ns, const std::string& name) {
    const std::lock_guard lock(mutex_);
    objects_[{std::string(resource.plural), ns}].erase(name);
  }
  [[nodiscard]] api::ObjectPtr find(const api::Resource& resource, std::string_view ns,
                                    std::string_view name) const override {
    const std::lock_guard lock(mutex_);
    const auto& all = objects_[{std::string(resource.plural), std::string(ns)}];
    const auto found = all.find(std::string(name));
    return found == all.end() ? nullptr : found->second;
  }
  [[nodiscard]] std::vector<api::ObjectPtr> all(const api::Resource& resource, std::string_view ns) const override {
    if (looked) looked(resource.plural, ns);
    const std::lock_guard lock(mutex_);
    std::vector<api::ObjectPtr> out;
    for (const auto& [name, object] : objects_[{std::string(resource.plural), std::string(ns)}]) out.push_back(object);
    return out;
  }
  [[nodiscard]] std::int64_t version(const api::Resource&) const override { return 0; }

 private:
  mutable std::mutex mutex_;
  mutable std::map<std::pair<std::string, std::string>, std::map<std::string, api::ObjectPtr>> objects_;
};

Json quota_named(const std::string& name, Json hard, Json scopes = Json()) {
  Json out{{"metadata", {{"name", name}, {"uid", "uid of " + name}}}, {"spec", {{"hard", std::move(hard)}}}};
  if (!scopes.is_null()) out["spec"]["scopes"] = std::move(scopes);
  return out;
}

Json with_uid(Json object, const std::string& uid) {
  object["metadata"]["uid"] = uid;
  return object;
}

Result<QuotaLedger::Claim> ask(QuotaLedger& ledger, const std::string& ns, Json object) {
  const std::string name(str(at(object, "metadata"), "name"));
  return ledger.claim({.resource = &pods(), .ns = ns, .name = name, .object = &object});
}

}  // namespace

TEST_CASE("one look at a namespace's pods serves all its quotas") {
  Source source;
  FakeClock clock;
  QuotaLedger ledger(source, clock);
  for (const char* name : {"a", "b", "c"}) source.put(quotas(), "one", quota_named(name, {{"pods", "5"}}));
  source.put(pods(), "one", with_uid(pod("here"), "1"));
  int looks = 0;
  source.looked = [&](std::string_view plural, std::string_view) { looks += plural == "pods" ? 1 : 0; };
  CHECK(ask(ledger, "one", with_uid(pod("new"), "2")));
  CHECK(looks == 1);
}

TEST_CASE("writes of one namespace do not wait for those of another") {
  Source source;
  FakeClock clock;
  QuotaLedger ledger(source, clock);
  for (const char* ns : {"slow", "fast"}) source.put(quotas(), ns, quota_named("q", {{"pods", "5"}}));
  std::promise<void> inside, release;
  source.looked = [&](std::string_view plural, std::string_view ns) {
    if (plural != "pods" || ns != "slow") return;
    inside.set_value();
    release.get_future().wait();
  };
  std::thread slow([&] { CHECK(ask(ledger, "slow", with_uid(pod("p"), "1"))); });
  inside.get_future().wait();
  auto fast = std::async(std::launch::async, [&] { return ask(ledger, "fast", with_uid(pod("p"), "2")).has_value(); });
  const bool done = fast.wait_for(std::chrono::seconds(5)) == std::future_status::ready;
  release.set_value();
  slow.join();
  CHECK(done);
  CHECK(fast.get());
}

TEST_CASE("the sums that are kept are those that a fresh count finds") {
  Source source;
  FakeClock clock;
  QuotaLedger kept(source, clock);
  const Json hard{{"pods", "1000"}, {"requests.cpu", "1000"}, {"count/pods", "1000"}, {"requests.memory", "100Gi"}};
  source.put(quotas(), "n", quota_named("all", hard));
  source.put(quotas(), "n", quota_named("effort", {{"pods", "1000"}}, Json::array({"BestEffort"})));
  std::mt19937 dice(7);  // NOLINT: the same every time
  std::vector<QuotaLedger::Claim> claims;
  for (int step = 0; step < 400; ++step) {
    const std::string name = "p" + std::to_string(dice() % 20);
    const std::string uid = name + "-" + std::to_string(dice() % 2);
    Json one = with_uid(pod(name), uid);
    if (dice() % 2 == 0) {
      one["spec"]["containers"][0]["resources"]["requests"] = {{"cpu", std::to_string(dice() % 900) + "m"},
                                                               {"memory", dice() % 9 == 0 ? "9E" : "1Gi"}};
    }
    if (dice() % 4 == 0) one["status"]["phase"] = "Succeeded";
    if (dice() % 4 == 0) {
      one["metadata"]["deletionTimestamp"] = format_rfc3339(clock.now() + std::chrono::seconds(5));
      one["metadata"]["deletionGracePeriodSeconds"] = 5;
    }
    switch (dice() % 6) {
      case 0: source.drop(pods(), "n", name); break;
      case 1: clock.advance(std::chrono::seconds(4)); break;
      case 2:
        source.put(quotas(), "n", quota_named("all", {{"requests.cpu", std::to_string(500 + dice() % 3)}}));
        break;
      case 3: source.put(quotas(), "n", quota_named("all", hard)); break;
      default: source.put(pods(), "n", one); break;
    }
    if (dice() % 3 == 0) (void)ask(kept, "n", with_uid(pod("other"), "other"));
    QuotaLedger fresh(source, clock);
    for (const auto& quota : source.all(quotas(), "n")) {
      const auto found = kept.counted(quota, pods());
      const auto expected = fresh.counted(quota, pods());
      REQUIRE(found);
      REQUIRE(expected);
      // By number: the suffix of a sum is that of what came first.
      REQUIRE(api::amounts_of(at(*found, "status", "used")) == api::amounts_of(at(*expected, "status", "used")));
    }
  }
}

TEST_CASE("writes of one pod at the same time are charged the greatest of them") {
  Source source;
  FakeClock clock;
  QuotaLedger ledger(source, clock);
  source.put(quotas(), "n", quota_named("q", {{"requests.cpu", "1"}}));
  const auto sized_pod = [](const char* cpu) { return with_uid(sized("p", cpu), "1"); };
  source.put(pods(), "n", sized_pod("200m"));
  const auto resize = [&](const char* cpu) {
    Json now = sized_pod(cpu);
    const Json before = sized_pod("200m");
    return ledger.claim({.operation = AdmissionRequest::Operation::kUpdate,
                         .resource = &pods(),
                         .subresource = "resize",
                         .ns = "n",
                         .name = "p",
                         .object = &now,
                         .old_object = &before});
  };
  auto first = resize("600m");
  auto second = resize("500m");
  REQUIRE(first);
  REQUIRE(second);
  CHECK(why(ask(ledger, "n", with_uid(sized("new", "500m"), "2"))).find("used: requests.cpu=600m") !=
        std::string::npos);
  first = QuotaLedger::Claim();
  CHECK(ask(ledger, "n", with_uid(sized("new", "500m"), "2")));
}

TEST_CASE("what a driver tells of a claim is counted, and never refused") {
  Bench f;
  f.run([&]() -> Task<void> {
    const auto& claims = api::res("persistentvolumeclaims");
    co_await f.quota({{"requests.storage", "1Gi"}, {"persistentvolumeclaims", "1"}});
    const auto claim = [](const char* name, const char* size) {
      Json out = json(R"({"metadata":{},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{}}}})");
      out["metadata"]["name"] = name;
      out["spec"]["resources"]["requests"]["storage"] = size;
      return out;
    };
    REQUIRE(co_await f.registry->create(claims, "default", claim("c", "1Gi"), {}));
    CHECK(why(co_await f.registry->create(claims, "default", claim("d", "1Gi"), {})).find("exceeded quota: q") !=
          std::string::npos);
    const auto tell = [&](const char* allocated) {
      Json status{{"status", {{"phase", "Bound"}, {"allocatedResources", {{"storage", allocated}}}}}};
      return f.registry->patch(claims, "default", "c", "status", PatchType::kMerge, std::move(status), {});
    };
    REQUIRE(co_await tell("5Gi"));
    CHECK(f.used("requests.storage") == "5Gi");
    // Full as the quota is, the next word of the driver is taken too.
    REQUIRE(co_await tell("6Gi"));
    CHECK(f.used("requests.storage") == "6Gi");
    REQUIRE(co_await tell("1Gi"));
    CHECK(f.used("requests.storage") == "1Gi");
  });
}
