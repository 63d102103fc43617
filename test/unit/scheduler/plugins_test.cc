#include "plugins.h"

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "brume/base/json.h"
#include "catch.h"
#include "cycle.h"
#include "queue.h"

using namespace brume;
using namespace brume::scheduler;

namespace {

api::ObjectPtr object(Json value) {
  if (!value["metadata"].contains("uid")) value["metadata"]["uid"] = value["metadata"]["name"];
  auto made = api::Object::from_json(value);
  REQUIRE(made);
  return *made;
}

NodeInfo node(Json extra = Json::object()) {
  Json value = {
      {"apiVersion", "v1"},
      {"kind", "Node"},
      {"metadata", {{"name", "n"}, {"labels", {{"zone", "a"}, {"cores", "8"}}}}},
      {"status", {{"allocatable", {{"cpu", "4"}, {"memory", "8Gi"}, {"pods", "10"}, {"example.com/gpu", "2"}}}}}};
  value.merge_patch(extra);
  NodeInfo out;
  out.update(object(value));
  return out;
}

PodInfo pod(Json spec) {
  return decode_pod(object({{"metadata", {{"name", "p"}, {"namespace", "d"}}}, {"spec", std::move(spec)}}));
}

Json requests(Json list) {
  return {{"containers", Json::array({{{"name", "c"}, {"resources", {{"requests", list}}}}})}};
}

std::string answer(const FilterPlugin& plugin, const PodInfo& p, const NodeInfo& n) {
  if (!plugin.concerns(p)) return "";
  const auto verdict = plugin.filter({}, p, n);
  std::string out;
  for (std::size_t i = 0; i < verdict.count; ++i) out += (i ? ", " : "") + reason_text(verdict.reasons[i]);
  return out;
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
  const Json empty = {{"containers", Json::array({Json::object(), Json::object()})}};
  CHECK(scoring_requests(empty, Json()).basic[Resources::kCpu] == 200);
  CHECK(scoring_requests(empty, Json()).basic[Resources::kMemory] == 2 * 200LL * 1024 * 1024);
}

TEST_CASE("resources fit") {
  const auto fit = make_fit_filter();
  auto n = node();
  CHECK(answer(*fit, pod(requests({{"cpu", "4"}})), n).empty());
  CHECK(answer(*fit, pod(requests({{"cpu", "4001m"}})), n) == "Insufficient cpu");
  CHECK(answer(*fit, pod(requests({{"cpu", "5"}, {"memory", "9Gi"}})), n) == "Insufficient cpu, Insufficient memory");
  CHECK(answer(*fit, pod(requests({{"example.com/gpu", "3"}})), n) == "Insufficient example.com/gpu");
  CHECK(answer(*fit, pod(requests({{"example.com/none", "1"}})), n) == "Insufficient example.com/none");
  CHECK(fit->filter({}, pod(requests({{"cpu", "5"}})), n).kind == Verdict::Kind::kUnresolvable);
  n.place(pod(requests({{"cpu", "3"}})).footprint, 0);
  CHECK(answer(*fit, pod(requests({{"cpu", "2"}})), n) == "Insufficient cpu");
  CHECK(fit->filter({}, pod(requests({{"cpu", "2"}})), n).kind == Verdict::Kind::kUnschedulable);
  for (int i = 0; i < 9; ++i) n.place({}, 0);
  CHECK(answer(*fit, pod(requests(Json::object())), n) == "Too many pods");
}

TEST_CASE("placing and removing leave nothing behind") {
  auto n = node();
  const auto p =
      pod({{"containers", Json::array({{{"name", "c"},
                                        {"resources", {{"requests", {{"cpu", "1"}, {"example.com/gpu", "1"}}}}},
                                        {"ports", Json::array({{{"hostPort", 80}}})}}})}});
  n.place(p.footprint, 5);
  CHECK(n.ports.size() == 1);
  n.remove(p.footprint, 5);
  CHECK(n.requested == Resources{});
  CHECK(n.scoring == Resources{});
  CHECK(n.ports.empty());
  CHECK(n.priorities.empty());
  CHECK(n.pods == 0);
}

TEST_CASE("taints and tolerations") {
  const auto filter = make_taint_filter();
  const auto tainted = [](const char* effect) {
    return node({{"spec", {{"taints", Json::array({{{"key", "k"}, {"value", "v"}, {"effect", effect}}})}}}});
  };
  const auto tolerating = [](Json toleration) { return pod({{"tolerations", Json::array({std::move(toleration)})}}); };
  CHECK(answer(*filter, pod(Json::object()), tainted("NoSchedule")) == "node(s) had untolerated taint {k: v}");
  CHECK(answer(*filter, pod(Json::object()), tainted("NoExecute")) == "node(s) had untolerated taint {k: v}");
  CHECK(answer(*filter, pod(Json::object()), tainted("PreferNoSchedule")).empty());
  CHECK(answer(*filter, tolerating({{"operator", "Exists"}}), tainted("NoSchedule")).empty());
  CHECK(answer(*filter, tolerating({{"key", "k"}, {"operator", "Exists"}}), tainted("NoSchedule")).empty());
  CHECK(answer(*filter, tolerating({{"key", "k"}, {"value", "v"}}), tainted("NoSchedule")).empty());
  CHECK_FALSE(answer(*filter, tolerating({{"key", "k"}, {"value", "w"}}), tainted("NoSchedule")).empty());
  CHECK_FALSE(
      answer(*filter, tolerating({{"key", "k"}, {"value", "v"}, {"effect", "NoExecute"}}), tainted("NoSchedule"))
          .empty());
  const auto score = make_taint_score();
  CHECK(score->score({}, pod(Json::object()), tainted("PreferNoSchedule")) == 1);
  CHECK(score->score({}, tolerating({{"operator", "Exists"}}), tainted("PreferNoSchedule")) == 0);
}

TEST_CASE("node selector and affinity") {
  const auto filter = make_affinity_filter();
  const auto n = node();
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
    CHECK(answer(*filter, pod(k.spec), n) == (k.fits ? "" : no));
  }
  const auto score = make_affinity_score();
  const auto p =
      pod({{"affinity",
            {{"nodeAffinity",
              {{"preferredDuringSchedulingIgnoredDuringExecution",
                Json::array(
                    {{{"weight", 7}, {"preference", {{"matchExpressions", expression("zone", "In", {"a"})}}}},
                     {{"weight", 3}, {"preference", {{"matchExpressions", expression("zone", "In", {"b"})}}}}})}}}}}});
  CHECK(score->scores(p));
  CHECK(score->score({}, p, n) == 7);
}

