// pods/eviction over the registry.
#include "core_fixture.h"

using namespace brume;
using namespace brume::apiserver;
using namespace brume::apiserver::core_test;

namespace {

const api::Resource& budgets() { return api::res("poddisruptionbudgets.policy"); }

struct Bench : Fixture {
  Task<void> pod_with(std::string name, std::string phase, bool ready) {
    (void)co_await registry->create(pods(), "default", pod(name, "n1", R"({"app":"x"})"), {});
    Json status{{"status", {{"phase", phase}}}};
    status["status"]["conditions"] = Json::array({{{"type", "Ready"}, {"status", ready ? "True" : "False"}}});
    (void)co_await registry->patch(pods(), "default", name, "status", PatchType::kMerge, status, {});
  }
  Task<void> budget(std::string name, Json status, std::string policy = "") {
    Json body = json(R"({"metadata":{},"spec":{"minAvailable":1,"selector":{"matchLabels":{"app":"x"}}}})");
    body["metadata"]["name"] = name;
    if (!policy.empty()) body["spec"]["unhealthyPodEvictionPolicy"] = policy;
    (void)co_await registry->create(budgets(), "default", body, {});
    if (status.is_null()) co_return;
    (void)co_await registry->patch(budgets(), "default", name, "status", PatchType::kMerge, {{"status", status}}, {});
  }
  Task<Result<Json>> evict(std::string name, Json options = Json()) {
    Json body{{"metadata", {{"name", name}}}};
    if (!options.is_null()) body["deleteOptions"] = options;
    return registry->create_subresource(pods(), "default", name, "eviction", body, {});
  }
  Json get(const api::Resource& resource, const char* name) {
    auto found = registry->get(resource, "default", name);
    return found ? (*found)->parse() : Json();
  }
};

Json counts(int allowed, int healthy, int desired) {
  return {{"observedGeneration", 1},
          {"disruptionsAllowed", allowed},
          {"currentHealthy", healthy},
          {"desiredHealthy", desired},
          {"expectedPods", healthy},
          {"conditions", Json::array({{{"type", "DisruptionAllowed"},
                                       {"status", allowed > 0 ? "True" : "False"},
                                       {"reason", allowed > 0 ? "SufficientPods" : "InsufficientPods"},
                                       {"message", ""},
                                       {"lastTransitionTime", "2026-01-01T00:00:00Z"}}})}};
}

}  // namespace

TEST_CASE("an eviction spends the budget and tells why the pod goes") {
  Bench f;
  f.run([&]() -> Task<void> {
    co_await f.pod_with("p", "Running", true);
    co_await f.budget("b", counts(1, 2, 1));
    auto done = co_await f.evict("p");
    REQUIRE(done);
    CHECK(num(*done, "code") == 201);
    const Json evicted = f.get(pods(), "p");
    CHECK(at(evicted, "metadata").contains("deletionTimestamp"));
    bool told = false;
    for (const Json& condition : at(evicted, "status", "conditions")) {
      if (str(condition, "type") != "DisruptionTarget") continue;
      told = true;
      CHECK(str(condition, "status") == "True");
      CHECK(str(condition, "reason") == "EvictionByEvictionAPI");
      CHECK(str(condition, "message") == "Eviction API: evicting");
    }
    CHECK(told);
    const Json left = at(f.get(budgets(), "b"), "status");
    CHECK(num(left, "disruptionsAllowed", -1) == 0);
    CHECK(at(left, "disruptedPods").contains("p"));
    CHECK(str(at(left, "conditions").at(0), "reason") == "InsufficientPods");
    CHECK(str(at(left, "conditions").at(0), "status") == "False");
  });
}

TEST_CASE("why an eviction is refused") {
  Bench f;
  f.run([&]() -> Task<void> {
    co_await f.pod_with("p", "Running", true);
    co_await f.budget("b", Json());
    const auto refusal = [&](const Result<Json>& result, const char* cause, int retry) {
      REQUIRE_FALSE(result);
      CHECK(result.error().code == Code::kTooManyRequests);
      CHECK(result.error().message == "Cannot evict pod as it would violate the pod's disruption budget.");
      CHECK(result.error().causes.at(0).reason == "DisruptionBudget");
      CHECK(result.error().causes.at(0).message == cause);
      CHECK(result.error().retry_after_seconds == retry);
    };
    refusal(co_await f.evict("p"), "The disruption budget b is still being processed by the server.", 10);

    const auto set = [&](Json status) -> Task<void> {
      (void)co_await f.registry->patch(budgets(), "default", "b", "status", PatchType::kMerge, {{"status", status}},
                                       {});
    };
    co_await set(counts(0, 1, 1));
    refusal(co_await f.evict("p"), "The disruption budget b needs 1 healthy pods and has 1 currently", 0);

    Json failed = counts(0, 0, 0);
    failed["conditions"][0]["reason"] = "SyncFailed";
    failed["conditions"][0]["message"] = "no controllers";
    co_await set(failed);
    refusal(co_await f.evict("p"),
            "The disruption budget b does not allow evicting pods currently because it failed sync: no controllers", 0);

    Json odd = counts(0, 3, 1);
    odd["conditions"][0]["message"] = "later";
    co_await set(odd);
    refusal(co_await f.evict("p"),
            "The disruption budget b does not allow evicting pods currently (InsufficientPods): later", 0);
    co_await set(counts(0, 3, 1));
    refusal(co_await f.evict("p"), "The disruption budget b does not allow evicting pods currently", 0);
    CHECK_FALSE(at(f.get(pods(), "p"), "metadata").contains("deletionTimestamp"));

    co_await f.budget("second", counts(1, 2, 1));
    const auto many = co_await f.evict("p");
    REQUIRE_FALSE(many);
    CHECK(many.error().code == Code::kInternal);
    CHECK(many.error().message ==
          "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.");
  });
}

