#include "daemonset_util.h"

#include <set>

#include "bench.h"
#include "history.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

Json daemon_set(const Json& spec = Json::object()) {
  Json set = {
      {"metadata", {{"name", "log"}, {"annotations", {{"deprecated.daemonset.template.generation", "1"}}}}},
      {"spec",
       {{"revisionHistoryLimit", 10},
        {"selector", {{"matchLabels", {{"app", "log"}}}}},
        {"updateStrategy", {{"type", "RollingUpdate"}, {"rollingUpdate", {{"maxUnavailable", 1}, {"maxSurge", 0}}}}},
        {"template", pod_template("log")}}}};
  set["spec"].merge_patch(spec);
  return set;
}

Json limits(const Json& unavailable, const Json& surge) {
  return {{"updateStrategy",
           {{"type", "RollingUpdate"}, {"rollingUpdate", {{"maxUnavailable", unavailable}, {"maxSurge", surge}}}}}};
}

void add_nodes(Bench& b, int count) {
  for (int i = 0; i < count; ++i) {
    const auto name = "n" + std::to_string(i);
    b.api.seed("nodes",
               {{"metadata", {{"name", name}, {"namespace", ""}, {"labels", {{"kubernetes.io/hostname", name}}}}}});
  }
}

void taint(Bench& b, const std::string& node, const std::string& effect) {
  b.edit("nodes", "", node, [&](Json& n) {
    n["spec"]["taints"] = Json::array();
    if (!effect.empty()) n["spec"]["taints"].push_back({{"key", "broken"}, {"effect", effect}});
  });
}

std::string target(const Json& pod) {
  const auto& terms = at(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution",
                         "nodeSelectorTerms");
  return terms.is_array() ? std::string(str(at(terms[0], "matchFields")[0]["values"][0])) : "";
}

/// The scheduler's part, and then the kubelets': pods go where their affinity says.
void run_pods(Bench& b, bool ready = true) {
  for (const auto& pod : b.api.all("pods")) {
    Json value = pod->parse();
    if (!str(at(value, "spec"), "nodeName").empty() || pod->deleting()) continue;
    value["spec"]["nodeName"] = target(value);
    b.api.seed("pods", std::move(value));
  }
  b.kubelet(ready);
}

Task<void> converge(Bench& b, int turns = 12) {
  std::int64_t before = -1;
  for (int i = 0; i < turns && before != b.api.revision(); ++i) {
    before = b.api.revision();
    co_await b.rest(3);
    run_pods(b);
    co_await b.rest(3);
  }
}

/// "n0=web:1 n1=web:2": the pods that are not being deleted, by their nodes.
std::string pods(const Bench& b) {
  std::multiset<std::string> found;
  for (const auto& pod : b.api.all("pods")) {
    if (pod->deleting()) continue;
    const Json value = pod->parse();
    found.insert(target(value) + "=" + std::string(str(value["spec"]["containers"][0], "image")));
  }
  std::string out;
  for (const auto& one : found) out += (out.empty() ? "" : " ") + one;
  return out;
}

ObjectPtr pod_on(const Bench& b, const std::string& node) {
  for (const auto& pod : b.api.all("pods")) {
    if (!pod->deleting() && target(pod->parse()) == node) return pod;
  }
  return nullptr;
}

void set_image(Bench& b, const std::string& image) {
  b.edit("daemonsets.apps", "default", "log", [&](Json& set) {
    set["spec"]["template"]["spec"]["containers"][0]["image"] = image;
    Json& generation = set["metadata"]["annotations"]["deprecated.daemonset.template.generation"];
    generation = std::to_string(std::stoi(std::string(str(generation))) + 1);  // as the API server does
  });
}

Json status(const Bench& b) { return at(b.api.json("daemonsets.apps", "default", "log"), "status"); }
std::size_t revisions(const Bench& b) { return b.api.all("controllerrevisions.apps").size(); }

}  // namespace

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

// Updates ------------------------------------------------------------------------------------------------------------

TEST_CASE("a rolling update replaces as many pods at a time as may be unavailable") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 5);
    b.api.seed("daemonsets.apps", daemon_set(limits("40%", 0)));
    co_await converge(b);
    set_image(b, "web:2");
    std::size_t fewest = 5;
    for (int turn = 0; turn < 40; ++turn) {
      co_await b.rest(1);
      std::size_t ready = 0;
      for (const auto& pod : b.api.all("pods")) {
        ready += !pod->deleting() && str(at(pod->parse(), "status"), "phase") == "Running" ? 1 : 0;
      }
      fewest = std::min(fewest, ready);
      run_pods(b);
    }
    CHECK(fewest == 3);
    CHECK(pods(b) == "n0=web:2 n1=web:2 n2=web:2 n3=web:2 n4=web:2");
    CHECK(status(b)["updatedNumberScheduled"] == 5);
    CHECK(status(b)["numberAvailable"] == 5);
    CHECK(revisions(b) == 2);
  });
}