TEST_CASE("host ports") {
  const auto filter = make_ports_filter();
  const auto with = [](Json port) {
    return pod({{"containers", Json::array({{{"name", "c"}, {"ports", Json::array({port})}}})}});
  };
  auto n = node();
  n.place(with({{"hostPort", 80}}).footprint, 0);
  n.place(with({{"hostPort", 81}, {"hostIP", "10.0.0.1"}}).footprint, 0);
  CHECK_FALSE(answer(*filter, with({{"hostPort", 80}}), n).empty());
  CHECK_FALSE(answer(*filter, with({{"hostPort", 80}, {"hostIP", "10.0.0.2"}}), n).empty());
  CHECK(answer(*filter, with({{"hostPort", 80}, {"protocol", "UDP"}}), n).empty());
  CHECK(answer(*filter, with({{"hostPort", 81}, {"hostIP", "10.0.0.2"}}), n).empty());
  CHECK_FALSE(answer(*filter, with({{"hostPort", 81}}), n).empty());
  CHECK(answer(*filter, with({{"containerPort", 80}}), n).empty());
}

TEST_CASE("scores of resources") {
  auto n = node({{"status", {{"allocatable", {{"cpu", "4"}, {"memory", "4Gi"}}}}}});
  const auto p = pod(requests({{"cpu", "1"}, {"memory", "2Gi"}}));
  CHECK(make_fit_score(Strategy::kLeastAllocated)->score({}, p, n) == (75 + 50) / 2);
  CHECK(make_fit_score(Strategy::kMostAllocated)->score({}, p, n) == (25 + 50) / 2);
  CHECK(make_balance_score()->score({}, p, n) == 87);  // fractions 0.25 and 0.5
  n.place(p.footprint, 0);
  CHECK(make_fit_score(Strategy::kLeastAllocated)->score({}, p, n) == (50 + 0) / 2);
}

