#include <set>

#include "daemonset_bench.h"
#include "daemonset_util.h"

using namespace brume;
using namespace brume::controller;
using namespace brume::controller::daemon_sets;
using namespace std::chrono_literals;

// Nodes --------------------------------------------------------------------------------------------------------------

TEST_CASE("a DaemonSet has a pod on each node, placed by the scheduler") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 3);
    b.api.seed("daemonsets.apps", daemon_set());
    co_await b.rest();
    CHECK(pods(b) == "n0=web:1 n1=web:1 n2=web:1");
    CHECK(status(b)["desiredNumberScheduled"] == 3);
    CHECK(status(b)["currentNumberScheduled"] == 3);
    CHECK(status(b)["updatedNumberScheduled"] == 3);
    CHECK(status(b)["numberReady"] == 0);
    CHECK(status(b)["numberMisscheduled"] == 0);
    CHECK(status(b)["numberUnavailable"] == 3);
    CHECK(b.events("SuccessfulCreate").size() == 3);
    const auto pod = pod_on(b, "n1");
    REQUIRE(pod);
    CHECK(pod->name().starts_with("log-"));
    CHECK(pod->controller()->kind == "DaemonSet");
    CHECK(pod->label("pod-template-generation") == "1");
    const auto revision = b.api.all("controllerrevisions.apps").front();
    CHECK(pod->label("controller-revision-hash") == revision->label("controller-revision-hash"));
    CHECK(revision->name() == "log-" + std::string(pod->label("controller-revision-hash")));
    CHECK(str(at(pod->parse(), "spec"), "nodeName").empty());
    co_await converge(b);
    CHECK(status(b)["numberReady"] == 3);
    CHECK(status(b)["numberAvailable"] == 3);
    CHECK_FALSE(status(b).contains("numberUnavailable"));
    CHECK(status(b)["observedGeneration"] == 1);
    const auto before = b.api.revision();
    co_await b.rest(20);
    CHECK(b.api.revision() == before);
  });
}

TEST_CASE("daemon pods tolerate what ails a node") {
  const auto tolerations = [](Json spec) {
    add_daemon_tolerations(spec);
    std::set<std::string> out;
    for (const auto& t : spec["tolerations"]) {
      CHECK(str(t, "operator") == "Exists");
      CHECK_FALSE(t.contains("tolerationSeconds"));
      out.insert(std::string(str(t, "key")).substr(19) + ":" + std::string(str(t, "effect")));
    }
    CHECK(out.size() == spec["tolerations"].size());
    return out;
  };
  const std::set<std::string> always = {"not-ready:NoExecute",      "unreachable:NoExecute",
                                        "disk-pressure:NoSchedule", "memory-pressure:NoSchedule",
                                        "pid-pressure:NoSchedule",  "unschedulable:NoSchedule"};
  CHECK(tolerations(Json::object()) == always);
  auto with_network = always;
  with_network.insert("network-unavailable:NoSchedule");
  CHECK(tolerations({{"hostNetwork", true}}) == with_network);
  // One for a time becomes one for ever.
  CHECK(tolerations({{"tolerations", Json::array({{{"key", "node.kubernetes.io/not-ready"},
                                                   {"operator", "Exists"},
                                                   {"effect", "NoExecute"},
                                                   {"tolerationSeconds", 300}}})}}) == always);
}

TEST_CASE("which nodes a DaemonSet runs on") {
  auto made = api::Object::from_json({{"metadata", {{"name", "n1"}, {"labels", {{"disk", "ssd"}}}}}});
  REQUIRE(made);
  const auto& node = **made;
  using Taints = std::vector<client::Taint>;
  const auto ruling = [&](const Json& spec, const Taints& taints) {
    const auto verdict = judge(decode_placement({{"spec", spec}}), node, taints);
    return std::string(verdict.run ? "run" : "no") + (verdict.stay ? " stay" : "");
  };
  const auto affinity = [](const Json& terms) {
    return Json{
        {"affinity",
         {{"nodeAffinity", {{"requiredDuringSchedulingIgnoredDuringExecution", {{"nodeSelectorTerms", terms}}}}}}}};
  };
  const Json ssd = {
      {"matchExpressions", Json::array({{{"key", "disk"}, {"operator", "In"}, {"values", Json::array({"ssd"})}}})}};
  const Json not_ssd = {
      {"matchExpressions", Json::array({{{"key", "disk"}, {"operator", "NotIn"}, {"values", Json::array({"ssd"})}}})}};
  CHECK(ruling(Json::object(), {}) == "run stay");
  CHECK(ruling({{"nodeName", "n1"}}, {}) == "run stay");
  CHECK(ruling({{"nodeName", "n2"}}, {}) == "no");
  CHECK(ruling({{"nodeSelector", {{"disk", "ssd"}}}}, {}) == "run stay");
  CHECK(ruling({{"nodeSelector", {{"disk", "hdd"}}}}, {}) == "no");
  CHECK(ruling(affinity(Json::array({ssd})), {}) == "run stay");
  CHECK(ruling(affinity(Json::array({not_ssd})), {}) == "no");
  CHECK(ruling(affinity(Json::array({not_ssd, ssd})), {}) == "run stay");
  const Taints no_schedule = {{.key = "a", .effect = "NoSchedule"}};
  const Taints no_execute = {{.key = "a", .effect = "NoExecute"}};
  CHECK(ruling(Json::object(), no_schedule) == "no stay");
  CHECK(ruling(Json::object(), no_execute) == "no");
  CHECK(ruling(Json::object(), {{.key = "a", .effect = "PreferNoSchedule"}}) == "run stay");
  const Json tolerant = {{"tolerations", Json::array({{{"key", "a"}, {"operator", "Exists"}}})}};
  CHECK(ruling(tolerant, no_schedule) == "run stay");
  CHECK(ruling(tolerant, no_execute) == "run stay");
  CHECK(ruling(Json::object(), {{.key = "node.kubernetes.io/unschedulable", .effect = "NoSchedule"}}) == "run stay");
  CHECK(ruling(Json::object(), {{.key = "node.kubernetes.io/not-ready", .effect = "NoExecute"}}) == "run stay");
  CHECK(ruling(Json::object(), {{.key = "node.kubernetes.io/network-unavailable", .effect = "NoSchedule"}}) ==
        "no stay");
}

