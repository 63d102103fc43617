// Resources, names, ports, taints, node affinity and images: each plugin over a table of nodes and pods.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "world.h"

using namespace brume;
using namespace brume::scheduler;

namespace {

ProfileConfig with_args(const std::string& plugin, Json args) {
  ProfileConfig out;
  out.args[plugin] = std::move(args);
  return out;
}

std::string build_error(const ProfileConfig& config) {
  World world;
  auto made = build_profile(config, Config{}, world.handle());
  return made ? "" : made.error().message;
}

Json affinity(Json expressions) {
  return {{"affinity",
           {{"nodeAffinity",
             {{"requiredDuringSchedulingIgnoredDuringExecution",
               {{"nodeSelectorTerms", Json::array({{{"matchExpressions", expressions}}})}}}}}}}};
}

Json expression(const char* key, const char* op, std::vector<std::string> values = {}) {
  return Json::array({{{"key", key}, {"operator", op}, {"values", values}}});
}

}  // namespace

TEST_CASE("requests of a pod") {
  const auto container = [](const char* cpu, bool sidecar = false) {
    Json out = {{"resources", {{"requests", {{"cpu", cpu}}}}}};
    if (sidecar) out["restartPolicy"] = "Always";
    return out;
  };
  struct Case {
    Json spec;
    std::int64_t milli;
  };
  const std::vector<Case> cases = {
      {{{"containers", Json::array({container("100m"), container("0.2")})}}, 300},
      {{{"containers", Json::array({container("100m")})},
        {"initContainers", Json::array({container("1"), container("2")})}},
       2000},
      {{{"containers", Json::array({container("100m")})}, {"initContainers", Json::array({container("50m", true)})}},
       150},
      {{{"containers", Json::array({container("100m")})},
        {"initContainers", Json::array({container("50m", true), container("1")})}},
       1050},
      {{{"containers", Json::array({container("100m")})}, {"overhead", {{"cpu", "30m"}}}}, 130},
      {{{"containers", Json::array({container("100m")})}, {"resources", {{"requests", {{"cpu", "1"}}}}}}, 1000},
  };
  for (const auto& k : cases) CHECK(pod_requests(k.spec, Json()).basic[Resources::kCpu] == k.milli);
  // A resize that the node never can give is not waited for with room.
  Json spec = {{"containers", Json::array({container("3")})}};
  spec["containers"][0]["name"] = "c";
  Json status = {{"containerStatuses", Json::array({{{"name", "c"}, {"resources", {{"requests", {{"cpu", "1"}}}}}}})}};
  CHECK(pod_requests(spec, status).basic[Resources::kCpu] == 3000);
  status["conditions"] = Json::array({{{"type", "PodResizePending"}, {"status", "True"}, {"reason", "Infeasible"}}});
  CHECK(pod_requests(spec, status).basic[Resources::kCpu] == 1000);
  const Json empty = {{"containers", Json::array({Json::object(), Json::object()})}};
  CHECK(scoring_requests(empty, Json()).basic[Resources::kCpu] == 200);
  CHECK(scoring_requests(empty, Json()).basic[Resources::kMemory] == 2 * 200LL * 1024 * 1024);
}

TEST_CASE("pods of one template share what is read of their specs") {
  PodDecoder decoder;
  const auto make = [](const std::string& name, const char* cpu) {
    return World::pod_object(name, {{"spec", requests({{"cpu", cpu}})}});
  };
  const auto a = decoder.decode(make("a", "1"));
  const auto b = decoder.decode(make("b", "1"));
  const auto c = decoder.decode(make("c", "2"));
  CHECK(a->spec == b->spec);
  CHECK(a->spec != c->spec);
  CHECK(decoder.specs() == 2);
  // The same generation is not read again.
  const auto newer = decoder.decode(make("a", "2"), a);
  CHECK(newer->spec == a->spec);
  // But what its status says of a resize is.
  const auto resized = [](const char* reason) {
    Json spec = requests({{"cpu", "3"}});
    spec["nodeName"] = "n";
    spec["containers"][0]["name"] = "c";
    Json status = {
        {"containerStatuses", Json::array({{{"name", "c"}, {"resources", {{"requests", {{"cpu", "1"}}}}}}})}};
    if (*reason != '\0') {
      status["conditions"] = Json::array({{{"type", "PodResizePending"}, {"status", "True"}, {"reason", reason}}});
    }
    return World::pod_object("r", {{"spec", spec}, {"status", status}});
  };
  const auto cpu = [](const PodPtr& pod) { return pod->footprint->requests.basic[Resources::kCpu]; };
  const auto asked = decoder.decode(resized(""));
  CHECK(cpu(asked) == 3000);
  const auto infeasible = decoder.decode(resized("Infeasible"), asked);
  CHECK(cpu(infeasible) == 1000);
  CHECK(cpu(decoder.decode(resized("Deferred"), infeasible)) == 3000);
  CHECK(cpu(decoder.decode(resized(""), infeasible)) == 3000);
}

