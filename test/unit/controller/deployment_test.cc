#include "deployment_util.h"

#include <random>
#include <set>

#include "bench.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

Json status(const Bench& b) { return at(b.api.json("deployments.apps", "default", "web"), "status"); }
Json condition(const Bench& b, std::string_view type) { return client::find_condition(status(b), type); }
void set_image(Bench& b, const std::string& image) {
  b.edit("deployments.apps", "default", "web",
         [&](Json& d) { d["spec"]["template"]["spec"]["containers"][0]["image"] = image; });
}

struct Totals {
  std::int64_t pods = 0, ready = 0, fresh = 0;
};
Totals totals(const Bench& b, const std::string& image) {
  Totals out;
  for (const auto& pod : b.api.all("pods")) {
    if (pod->deleting()) continue;
    const Json value = pod->parse();
    ++out.pods;
    out.ready += client::condition_true(at(value, "status"), "Ready") ? 1 : 0;
    out.fresh += str(at(value, "spec", "containers")[0], "image") == image ? 1 : 0;
  }
  return out;
}

const std::vector<Bench::Make> kBoth = {make_deployment, make_replicaset};

}  // namespace

TEST_CASE("a condition without a time, which somebody else wrote, is no trouble") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    b.api.seed("deployments.apps", deployment("web", 3));
    co_await b.rest();
    b.api.set_status("deployments.apps", "default", "web",
                     {{"conditions",
                       Json::array({{{"type", "Progressing"}, {"status", "True"}, {"reason", "ReplicaSetUpdated"}}})}});
    co_await b.converge();
    CHECK(str(condition(b, "Progressing"), "reason") == "NewReplicaSetAvailable");
    CHECK_FALSE(str(condition(b, "Progressing"), "lastTransitionTime").empty());
  });
}

TEST_CASE("a Deployment makes its first ReplicaSet and becomes available") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    b.api.seed("deployments.apps", deployment("web", 3));
    co_await b.converge();
    const auto sets = b.api.all("replicasets.apps");
    REQUIRE(sets.size() == 1);
    const Json set = sets[0]->parse();
    const auto hash = std::string(sets[0]->label("pod-template-hash"));
    CHECK(sets[0]->name() == "web-" + hash);
    CHECK(str(at(set, "spec", "selector", "matchLabels"), "pod-template-hash") == hash);
    CHECK(str(at(set, "spec", "template", "metadata", "labels"), "pod-template-hash") == hash);
    CHECK(str(at(set, "metadata", "annotations"), "deployment.kubernetes.io/revision") == "1");
    CHECK(str(at(set, "metadata", "annotations"), "deployment.kubernetes.io/desired-replicas") == "3");
    CHECK(str(at(set, "metadata", "annotations"), "deployment.kubernetes.io/max-replicas") == "4");
    CHECK(str(at(b.api.json("deployments.apps", "default", "web"), "metadata", "annotations"),
              "deployment.kubernetes.io/revision") == "1");
    CHECK(num(status(b), "availableReplicas") == 3);
    CHECK(num(status(b), "updatedReplicas") == 3);
    CHECK_FALSE(status(b).contains("unavailableReplicas"));
    CHECK(str(condition(b, "Available"), "reason") == "MinimumReplicasAvailable");
    CHECK(str(condition(b, "Progressing"), "reason") == "NewReplicaSetAvailable");
    CHECK(str(condition(b, "Progressing"), "message") ==
          "ReplicaSet \"" + sets[0]->name() + "\" has successfully progressed.");
    CHECK(b.events("ScalingReplicaSet") ==
          std::vector<std::string>{"Scaled up replica set " + sets[0]->name() + " from 0 to 3"});
    // At rest: nothing is written any more.
    const auto before = b.api.revision();
    co_await b.rest(20);
    CHECK(b.api.revision() == before);
  });
}

