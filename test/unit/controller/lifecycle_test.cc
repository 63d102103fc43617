// Namespaces, garbage, nodes, pods that nobody wants.
#include "bench.h"
#include "brume/client/taints.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

Json owner(const api::ObjectPtr& object, bool block = false) {
  return {{"apiVersion", object->api_version()},
          {"kind", object->kind()},
          {"name", object->name()},
          {"uid", object->uid()},
          {"blockOwnerDeletion", block}};
}

api::ObjectPtr config(Bench& b, const std::string& name, std::vector<Json> owners = {}) {
  Json value = {{"metadata", {{"name", name}}}};
  if (!owners.empty()) value["metadata"]["ownerReferences"] = owners;
  return b.api.seed("configmaps", std::move(value));
}

bool there(const Bench& b, const std::string& name) { return b.api.find("configmaps", "default", name) != nullptr; }

Task<void> remove(Bench& b, const std::string& name, const char* policy) {
  auto done = co_await b.api.remove(api::res("configmaps"), "default", name, {.propagation_policy = policy});
  CHECK(done.has_value());
}

Json ready(Bench& b, const char* status) {
  return {{"type", "Ready"}, {"status", status}, {"lastHeartbeatTime", format_rfc3339(b.clock.now())}};
}

std::vector<client::Taint> taints(const Bench& b, const std::string& node) {
  return client::decode_taints(at(b.api.json("nodes", "", node), "spec", "taints"));
}

