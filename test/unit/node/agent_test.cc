// The whole agent against a fake API and a fake runtime: registration, lease, pods, restart.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "agent/admission.h"
#include "agent/image_gc.h"
#include "agent/node_status.h"
#include "brume/base/random.h"
#include "brume/client/helpers.h"
#include "brume/node/agent.h"
#include "catch.h"
#include "fake_client.h"
#include "fake_clock.h"
#include "fakes.h"
#include "run.h"
#include "spec/host_ports.h"
#include "volumes/volumes.h"

using namespace brume;
using namespace brume::node;
using namespace brume::test;
using namespace std::chrono_literals;

namespace {

struct Fixture {
  explicit Fixture(const Executor& ex)
      : executor(ex),
        client(clock),
        runtime(ex, clock),
        dir(std::filesystem::temp_directory_path() / ("brume-agent-" + random_suffix(8))) {
    images.add("docker.io/library/app:1");
    options.node_name = "node1";
    options.node_ips = {"192.0.2.1"};
    options.pod_cidr = "10.42.0.0/24";
    options.cluster_dns = {"10.43.0.10"};
    options.data_dir = (dir / "data").string();
    options.log_dir = (dir / "logs").string();
    options.serve = false;
    options.max_pods = 3;
  }
  ~Fixture() { (void)remove_with_mounts(dir.string()); }
  std::unique_ptr<NodeAgent> make() {
    return NodeAgent::create(options, {client, runtime, images, network, clock}, executor);
  }
  Task<std::unique_ptr<NodeAgent>> begin() {
    auto agent = make();
    auto started = co_await agent->start();
    REQUIRE(started.has_value());
    co_return agent;
  }
  void add_pod(const std::string& name, const std::string& cpu = "") {
    Json container = {{"name", "app"}, {"image", "docker.io/library/app:1"}};
    if (!cpu.empty()) container["resources"] = {{"requests", {{"cpu", cpu}}}};
    client.seed("pods", {{"metadata", {{"name", name}, {"namespace", "default"}, {"uid", "uid-" + name}}},
                         {"spec", {{"nodeName", "node1"}, {"containers", Json::array({container})}}},
                         {"status", {{"phase", "Pending"}}}});
  }
  std::string phase(const std::string& name) const {
    return std::string(str(at(client.json("pods", "default", name), "status"), "phase"));
  }

  Executor executor;
  FakeClock clock;
  FakeClient client;
  FakeRuntime runtime;
  FakeImages images;
  FakeNetwork network;
  NodeOptions options;
  std::filesystem::path dir;
};

void with_agent(std::function<Task<void>(Fixture&)> body) {
  run([&]() -> Task<void> {
    Executor executor = co_await boost::asio::this_coro::executor;
    Fixture fixture(executor);
    co_await body(fixture);
  });
}

}  // namespace

TEST_CASE("a pod grows when there is room, and else when another has left") {
  with_agent([](Fixture& f) -> Task<void> {
    auto agent = co_await f.begin();
    const auto cpus = static_cast<std::int64_t>(::sysconf(_SC_NPROCESSORS_ONLN));
    f.add_pod("first", "100m");
    f.add_pod("second", "100m");
    bool ok = co_await eventually([&] { return f.phase("first") == "Running" && f.phase("second") == "Running"; });
    REQUIRE(ok);
    const auto resize = [&](const std::string& name, std::int64_t milli_cpu) {
      Json pod = f.client.json("pods", "default", name);
      pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = std::to_string(milli_cpu) + "m";
      pod["metadata"]["generation"] = num(at(pod, "metadata"), "generation") + 1;
      f.client.seed("pods", std::move(pod));
    };
    const auto cpu_of = [&](const std::string& name) {
      const Json pod = f.client.json("pods", "default", name);
      return std::string(str(at(pod, "status", "containerStatuses")[0]["allocatedResources"], "cpu"));
    };
    const auto pending = [&](const std::string& name) {
      std::string message;
      const Json pod = f.client.json("pods", "default", name);
      for (const Json& condition : at(pod, "status", "conditions")) {
        if (str(condition, "type") == "PodResizePending") message = str(condition, "message");
      }
      return message;
    };
    resize("first", cpus * 1000 - 200);
    ok = co_await eventually([&] { return cpu_of("first") == std::to_string(cpus * 1000 - 200) + "m"; });
    CHECK(ok);
    resize("second", 300);
    ok = co_await eventually([&] { return !pending("second").empty(); });
    REQUIRE(ok);
    CHECK(pending("second").find("requested: 300, used: " + std::to_string(cpus * 1000 - 200)) != std::string::npos);
    CHECK(cpu_of("second") == "100m");
    resize("first", 200);  // it needs no room, and makes some
    ok = co_await eventually([&] { return cpu_of("second") == "300m" && pending("second").empty(); });
    CHECK(ok);
    co_await agent->stop();
  });
}