TEST_CASE("an update to pods that never run stops, and going back mends it") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 3);
    b.api.seed("daemonsets.apps", daemon_set());
    co_await converge(b);
    set_image(b, "web:broken");
    for (int i = 0; i < 6; ++i) {
      co_await b.rest(2);
      run_pods(b, false);
    }
    co_await b.rest();
    CHECK(status(b)["updatedNumberScheduled"] == 1);
    CHECK(status(b)["numberAvailable"] == 2);
    std::set<std::string> kept;
    for (const auto& pod : b.api.all("pods")) {
      if (str(pod->parse()["spec"]["containers"][0], "image") == "web:1") kept.insert(pod->uid());
    }
    CHECK(kept.size() == 2);
    set_image(b, "web:1");
    co_await converge(b, 20);
    CHECK(pods(b) == "n0=web:1 n1=web:1 n2=web:1");
    for (const auto& pod : b.api.all("pods")) kept.erase(pod->uid());
    CHECK(kept.empty());  // none of the old ones was restarted
    CHECK(revisions(b) == 2);
    std::int64_t highest = 0;
    for (const auto& r : b.api.all("controllerrevisions.apps"))
      highest = std::max(highest, num(r->parse(), "revision"));
    CHECK(highest == 3);  // the first, raised
  });
}

TEST_CASE("a surging update starts the new pod first") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 3);
    b.api.seed("daemonsets.apps", daemon_set(limits(0, 1)));
    co_await converge(b);
    set_image(b, "web:2");
    co_await b.rest();
    CHECK(pods(b) == "n0=web:1 n0=web:2 n1=web:1 n2=web:1");
    run_pods(b, false);
    co_await b.rest();
    CHECK(pods(b) == "n0=web:1 n0=web:2 n1=web:1 n2=web:1");  // the new one is not available yet
    for (const auto& pod : b.api.all("pods")) {
      b.api.set_status("pods", "default", pod->name(),
                       {{"conditions", Json::array({{{"type", "Ready"}, {"status", "True"}}})}});
    }
    co_await converge(b, 30);
    CHECK(pods(b) == "n0=web:2 n1=web:2 n2=web:2");
  });
}

TEST_CASE("OnDelete updates the daemon pod that someone deletes") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 2);
    Json set = daemon_set();
    set["spec"]["updateStrategy"] = {{"type", "OnDelete"}};
    b.api.seed("daemonsets.apps", set);
    co_await converge(b);
    set_image(b, "web:2");
    co_await converge(b);
    CHECK(pods(b) == "n0=web:1 n1=web:1");
    CHECK_FALSE(status(b).contains("updatedNumberScheduled"));
    b.api.erase("pods", "default", pod_on(b, "n0")->name());
    co_await converge(b);
    CHECK(pods(b) == "n0=web:2 n1=web:1");
    CHECK(status(b)["updatedNumberScheduled"] == 1);
  });
}

TEST_CASE("plans of a rolling update") {
  // Per node "old/new": a available, r ready only, u not ready, - none, d being deleted, 2 two of them.
  struct Case {
    const char* what;
    std::vector<std::string> nodes;
    DaemonLimits limits;
    std::string doomed;  // nodes whose old pod goes
    std::string created;
    std::string closed = {};  // nodes that are not to have a pod
  };
  const std::vector<Case> cases = {
      {"one of several", {"a-", "a-", "a-"}, {3, 1, 0}, "0", ""},
      {"two", {"a-", "a-", "a-"}, {3, 2, 0}, "01", ""},
      {"none while a new one is not available", {"-u", "a-", "a-"}, {3, 1, 0}, "", ""},
      {"available ones do not count", {"-a", "a-", "a-"}, {3, 1, 0}, "1", ""},
      {"old ones that serve no more go at once", {"u-", "u-", "a-"}, {3, 1, 0}, "01", ""},
      {"a node without pod counts", {"--", "a-", "a-"}, {3, 1, 0}, "", ""},
      {"a pod on its way out counts", {"d-", "a-", "a-"}, {3, 1, 0}, "", ""},
      {"too many on a node count", {"2-", "a-", "a-"}, {3, 1, 0}, "", ""},
      {"surge on one", {"a-", "a-"}, {2, 0, 1}, "", "0"},
      {"surge waits", {"au", "a-"}, {2, 0, 1}, "", ""},
      {"surge goes on when the new one is available", {"aa", "a-"}, {2, 0, 1}, "0", "1"},
      {"beside one that serves no more at once", {"u-", "u-", "a-"}, {3, 0, 1}, "", "012"},
      {"minReadySeconds: ready is not available", {"ar", "a-"}, {2, 0, 1}, "", ""},
      {"a closed node's pod stays while it is needed", {"a-", "-u"}, {1, 0, 1}, "", "", "0"},
      {"and goes when others serve", {"a-", "-a"}, {1, 0, 1}, "0", "", "0"},
      {"one that serves no more on a closed node goes", {"u-", "-u"}, {1, 0, 1}, "0", "", "0"},
  };
  for (const auto& k : cases) {
    INFO(k.what);
    DaemonPods all;
    std::map<std::string, DaemonVerdict> verdicts;
    for (std::size_t i = 0; i < k.nodes.size(); ++i) {
      const auto name = std::to_string(i);
      const bool closed = k.closed.find(name) != std::string::npos;
      verdicts[name] = {.run = !closed, .stay = true};
      auto& list = all[name];
      for (const bool fresh : {false, true}) {
        const char c = k.nodes[i][fresh ? 1 : 0];
        for (int n = 0; n < (c == '-' ? 0 : c == '2' ? 2 : 1); ++n) {
          Json pod = {{"metadata", {{"name", name + (fresh ? "new" : "old")}}}};
          if (c == 'd') pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
          auto made = api::Object::from_json(pod);
          REQUIRE(made);
          list.push_back({.pod = *made,
                          .scheduled = true,
                          .ready = c == 'a' || c == 'r',
                          .available = c == 'a',
                          .updated = fresh,
                          .of_hash = fresh});
        }
      }
    }
    const auto plan = plan_update(all, verdicts, k.limits);
    std::string doomed, created;
    for (const auto& pod : plan.doomed) {
      CHECK(pod->name().ends_with("old"));
      doomed += pod->name().substr(0, 1);
    }
    for (const auto& node : plan.nodes) created += node;
    CHECK(doomed == k.doomed);
    CHECK(created == k.created);
  }
}