TEST_CASE("resources fit") {
  World w;
  const std::string fit = "NodeResourcesFit";
  w.node("n", {{"status", {{"allocatable", {{"example.com/gpu", "2"}}}}}});
  CHECK(w.says(fit, w.pod(requests({{"cpu", "4"}})), "n").empty());
  CHECK(w.says(fit, w.pod(requests({{"cpu", "4001m"}})), "n") == "Insufficient cpu");
  CHECK(w.says(fit, w.pod(requests({{"cpu", "5"}, {"memory", "9Gi"}})), "n") ==
        "Insufficient cpu, Insufficient memory");
  CHECK(w.says(fit, w.pod(requests({{"example.com/gpu", "3"}})), "n") == "Insufficient example.com/gpu");
  CHECK(w.says(fit, w.pod(requests({{"example.com/none", "1"}})), "n") == "Insufficient example.com/none");
  CHECK(w.verdict(fit, w.pod(requests({{"cpu", "5"}})), "n").code == Verdict::Code::kUnresolvable);
  w.placed("a", "n", {{"spec", requests({{"cpu", "3"}})}});
  CHECK(w.says(fit, w.pod(requests({{"cpu", "2"}})), "n") == "Insufficient cpu");
  CHECK(w.verdict(fit, w.pod(requests({{"cpu", "2"}})), "n").code == Verdict::Code::kUnschedulable);
  for (int i = 0; i < 9; ++i) w.placed("b" + std::to_string(i), "n");
  CHECK(w.says(fit, w.pod(requests(Json::object())), "n") == "Too many pods");
}

TEST_CASE("a pod that asks for more than is counted fits nowhere") {
  World w;
  w.node("n", {{"status", {{"allocatable", {{"example.com/bytes", "5E"}}}}}});
  CHECK(w.says("NodeResourcesFit", w.pod(requests({{"example.com/bytes", "4P"}})), "n").empty());
  CHECK(w.says("NodeResourcesFit", w.pod(requests({{"example.com/bytes", "8P"}})), "n") ==
        "Insufficient example.com/bytes");
}

TEST_CASE("extended resources may be left to others") {
  World w(with_args("NodeResourcesFit", {{"ignoredResources", {"example.com/a", "hugepages-2Mi"}},
                                         {"ignoredResourceGroups", {"other.io"}}}));
  w.node("n");
  CHECK(w.says("NodeResourcesFit", w.pod(requests({{"example.com/a", "1"}})), "n").empty());
  CHECK(w.says("NodeResourcesFit", w.pod(requests({{"other.io/x", "1"}})), "n").empty());
  CHECK_FALSE(w.says("NodeResourcesFit", w.pod(requests({{"example.com/b", "1"}})), "n").empty());
  CHECK_FALSE(w.says("NodeResourcesFit", w.pod(requests({{"hugepages-2Mi", "2Mi"}})), "n").empty());
}

TEST_CASE("placing and removing leave nothing behind") {
  World w;
  const auto& n = w.node("n");
  w.placed("a", "n",
           {{"spec",
             {{"containers", Json::array({{{"name", "c"},
                                           {"resources", {{"requests", {{"cpu", "1"}, {"example.com/gpu", "1"}}}}},
                                           {"ports", Json::array({{{"hostPort", 80}}})}}})}}}});
  CHECK(n.ports.size() == 1);
  CHECK(w.cache.remove_pod("a"));
  CHECK(n.requested == Resources{});
  CHECK(n.scoring == Resources{});
  CHECK(n.ports.empty());
  CHECK(n.pods.empty());
  CHECK_FALSE(w.cache.remove_pod("a"));
}