bool has_taint(const Bench& b, std::string_view key, std::string_view effect) {
  for (const auto& taint : taints(b, "n1")) {
    if (taint.key == key && taint.effect == effect) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("background deletion takes what is owned, through the levels") {
  Bench b({make_garbage_collector});
  b.run([&]() -> Task<void> {
    const auto a = config(b, "a");
    const auto c = config(b, "child", {owner(a)});
    config(b, "grandchild", {owner(c)});
    config(b, "free");
    co_await b.rest();
    CHECK(b.api.all("configmaps").size() == 4);
    co_await remove(b, "a", "Background");
    co_await b.rest();
    CHECK(b.api.all("configmaps").size() == 1);
    CHECK(there(b, "free"));
  });
}

TEST_CASE("an object with another living owner stays, without the dead one's reference") {
  Bench b({make_garbage_collector});
  b.run([&]() -> Task<void> {
    const auto a = config(b, "a");
    const auto c = config(b, "c");
    config(b, "child", {owner(a), owner(c)});
    co_await b.rest();
    co_await remove(b, "a", "Background");
    co_await b.rest();
    REQUIRE(there(b, "child"));
    REQUIRE(b.api.find("configmaps", "default", "child")->owners().size() == 1);
    CHECK(b.api.find("configmaps", "default", "child")->owners()[0].uid == c->uid());
  });
}

TEST_CASE("an owner that never was, or is another of that name, does not keep an object") {
  Bench b({make_garbage_collector});
  b.run([&]() -> Task<void> {
    const auto a = config(b, "a");
    Json forged = owner(a);
    forged["uid"] = "another";
    config(b, "child", {forged});
    config(b, "ghost", {{{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"name", "none"}, {"uid", "u"}}});
    config(b, "unknown", {{{"apiVersion", "x.io/v1"}, {"kind", "Thing"}, {"name", "t"}, {"uid", "v"}}});
    co_await b.rest();
    CHECK_FALSE(there(b, "child"));
    CHECK_FALSE(there(b, "ghost"));
    CHECK(there(b, "unknown"));  // a kind nobody knows is no proof
    CHECK(there(b, "a"));
  });
}

TEST_CASE("a reference to an owner in the wrong place condemns nobody else") {
  Bench b({make_garbage_collector});
  b.run([&]() -> Task<void> {
    const auto a = config(b, "a");
    config(b, "child", {owner(a)});
    // The same uid, of another name and from another namespace.
    Json misnamed = owner(a);
    misnamed["name"] = "other";
    config(b, "misnamed", {misnamed});
    b.api.seed(
        "configmaps",
        {{"metadata", {{"name", "stray"}, {"namespace", "elsewhere"}, {"ownerReferences", Json::array({owner(a)})}}}});
    co_await b.rest();
    CHECK(b.api.find("configmaps", "default", "misnamed") == nullptr);
    CHECK(b.api.find("configmaps", "elsewhere", "stray") == nullptr);
    // Whoever looks at the child's owners now must still find them.
    b.edit("configmaps", "default", "child", [&](Json& value) {
      Json second = owner(a);
      second["uid"] = "gone";
      value["metadata"]["ownerReferences"].push_back(second);
    });
    co_await b.rest();
    REQUIRE(b.api.find("configmaps", "default", "child") != nullptr);
    CHECK(b.api.find("configmaps", "default", "child")->owners().size() == 1);
  });
}

TEST_CASE("orphan deletion lets the dependents live") {
  Bench b({make_garbage_collector});
  b.run([&]() -> Task<void> {
    const auto a = config(b, "a");
    config(b, "child", {owner(a)});
    co_await b.rest();
    co_await remove(b, "a", "Orphan");
    co_await b.rest();
    CHECK_FALSE(there(b, "a"));
    REQUIRE(there(b, "child"));
    CHECK(b.api.find("configmaps", "default", "child")->owners().empty());
  });
}

TEST_CASE("foreground deletion waits for the dependents that block") {
  Bench b({make_garbage_collector});
  b.run([&]() -> Task<void> {
    const auto a = config(b, "a");
    config(b, "child", {owner(a, true)});
    b.edit("configmaps", "default", "child", [](Json& o) { o["metadata"]["finalizers"] = Json::array({"test/hold"}); });
    co_await b.rest();
    co_await remove(b, "a", "Foreground");
    co_await b.rest();
    CHECK(there(b, "a"));
    REQUIRE(there(b, "child"));
    CHECK(b.api.find("configmaps", "default", "child")->deleting());
    b.api.erase("configmaps", "default", "child");
    co_await b.rest();
    CHECK_FALSE(there(b, "a"));
  });
}

TEST_CASE("names that hold spaces are collected too") {
  Bench b({make_garbage_collector});
  b.run([&]() -> Task<void> {
    const auto a = config(b, "a");
    b.api.seed("roles.rbac.authorization.k8s.io",
               {{"metadata", {{"name", "read it all"}, {"ownerReferences", Json::array({owner(a, false)})}}}});
    co_await b.rest();
    co_await remove(b, "a", "Background");
    co_await b.rest();
    CHECK(b.api.all("roles.rbac.authorization.k8s.io").empty());
  });
}

TEST_CASE("a circle of owners does not outlive its deletion in the foreground") {
  Bench b({make_garbage_collector});
  b.run([&]() -> Task<void> {
    const auto a = config(b, "a");
    const auto c = config(b, "c", {owner(a, true)});
    b.edit("configmaps", "default", "a",
           [&](Json& o) { o["metadata"]["ownerReferences"] = Json::array({owner(c, true)}); });
    co_await b.rest();
    co_await remove(b, "a", "Foreground");
    co_await b.rest(30);
    CHECK(b.api.all("configmaps").empty());
  });
}

TEST_CASE("a Deployment's deletion takes its ReplicaSets and pods") {
  Bench b({make_deployment, make_replicaset, make_garbage_collector});
  b.run([&]() -> Task<void> {
    b.api.seed("deployments.apps", deployment("web", 5));
    co_await b.converge();
    CHECK(b.api.all("pods").size() == 5);
    auto done =
        co_await b.api.remove(api::res("deployments.apps"), "default", "web", {.propagation_policy = "Background"});
    CHECK(done.has_value());
    co_await b.converge();
    CHECK(b.api.all("replicasets.apps").empty());
    CHECK(b.api.all("pods").empty());
  });
}

TEST_CASE("a namespace goes when all in it has gone") {
  Bench b({make_namespace});
  b.run([&]() -> Task<void> {
    Json made = {{"metadata", {{"name", "team"}}}, {"spec", {{"finalizers", Json::array({"kubernetes"})}}}};
    b.api.seed("namespaces", made);
    b.api.seed("configmaps", {{"metadata", {{"name", "a"}, {"namespace", "team"}}}});
    b.api.seed("configmaps",
               {{"metadata", {{"name", "held"}, {"namespace", "team"}, {"finalizers", Json::array({"x/y"})}}}});
    b.api.seed("pods", {{"metadata", {{"name", "p"}, {"namespace", "team"}}}, {"spec", {{"nodeName", "n"}}}});
    b.api.seed("configmaps", {{"metadata", {{"name", "other"}}}});
    co_await b.rest();
    auto done = co_await b.api.remove(api::res("namespaces"), "", "team", {});
    CHECK(done.has_value());
    co_await b.rest();
    // The pod still ends: nothing else is touched yet.
    CHECK(b.api.find("pods", "team", "p")->deleting());
    CHECK(b.api.find("configmaps", "team", "a") != nullptr);
    b.api.erase("pods", "team", "p");
    co_await b.rest();
    CHECK(b.api.find("configmaps", "team", "a") == nullptr);
    const Json status = at(b.api.json("namespaces", "", "team"), "status");
    CHECK(str(status, "phase") == "Terminating");
    CHECK(str(client::find_condition(status, "NamespaceContentRemaining"), "message") ==
          "Some resources are remaining: configmaps. has 1 resource instances");
    CHECK(str(client::find_condition(status, "NamespaceFinalizersRemaining"), "message") ==
          "Some content in the namespace has finalizers remaining: x/y in 1 resource instances");
    b.api.erase("configmaps", "team", "held");
    b.clock.advance(10s);
    co_await b.rest();
    CHECK(b.api.find("namespaces", "", "team") == nullptr);
    CHECK(b.api.find("configmaps", "default", "other") != nullptr);
  });
}

TEST_CASE("a silent node becomes Unknown and tainted; its pods lose readiness") {
  Bench b({make_node_lifecycle});
  b.run([&]() -> Task<void> {
    b.api.seed("nodes",
               {{"metadata", {{"name", "n1"}}}, {"status", {{"conditions", Json::array({ready(b, "True")})}}}});
    b.api.seed("pods", {{"metadata", {{"name", "p"}}},
                        {"spec", {{"nodeName", "n1"}}},
                        {"status", {{"conditions", Json::array({{{"type", "Ready"}, {"status", "True"}}})}}}});
    b.api.seed("nodes",
               {{"metadata", {{"name", "n2"}}}, {"status", {{"conditions", Json::array({ready(b, "True")})}}}});
    co_await b.rest();
    const auto renew = [&](const char* node) {
      b.api.seed("leases.coordination.k8s.io", {{"metadata", {{"name", node}, {"namespace", "kube-node-lease"}}},
                                                {"spec", {{"renewTime", format_rfc3339_micro(b.clock.now())}}}});
    };
    for (int i = 0; i < 10; ++i) {
      renew("n1");
      renew("n2");
      b.clock.advance(10s);
      co_await b.rest(1);
    }
    CHECK(taints(b, "n1").empty());
    b.clock.advance(30s);
    renew("n2");
    co_await b.rest(1);
    b.clock.advance(25s);
    co_await b.rest();
    const Json condition = client::find_condition(at(b.api.json("nodes", "", "n1"), "status"), "Ready");
    CHECK(str(condition, "status") == "Unknown");
    CHECK(str(condition, "reason") == "NodeStatusUnknown");
    CHECK(str(condition, "message") == "Kubelet stopped posting node status.");
    CHECK(has_taint(b, client::kTaintUnreachable, "NoSchedule"));
    CHECK(has_taint(b, client::kTaintUnreachable, "NoExecute"));
    CHECK_FALSE(client::condition_true(at(b.api.json("pods", "default", "p"), "status"), "Ready"));
    CHECK(b.events("NodeNotReady").size() == 2);
    // When the last of the others is silent too, nothing is evicted any more.
    b.clock.advance(60s);
    co_await b.rest();
    CHECK(has_taint(b, client::kTaintUnreachable, "NoSchedule"));
    CHECK_FALSE(has_taint(b, client::kTaintUnreachable, "NoExecute"));
    b.api.set_status("nodes", "", "n2", {{"conditions", Json::array({ready(b, "True")})}});
    co_await b.rest();
    CHECK(has_taint(b, client::kTaintUnreachable, "NoExecute"));
    // It is back.
    b.api.set_status("nodes", "", "n1", {{"conditions", Json::array({ready(b, "True")})}});
    co_await b.rest();
    CHECK(taints(b, "n1").empty());
  });
}

TEST_CASE("when most of a zone falls silent, nobody more is sent away") {
  Bench b({make_node_lifecycle});
  b.run([&]() -> Task<void> {
    const auto node = [&](int i, const char* status) {
      b.api.seed("nodes", {{"metadata", {{"name", "n" + std::to_string(i)}}},
                           {"status", {{"conditions", Json::array({ready(b, status)})}}}});
    };
    const auto evicting = [&](int i) {
      const auto list = taints(b, "n" + std::to_string(i));
      return std::any_of(list.begin(), list.end(), [](const auto& t) { return t.effect == "NoExecute"; });
    };
    for (int i = 1; i <= 5; ++i) node(i, "True");
    co_await b.rest();
    CHECK(b.events("RegisteredNode").size() == 5);
    node(1, "False");
    co_await b.rest();
    CHECK(evicting(1));
    node(2, "False");
    node(3, "False");
    co_await b.rest();
    const int more = (evicting(2) ? 1 : 0) + (evicting(3) ? 1 : 0);
    CHECK(more <= 1);  // the third brought it to a stop, before or after the second was seen
    node(4, "False");
    co_await b.rest();
    CHECK_FALSE(evicting(4));
    CHECK(evicting(1));  // what was begun goes on
    node(2, "True");
    node(3, "True");
    co_await b.rest();
    CHECK(evicting(4));
    CHECK_FALSE(evicting(2));
    b.api.erase("nodes", "", "n5");
    co_await b.rest();
    CHECK(b.events("RemovingNode") == std::vector<std::string>{"Node n5 event: Removing Node n5 from Controller"});
  });
}

TEST_CASE("a node that comes back while it is being marked is not marked") {
  Bench b({make_node_lifecycle});
  b.run([&]() -> Task<void> {
    b.api.seed("nodes",
               {{"metadata", {{"name", "n1"}}}, {"status", {{"conditions", Json::array({ready(b, "True")})}}}});
    co_await b.rest();
    int writes = 0;
    b.api.react([&](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "patch" || call.resource != "nodes" || call.subresource != "status" || writes++ > 0) return {};
      b.api.set_status("nodes", "", "n1", {{"conditions", Json::array({ready(b, "True")})}});
      return {};
    });
    b.clock.advance(60s);
    co_await b.rest();
    CHECK(writes == 1);
    CHECK(client::condition_true(at(b.api.json("nodes", "", "n1"), "status"), "Ready"));
    CHECK(b.events("NodeNotReady").empty());
    CHECK(taints(b, "n1").empty());
  });
}

TEST_CASE("a pod whose node comes back while it is being marked keeps what the node says") {
  Bench b({make_node_lifecycle});
  b.run([&]() -> Task<void> {
    b.api.seed("nodes",
               {{"metadata", {{"name", "n1"}}}, {"status", {{"conditions", Json::array({ready(b, "True")})}}}});
    const auto conditions = [](const char* started) {
      return Json{{"conditions", Json::array({{{"type", "Ready"}, {"status", "True"}, {"reason", started}}})}};
    };
    b.api.seed("pods",
               {{"metadata", {{"name", "p"}}}, {"spec", {{"nodeName", "n1"}}}, {"status", conditions("before")}});
    co_await b.rest();
    int writes = 0;
    b.api.react([&](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "patch" || call.resource != "pods" || writes++ > 0) return {};
      b.api.set_status("nodes", "", "n1", {{"conditions", Json::array({ready(b, "True")})}});
      b.api.set_status("pods", "default", "p", conditions("after"));
      return {};
    });
    b.clock.advance(60s);
    co_await b.rest();
    CHECK(writes > 0);
    const Json condition = client::find_condition(at(b.api.json("pods", "default", "p"), "status"), "Ready");
    CHECK(str(condition, "status") == "True");
    CHECK(str(condition, "reason") == "after");
  });
}