TEST_CASE("limits of a rolling update") {
  const auto both = [](const Json& spec, std::int64_t desired) {
    const auto l = limits_of(at(spec, "updateStrategy"), desired);
    return std::pair{l.unavailable, l.surge};
  };
  using Pair = std::pair<std::int64_t, std::int64_t>;
  CHECK(both(limits("30%", 0), 10) == Pair{3, 0});
  CHECK(both(limits("1%", 0), 10) == Pair{1, 0});
  CHECK(both(limits(0, "25%"), 10) == Pair{0, 3});
  CHECK(both(limits(0, 0), 10) == Pair{1, 0});
  CHECK(both({{"updateStrategy", {{"type", "OnDelete"}}}}, 10) == Pair{1, 0});
}

// History ------------------------------------------------------------------------------------------------------------

TEST_CASE("a DaemonSet's history is kept to its limit, those of living pods aside") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 1);
    Json set = daemon_set();
    set["spec"]["revisionHistoryLimit"] = 1;
    set["spec"]["updateStrategy"] = {{"type", "OnDelete"}};
    b.api.seed("daemonsets.apps", set);
    co_await converge(b);
    const auto first = b.api.all("controllerrevisions.apps").front()->name();
    for (const char* image : {"web:2", "web:3", "web:4"}) {
      set_image(b, image);
      co_await converge(b);
    }
    CHECK(revisions(b) == 2);  // the current, and the one that the pod is of
    CHECK(b.api.find("controllerrevisions.apps", "default", first));
    CHECK(pods(b) == "n0=web:1");
  });
}

TEST_CASE("two revisions of one template become one") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 1);
    const auto object = b.api.seed("daemonsets.apps", daemon_set());
    co_await converge(b);
    const auto kept = b.api.all("controllerrevisions.apps").front();
    Json twin = kept->parse();
    twin["metadata"] = {{"name", "log-twin"},
                        {"labels", {{"app", "log"}}},  // an old release's, without hash
                        {"ownerReferences", Json::array({client::controller_reference(*object)})}};
    twin["revision"] = 7;
    b.api.seed("controllerrevisions.apps", twin);
    co_await converge(b);
    CHECK(revisions(b) == 1);
    CHECK(b.api.find("controllerrevisions.apps", "default", "log-twin"));
    CHECK(pod_on(b, "n0")->label("controller-revision-hash") == "log-twin");
    CHECK(b.api.count("create", "pods") == 1);
  });
}

TEST_CASE("a taken name of a DaemonSet's revision is counted") {
  Bench b({make_daemonset});
  b.run([&]() -> Task<void> {
    add_nodes(b, 1);
    const Json set = daemon_set();
    const auto hash = name_hash(dump_json(revision_data(at(set, "spec", "template"))), 0);
    b.api.seed("controllerrevisions.apps",
               {{"metadata", {{"name", "log-" + hash}}}, {"data", Json::object()}, {"revision", 1}});
    b.api.seed("daemonsets.apps", set);
    co_await converge(b);
    CHECK(status(b)["collisionCount"] == 1);
    CHECK(revisions(b) == 2);
    CHECK(pods(b) == "n0=web:1");
  });
}
