#include "statefulset_bench.h"
#include "statefulset_util.h"

using namespace brume;
using namespace brume::controller;
using namespace brume::controller::stateful_sets;
using namespace std::chrono_literals;

// Identity and order -------------------------------------------------------------------------------------------------

TEST_CASE("a StatefulSet makes its pods one after the other, each with a name of its own") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(3));
    co_await b.rest();
    CHECK(names(b) == "web-0");
    const Json pod = b.api.json("pods", "default", "web-0");
    CHECK(str(at(pod, "spec"), "hostname") == "web-0");
    CHECK(str(at(pod, "spec"), "subdomain") == "nginx");
    const auto& labels = at(pod, "metadata", "labels");
    CHECK(str(labels, "statefulset.kubernetes.io/pod-name") == "web-0");
    CHECK(str(labels, "apps.kubernetes.io/pod-index") == "0");
    CHECK(str(labels, "controller-revision-hash") == str(status(b), "updateRevision"));
    CHECK(str(labels, "app") == "web");
    CHECK(str(at(pod, "metadata", "ownerReferences")[0], "kind") == "StatefulSet");
    CHECK(status(b)["replicas"] == 1);
    CHECK(status(b)["availableReplicas"] == 0);
    b.kubelet(false);
    co_await b.rest();
    CHECK(names(b) == "web-0");  // runs, but is not ready
    b.api.erase("pods", "default", "web-0");
    co_await b.converge();
    CHECK(names(b) == "web-0 web-1 web-2");
    for (const char* field : {"replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas"}) {
      INFO(field);
      CHECK(status(b)[field] == 3);
    }
    CHECK(status(b)["collisionCount"] == 0);
    CHECK(status(b)["observedGeneration"] == 1);
    CHECK(status(b)["currentRevision"] == status(b)["updateRevision"]);
    CHECK(revisions(b) == 1);
    const auto events = b.events("SuccessfulCreate");
    CHECK(std::count(events.begin(), events.end(), "Create Pod web-2 in StatefulSet web successful") == 1);
    // Nothing more is written once all is as wanted.
    const auto before = b.api.revision();
    co_await b.rest(20);
    CHECK(b.api.revision() == before);
  });
}

TEST_CASE("a revision is a patch that puts the template back") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    Json set = stateful_set(1);
    set["metadata"]["annotations"]["kubernetes.io/change-cause"] = "first";
    b.api.seed("statefulsets.apps", set);
    co_await b.rest();
    REQUIRE(revisions(b) == 1);
    const auto revision = b.api.all("controllerrevisions.apps").front();
    const Json value = revision->parse();
    CHECK(revision->name().starts_with("web-"));
    CHECK(status(b)["updateRevision"] == revision->name());
    CHECK(value["revision"] == 1);
    CHECK(str(at(value, "data", "spec", "template"), "$patch") == "replace");
    CHECK(at(value, "data", "spec", "template", "spec") == at(set, "spec", "template", "spec"));
    CHECK(revision->label("app") == "web");
    CHECK(revision->name() == "web-" + std::string(revision->label("controller.kubernetes.io/hash")));
    CHECK(str(at(value, "metadata", "annotations"), "kubernetes.io/change-cause") == "first");
    REQUIRE(revision->controller() != nullptr);
    CHECK(revision->controller()->kind == "StatefulSet");
  });
}

TEST_CASE("Parallel makes and deletes all pods at once") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(4, {{"podManagementPolicy", "Parallel"}}));
    co_await b.rest();
    CHECK(names(b) == "web-0 web-1 web-2 web-3");
    b.kubelet(false);
    scale(b, 1);
    co_await b.rest();
    CHECK(names(b) == "web-0 web-1- web-2- web-3-");
  });
}