TEST_CASE("conditions and cordon become taints; others' taints stay") {
  Bench b({make_node_lifecycle});
  b.run([&]() -> Task<void> {
    Json mine = Json::array({{{"key", "gpu"}, {"effect", "NoSchedule"}}});
    b.api.seed("nodes",
               {{"metadata", {{"name", "n2"}}}, {"status", {{"conditions", Json::array({ready(b, "True")})}}}});
    b.api.seed(
        "nodes",
        {{"metadata", {{"name", "n1"}}},
         {"spec", {{"unschedulable", true}, {"taints", mine}}},
         {"status",
          {{"conditions", Json::array({ready(b, "False"), {{"type", "MemoryPressure"}, {"status", "True"}}})}}}});
    co_await b.rest();
    CHECK(has_taint(b, "gpu", "NoSchedule"));
    CHECK(has_taint(b, client::kTaintNotReady, "NoSchedule"));
    CHECK(has_taint(b, client::kTaintNotReady, "NoExecute"));
    CHECK(has_taint(b, "node.kubernetes.io/memory-pressure", "NoSchedule"));
    CHECK(has_taint(b, client::kTaintUnschedulable, "NoSchedule"));
    CHECK(taints(b, "n1").size() == 5);
    b.edit("nodes", "", "n1", [](Json& n) { n["spec"].erase("unschedulable"); });
    b.api.set_status(
        "nodes", "", "n1",
        {{"conditions", Json::array({ready(b, "True"), {{"type", "MemoryPressure"}, {"status", "False"}}})}});
    co_await b.rest();
    REQUIRE(taints(b, "n1").size() == 1);
    CHECK(has_taint(b, "gpu", "NoSchedule"));
  });
}