TEST_CASE("the node registers, reports and renews its lease") {
  with_agent([](Fixture& f) -> Task<void> {
    f.runtime.limits = {{"memory limits", "controller memory is bound to cgroup v1"}};
    auto agent = co_await f.begin();
    const Json node = f.client.json("nodes", "", "node1");
    CHECK(at(node, "metadata", "labels", "kubernetes.io/hostname") == "node1");
    CHECK(at(node, "spec", "podCIDR") == "10.42.0.0/24");
    CHECK(at(node, "status", "capacity", "pods") == "3");
    std::map<std::string, std::string> conditions;
    for (const Json& c : at(node, "status", "conditions")) conditions[std::string(str(c, "type"))] = str(c, "status");
    CHECK(conditions["Ready"] == "True");
    CHECK(conditions["MemoryPressure"] == "False");
    CHECK(conditions["LimitsEnforced"] == "False");
    bool ok = co_await eventually(
        [&] { return f.client.find("leases.coordination.k8s.io", "kube-node-lease", "node1") != nullptr; });
    REQUIRE(ok);
    const auto renewed = [&] {
      const Json lease = f.client.json("leases.coordination.k8s.io", "kube-node-lease", "node1");
      return std::string(str(at(lease, "spec"), "renewTime"));
    };
    const std::string first = renewed();
    co_await settle();
    const auto writes = f.client.count("patch", "nodes", "status");
    f.clock.advance(10s);
    ok = co_await eventually([&] { return renewed() != first; });
    CHECK(ok);
    co_await settle();
    // Nothing changed, so only the lease was written.
    CHECK(f.client.count("patch", "nodes", "status") == writes);
    co_await agent->stop();
  });
}

TEST_CASE("pods bound to the node run; too many are refused; stop leaves them; the next start takes over") {
  with_agent([](Fixture& f) -> Task<void> {
    auto agent = co_await f.begin();
    f.add_pod("a");
    f.add_pod("b");
    bool ok = co_await eventually([&] { return f.phase("a") == "Running" && f.phase("b") == "Running"; });
    REQUIRE(ok);
    f.add_pod("huge", "100000");
    ok = co_await eventually([&] { return f.phase("huge") == "Failed"; });
    CHECK(ok);
    CHECK(str(at(f.client.json("pods", "default", "huge"), "status"), "reason") == "OutOfcpu");
    co_await agent->stop();
    agent.reset();
    CHECK(f.runtime.sandboxes.size() == 2);
    // b is deleted and gone while nobody looks.
    f.client.erase("pods", "default", "b");
    agent = co_await f.begin();
    ok = co_await eventually([&] { return f.runtime.sandboxes.size() == 1; });
    CHECK(ok);
    CHECK(f.runtime.sandboxes.contains("uid-a"));
    CHECK(f.runtime.starts("app") == 2);
    CHECK(f.phase("a") == "Running");
    client::DeleteOptions options;
    options.grace_period_seconds = 1;
    (void)co_await f.client.remove(api::res("pods"), "default", "a", options);
    ok = co_await eventually([&] { return f.client.find("pods", "default", "a") == nullptr; });
    CHECK(ok);
    ok = co_await eventually([&] { return f.runtime.sandboxes.empty(); });
    CHECK(ok);
    co_await agent->stop();
  });
}