TEST_CASE("a set that asks for more pods than there can be is served piece by piece") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(2'000'000'000, {{"podManagementPolicy", "Parallel"}}));
    co_await test::settle(100);
    const auto first = b.api.all("pods").size();
    CHECK(first >= 500);
    CHECK(first < 5000);
    b.edit("statefulsets.apps", "default", "web", [](Json& set) { set["spec"]["replicas"] = 1; });
    co_await b.rest(10);
    CHECK(b.api.count("create", "pods") < 10'000);
  });
}

TEST_CASE("ordinals may start elsewhere, and move") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(2, {{"ordinals", {{"start", 3}}}}));
    co_await b.converge();
    CHECK(names(b) == "web-3 web-4");
    CHECK(str(at(b.api.json("pods", "default", "web-4"), "metadata", "labels"), "apps.kubernetes.io/pod-index") == "4");
    b.edit("statefulsets.apps", "default", "web", [](Json& set) { set["spec"]["ordinals"]["start"] = 4; });
    co_await b.converge();
    CHECK(names(b) == "web-4 web-5");
  });
}

TEST_CASE("scaling down takes the highest ordinal first, and waits for each") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(3));
    co_await b.converge();
    scale(b, 0);
    co_await b.rest();
    CHECK(names(b) == "web-0 web-1 web-2-");
    b.kubelet();
    co_await b.rest();
    CHECK(names(b) == "web-0 web-1-");
    b.kubelet();
    co_await b.rest();
    CHECK(names(b) == "web-0-");
    co_await b.converge();
    CHECK(names(b).empty());
    CHECK(status(b)["replicas"] == 0);
    CHECK_FALSE(status(b).contains("readyReplicas"));
    CHECK(b.events("SuccessfulDelete").size() == 3);
  });
}

TEST_CASE("an unhealthy pod holds up scaling in either direction") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(3));
    co_await b.converge();
    unready(b, "web-0");
    co_await b.rest();
    scale(b, 1);
    co_await b.rest();
    CHECK(names(b) == "web-0 web-1 web-2");
    scale(b, 5);
    co_await b.rest();
    CHECK(names(b) == "web-0 web-1 web-2");
    // A pod that is to go and is the first that ails may be deleted; one above it waits.
    unready(b, "web-2");
    scale(b, 2);
    co_await b.rest();
    CHECK(names(b) == "web-0 web-1 web-2");
    b.api.set_status("pods", "default", "web-0",
                     {{"conditions", Json::array({{{"type", "Ready"}, {"status", "True"}}})}});
    co_await b.rest();
    CHECK(names(b) == "web-0 web-1 web-2-");
  });
}

TEST_CASE("a pod that ended is made anew, however it ended") {
  for (const char* phase : {"Failed", "Succeeded"}) {
    INFO(phase);
    Bench b({make_statefulset});
    b.run([&]() -> Task<void> {
      b.api.seed("statefulsets.apps", stateful_set(2));
      co_await b.converge();
      const auto before = b.api.find("pods", "default", "web-0")->uid();
      fail_pod(b, "web-0", phase);
      co_await b.converge();
      CHECK(names(b) == "web-0 web-1");
      CHECK(b.api.find("pods", "default", "web-0")->uid() != before);
    });
  }
}

TEST_CASE("there is never a second pod of an ordinal while the first may run on a lost node") {
  for (const char* policy : {"OrderedReady", "Parallel"}) {
    INFO(policy);
    Bench b({make_statefulset});
    b.run([&]() -> Task<void> {
      b.api.seed("statefulsets.apps", stateful_set(2, {{"podManagementPolicy", policy}}));
      co_await b.converge();
      const auto before = b.api.find("pods", "default", "web-1")->uid();
      // The node is lost: the pod is told to go, and no kubelet confirms.
      b.api.set_status("pods", "default", "web-1", {{"phase", "Unknown"}});
      b.edit("pods", "default", "web-1", [](Json& pod) {
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
        pod["metadata"]["deletionGracePeriodSeconds"] = 30;
      });
      const auto created = b.api.count("create", "pods");
      co_await b.rest(100);
      CHECK(b.api.count("create", "pods") == created);
      CHECK(b.api.find("pods", "default", "web-1")->uid() == before);
      b.api.erase("pods", "default", "web-1");
      co_await b.converge();
      CHECK(b.api.find("pods", "default", "web-1")->uid() != before);
    });
  }
}