TEST_CASE("NoExecute evicts at once, after tolerationSeconds, or never") {
  Bench b({make_taint_eviction});
  b.run([&]() -> Task<void> {
    b.api.seed("nodes", {{"metadata", {{"name", "n1"}}}});
    const auto pod = [&](const char* name, Json tolerations) {
      b.api.seed("pods", {{"metadata", {{"name", name}}},
                          {"spec", {{"nodeName", "n1"}, {"tolerations", tolerations}}},
                          {"status", {{"phase", "Running"}}}});
    };
    pod("never", Json::array({{{"operator", "Exists"}}}));
    pod("later",
        Json::array({{{"key", "k"}, {"operator", "Exists"}, {"effect", "NoExecute"}, {"tolerationSeconds", 300}}}));
    pod("now", Json::array());
    pod("done", Json::array());
    b.api.set_status("pods", "default", "done", {{"phase", "Succeeded"}});
    co_await b.rest();
    const auto taint = [&](Json list) { b.edit("nodes", "", "n1", [&](Json& n) { n["spec"]["taints"] = list; }); };
    const auto deleting = [&](const char* name) { return b.api.find("pods", "default", name)->deleting(); };
    taint(Json::array({{{"key", "k"}, {"effect", "NoExecute"}, {"timeAdded", format_rfc3339(b.clock.now())}}}));
    co_await b.rest();
    CHECK(deleting("now"));
    CHECK_FALSE(b.api.find("pods", "default", "done"));  // what has ended goes with the others
    CHECK_FALSE(deleting("later"));
    CHECK(client::condition_true(at(b.api.json("pods", "default", "now"), "status"), "DisruptionTarget"));
    taint(Json::array());
    b.clock.advance(400s);
    co_await b.rest();
    CHECK_FALSE(deleting("later"));
    taint(Json::array({{{"key", "k"}, {"effect", "NoExecute"}, {"timeAdded", format_rfc3339(b.clock.now())}}}));
    co_await b.rest();
    b.clock.advance(290s);
    co_await b.rest();
    CHECK_FALSE(deleting("later"));
    b.clock.advance(20s);
    co_await b.rest();
    CHECK(deleting("later"));
    CHECK_FALSE(deleting("never"));
  });
}