TEST_CASE("a pod that was deleted by force leaves its room to others while its containers still end") {
  with_agent([](Fixture& f) -> Task<void> {
    auto agent = co_await f.begin();
    for (const char* name : {"a", "b", "c"}) f.add_pod(name);  // as many as fit
    bool ok = co_await eventually([&] { return f.phase("a") == "Running" && f.phase("c") == "Running"; });
    REQUIRE(ok);
    f.runtime.obey_all = false;
    f.client.erase("pods", "default", "a");
    f.add_pod("d");
    ok = co_await eventually([&] { return f.phase("d") == "Running"; });
    CHECK(ok);
    CHECK(f.runtime.sandboxes.contains("uid-a"));
    f.add_pod("e");
    ok = co_await eventually([&] { return f.phase("e") == "Failed"; });
    CHECK(ok);
    f.runtime.obey_all = true;
    co_await agent->stop();
  });
}

TEST_CASE("a pod that has finished leaves its room to others while it is still taken down") {
  with_agent([](Fixture& f) -> Task<void> {
    auto agent = co_await f.begin();
    for (const char* name : {"a", "b", "c"}) f.add_pod(name);  // as many as fit
    bool ok = co_await eventually([&] { return f.phase("a") == "Running" && f.phase("c") == "Running"; });
    REQUIRE(ok);
    f.runtime.remove_error = Error{Code::kIo, "busy"};
    client::DeleteOptions options;
    options.grace_period_seconds = 1;
    (void)co_await f.client.remove(api::res("pods"), "default", "a", options);
    ok = co_await eventually([&] { return f.phase("a") == "Succeeded"; });
    REQUIRE(ok);
    f.add_pod("d");
    ok = co_await eventually([&] { return f.phase("d") == "Running"; });
    CHECK(ok);
    CHECK(f.runtime.sandboxes.contains("uid-a"));
    f.runtime.remove_error.reset();
    co_await agent->stop();
  });
}

TEST_CASE("what a kill left half made goes, and its pod starts afresh") {
  with_agent([](Fixture& f) -> Task<void> {
    f.runtime.sandboxes["uid-a"] = {"uid-a", 1, "/fake/netns/uid-a", {}};
    f.network.left_over = {"uid-a", "uid-gone"};
    f.add_pod("a");
    auto agent = co_await f.begin();
    const bool ok = co_await eventually([&] { return f.phase("a") == "Running" && f.network.detached.size() == 2; });
    CHECK(ok);
    CHECK(f.runtime.removed == std::vector<std::string>{"uid-a"});
    REQUIRE(f.network.attached.size() == 1);
    CHECK(f.network.attached[0].uid == "uid-a");
    // The half-made pod's, before it started again, and that of a pod which nobody knows.
    CHECK(f.network.detached == std::vector<std::string>{"uid-a", "uid-gone"});
    co_await agent->stop();
  });
}

TEST_CASE("volumes outlive a sandbox that was left without containers") {
  with_agent([](Fixture& f) -> Task<void> {
    f.runtime.sandboxes["uid-a"] = {"uid-a", 1, "/fake/netns/uid-a", {}};
    const std::string volume = f.options.data_dir + "/pods/uid-a/volumes/kubernetes.io~empty-dir/work";
    std::filesystem::create_directories(volume);
    std::ofstream(volume + "/kept") << "by a container of the sandbox before";
    f.add_pod("a");
    auto agent = co_await f.begin();
    const bool ok = co_await eventually([&] { return f.phase("a") == "Running"; });
    CHECK(ok);
    CHECK(std::filesystem::exists(volume + "/kept"));
    co_await agent->stop();
  });
}