TEST_CASE("a pod becomes available after minReadySeconds, and only then the next is made") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(2, {{"minReadySeconds", 30}}));
    co_await b.rest();
    b.kubelet();
    co_await b.rest();
    CHECK(names(b) == "web-0");
    CHECK(status(b)["readyReplicas"] == 1);
    CHECK(status(b)["availableReplicas"] == 0);
    b.clock.advance(31s);
    co_await b.rest();
    CHECK(names(b) == "web-0 web-1");
    CHECK(status(b)["availableReplicas"] == 1);
  });
}

TEST_CASE("a creation that fails is told and done again") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.react([](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "create" || call.resource != "pods") return std::nullopt;
      return Error{.code = Code::kForbidden, .message = "exceeded quota"};
    });
    b.api.seed("statefulsets.apps", stateful_set(1));
    co_await b.rest();
    const auto events = b.events("FailedCreate");
    REQUIRE_FALSE(events.empty());
    CHECK(events.front() == "Create Pod web-0 in StatefulSet web failed error: exceeded quota");
    CHECK(status(b)["replicas"] == 0);
    CHECK(status(b)["observedGeneration"] == 1);
    b.api.clear_reactors();
    co_await b.rest(40);
    CHECK(names(b) == "web-0");
  });
}

TEST_CASE("a stale copy of the pods leads to no second creation or deletion") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(1));
    co_await b.converge();
    b.api.break_watches({.code = Code::kServiceUnavailable, .message = "cut"});
    scale(b, 2);
    for (int i = 0; i < 20; ++i) {
      b.edit("statefulsets.apps", "default", "web",
             [i](Json& set) { set["metadata"]["annotations"]["n"] = std::to_string(i); });
      b.clock.advance(7ms);
      co_await test::settle(40);
    }
    co_await b.rest(20);
    CHECK(b.api.count("create", "pods") == 2);
  });
}

TEST_CASE("a StatefulSet that is being deleted is only counted") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(2));
    co_await b.converge();
    b.edit("statefulsets.apps", "default", "web", [](Json& set) {
      set["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
      set["metadata"]["finalizers"] = Json::array({"foregroundDeletion"});
    });
    co_await b.rest();
    b.api.erase("pods", "default", "web-1");
    co_await b.rest();
    CHECK(names(b) == "web-0");
    CHECK(status(b)["replicas"] == 1);
    // Its revisions go before it: none is made anew.
    for (const auto& revision : b.api.all("controllerrevisions.apps")) {
      b.api.erase("controllerrevisions.apps", "default", revision->name());
    }
    co_await b.rest();
    CHECK(revisions(b) == 0);
  });
}

// Ownership ----------------------------------------------------------------------------------------------------------