TEST_CASE("a rolling update keeps within maxSurge and maxUnavailable") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    b.api.seed("deployments.apps", deployment("web", 5));
    co_await b.converge();
    set_image(b, "web:2");
    for (int i = 0; i < 20; ++i) {
      co_await b.rest(2);
      const auto now = totals(b, "web:2");
      CHECK(now.pods <= 6);
      CHECK(now.ready >= 4);
      b.kubelet();
    }
    co_await b.converge();
    CHECK(totals(b, "web:2").fresh == 5);
    CHECK(totals(b, "web:2").pods == 5);
    CHECK(b.api.all("replicasets.apps").size() == 2);
    CHECK(str(at(b.api.json("deployments.apps", "default", "web"), "metadata", "annotations"),
              "deployment.kubernetes.io/revision") == "2");
    CHECK(str(condition(b, "Progressing"), "reason") == "NewReplicaSetAvailable");
  });
}

TEST_CASE("an undo reuses the old ReplicaSet and renumbers it") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    b.api.seed("deployments.apps", deployment("web", 2));
    co_await b.converge();
    const auto first = b.api.all("replicasets.apps").front()->name();
    set_image(b, "web:2");
    co_await b.converge();
    set_image(b, "web:1");
    co_await b.converge();
    CHECK(b.api.all("replicasets.apps").size() == 2);
    const Json set = b.api.json("replicasets.apps", "default", first);
    CHECK(num(at(set, "spec"), "replicas") == 2);
    CHECK(str(at(set, "metadata", "annotations"), "deployment.kubernetes.io/revision") == "3");
    CHECK(str(at(set, "metadata", "annotations"), "deployment.kubernetes.io/revision-history") == "1");
  });
}

TEST_CASE("a paused Deployment does not roll, but scales") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    b.api.seed("deployments.apps", deployment("web", 2));
    co_await b.converge();
    b.edit("deployments.apps", "default", "web", [](Json& d) { d["spec"]["paused"] = true; });
    set_image(b, "web:2");
    co_await b.converge();
    CHECK(b.api.all("replicasets.apps").size() == 1);
    CHECK(str(condition(b, "Progressing"), "reason") == "DeploymentPaused");
    b.edit("deployments.apps", "default", "web", [](Json& d) { d["spec"]["replicas"] = 4; });
    co_await b.converge();
    CHECK(totals(b, "web:1").fresh == 4);
    b.edit("deployments.apps", "default", "web", [](Json& d) { d["spec"].erase("paused"); });
    co_await b.converge();
    CHECK(totals(b, "web:2").fresh == 4);
    CHECK(str(condition(b, "Progressing"), "reason") == "NewReplicaSetAvailable");
  });
}

TEST_CASE("Recreate waits for the old pods to be gone") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    Json d = deployment("web", 3);
    d["spec"]["strategy"] = {{"type", "Recreate"}};
    b.api.seed("deployments.apps", d);
    co_await b.converge();
    set_image(b, "web:2");
    co_await b.rest();
    CHECK(b.api.all("replicasets.apps").size() == 1);  // old pods still end
    CHECK(totals(b, "web:2").pods == 0);
    co_await b.converge();
    CHECK(totals(b, "web:2").fresh == 3);
    CHECK(totals(b, "web:2").pods == 3);
  });
}

TEST_CASE("a rollout that stands still runs into its deadline, and says so") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    Json d = deployment("web", 2);
    d["spec"]["progressDeadlineSeconds"] = 60;
    b.api.seed("deployments.apps", d);
    co_await b.rest();
    b.kubelet(false);
    co_await b.rest();
    CHECK(str(condition(b, "Progressing"), "reason") == "ReplicaSetUpdated");
    CHECK(str(condition(b, "Available"), "reason") == "MinimumReplicasUnavailable");
    b.clock.advance(58s);
    co_await b.rest();
    CHECK(str(condition(b, "Progressing"), "status") == "True");
    b.clock.advance(5s);
    co_await b.rest();
    CHECK(str(condition(b, "Progressing"), "reason") == "ProgressDeadlineExceeded");
    CHECK(str(condition(b, "Progressing"), "status") == "False");
  });
}