TEST_CASE("a sandbox that ends before its pod is known again is made anew") {
  with_agent([](Fixture& f) -> Task<void> {
    f.add_pod("a");
    auto agent = co_await f.begin();
    bool ok = co_await eventually([&] { return f.phase("a") == "Running"; });
    REQUIRE(ok);
    co_await agent->stop();
    agent.reset();
    f.runtime.on_adopted = [&f] { f.runtime.end_sandbox("uid-a"); };
    agent = co_await f.begin();
    ok = co_await eventually([&] { return f.network.attached.size() == 2; });
    CHECK(ok);
    co_await agent->stop();
  });
}

TEST_CASE("stop_pods ends the pods and keeps their objects") {
  with_agent([](Fixture& f) -> Task<void> {
    auto agent = co_await f.begin();
    f.add_pod("a");
    const bool ok = co_await eventually([&] { return f.phase("a") == "Running"; });
    REQUIRE(ok);
    agent->set_stop_pods(true);
    co_await agent->stop();
    CHECK(f.runtime.sandboxes.empty());
    CHECK(f.client.find("pods", "default", "a") != nullptr);
  });
}

TEST_CASE("an identity that is refused is told at once") {
  with_agent([](Fixture& f) -> Task<void> {
    f.client.react([](const FakeClient::Call& call) -> std::optional<Error> {
      if (call.resource == "nodes") return Error{Code::kForbidden, "no"};
      return std::nullopt;
    });
    auto agent = f.make();
    auto started = co_await agent->start();
    REQUIRE_FALSE(started.has_value());
    CHECK(started.error().message.find("cannot register node node1") != std::string::npos);
    co_await agent->stop();
  });
}

TEST_CASE("an API that cannot write keeps no pod from being taken over") {
  with_agent([](Fixture& f) -> Task<void> {
    auto agent = co_await f.begin();
    f.add_pod("a");
    bool ok = co_await eventually([&] { return f.phase("a") == "Running"; });
    REQUIRE(ok);
    co_await agent->stop();
    agent.reset();
    f.client.set_status("nodes", "", "node1", Json::object(), false);
    f.client.react([](const FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb == "get" || call.verb == "list" || call.verb == "watch") return std::nullopt;
      return Error{Code::kServiceUnavailable, "the store cannot write: disk full"};
    });
    agent = co_await f.begin();
    co_await settle();
    CHECK(f.runtime.starts("app") == 1);
    CHECK(f.runtime.sandboxes.size() == 1);
    CHECK(at(f.client.json("nodes", "", "node1"), "status", "conditions").empty());
    f.client.clear_reactors();
    ok = co_await eventually([&] {
      f.clock.advance(1s);
      return !at(f.client.json("nodes", "", "node1"), "status", "conditions").empty();
    });
    CHECK(ok);
    co_await agent->stop();
  });
}

TEST_CASE("images go largest first, never pinned or used ones") {
  const auto image = [](const char* id, std::uint64_t size, bool pinned) {
    runtime::Image out;
    out.id = id;
    out.size = size;
    out.pinned = pinned;
    return std::make_shared<const runtime::Image>(out);
  };
  const std::vector<std::shared_ptr<const runtime::Image>> images{image("a", 10, false), image("b", 100, true),
                                                                  image("c", 50, false), image("d", 70, false)};
  const auto used = [](std::string_view id) { return id == "d"; };
  CHECK(images_to_remove(images, used, 55) == std::vector<std::string>{"c", "a"});
  CHECK(images_to_remove(images, used, 40) == std::vector<std::string>{"c"});
  CHECK(images_to_remove(images, used, 0).empty());
}

TEST_CASE("a pod may set safe sysctls, and others that the node allows") {
  const auto reason = [](const char* name, const AdmissionInputs& in) {
    const Json sysctls =
        Json::array({{{"name", "net.ipv4.tcp_syncookies"}, {"value", "1"}}, {{"name", name}, {"value", "1"}}});
    const Json pod{{"spec", {{"securityContext", {{"sysctls", sysctls}}}}}};
    const auto refusal = admit_pod(pod, in);
    return refusal ? refusal->reason + ": " + refusal->message : "";
  };
  AdmissionInputs in;
  in.max_pods = 1;
  CHECK(reason("net/ipv4/ip_unprivileged_port_start", in).empty());
  CHECK(reason("kernel.msgmax", in) == "SysctlForbidden: forbidden sysctl: \"kernel.msgmax\" not allowlisted");
  const std::vector<std::string> allowed{"kernel.msg*", "net.core.somaxconn"};
  in.allowed_unsafe_sysctls = allowed;
  CHECK(reason("kernel.msgmax", in).empty());
  CHECK(reason("net.core.somaxconn", in).empty());
  CHECK(reason("net.core.rmem_max", in).starts_with("SysctlForbidden"));
}