TEST_CASE("taints and tolerations") {
  World w;
  const std::string plugin = "TaintToleration";
  for (const char* effect : {"NoSchedule", "NoExecute", "PreferNoSchedule"}) {
    w.node(effect, {{"spec", {{"taints", Json::array({{{"key", "k"}, {"value", "v"}, {"effect", effect}}})}}}});
  }
  const auto tolerating = [&](Json toleration) {
    return w.pod({{"tolerations", Json::array({std::move(toleration)})}});
  };
  const auto plain = w.pod(Json::object());
  CHECK(w.says(plugin, plain, "NoSchedule") == "node(s) had untolerated taint(s)");
  CHECK(w.says(plugin, plain, "NoExecute") == "node(s) had untolerated taint(s)");
  CHECK(w.says(plugin, plain, "PreferNoSchedule").empty());
  CHECK(w.verdict(plugin, plain, "NoSchedule").code == Verdict::Code::kUnresolvable);
  CHECK(w.says(plugin, tolerating({{"operator", "Exists"}}), "NoSchedule").empty());
  CHECK(w.says(plugin, tolerating({{"key", "k"}, {"operator", "Exists"}}), "NoSchedule").empty());
  CHECK(w.says(plugin, tolerating({{"key", "k"}, {"value", "v"}}), "NoSchedule").empty());
  CHECK_FALSE(w.says(plugin, tolerating({{"key", "k"}, {"value", "w"}}), "NoSchedule").empty());
  CHECK_FALSE(
      w.says(plugin, tolerating({{"key", "k"}, {"value", "v"}, {"effect", "NoExecute"}}), "NoSchedule").empty());
  CHECK(w.scores(plugin, plain)["PreferNoSchedule"] == 0);
  CHECK(w.scores(plugin, plain)["NoSchedule"] == kMaxScore);
  CHECK(w.scores(plugin, tolerating({{"operator", "Exists"}}))["PreferNoSchedule"] == kMaxScore);
}

TEST_CASE("cordons") {
  World w;
  w.node("n", {{"spec", {{"unschedulable", true}}}});
  CHECK(w.says("NodeUnschedulable", w.pod(Json::object()), "n") == "node(s) were unschedulable");
  const auto tolerant = w.pod({{"tolerations", Json::array({{{"operator", "Exists"}}})}});
  CHECK(w.says("NodeUnschedulable", tolerant, "n").empty());
}

TEST_CASE("node selector and affinity") {
  World w;
  w.node("n", {{"metadata", {{"labels", {{"cores", "8"}}}}}});
  const std::string no = "node(s) didn't match Pod's node affinity/selector";
  struct Case {
    Json spec;
    bool fits;
  };
  const std::vector<Case> cases = {
      {{{"nodeSelector", {{"zone", "a"}}}}, true},           {{{"nodeSelector", {{"zone", "b"}}}}, false},
      {{{"nodeSelector", {{"absent", ""}}}}, false},         {affinity(expression("zone", "In", {"a", "b"})), true},
      {affinity(expression("zone", "NotIn", {"a"})), false}, {affinity(expression("absent", "NotIn", {"a"})), true},
      {affinity(expression("zone", "Exists")), true},        {affinity(expression("zone", "DoesNotExist")), false},
      {affinity(expression("cores", "Gt", {"4"})), true},    {affinity(expression("cores", "Lt", {"4"})), false},
      {affinity(expression("zone", "Gt", {"4"})), false},    {affinity(Json::array()), false},
  };
  for (const auto& k : cases) {
    INFO(k.spec.dump());
    CHECK(w.says("NodeAffinity", w.pod(k.spec), "n") == (k.fits ? "" : no));
  }
  w.in_zone("m", "b");
  const auto p =
      w.pod({{"affinity",
              {{"nodeAffinity",
                {{"preferredDuringSchedulingIgnoredDuringExecution",
                  Json::array({{{"weight", 100}, {"preference", Json::object()}},  // prefers nothing
                               {{"weight", 8}, {"preference", {{"matchExpressions", expression("zone", "In", {"a"})}}}},
                               {{"weight", 4},
                                {"preference", {{"matchExpressions", expression("zone", "In", {"b"})}}}}})}}}}}});
  CHECK(w.scores("NodeAffinity", p) == std::map<std::string, std::int64_t>{{"n", 100}, {"m", 50}});
}