TEST_CASE("the queue: order, back-off, events") {
  const auto sort = make_priority_sort();
  SchedulingQueue queue(*sort);
  using namespace std::chrono_literals;
  const auto make = [](const char* name, int priority) {
    auto made = std::make_shared<PodInfo>(
        decode_pod(object({{"metadata", {{"name", name}}}, {"spec", {{"priority", priority}}}})));
    return std::shared_ptr<const PodInfo>(made);
  };
  const WallTime wall{};
  SchedulingQueue::SteadyTime now{1h};
  queue.put(make("a", 0), wall);
  queue.put(make("b", 5), wall);
  queue.put(make("c", 0), wall);
  auto first = queue.pop();
  REQUIRE(first);
  CHECK(first->pod->object->name() == "b");
  CHECK(queue.pop()->pod->object->name() == "a");
  queue.add_unschedulable(*first, now);
  CHECK(queue.ready() == 1);
  queue.move_all(now);  // its first back-off of a second has not passed
  CHECK(queue.ready() == 1);
  CHECK(*queue.next_tick() == now + 1s);
  queue.tick(now + 1s);
  CHECK(queue.ready() == 2);
  auto again = queue.pop();
  CHECK(again->attempts == 2);
  queue.add_unschedulable(*again, now);
  queue.tick(now + 4min);
  CHECK(queue.ready() == 1);
  queue.tick(now + 5min);
  CHECK(queue.ready() == 2);
  queue.remove("b");
  queue.remove("c");
  CHECK(queue.size() == 0);
  CHECK_FALSE(queue.pop());
}

TEST_CASE("thousands of pods onto a thousand nodes", "[speed]") {
  struct NoClient {};
  Profile profile;
  profile.filters.push_back(make_unschedulable_filter());
  profile.filters.push_back(make_taint_filter());
  profile.filters.push_back(make_affinity_filter());
  profile.filters.push_back(make_ports_filter());
  profile.filters.push_back(make_fit_filter());
  profile.scores.push_back({make_taint_score(), 3});
  profile.scores.push_back({make_affinity_score(), 2});
  profile.scores.push_back({make_fit_score(Strategy::kLeastAllocated), 1});
  profile.scores.push_back({make_balance_score(), 1});
  NodeCache cache;
  for (int i = 0; i < 1000; ++i) {
    cache.set_node(object({{"metadata", {{"name", "n" + std::to_string(i)}}},
                           {"status", {{"allocatable", {{"cpu", "32"}, {"memory", "64Gi"}, {"pods", "110"}}}}}}));
  }
  Cycle cycle(profile, 0);
  CHECK(cycle.nodes_to_find(50) == 50);
  CHECK(cycle.nodes_to_find(1000) == 420);
  CHECK(cycle.nodes_to_find(10000) == 500);
  constexpr int kPods = 2000;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kPods; ++i) {
    const auto p = decode_pod(object({{"metadata", {{"name", "p" + std::to_string(i)}}},
                                      {"spec", requests({{"cpu", "100m"}, {"memory", "64Mi"}})}}));
    const auto choice = cycle.choose(p, cache);
    REQUIRE(choice.node != nullptr);
    cache.assume(p, choice.node->name);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::fprintf(stderr, "scheduling cycles: %.0f pods/s\n", kPods / took.count());
  std::int64_t most = 0;
  for (const auto* n : cache.nodes()) most = std::max(most, n->pods);
  CHECK(most <= 4);  // two on average: spread
}
