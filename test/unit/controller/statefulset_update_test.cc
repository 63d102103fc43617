#include "brume/api/defaults.h"
#include "history.h"
#include "statefulset_bench.h"
#include "statefulset_util.h"

using namespace brume;
using namespace brume::controller;
using namespace brume::controller::stateful_sets;

// Updates ------------------------------------------------------------------------------------------------------------

TEST_CASE("a rolling update goes from the highest ordinal down, each pod after the one above is available") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(3));
    co_await b.converge();
    const Json first = status(b)["currentRevision"];
    set_image(b, "web:2");
    co_await b.rest();
    CHECK(names(b) == "web-0 web-1 web-2-");
    CHECK(status(b)["currentRevision"] == first);
    CHECK(status(b)["updateRevision"] != first);
    CHECK(status(b)["currentReplicas"] == 2);
    b.kubelet(false);
    co_await b.rest();
    b.kubelet(false);
    co_await b.rest();
    CHECK(pods(b) == "web-0=web:1 web-1=web:1 web-2=web:2");  // waits: the new pod is not ready
    CHECK(status(b)["updatedReplicas"] == 1);
    b.api.set_status("pods", "default", "web-2",
                     {{"conditions", Json::array({{{"type", "Ready"}, {"status", "True"}}})}});
    co_await b.converge(30);
    CHECK(pods(b) == "web-0=web:2 web-1=web:2 web-2=web:2");
    CHECK(status(b)["currentRevision"] == status(b)["updateRevision"]);
    CHECK(status(b)["currentReplicas"] == 3);
    CHECK(status(b)["updatedReplicas"] == 3);
    CHECK(revisions(b) == 2);
  });
}

TEST_CASE("pods below the partition keep the current revision, also when they are made anew") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(3, rolling({{"partition", 2}})));
    co_await b.converge();
    set_image(b, "web:2");
    co_await b.converge(30);
    CHECK(pods(b) == "web-0=web:1 web-1=web:1 web-2=web:2");
    CHECK(status(b)["currentReplicas"] == 2);
    CHECK(status(b)["updatedReplicas"] == 1);
    CHECK(status(b)["currentRevision"] != status(b)["updateRevision"]);
    b.api.erase("pods", "default", "web-0");
    b.api.erase("pods", "default", "web-2");
    co_await b.converge(30);
    CHECK(pods(b) == "web-0=web:1 web-1=web:1 web-2=web:2");
    b.edit("statefulsets.apps", "default", "web",
           [](Json& set) { set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 0; });
    co_await b.converge(30);
    CHECK(pods(b) == "web-0=web:2 web-1=web:2 web-2=web:2");
  });
}

TEST_CASE("without rollingUpdate a lost pod comes back at the revision that its ordinal had") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    Json set = stateful_set(3);
    set["spec"]["updateStrategy"].erase("rollingUpdate");
    b.api.seed("statefulsets.apps", set);
    co_await b.converge();
    set_image(b, "web:2");
    co_await b.rest();
    CHECK(names(b) == "web-0 web-1 web-2-");
    b.api.erase("pods", "default", "web-0");
    co_await b.rest();
    CHECK(pods(b).starts_with("web-0=web:1"));
    co_await b.converge(30);
    CHECK(pods(b) == "web-0=web:2 web-1=web:2 web-2=web:2");
  });
}

TEST_CASE("OnDelete updates what someone deletes") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    Json set = stateful_set(2);
    set["spec"]["updateStrategy"] = {{"type", "OnDelete"}};
    b.api.seed("statefulsets.apps", set);
    co_await b.converge();
    set_image(b, "web:2");
    co_await b.converge();
    CHECK(pods(b) == "web-0=web:1 web-1=web:1");
    b.api.erase("pods", "default", "web-0");
    co_await b.converge();
    CHECK(pods(b) == "web-0=web:2 web-1=web:1");
    CHECK(status(b)["currentRevision"] != status(b)["updateRevision"]);
    CHECK(status(b)["updatedReplicas"] == 1);
  });
}