TEST_CASE("terms that name nodes narrow the search") {
  World w;
  for (int i = 0; i < 3; ++i) w.node("n" + std::to_string(i));
  const auto named = [&](std::vector<std::string> names) {
    return w.pod(
        {{"affinity",
          {{"nodeAffinity",
            {{"requiredDuringSchedulingIgnoredDuringExecution",
              {{"nodeSelectorTerms", Json::array({{{"matchFields", Json::array({{{"key", "metadata.name"},
                                                                                 {"operator", "In"},
                                                                                 {"values", names}}})}}})}}}}}}}});
  };
  CHECK(w.choose(named({"n1"})) == "n1");
  CHECK(w.choose(named({"gone"})) == "0/3 nodes are available: 3 node(s) didn't satisfy plugin(s) [NodeAffinity].");
  w.node("n1", {{"spec", {{"unschedulable", true}}}});
  CHECK(w.choose(named({"n1"})) ==
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't satisfy plugin(s) [NodeAffinity].");
}

TEST_CASE("a profile may add node affinity to all its pods") {
  World w(with_args(
      "NodeAffinity",
      {{"addedAffinity",
        {{"requiredDuringSchedulingIgnoredDuringExecution",
          {{"nodeSelectorTerms", Json::array({{{"matchExpressions", expression("zone", "In", {"b"})}}})}}}}}}));
  w.in_zone("a", "a");
  w.in_zone("b", "b");
  CHECK(w.says("NodeAffinity", w.pod(Json::object()), "a") == "node(s) didn't match scheduler-enforced node affinity");
  CHECK(w.says("NodeAffinity", w.pod(Json::object()), "b").empty());
}

TEST_CASE("host ports") {
  World w;
  const auto with = [&](Json port) {
    return Json{{"containers", Json::array({{{"name", "c"}, {"ports", Json::array({port})}}})}};
  };
  w.node("n");
  w.placed("a", "n", {{"spec", with({{"hostPort", 80}})}});
  w.placed("b", "n", {{"spec", with({{"hostPort", 81}, {"hostIP", "10.0.0.1"}})}});
  const auto says = [&](Json port) { return w.says("NodePorts", w.pod(with(std::move(port))), "n"); };
  CHECK(says({{"hostPort", 80}}) == "node(s) didn't have free ports for the requested pod ports");
  CHECK_FALSE(says({{"hostPort", 80}, {"hostIP", "10.0.0.2"}}).empty());
  CHECK(says({{"hostPort", 80}, {"protocol", "UDP"}}).empty());
  CHECK(says({{"hostPort", 81}, {"hostIP", "10.0.0.2"}}).empty());
  CHECK_FALSE(says({{"hostPort", 81}}).empty());
  CHECK(says({{"containerPort", 80}}).empty());
}

TEST_CASE("scores of resources") {
  const Json big = {{"status", {{"allocatable", {{"cpu", "4"}, {"memory", "4Gi"}}}}}};
  const auto score = [&](ProfileConfig config, bool taken = false) {
    World w(std::move(config));
    w.node("n", big);
    const auto p = w.pod(requests({{"cpu", "1"}, {"memory", "2Gi"}}));
    if (taken) w.placed("a", "n", {{"spec", requests({{"cpu", "1"}, {"memory", "2Gi"}})}});
    return w.scores("NodeResourcesFit", p)["n"];
  };
  const auto strategy = [&](Json value) {
    return with_args("NodeResourcesFit", {{"scoringStrategy", std::move(value)}});
  };
  CHECK(score({}) == (75 + 50) / 2);
  CHECK(score({}, true) == (50 + 0) / 2);
  CHECK(score(strategy({{"type", "MostAllocated"}})) == (25 + 50) / 2);
  const Json weighed = Json::array({{{"name", "cpu"}, {"weight", 3}}, {{"name", "memory"}, {"weight", 1}}});
  CHECK(score(strategy({{"type", "MostAllocated"}, {"resources", weighed}})) == (3 * 25 + 50) / 4);
  const Json shape = Json::array({{{"utilization", 0}, {"score", 0}}, {{"utilization", 50}, {"score", 10}}});
  CHECK(score(strategy({{"type", "RequestedToCapacityRatio"}, {"requestedToCapacityRatio", {{"shape", shape}}}})) ==
        (50 + 100) / 2);
}

TEST_CASE("balance is what the pod does to it") {
  World w;
  w.node("n", {{"status", {{"allocatable", {{"cpu", "4"}, {"memory", "4Gi"}}}}}});
  // 0.25 and 0.5 of it: the distance from their mean is an eighth, where it was none.
  CHECK(w.scores("NodeResourcesBalancedAllocation", w.pod(requests({{"cpu", "1"}, {"memory", "2Gi"}})))["n"] ==
        50 + (50 + 87 - 100) / 2);
  CHECK(w.scores("NodeResourcesBalancedAllocation", w.pod(requests({{"cpu", "1"}, {"memory", "1Gi"}})))["n"] == 75);
}

TEST_CASE("images that are there draw pods") {
  World w;
  const auto image = [](const char* name, std::int64_t size) {
    return Json{{"status", {{"images", Json::array({{{"names", {name}}, {"sizeBytes", size}}})}}}};
  };
  w.node("has", image("web:latest", 800LL << 20));
  w.node("other", image("db:1", 800LL << 20));
  const auto p = w.pod({{"containers", Json::array({{{"name", "c"}, {"image", "web"}}})}});
  const auto scores = w.scores("ImageLocality", p);
  CHECK(scores.at("has") == 100 * (400 - 23) / (1000 - 23));  // on half of the nodes
  CHECK(scores.at("other") == 0);
}

TEST_CASE("arguments that are wrong are refused in one line") {
  const auto fit = [](Json args) { return build_error(with_args("NodeResourcesFit", std::move(args))); };
  const std::string head = "profile \"default-scheduler\": pluginConfig of NodeResourcesFit: ";
  CHECK(
      fit({{"scoringStrategy", {{"type", "Best"}}}}) ==
      head +
          "args.scoringStrategy.type: must be LeastAllocated, MostAllocated or RequestedToCapacityRatio, not \"Best\"");
  CHECK(fit({{"strategy", 1}}) == head + "args: unknown field \"strategy\"");
  CHECK(fit({{"scoringStrategy", {{"type", "RequestedToCapacityRatio"}}}}) ==
        head + "args.scoringStrategy.requestedToCapacityRatio.shape: at least one point must be specified");
  CHECK(fit({{"scoringStrategy", {{"resources", Json::array({{{"name", "cpu"}, {"weight", 101}}})}}}}) ==
        head + "args.scoringStrategy.resources[0].weight: must be between 0 and 100, not 101");
  ProfileConfig unknown;
  unknown.multi_point.enabled.push_back({.name = "Nonsense"});
  CHECK(build_error(unknown) == "profile \"default-scheduler\": there is no plugin \"Nonsense\"");
  ProfileConfig unbound;
  unbound.multi_point.disabled = {"DefaultBinder"};
  CHECK(build_error(unbound) == "profile \"default-scheduler\": at least one bind plugin is needed");
}

TEST_CASE("thousands of pods onto a thousand nodes", "[speed]") {
  World w;
  for (int i = 0; i < 1000; ++i) {
    w.node("n" + std::to_string(i),
           {{"status", {{"allocatable", {{"cpu", "32"}, {"memory", "64Gi"}, {"pods", "110"}}}}}});
  }
  CHECK(Cycle::nodes_to_find(50, 0) == 50);
  CHECK(Cycle::nodes_to_find(1000, 0) == 420);
  CHECK(Cycle::nodes_to_find(10000, 0) == 500);
  CHECK(Cycle::nodes_to_find(1000, 20) == 200);
  constexpr int kPods = 2000;
  PodDecoder decoder;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kPods; ++i) {
    const auto p = decoder.decode(
        World::pod_object("p" + std::to_string(i), {{"spec", requests({{"cpu", "100m"}, {"memory", "64Mi"}})}}));
    CycleState state;
    const auto choice = w.cycle.choose(*w.profile, state, *p);
    REQUIRE(choice.node != nullptr);
    w.cache.assume(p, choice.node->name);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::fprintf(stderr, "scheduling cycles: %.0f pods/s\n", kPods / took.count());
  std::size_t most = 0;
  for (const auto* n : w.cache.nodes()) most = std::max(most, n->pods.size());
  CHECK(most <= 10);  // two on average: spread, as far as whole percents tell nodes apart
}