TEST_CASE("a pod whose ports of the node are taken is refused") {
  AdmissionInputs in;
  in.max_pods = 1;
  in.ports =
      host_ports(Json::parse(R"({"spec":{"initContainers":[{"name":"i","ports":[{"hostPort":70,"containerPort":7}]},
      {"name":"s","restartPolicy":"Always","ports":[{"hostPort":71,"containerPort":7}]}],
      "containers":[{"name":"a","ports":[{"hostPort":80,"containerPort":8},{"containerPort":9},
      {"hostPort":90,"containerPort":9,"hostIP":"10.0.0.1","protocol":"UDP"}]}]}})"));
  CHECK(in.ports.size() == 3);
  const auto refused = [&](const Json& port) {
    const Json container = {{"name", "a"}, {"ports", Json::array({port})}};
    const auto refusal = admit_pod({{"spec", {{"hostNetwork", true}, {"containers", Json::array({container})}}}}, in);
    if (refusal) {
      CHECK(refusal->reason == "NodePorts");
      CHECK(refusal->message ==
            "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports");
    }
    return refusal.has_value();
  };
  CHECK(refused({{"hostPort", 80}}));
  CHECK(refused({{"hostPort", 80}, {"hostIP", "10.0.0.1"}}));
  CHECK(refused({{"hostPort", 71}}));
  CHECK_FALSE(refused({{"hostPort", 70}}));
  CHECK_FALSE(refused({{"hostPort", 80}, {"protocol", "UDP"}}));
  CHECK_FALSE(refused({{"hostPort", 81}}));
  CHECK_FALSE(refused({{"containerPort", 80}}));
  CHECK(refused({{"hostPort", 90}, {"protocol", "UDP"}}));
  CHECK(refused({{"hostPort", 90}, {"protocol", "UDP"}, {"hostIP", "0.0.0.0"}}));
  CHECK_FALSE(refused({{"hostPort", 90}, {"protocol", "UDP"}, {"hostIP", "10.0.0.2"}}));
}

TEST_CASE("a pod of another system is refused") {
  AdmissionInputs in;
  in.max_pods = 1;
  const auto refusal = admit_pod(Json::parse(R"({"spec":{"os":{"name":"windows"}}})"), in);
  REQUIRE(refusal);
  CHECK(refusal->reason == "PodOSNotSupported");
  CHECK_FALSE(admit_pod(Json::parse(R"({"spec":{"os":{"name":"linux"}}})"), in));
}

TEST_CASE("a pod that names its node itself is refused where the scheduler would not send it") {
  auto node = api::Object::from_json(Json::parse(R"({"metadata":{"name":"node1","labels":{"disk":"ssd"}}})"));
  REQUIRE(node);
  AdmissionInputs in;
  in.max_pods = 1;
  in.node = *node;
  const auto reason = [&](const char* pod) {
    const auto refusal = admit_pod(Json::parse(pod), in);
    return refusal ? refusal->reason + ": " + refusal->message : "";
  };
  const std::string affinity =
      "NodeAffinity: Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node "
      "affinity/selector";
  CHECK(reason(R"({"spec":{"nodeSelector":{"disk":"ssd"}}})").empty());
  CHECK(reason(R"({"spec":{"nodeSelector":{"disk":"hdd"}}})") == affinity);
  CHECK(reason(R"({"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":
      {"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["node2"]}]}]}}}}})") ==
        affinity);
  CHECK(reason(R"({"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":
      {"nodeSelectorTerms":[{"matchExpressions":[{"key":"disk","operator":"Exists"}]}]}}}}})")
            .empty());

  const std::vector<client::Taint> taints{{.key = "maintenance", .effect = "NoExecute"},
                                          {.key = "full", .effect = "NoSchedule"}};
  in.taints = taints;
  CHECK(reason(R"({"spec":{}})") ==
        "TaintToleration: Pod was rejected: Predicate TaintToleration failed: node(s) had taints that the pod didn't "
        "tolerate");
  CHECK(reason(R"({"spec":{"tolerations":[{"key":"maintenance","operator":"Exists"}]}})").empty());
  CHECK(reason(R"({"spec":{"nodeSelector":{"disk":"hdd"}}})") == affinity);

  in.node = nullptr;
  in.taints = {};
  CHECK(reason(R"({"spec":{"nodeSelector":{"disk":"hdd"}}})").empty());
}