TEST_CASE("pods follow nodes that come, change and go") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 2);
    b.api.seed("daemonsets.apps", daemon_set({{"template", {{"spec", {{"nodeSelector", {{"log", "yes"}}}}}}}}));
    co_await converge(b);
    CHECK(pods(b).empty());
    const auto mark = [&](const std::string& node, const char* value) {
      b.edit("nodes", "", node, [&](Json& n) { n["metadata"]["labels"]["log"] = value; });
    };
    mark("n0", "yes");
    co_await converge(b);
    CHECK(pods(b) == "n0=web:1");
    mark("n1", "yes");
    mark("n0", "no");
    co_await converge(b);
    CHECK(pods(b) == "n1=web:1");
    CHECK(status(b)["desiredNumberScheduled"] == 1);
    b.api.erase("nodes", "", "n1");
    co_await b.rest();
    CHECK(status(b)["desiredNumberScheduled"] == 0);
    CHECK(pods(b) == "n1=web:1");  // the garbage collector's
    b.api.seed("nodes", {{"metadata", {{"name", "n5"}, {"namespace", ""}, {"labels", {{"log", "yes"}}}}}});
    co_await converge(b);
    CHECK(pods(b) == "n1=web:1 n5=web:1");
  });
}

TEST_CASE("a heartbeat of a node wakes no DaemonSet") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 1);
    b.api.seed("daemonsets.apps", daemon_set());
    co_await converge(b);
    b.api.clear_calls();
    for (int i = 0; i < 5; ++i) {
      b.api.set_status("nodes", "", "n0", {{"beat", i}});
      co_await b.rest(1);
    }
    CHECK(b.api.calls().empty());
  });
}

TEST_CASE("a taint that forbids new pods lets old ones stay, one that expels does not") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 2);
    b.api.seed("daemonsets.apps", daemon_set());
    co_await converge(b);
    taint(b, "n1", "NoSchedule");
    co_await converge(b);
    CHECK(pods(b) == "n0=web:1 n1=web:1");
    CHECK(status(b)["desiredNumberScheduled"] == 1);
    CHECK(status(b)["numberMisscheduled"] == 1);
    b.api.erase("pods", "default", pod_on(b, "n1")->name());
    co_await converge(b);
    CHECK(pods(b) == "n0=web:1");
    CHECK(status(b)["numberMisscheduled"] == 0);
    taint(b, "n0", "NoExecute");
    co_await converge(b);
    CHECK(pods(b).empty());
    taint(b, "n0", "");
    taint(b, "n1", "");
    co_await converge(b);
    CHECK(pods(b) == "n0=web:1 n1=web:1");
  });
}

TEST_CASE("a pod for a node that is gone before it was scheduled is deleted") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 2);
    b.api.seed("daemonsets.apps", daemon_set());
    co_await b.rest();
    b.api.erase("nodes", "", "n1");
    co_await b.rest();
    CHECK(pods(b) == "n0=web:1");
  });
}

// Pods ---------------------------------------------------------------------------------------------------------------