TEST_CASE("a rollout that is stuck on a pod that never runs waits for someone to delete the pod") {
  for (const bool parallel : {false, true}) {
    INFO(parallel);
    Bench b({make_statefulset});
    b.run([&]() -> Task<void> {
      b.api.seed("statefulsets.apps",
                 stateful_set(2, {{"podManagementPolicy", parallel ? "Parallel" : "OrderedReady"}}));
      co_await b.converge();
      set_image(b, "web:broken");
      co_await b.rest();
      b.kubelet();
      co_await b.rest();
      b.kubelet(false);
      co_await b.rest();
      CHECK(pods(b) == "web-0=web:1 web-1=web:broken");
      set_image(b, "web:1");
      co_await b.rest();
      b.kubelet();
      co_await b.rest();
      // With Parallel nothing waits for the broken pod, which is out of date now and goes. With OrderedReady it is
      // waited for until someone deletes it (a known limitation of Kubernetes).
      CHECK(pods(b) == (parallel ? "web-0=web:1 web-1=web:1" : "web-0=web:1 web-1=web:broken"));
      if (!parallel) b.api.erase("pods", "default", "web-1");
      co_await b.converge(30);
      CHECK(pods(b) == "web-0=web:1 web-1=web:1");
      CHECK(revisions(b) == 2);
    });
  }
}

TEST_CASE("maxUnavailable lets several pods be updated at once") {
  for (const char* policy : {"OrderedReady", "Parallel"}) {
    INFO(policy);
    Bench b({make_statefulset});
    b.run([&]() -> Task<void> {
      auto spec = rolling({{"partition", 1}, {"maxUnavailable", 2}});
      spec["podManagementPolicy"] = policy;
      b.api.seed("statefulsets.apps", stateful_set(5, spec));
      co_await b.converge(30);
      set_image(b, "web:2");
      co_await b.rest();
      CHECK(names(b) == "web-0 web-1 web-2 web-3- web-4-");
      co_await b.converge(40);
      CHECK(pods(b) == "web-0=web:1 web-1=web:2 web-2=web:2 web-3=web:2 web-4=web:2");
    });
  }
}

TEST_CASE("which pods a rolling update deletes") {
  struct Case {
    const char* what;
    Json strategy;
    std::string pods;  // o: outdated, n: new, lower case available, upper case not, x: outdated and being deleted
    std::vector<std::size_t> doomed;
  };
  const std::vector<Case> cases = {
      {"the highest outdated one", {{"partition", 0}}, "ooo", {2}},
      {"the next below new ones", {{"partition", 0}}, "oon", {1}},
      {"none while a new one is not available", {{"partition", 0}}, "ooN", {}},
      {"one that is outdated need not be available", {{"partition", 0}}, "ooO", {2}},
      {"none while one is on its way out", {{"partition", 0}}, "oox", {}},
      {"none below the partition", {{"partition", 2}}, "oon", {}},
      {"a partition above all", {{"partition", 9}}, "ooo", {}},
      {"a pod below the partition that ails does not matter", {{"partition", 1}}, "Ooo", {2}},
      {"several with maxUnavailable", {{"partition", 0}, {"maxUnavailable", 2}}, "oooo", {3, 2}},
      {"unavailable ones count against it", {{"partition", 0}, {"maxUnavailable", 2}}, "ooxo", {3}},
      {"and those below the partition too", {{"partition", 1}, {"maxUnavailable", 1}}, "Ooo", {}},
      {"percent rounds down but never to none", {{"partition", 0}, {"maxUnavailable", "10%"}}, "ooo", {2}},
      {"half", {{"partition", 0}, {"maxUnavailable", "50%"}}, "ooooo", {4, 3}},
  };
  for (const auto& k : cases) {
    INFO(k.what);
    auto object = api::Object::from_json({{"metadata", {{"name", "web"}, {"uid", "u"}}}});
    REQUIRE(object);
    StatefulSet set{.object = *object, .value = stateful_set(static_cast<int>(k.pods.size()), rolling(k.strategy))};
    std::vector<Member> members;
    for (const char c : k.pods) {
      Json pod = {{"metadata", {{"name", "web-" + std::to_string(members.size())}}}};
      if (c == 'x') pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
      auto made = api::Object::from_json(pod);
      REQUIRE(made);
      members.push_back({.ordinal = static_cast<std::int64_t>(members.size()),
                         .pod = *made,
                         .revision = c == 'n' || c == 'N' ? "new" : "old",
                         .ready = true,
                         .available = c == 'o' || c == 'n' || c == 'x'});
    }
    CHECK(pods_to_update(set, members, "new") == k.doomed);
  }
}