TEST_CASE("a pod that asks for more of the node's devices or huge pages than are left is refused") {
  auto node = api::Object::from_json(Json::parse(
      R"({"metadata":{"name":"node1"},"status":{"allocatable":{"example.com/dongle":"3","hugepages-2Mi":"4Mi"}}})"));
  REQUIRE(node);
  AdmissionInputs in;
  in.max_pods = 9;
  in.node = *node;
  const auto asks = [](const char* name, const char* amount) {
    const Json container = {{"name", "a"}, {"resources", {{"requests", {{name, amount}}}}}};
    return Json{{"spec", {{"containers", Json::array({container})}}}};
  };
  for (int i = 0; i < 2; ++i) in.used += pod_request(asks("example.com/dongle", "1"));
  CHECK(in.used.others == std::map<std::string, std::int64_t, std::less<>>{{"example.com/dongle", 2}});
  CHECK_FALSE(admit_pod(asks("example.com/dongle", "1"), in));
  const auto refusal = admit_pod(asks("example.com/dongle", "2"), in);
  REQUIRE(refusal);
  CHECK(refusal->reason == "OutOfexample.com/dongle");
  CHECK(refusal->message ==
        "Pod was rejected: Node didn't have enough resource: example.com/dongle, requested: 2, used: 2, capacity: 3");
  CHECK(refusal->by_node);
  CHECK_FALSE(
      admit_pod(asks("example.com/of-another", "1"), in));  // the kubelet, too, lets what it never heard of pass
  CHECK_FALSE(admit_pod(asks("hugepages-2Mi", "4Mi"), in));
  CHECK(admit_pod(asks("hugepages-2Mi", "6Mi"), in));
  CHECK(admit_pod(asks("hugepages-1Gi", "1Gi"), in));
}

TEST_CASE("a label that the agent has not heard of yet is asked for before its pod is refused") {
  with_agent([](Fixture& f) -> Task<void> {
    auto agent = co_await f.begin();
    f.client.react([](const FakeClient::Call& call) -> std::optional<Error> {
      if (call.resource != "nodes" || (call.verb != "list" && call.verb != "watch")) return std::nullopt;
      return Error{Code::kServiceUnavailable, "later"};
    });
    f.client.break_watches({Code::kServiceUnavailable, "the watch ends"});
    Json node = f.client.json("nodes", "", "node1");
    node["metadata"]["labels"]["disk"] = "ssd";
    f.client.seed("nodes", std::move(node));
    const auto wants = [&](const std::string& name, const char* disk) {
      f.client.seed("pods", {{"metadata", {{"name", name}, {"namespace", "default"}, {"uid", "uid-" + name}}},
                             {"spec",
                              {{"nodeName", "node1"},
                               {"nodeSelector", {{"disk", disk}}},
                               {"containers", Json::array({{{"name", "app"}, {"image", "docker.io/library/app:1"}}})}}},
                             {"status", {{"phase", "Pending"}}}});
    };
    wants("fast", "ssd");
    wants("slow", "hdd");
    const bool ok = co_await eventually([&] {
      f.clock.advance(1s);
      return f.phase("fast") == "Running" && f.phase("slow") == "Failed";
    });
    CHECK(ok);
    CHECK(str(at(f.client.json("pods", "default", "slow"), "status"), "reason") == "NodeAffinity");
    co_await agent->stop();
  });
}