TEST_CASE("patience with a taint begins when it met the pod") {
  Bench b({make_taint_eviction});
  b.run([&]() -> Task<void> {
    b.api.seed("nodes", {{"metadata", {{"name", "n1"}}}});
    const auto pod = [&](const char* name) {
      const std::string now = format_rfc3339(b.clock.now());
      b.api.seed(
          "pods",
          {{"metadata", {{"name", name}}},
           {"spec", {{"nodeName", "n1"}, {"tolerations", Json::array({{{"key", "k"}, {"tolerationSeconds", 60}}})}}},
           {"status",
            {{"phase", "Running"},
             {"conditions", Json::array({{{"type", "PodScheduled"}, {"lastTransitionTime", now}}})}}}});
    };
    const auto deleting = [&](const char* name) { return b.api.find("pods", "default", name)->deleting(); };
    pod("first");
    co_await b.rest();
    // People's taints do not say when they were added.
    b.edit("nodes", "", "n1",
           [](Json& node) { node["spec"]["taints"] = Json::array({{{"key", "k"}, {"effect", "NoExecute"}}}); });
    co_await b.rest();
    b.clock.advance(50s);
    co_await b.rest();
    CHECK_FALSE(deleting("first"));
    b.clock.advance(10s);
    co_await b.rest();
    CHECK(deleting("first"));
    // A pod that comes late has its whole time, though the taint is old.
    b.edit("nodes", "", "n1",
           [&](Json& node) { node["spec"]["taints"][0]["timeAdded"] = format_rfc3339(b.clock.now() - 1h); });
    pod("second");
    co_await b.rest();
    CHECK_FALSE(deleting("second"));
    b.clock.advance(61s);
    co_await b.rest();
    CHECK(deleting("second"));
  });
}