TEST_CASE("a failed daemon pod is replaced, ever more slowly") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 1);
    b.api.seed("daemonsets.apps", daemon_set());
    co_await converge(b);
    const auto fail = [&]() -> Task<void> {
      const auto pod = pod_on(b, "n0");
      REQUIRE(pod);
      b.api.set_status("pods", "default", pod->name(), {{"phase", "Failed"}});
      co_await b.rest(1);
    };
    const auto failures = [&] { return b.events("FailedDaemonPod").size(); };
    const auto first = pod_on(b, "n0");
    co_await fail();
    co_await b.rest(1);
    CHECK(b.events("FailedDaemonPod").front() ==
          "Found failed daemon pod default/" + first->name() + " on node n0, will try to kill it");
    run_pods(b);
    co_await b.rest(2);
    run_pods(b);
    co_await b.rest(1);
    co_await fail();
    CHECK(failures() == 1);  // a second has to pass first
    CHECK(pod_on(b, "n0"));
    b.clock.advance(1s);
    co_await b.rest(2);
    CHECK(failures() == 2);
    co_await converge(b);
    CHECK(pods(b) == "n0=web:1");
  });
}

TEST_CASE("how long a failed pod is left alone") {
  FailureBackoff backoff;
  std::chrono::steady_clock::time_point now{1h};
  CHECK_FALSE(backoff.wait("a", now));
  CHECK(backoff.wait("a", now) == 1s);
  CHECK_FALSE(backoff.wait("b", now));
  now += 1s;
  CHECK_FALSE(backoff.wait("a", now));
  CHECK(backoff.wait("a", now) == 2s);
  for (int i = 0; i < 20; ++i) {
    now += 15min;
    CHECK_FALSE(backoff.wait("a", now));
  }
  CHECK(backoff.wait("a", now) == 15min);
  now += 31min;
  CHECK_FALSE(backoff.wait("a", now));
  CHECK(backoff.wait("a", now) == 1s);
}

TEST_CASE("a daemon pod that succeeded is made anew") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 1);
    b.api.seed("daemonsets.apps", daemon_set());
    co_await converge(b);
    const auto before = pod_on(b, "n0");
    b.api.set_status("pods", "default", before->name(), {{"phase", "Succeeded"}});
    co_await converge(b);
    REQUIRE(pod_on(b, "n0"));
    CHECK(pod_on(b, "n0")->uid() != before->uid());
    CHECK(b.events("SucceededDaemonPod").front() ==
          "Found succeeded daemon pod default/" + before->name() + " on node n0, will try to delete it");
  });
}

TEST_CASE("of two pods on a node the older stays, and orphans are adopted rather than doubled") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 2);
    const auto stray = [&](const char* name, const char* node) {
      Json pod = pod_template("log");
      pod["metadata"]["name"] = name;
      pod["spec"]["nodeName"] = node;
      pod["status"]["phase"] = "Running";
      b.api.seed("pods", std::move(pod));
    };
    stray("old", "n0");
    co_await b.rest(20);
    Json set = daemon_set();
    set["spec"]["updateStrategy"] = {{"type", "OnDelete"}};
    b.api.seed("daemonsets.apps", set);
    co_await b.rest();
    CHECK(b.api.count("create", "pods") == 1);
    b.clock.advance(5s);
    stray("young", "n1");
    stray("younger", "n0");
    co_await b.rest();
    CHECK_FALSE(b.api.find("pods", "default", "old")->deleting());
    CHECK(b.api.find("pods", "default", "younger")->deleting());
  });
}

TEST_CASE("pods that cannot be created are told of and tried again") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    b.api.react([](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "create" || call.resource != "pods") return std::nullopt;
      return Error{.code = Code::kForbidden, .message = "exceeded quota"};
    });
    add_nodes(b, 50);
    b.api.seed("daemonsets.apps", daemon_set());
    co_await test::settle(150);
    CHECK(b.api.count("create", "pods") <= 4);
    CHECK(b.events("FailedCreate").front() == "Error creating: exceeded quota");
    CHECK(status(b)["desiredNumberScheduled"] == 50);
    b.api.clear_reactors();
    co_await b.rest(40);
    CHECK(b.api.all("pods").size() == 50);
  });
}

TEST_CASE("a DaemonSet that is being deleted, or selects everything, does nothing") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 1);
    Json set = daemon_set();
    set["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
    set["metadata"]["finalizers"] = Json::array({"foregroundDeletion"});
    b.api.seed("daemonsets.apps", set);
    Json all = daemon_set();
    all["metadata"]["name"] = "all";
    all["spec"]["selector"] = Json::object();
    b.api.seed("daemonsets.apps", all);
    co_await b.rest();
    CHECK(b.api.all("pods").empty());
    CHECK(revisions(b) == 0);
    CHECK(b.events("SelectingAll").front() ==
          "This daemon set is selecting all pods. A non-empty selector is required.");
  });
}

TEST_CASE("a daemon pod is available after minReadySeconds") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 1);
    b.api.seed("daemonsets.apps", daemon_set({{"minReadySeconds", 20}}));
    co_await converge(b);
    CHECK(status(b)["numberReady"] == 1);
    CHECK(status(b)["numberUnavailable"] == 1);
    b.clock.advance(21s);
    co_await b.rest();
    CHECK(status(b)["numberAvailable"] == 1);
  });
}