TEST_CASE("a node that was called Unknown says that it is back") {
  with_agent([](Fixture& f) -> Task<void> {
    auto agent = co_await f.begin();
    const auto ready = [&] {
      return std::string(
          str(client::find_condition(at(f.client.json("nodes", "", "node1"), "status"), "Ready"), "status"));
    };
    bool ok = co_await eventually([&] { return ready() == "True"; });
    REQUIRE(ok);
    f.client.set_status("nodes", "", "node1",
                        {{"conditions", Json::array({{{"type", "Ready"}, {"status", "Unknown"}}})}});
    REQUIRE(ready() == "Unknown");
    ok = co_await eventually([&] { return ready() == "True"; });
    CHECK(ok);
    co_await agent->stop();
  });
}

TEST_CASE("what others advertise in the node's capacity can be allocated, until they take it back") {
  with_agent([](Fixture& f) -> Task<void> {
    auto agent = co_await f.begin();
    const auto status = [&] { return Json(at(f.client.json("nodes", "", "node1"), "status")); };
    const auto dongles = [&] { return std::string(str(at(status(), "allocatable"), "example.com/dongle")); };
    const auto has = [&](std::string_view expected) { return eventually([&] { return dongles() == expected; }); };
    Json changed = status();
    changed["capacity"]["example.com/dongle"] = "4";
    f.client.set_status("nodes", "", "node1", changed, false);
    bool ok = co_await has("4");
    CHECK(ok);
    CHECK(str(at(status(), "capacity"), "example.com/dongle") == "4");
    changed = status();
    changed["capacity"]["example.com/dongle"] = "2";
    f.client.set_status("nodes", "", "node1", changed, false);
    ok = co_await has("2");
    CHECK(ok);
    changed = status();
    changed["capacity"].erase("example.com/dongle");
    f.client.set_status("nodes", "", "node1", changed, false);
    ok = co_await has("");
    CHECK(ok);
    CHECK_FALSE(at(status(), "allocatable").contains("example.com/dongle"));
    co_await agent->stop();
  });
}

TEST_CASE("the node writes its own capacity again where it was changed") {
  with_agent([](Fixture& f) -> Task<void> {
    auto agent = co_await f.begin();
    Json changed = at(f.client.json("nodes", "", "node1"), "status");
    changed["capacity"]["pods"] = "500";
    f.client.set_status("nodes", "", "node1", changed, false);
    const bool ok = co_await eventually(
        [&] { return at(f.client.json("nodes", "", "node1"), "status", "capacity", "pods") == "3"; });
    CHECK(ok);
    co_await agent->stop();
  });
}

TEST_CASE("a pod that relies on AppArmor is refused") {
  AdmissionInputs in;
  in.max_pods = 1;
  const auto reason = [&](const char* pod) {
    const auto refusal = admit_pod(Json::parse(pod), in);
    return refusal ? refusal->reason : "";
  };
  CHECK(reason(R"({"spec":{"containers":[{"name":"a"}]}})").empty());
  CHECK(reason(R"({"spec":{"securityContext":{"appArmorProfile":{"type":"Unconfined"}}}})").empty());
  CHECK(reason(R"({"spec":{"securityContext":{"appArmorProfile":{"type":"RuntimeDefault"}}}})") == "AppArmor");
  CHECK(reason(R"({"spec":{"initContainers":[{"name":"a","securityContext":
      {"appArmorProfile":{"type":"Localhost","localhostProfile":"p"}}}]}})") == "AppArmor");
  CHECK(reason(R"({"metadata":{"annotations":{"container.apparmor.security.beta.kubernetes.io/a":"localhost/p"}}})") ==
        "AppArmor");
  CHECK(reason(R"({"metadata":{"annotations":{"container.apparmor.security.beta.kubernetes.io/a":"unconfined"}}})")
            .empty());
}