TEST_CASE("matching pods of the right name are adopted with their revisions, others are not") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(2));
    co_await b.converge();
    const auto uid = b.api.find("pods", "default", "web-0")->uid();
    // Deleted with --cascade=orphan and made again.
    b.api.erase("statefulsets.apps", "default", "web");
    co_await b.rest();
    for (const char* name : {"web-0", "web-1"}) {
      b.edit("pods", "default", name, [](Json& pod) { pod["metadata"].erase("ownerReferences"); });
    }
    const auto revision = b.api.all("controllerrevisions.apps").front()->name();
    b.edit("controllerrevisions.apps", "default", revision, [](Json& r) { r["metadata"].erase("ownerReferences"); });
    b.api.seed("pods", {{"metadata", {{"name", "stranger"}, {"labels", {{"app", "web"}}}}}});
    b.api.seed("pods", {{"metadata", {{"name", "web-007"}, {"labels", {{"app", "web"}}}}}});
    auto again = stateful_set(2);
    again["metadata"]["uid"] = "another-uid";
    b.api.seed("statefulsets.apps", again);
    co_await b.rest();
    REQUIRE(b.api.find("pods", "default", "web-0")->controller() != nullptr);
    CHECK(b.api.find("pods", "default", "web-0")->controller()->uid == "another-uid");
    CHECK(b.api.find("pods", "default", "web-0")->uid() == uid);
    CHECK(b.api.find("pods", "default", "stranger")->controller() == nullptr);
    CHECK(b.api.find("pods", "default", "web-007")->controller() == nullptr);
    CHECK(revisions(b) == 1);
    CHECK(b.api.find("controllerrevisions.apps", "default", revision)->controller()->uid == "another-uid");
  });
}

TEST_CASE("a pod that matches no longer is released, and its name is waited for") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(1));
    co_await b.converge();
    const auto uid = b.api.find("pods", "default", "web-0")->uid();
    b.edit("pods", "default", "web-0", [](Json& pod) { pod["metadata"]["labels"]["app"] = "debug"; });
    co_await b.rest(20);
    CHECK(b.api.find("pods", "default", "web-0")->controller() == nullptr);
    CHECK(b.api.find("pods", "default", "web-0")->uid() == uid);
    CHECK(b.events("FailedCreate").empty());
    b.api.erase("pods", "default", "web-0");
    co_await test::settle(100);  // at once, not after the back-off
    REQUIRE(b.api.find("pods", "default", "web-0"));
    CHECK(b.api.find("pods", "default", "web-0")->controller() != nullptr);
  });
}

TEST_CASE("a pod of the same name that belongs to an earlier set is waited for") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("pods", {{"metadata",
                         {{"name", "web-0"},
                          {"labels", {{"app", "web"}}},
                          {"ownerReferences", Json::array({{{"apiVersion", "apps/v1"},
                                                            {"kind", "StatefulSet"},
                                                            {"name", "web"},
                                                            {"uid", "gone"},
                                                            {"controller", true}}})}}}});
    b.api.seed("statefulsets.apps", stateful_set(1));
    co_await b.rest(20);
    CHECK(b.api.find("pods", "default", "web-0")->controller()->uid == "gone");
    CHECK(status(b)["replicas"] == 0);
    b.api.erase("pods", "default", "web-0");
    co_await test::settle(100);
    REQUIRE(b.api.find("pods", "default", "web-0"));
    CHECK(b.api.find("pods", "default", "web-0")->controller()->uid != "gone");
  });
}

TEST_CASE("a pod that lost its label of identity gets it back") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", stateful_set(1));
    co_await b.converge();
    b.edit("pods", "default", "web-0",
           [](Json& pod) { pod["metadata"]["labels"].erase("statefulset.kubernetes.io/pod-name"); });
    co_await b.rest();
    CHECK(b.api.find("pods", "default", "web-0")->label("statefulset.kubernetes.io/pod-name") == "web-0");
    const auto events = b.events("SuccessfulUpdate");
    REQUIRE(events.size() == 1);
    CHECK(events.front() == "Update Pod web-0 in StatefulSet web successful");
  });
}

TEST_CASE("names that StatefulSets give") {
  CHECK(parse_pod_name("web-0") == std::pair<std::string, std::int64_t>{"web", 0});
  CHECK(parse_pod_name("a-b-12") == std::pair<std::string, std::int64_t>{"a-b", 12});
  for (const char* name : {"web", "web-", "web-x", "web-01", "web-99999999999", ""}) {
    INFO(name);
    CHECK_FALSE(parse_pod_name(name));
  }
  CHECK(parse_pod_name("web--1") == std::pair<std::string, std::int64_t>{"web-", 1});
}