// History ------------------------------------------------------------------------------------------------------------

TEST_CASE("going back raises the old revision, and old ones are cleaned up to the limit") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(1, {{"revisionHistoryLimit", 2}}));
    co_await b.converge();
    const std::string first_name(str(status(b), "currentRevision"));
    for (const char* image : {"web:2", "web:3"}) {
      set_image(b, image);
      co_await b.converge(20);
    }
    CHECK(revisions(b) == 3);
    set_image(b, "web:1");
    co_await b.converge(20);
    CHECK(revisions(b) == 3);
    CHECK(status(b)["currentRevision"] == first_name);
    CHECK(b.api.json("controllerrevisions.apps", "default", first_name)["revision"] == 4);
    CHECK(pods(b) == "web-0=web:1");
    for (const char* image : {"web:4", "web:5"}) {
      set_image(b, image);
      co_await b.converge(20);
    }
    std::vector<std::int64_t> numbers;
    for (const auto& revision : b.api.all("controllerrevisions.apps"))
      numbers.push_back(num(revision->parse(), "revision"));
    std::sort(numbers.begin(), numbers.end());
    CHECK(numbers == std::vector<std::int64_t>{4, 5, 6});
  });
}

TEST_CASE("revisions that pods are of outlive the limit") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    auto spec = rolling({{"partition", 2}});
    spec["revisionHistoryLimit"] = 0;
    b.api.seed("statefulsets.apps", stateful_set(2, spec));
    co_await b.converge();
    set_image(b, "web:2");
    co_await b.converge();
    set_image(b, "web:3");
    co_await b.converge();
    CHECK(pods(b) == "web-0=web:1 web-1=web:1");
    CHECK(revisions(b) == 2);  // the pods' and the update; the one between is gone
  });
}

TEST_CASE("a revision whose name another template has counts a collision") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    const Json set = stateful_set(1);
    const auto hash = name_hash(dump_json(revision_data(at(set, "spec", "template"))), 0);
    b.api.seed("controllerrevisions.apps",
               {{"metadata", {{"name", "web-" + hash}}}, {"data", Json::object()}, {"revision", 1}});
    b.api.seed("statefulsets.apps", set);
    co_await b.converge();
    CHECK(status(b)["collisionCount"] == 1);
    CHECK(revisions(b) == 2);
    CHECK(status(b)["updateRevision"] != "web-" + hash);
    CHECK(pods(b) == "web-0=web:1");
  });
}

TEST_CASE("a revision that only lacks defaults is no other revision") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    Json set = stateful_set(1);
    api::apply_defaults(api::res("statefulsets.apps"), set);
    const auto object = b.api.seed("statefulsets.apps", set);
    Json old = revision_data(pod_template("web"));
    b.api.seed("controllerrevisions.apps",
               {{"metadata",
                 {{"name", "web-old"},
                  {"labels", {{"app", "web"}}},
                  {"ownerReferences", Json::array({client::controller_reference(*object)})}}},
                {"data", old},
                {"revision", 1}});
    co_await b.converge();
    // Made when the set was seen without it, or not at all.
    CHECK(status(b)["updateRevision"] == "web-old");
  });
}

TEST_CASE("what is surplus of a history") {
  Revisions all;
  for (int i = 1; i <= 5; ++i) {
    auto object = api::Object::from_json({{"metadata", {{"name", "r" + std::to_string(i)}}}});
    REQUIRE(object);
    all.push_back({.object = *object, .number = i, .data = {}});
  }
  const auto numbers = [&](std::int64_t limit, std::int64_t live) {
    std::vector<std::int64_t> out;
    for (const auto& r : surplus(all, limit, [&](const Revision& x) { return x.number == live; }))
      out.push_back(r.number);
    return out;
  };
  CHECK(numbers(5, 0).empty());
  CHECK(numbers(3, 0) == std::vector<std::int64_t>{1, 2});
  CHECK(numbers(3, 1) == std::vector<std::int64_t>{2, 3});
  CHECK(numbers(0, 5) == std::vector<std::int64_t>{1, 2, 3, 4});
  CHECK(numbers(-1, 0).empty());
}
