#include <set>

#include "daemonset_bench.h"
#include "daemonset_util.h"
#include "history.h"

using namespace brume;
using namespace brume::controller;
using namespace brume::controller::daemon_sets;

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