TEST_CASE("pods of lost nodes, unscheduled deleted pods and too many finished ones go") {
  Bench b({make_pod_gc}, {.terminated_pod_threshold = 2});
  b.run([&]() -> Task<void> {
    b.api.seed("nodes", {{"metadata", {{"name", "n1"}}}});
    b.api.seed("nodes", {{"metadata", {{"name", "n2"}}}});
    const auto pod = [&](const char* name, const char* node, const char* phase, Json meta = Json::object()) {
      Json value = {{"metadata", {{"name", name}}}, {"spec", {{"nodeName", node}}}, {"status", {{"phase", phase}}}};
      value["metadata"].merge_patch(meta);
      b.api.seed("pods", std::move(value));
    };
    pod("stays", "n1", "Running");
    pod("lost", "n2", "Running");
    pod("unscheduled", "", "Pending",
        {{"deletionTimestamp", "2026-01-01T00:00:00Z"}, {"deletionGracePeriodSeconds", 30}});
    pod("held", "", "Pending",
        {{"deletionTimestamp", "2026-01-01T00:00:00Z"},
         {"deletionGracePeriodSeconds", 0},
         {"finalizers", Json::array({"example.com/x"})}});
    for (int i = 0; i < 4; ++i) {
      pod(("done" + std::to_string(i)).c_str(), "n1", "Succeeded",
          {{"creationTimestamp", "2026-01-01T00:00:0" + std::to_string(i) + "Z"}});
    }
    co_await b.rest();
    CHECK(b.api.find("pods", "default", "unscheduled") == nullptr);
    CHECK(str(at(b.api.json("pods", "default", "held"), "status"), "phase") == "Failed");  // its owner must know
    CHECK(b.api.find("pods", "default", "done0") == nullptr);
    CHECK(b.api.find("pods", "default", "done1") == nullptr);
    CHECK(b.api.find("pods", "default", "done2") != nullptr);
    b.api.erase("nodes", "", "n2");
    co_await b.rest();
    CHECK(b.api.find("pods", "default", "lost") != nullptr);  // the node may come back
    b.clock.advance(40s);
    co_await b.rest();
    CHECK(b.api.find("pods", "default", "lost") == nullptr);
    CHECK(b.api.find("pods", "default", "stays") != nullptr);
  });
}