TEST_CASE("scaling in the middle of a rollout is shared out") {
  Bench b({make_deployment});
  b.run([&]() -> Task<void> {
    b.api.seed("deployments.apps", deployment("web", 10));
    co_await b.rest();
    set_image(b, "web:2");
    co_await b.rest();
    auto sets = b.api.all("replicasets.apps");
    REQUIRE(sets.size() == 2);
    std::map<std::string, std::int64_t> sizes;
    for (const auto& set : sets) sizes[set->name()] = num(at(set->parse(), "spec"), "replicas");
    b.edit("deployments.apps", "default", "web", [](Json& d) { d["spec"]["replicas"] = 20; });
    co_await b.rest();
    std::int64_t total = 0;
    for (const auto& set : b.api.all("replicasets.apps")) {
      const auto size = num(at(set->parse(), "spec"), "replicas");
      CHECK(size >= sizes[set->name()]);
      total += size;
    }
    CHECK(total == 21);  // with the surge
  });
}

TEST_CASE("history is cut to revisionHistoryLimit") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    Json d = deployment("web", 1);
    d["spec"]["revisionHistoryLimit"] = 2;
    b.api.seed("deployments.apps", d);
    co_await b.converge();
    for (int i = 2; i <= 6; ++i) {
      set_image(b, "web:" + std::to_string(i));
      co_await b.converge();
    }
    CHECK(b.api.all("replicasets.apps").size() == 3);
  });
}

TEST_CASE("a name that another ReplicaSet has makes a new hash") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    const Json d = deployment("web", 1);
    const auto hash = template_hash(d["spec"]["template"], 0);
    b.api.seed("replicasets.apps", replicaset("web-" + hash, 0));
    b.api.seed("deployments.apps", d);
    co_await b.rest(20);
    co_await b.converge();
    CHECK(num(status(b), "collisionCount") == 1);
    CHECK(num(status(b), "availableReplicas") == 1);
  });
}

TEST_CASE("whatever is deleted at random comes back") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    std::mt19937 random(7);
    b.api.seed("deployments.apps", deployment("web", 8));
    co_await b.converge();
    for (int round = 0; round < 25; ++round) {
      for (const auto& pod : b.api.all("pods")) {
        if (random() % 4 == 0) b.api.erase("pods", "default", pod->name());
      }
      if (random() % 5 == 0) set_image(b, "web:" + std::to_string(round));
      if (random() % 6 == 0) {
        b.edit("deployments.apps", "default", "web", [&](Json& d) { d["spec"]["replicas"] = 2 + random() % 10; });
      }
      if (random() % 7 == 0) b.api.break_watches({.code = Code::kServiceUnavailable, .message = "cut"});
      if (random() % 9 == 0) b.api.compact();
      if (random() % 2 == 0) b.kubelet();
      co_await test::settle(static_cast<int>(random() % 40));
    }
    co_await b.rest(30);
    co_await b.converge(40);
    const auto wanted = num(at(b.api.json("deployments.apps", "default", "web"), "spec"), "replicas");
    const auto image = std::string(str(
        at(b.api.json("deployments.apps", "default", "web"), "spec", "template", "spec", "containers")[0], "image"));
    CHECK(totals(b, image).pods == wanted);
    CHECK(totals(b, image).fresh == wanted);
    CHECK(totals(b, image).ready == wanted);
    CHECK(num(status(b), "availableReplicas") == wanted);
  });
}

TEST_CASE("fenceposts") {
  struct Case {
    Json surge, unavailable;
    std::int64_t replicas, want_surge, want_unavailable;
  };
  const std::vector<Case> cases = {{"25%", "25%", 10, 3, 2},   {"25%", "25%", 1, 1, 0}, {0, 0, 5, 0, 1},
                                   {0, "10%", 5, 0, 1},        {"100%", 0, 4, 4, 0},    {2, 3, 4, 2, 3},
                                   {nullptr, nullptr, 4, 1, 1}};
  for (const auto& k : cases) {
    const auto [up, down] =
        fenceposts({{"rollingUpdate", {{"maxSurge", k.surge}, {"maxUnavailable", k.unavailable}}}}, k.replicas);
    CHECK(up == k.want_surge);
    CHECK(down == k.want_unavailable);
  }
}

TEST_CASE("the template hash is stable and feels every change") {
  const Json one = pod_template("a");
  CHECK(template_hash(one, 0) == template_hash(pod_template("a"), 0));
  CHECK(template_hash(one, 0) != template_hash(one, 1));
  CHECK(template_hash(one, 0) != template_hash(pod_template("a", "web:2"), 0));
}