TEST_CASE("pods that a budget does not guard") {
  Bench f;
  f.run([&]() -> Task<void> {
    co_await f.budget("b", counts(0, 1, 1));
    for (const char* phase : {"Pending", "Succeeded", "Failed"}) {
      INFO(phase);
      co_await f.pod_with("p", phase, false);
      REQUIRE(co_await f.evict("p", {{"gracePeriodSeconds", 0}}));
      CHECK(f.get(pods(), "p").is_null());
    }
    // One that is being deleted already.
    co_await f.pod_with("q", "Running", true);
    REQUIRE(co_await f.registry->remove(pods(), "default", "q", {}, {}));
    REQUIRE(co_await f.evict("q", {{"gracePeriodSeconds", 0}}));
    CHECK(f.get(pods(), "q").is_null());
  });
}

TEST_CASE("pods that are not ready go by the budget's policy") {
  Bench f;
  f.run([&]() -> Task<void> {
    co_await f.pod_with("sick", "Running", false);
    co_await f.budget("b", counts(0, 0, 1));
    CHECK_FALSE(co_await f.evict("sick"));  // the application is disrupted already
    (void)co_await f.registry->patch(budgets(), "default", "b", "status", PatchType::kMerge,
                                     {{"status", counts(0, 1, 1)}}, {});
    REQUIRE(co_await f.evict("sick"));  // it is not: enough others are healthy
    CHECK(at(f.get(pods(), "sick"), "metadata").contains("deletionTimestamp"));
    CHECK(at(f.get(budgets(), "b"), "status", "disruptedPods").empty());

    REQUIRE(co_await f.registry->remove(budgets(), "default", "b", {}, {}));
    co_await f.pod_with("worse", "Running", false);
    co_await f.budget("c", counts(0, 0, 1), "AlwaysAllow");
    REQUIRE(co_await f.evict("worse"));
  });
}

TEST_CASE("preconditions, names and dry run of an eviction") {
  Bench f;
  f.run([&]() -> Task<void> {
    co_await f.pod_with("p", "Running", true);
    co_await f.budget("b", counts(1, 2, 1));
    CHECK(why(co_await f.evict("absent")) == "pods \"absent\" not found");
    CHECK(why(co_await f.registry->create_subresource(pods(), "default", "p", "eviction",
                                                      json(R"({"metadata":{"name":"q"}})"), {})) ==
          "name in URL does not match name in Eviction object");
    REQUIRE(co_await f.evict("p", {{"dryRun", Json::array({"All"})}}));
    CHECK_FALSE(at(f.get(pods(), "p"), "metadata").contains("deletionTimestamp"));
    CHECK(num(at(f.get(budgets(), "b"), "status"), "disruptionsAllowed") == 1);
    const auto wrong = co_await f.evict("p", {{"preconditions", {{"uid", "other"}}}});
    REQUIRE_FALSE(wrong);
    CHECK(wrong.error().code == Code::kConflict);
    CHECK(wrong.error().message.find("the UID in the precondition (other) does not match the UID in record (") !=
          std::string::npos);
    CHECK_FALSE(at(f.get(pods(), "p"), "metadata").contains("deletionTimestamp"));
  });
}

TEST_CASE("as many evictions as the budget allows, of many at once") {
  Bench f;
  f.run([&]() -> Task<void> {
    for (int i = 0; i < 12; ++i) co_await f.pod_with("p" + std::to_string(i), "Running", true);
    co_await f.budget("b", counts(5, 12, 7));
    int granted = 0, refused = 0;
    TaskGroup group(co_await boost::asio::this_coro::executor);
    const auto one = [&](int i) -> Task<void> {
      const auto done = co_await f.evict("p" + std::to_string(i));
      if (done) {
        ++granted;
      } else if (done.error().code == Code::kTooManyRequests) {
        ++refused;
      }
    };
    for (int i = 0; i < 12; ++i) group.spawn("evict", one(i));
    while (group.size() > 0) co_await yield_now();
    CHECK(granted == 5);
    CHECK(refused == 7);
    CHECK(at(f.get(budgets(), "b"), "status", "disruptedPods").size() == 5);
  });
}