TEST_CASE("deleted pods of a node that is out of service go without its word") {
  Bench b({make_pod_gc});
  b.run([&]() -> Task<void> {
    const auto node = [&](const char* ready_status, bool off) {
      Json value = {{"metadata", {{"name", "n1"}}},
                    {"status", {{"conditions", Json::array({ready(b, ready_status)})}}}};
      if (off) {
        value["spec"]["taints"] =
            Json::array({{{"key", "node.kubernetes.io/out-of-service"}, {"effect", "NoExecute"}}});
      }
      b.api.seed("nodes", std::move(value));
    };
    node("Unknown", false);
    for (const char* name : {"dying", "living"}) {
      Json value = {{"metadata", {{"name", name}}}, {"spec", {{"nodeName", "n1"}}}, {"status", {{"phase", "Running"}}}};
      if (name == std::string_view("dying")) {
        value["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
        value["metadata"]["deletionGracePeriodSeconds"] = 30;
      }
      b.api.seed("pods", std::move(value));
    }
    co_await b.rest();
    CHECK(b.api.find("pods", "default", "dying") != nullptr);
    node("True", true);  // it lives after all
    co_await b.rest();
    CHECK(b.api.find("pods", "default", "dying") != nullptr);
    node("Unknown", true);
    co_await b.rest();
    CHECK(b.api.find("pods", "default", "dying") == nullptr);
    CHECK(b.api.find("pods", "default", "living") != nullptr);
  });
}

TEST_CASE("events end an hour after their last occurrence") {
  Bench b({make_event_ttl});
  b.run([&]() -> Task<void> {
    const auto event = [&](const char* name, std::chrono::seconds ago) {
      b.api.seed("events", {{"metadata", {{"name", name}, {"creationTimestamp", "2025-12-31T00:00:00Z"}}},
                            {"lastTimestamp", format_rfc3339(b.clock.now() - ago)}});
    };
    event("old", 3700s);
    event("new", 1800s);
    b.clock.advance(3600s);
    co_await b.rest();
    CHECK(b.api.find("events", "default", "old") == nullptr);
    CHECK(b.api.find("events", "default", "new") == nullptr);
    event("later", 0s);
    b.clock.advance(3000s);
    co_await b.rest();
    CHECK(b.api.find("events", "default", "later") != nullptr);
    b.clock.advance(4000s);
    co_await b.rest();
    CHECK(b.api.find("events", "default", "later") == nullptr);
  });
}

TEST_CASE("all controllers start and stop together") {
  Loop loop("test");
  loop.start();
  test::FakeClock clock;
  test::FakeClient api(clock);
  loop.run_and_wait([&]() -> Task<void> {
    client::InformerFactory informers(api, loop.executor(), clock);
    Controllers all(informers, {.root_ca_pem = "PEM",
                                .service_ip = "10.43.0.1",
                                .service_cidr = "10.43.0.0/16",
                                .advertise_address = "192.0.2.1"});
    all.start();
    co_await test::settle(400);
    clock.advance(1s);
    co_await test::settle(400);
    CHECK(api.find("services", "default", "kubernetes") != nullptr);
    const Json range = api.json("servicecidrs.networking.k8s.io", "", "kubernetes");
    CHECK(at(range, "spec", "cidrs") == Json::array({"10.43.0.0/16"}));
    CHECK(str(client::find_condition(at(range, "status"), "Ready"), "status") == "True");
    co_await all.stop();
    co_await informers.stop();
  });
  loop.stop();
}
