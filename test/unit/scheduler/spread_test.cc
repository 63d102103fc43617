// Pods that are placed by where other pods are: affinity between pods and topology spread, over tables of pods.
#include <map>
#include <random>
#include <string>

#include "world.h"

using namespace brume;
using namespace brume::scheduler;

namespace {

const std::string kAffinity = "InterPodAffinity";
const std::string kSpread = "PodTopologySpread";
using Scores = std::map<std::string, std::int64_t>;

Json selects(const std::string& app) { return {{"matchLabels", {{"app", app}}}}; }

Json term(const std::string& app, const std::string& key = "zone") {
  return {{"labelSelector", selects(app)}, {"topologyKey", key}};
}

Json required(const char* kind, Json terms) {
  return {{"affinity", {{kind, {{"requiredDuringSchedulingIgnoredDuringExecution", std::move(terms)}}}}}};
}

Json preferred(const char* kind, int weight, Json one) {
  return {{"affinity",
           {{kind,
             {{"preferredDuringSchedulingIgnoredDuringExecution",
               Json::array({{{"weight", weight}, {"podAffinityTerm", std::move(one)}}})}}}}}};
}

Json labelled(const std::string& app, Json spec = Json::object()) {
  return {{"metadata", {{"labels", {{"app", app}}}}}, {"spec", std::move(spec)}};
}

Json spread(int skew, const std::string& key, const char* action = "DoNotSchedule", Json extra = Json::object()) {
  Json out = {
      {"maxSkew", skew}, {"topologyKey", key}, {"whenUnsatisfiable", action}, {"labelSelector", selects("web")}};
  out.merge_patch(extra);
  return {{"topologySpreadConstraints", Json::array({std::move(out)})}};
}

const Json kWeb = {{"app", "web"}};

}  // namespace

TEST_CASE("required affinity keeps to the domains of its pods") {
  World w;
  w.in_zone("a1", "a");
  w.in_zone("a2", "a");
  w.in_zone("b1", "b");
  w.node("none", {{"metadata", {{"labels", {{"zone", nullptr}}}}}});
  w.placed("db", "a1", labelled("db"));
  const auto p = w.pod(required("podAffinity", Json::array({term("db")})));
  CHECK(w.says(kAffinity, p, "a2").empty());
  CHECK(w.says(kAffinity, p, "b1") == "node(s) didn't match pod affinity rules");
  CHECK(w.says(kAffinity, p, "none") == "node(s) didn't match pod affinity rules");
  CHECK(w.verdict(kAffinity, p, "b1").code == Verdict::Code::kUnresolvable);
}

TEST_CASE("the first pod of a group that wants itself may go anywhere with the key") {
  World w;
  w.in_zone("a1", "a");
  w.node("none", {{"metadata", {{"labels", {{"zone", nullptr}}}}}});
  const auto own = w.pod(required("podAffinity", Json::array({term("web")})), kWeb);
  CHECK(w.says(kAffinity, own, "a1").empty());
  CHECK_FALSE(w.says(kAffinity, own, "none").empty());
  const auto other = w.pod(required("podAffinity", Json::array({term("db")})), kWeb);
  CHECK_FALSE(w.says(kAffinity, other, "a1").empty());
  w.in_zone("b1", "b");
  w.placed("first", "b1", labelled("web"));
  CHECK_FALSE(w.says(kAffinity, own, "a1").empty());
}

TEST_CASE("a pod must match all terms to count for any") {
  World w;
  w.in_zone("a1", "a");
  w.placed("both", "a1", {{"metadata", {{"labels", {{"app", "db"}, {"tier", "x"}}}}}});
  Json tier = term("db");
  tier["labelSelector"] = {{"matchLabels", {{"tier", "x"}}}};
  CHECK(w.says(kAffinity, w.pod(required("podAffinity", Json::array({term("db"), tier}))), "a1").empty());
  tier["labelSelector"] = {{"matchLabels", {{"tier", "y"}}}};
  CHECK_FALSE(w.says(kAffinity, w.pod(required("podAffinity", Json::array({term("db"), tier}))), "a1").empty());
}

TEST_CASE("anti-affinity works both ways") {
  World w;
  w.in_zone("a1", "a");
  w.in_zone("b1", "b");
  w.placed("shy", "a1", labelled("db", required("podAntiAffinity", Json::array({term("web")}))));
  CHECK(w.says(kAffinity, w.pod(Json::object(), kWeb), "a1") ==
        "node(s) didn't satisfy existing pods anti-affinity rules");
  CHECK(w.says(kAffinity, w.pod(Json::object(), kWeb), "b1").empty());
  const auto p = w.pod(required("podAntiAffinity", Json::array({term("db")})));
  CHECK(w.says(kAffinity, p, "a1") == "node(s) didn't match pod anti-affinity rules");
  CHECK(w.verdict(kAffinity, p, "a1").code == Verdict::Code::kUnschedulable);
  CHECK(w.says(kAffinity, p, "b1").empty());
  w.cache.remove_pod("shy");
  CHECK(w.says(kAffinity, p, "a1").empty());
  CHECK(w.says(kAffinity, w.pod(Json::object(), kWeb), "a1").empty());
}

TEST_CASE("terms mean the pod's own namespace, those named, or those with some labels") {
  World w;
  w.in_zone("a1", "a");
  w.placed("far", "a1", {{"metadata", {{"namespace", "other"}, {"labels", {{"app", "db"}}}}}});
  const auto fits = [&](Json one) {
    return w.says(kAffinity, w.pod(required("podAffinity", Json::array({std::move(one)}))), "a1").empty();
  };
  CHECK_FALSE(fits(term("db")));
  Json named = term("db");
  named["namespaces"] = {"other"};
  CHECK(fits(named));
  Json by_labels = term("db");
  by_labels["namespaceSelector"] = {{"matchLabels", {{"team", "x"}}}};
  CHECK_FALSE(fits(by_labels));
  w.namespace_labels("other", {{"team", "x"}});
  CHECK(fits(by_labels));
  w.namespace_labels("other", {});
  CHECK_FALSE(fits(by_labels));
  Json all = term("db");
  all["namespaceSelector"] = Json::object();
  CHECK(fits(all));
}

TEST_CASE("preferences add up, the placed pods' too") {
  World w;
  w.in_zone("a1", "a");
  w.in_zone("b1", "b");
  w.in_zone("c1", "c");
  w.placed("one", "a1", labelled("db"));
  CHECK(w.scores(kAffinity, w.pod(preferred("podAffinity", 10, term("db")))) ==
        Scores{{"a1", 100}, {"b1", 0}, {"c1", 0}});
  CHECK(w.scores(kAffinity, w.pod(preferred("podAntiAffinity", 10, term("db")))) ==
        Scores{{"a1", 0}, {"b1", 100}, {"c1", 100}});
  w.placed("two", "b1", labelled("x", preferred("podAffinity", 4, term("web"))));
  w.placed("three", "c1", labelled("x", required("podAffinity", Json::array({term("web")}))));
  const auto web = w.pod(Json::object(), kWeb);
  CHECK(w.scores(kAffinity, web, false) == Scores{{"a1", 0}, {"b1", 4}, {"c1", 1}});
  CHECK(w.scores(kAffinity, w.pod(Json::object()), false) == Scores{{"a1", 0}, {"b1", 0}, {"c1", 0}});
  w.cache.remove_pod("two");
  w.cache.remove_pod("three");
  CHECK(w.scores(kAffinity, web, false) == Scores{{"a1", 0}, {"b1", 0}, {"c1", 0}});
}

TEST_CASE("the weight of others' required affinity is an argument") {
  ProfileConfig config;
  config.args[kAffinity] = {{"hardPodAffinityWeight", 7}};
  World w(std::move(config));
  w.in_zone("a1", "a");
  w.in_zone("b1", "b");
  w.placed("one", "a1", labelled("x", required("podAffinity", Json::array({term("web")}))));
  CHECK(w.scores(kAffinity, w.pod(Json::object(), kWeb), false) == Scores{{"a1", 7}, {"b1", 0}});
}

TEST_CASE("spread: no domain may be ahead of the emptiest by more than the skew") {
  World w;
  w.in_zone("a1", "a");
  w.in_zone("b1", "b");
  w.node("none", {{"metadata", {{"labels", {{"zone", nullptr}}}}}});
  const auto p = w.pod(spread(1, "zone"), kWeb);
  CHECK(w.says(kSpread, p, "a1").empty());
  w.placed("one", "a1", labelled("web"));
  CHECK(w.says(kSpread, p, "a1") == "node(s) didn't match pod topology spread constraints");
  CHECK(w.verdict(kSpread, p, "a1").code == Verdict::Code::kUnschedulable);
  CHECK(w.says(kSpread, p, "b1").empty());
  CHECK(w.says(kSpread, p, "none") == "node(s) didn't match pod topology spread constraints (missing required label)");
  // One that the selector does not match takes no place.
  CHECK(w.says(kSpread, w.pod(spread(1, "zone"), {{"app", "other"}}), "a1").empty());
  w.placed("two", "b1", labelled("web"));
  CHECK(w.says(kSpread, p, "a1").empty());
}

TEST_CASE("spread does not count pods of other namespaces or that are being deleted") {
  World w;
  w.in_zone("a1", "a");
  w.in_zone("b1", "b");
  w.placed("far", "a1", {{"metadata", {{"namespace", "other"}, {"labels", kWeb}}}});
  w.placed("going", "a1", {{"metadata", {{"labels", kWeb}, {"deletionTimestamp", "2026-01-01T00:00:00Z"}}}});
  CHECK(w.says(kSpread, w.pod(spread(1, "zone"), kWeb), "a1").empty());
}

TEST_CASE("too few domains count as an empty one") {
  World w;
  w.in_zone("a1", "a");
  w.placed("one", "a1", labelled("web"));
  CHECK(w.says(kSpread, w.pod(spread(1, "zone"), kWeb), "a1").empty());
  CHECK_FALSE(w.says(kSpread, w.pod(spread(1, "zone", "DoNotSchedule", {{"minDomains", 2}}), kWeb), "a1").empty());
}

TEST_CASE("which nodes count for spread is a matter of policy") {
  World w;
  w.node("a1", {{"metadata", {{"labels", {{"disk", "ssd"}}}}}});
  w.in_zone("b1", "b");
  w.node("c1", {{"metadata", {{"labels", {{"zone", "c"}, {"disk", "ssd"}}}}},
                {"spec", {{"taints", Json::array({{{"key", "k"}, {"effect", "NoSchedule"}}})}}}});
  w.placed("one", "a1", labelled("web"));
  const auto with = [&](Json policies) {
    Json spec = spread(1, "zone", "DoNotSchedule", std::move(policies));
    spec["nodeSelector"] = {{"disk", "ssd"}};
    return w.says(kSpread, w.pod(std::move(spec), kWeb), "a1").empty();
  };
  // Zone b is not wanted, but c is there, if a tainted node counts.
  CHECK_FALSE(with(Json::object()));
  CHECK(with({{"nodeTaintsPolicy", "Honor"}}));
  CHECK_FALSE(with({{"nodeTaintsPolicy", "Honor"}, {"nodeAffinityPolicy", "Ignore"}}));
}

TEST_CASE("keys to match by take the pod's own label values") {
  World w;
  w.in_zone("a1", "a");
  w.in_zone("b1", "b");
  w.placed("old", "a1", {{"metadata", {{"labels", {{"app", "web"}, {"hash", "1"}}}}}});
  const Json spec = spread(1, "zone", "DoNotSchedule", {{"matchLabelKeys", {"hash"}}});
  CHECK(w.says(kSpread, w.pod(spec, {{"app", "web"}, {"hash", "2"}}), "a1").empty());
  CHECK_FALSE(w.says(kSpread, w.pod(spec, {{"app", "web"}, {"hash", "1"}}), "a1").empty());
}

TEST_CASE("soft spread prefers the emptier") {
  World w;
  w.in_zone("a1", "a");
  w.in_zone("a2", "a");
  w.in_zone("b1", "b");
  for (int i = 0; i < 4; ++i) w.placed("p" + std::to_string(i), "a1", labelled("web"));
  const auto by_zone = w.scores(kSpread, w.pod(spread(1, "zone", "ScheduleAnyway"), kWeb));
  CHECK(by_zone == Scores{{"a1", 0}, {"a2", 0}, {"b1", 100}});
  const auto by_host = w.scores(kSpread, w.pod(spread(1, "kubernetes.io/hostname", "ScheduleAnyway"), kWeb));
  CHECK(by_host == Scores{{"a1", 0}, {"a2", 100}, {"b1", 100}});
  CHECK(w.says(kSpread, w.pod(spread(1, "zone", "ScheduleAnyway"), kWeb), "a1").empty());
}

TEST_CASE("defaults of a profile spread the pods of a Service's or a controller's") {
  ProfileConfig config;
  config.args[kSpread] = {
      {"defaultingType", "List"},
      {"defaultConstraints",
       Json::array({{{"maxSkew", 1}, {"topologyKey", "zone"}, {"whenUnsatisfiable", "DoNotSchedule"}}})}};
  World w(std::move(config));
  w.in_zone("a1", "a");
  w.in_zone("b1", "b");
  w.placed("one", "a1", labelled("web"));
  const auto p = w.pod(Json::object(), kWeb);
  CHECK(w.says(kSpread, p, "a1").empty());  // it belongs with nobody
  w.api.seed("services", {{"metadata", {{"name", "web"}}}, {"spec", {{"selector", kWeb}}}});
  w.sync();
  CHECK_FALSE(w.says(kSpread, p, "a1").empty());
  CHECK(w.says(kSpread, p, "b1").empty());
}

TEST_CASE("counts that are kept equal counts made anew") {
  // The same world twice: one is asked all along, so that its tallies follow; the other is built at once and asked
  // last.
  std::mt19937 dice(7);
  World kept;
  std::map<std::string, std::pair<std::string, std::string>> where;  // pod to node and app
  std::map<std::string, std::string> zones;
  const auto apps = std::vector<std::string>{"web", "db", "x"};
  const auto ask = [&](World& w) {
    std::string out;
    for (const auto& app : apps) {
      for (const auto& spec :
           {required("podAffinity", Json::array({term(app)})), required("podAntiAffinity", Json::array({term(app)})),
            spread(2, "zone"), spread(1, "kubernetes.io/hostname")}) {
        const auto p = w.pod(spec, {{"app", app}});
        for (const auto& [node, zone] : zones) {
          out += w.says(kAffinity, p, node) + w.says(kSpread, p, node) + "|";
        }
      }
    }
    return out;
  };
  for (int i = 0; i < 6; ++i) zones["n" + std::to_string(i)] = i % 2 == 0 ? "a" : "b";
  for (const auto& [node, zone] : zones) kept.in_zone(node, zone);
  for (int step = 0; step < 150; ++step) {
    const auto name = "p" + std::to_string(dice() % 20);
    const auto node = "n" + std::to_string(dice() % 6);
    const auto app = apps[dice() % apps.size()];
    if (dice() % 10 == 0) {
      zones[node] = std::string(1, static_cast<char>('a' + dice() % 3));
      kept.in_zone(node, zones[node]);
    } else if (where.contains(name)) {
      kept.cache.remove_pod(name);
      where.erase(name);
    } else {
      kept.placed(name, node, labelled(app, required("podAntiAffinity", Json::array({term("x")}))));
      where[name] = {node, app};
    }
    const auto mine = ask(kept);
    if (step % 15 != 0) continue;
    World fresh;
    for (const auto& [n, zone] : zones) fresh.in_zone(n, zone);
    for (const auto& [p, at] : where) {
      fresh.placed(p, at.first, labelled(at.second, required("podAntiAffinity", Json::array({term("x")}))));
    }
    CHECK(mine == ask(fresh));
  }
}

TEST_CASE("what lets in a pod that affinity or spread rejected") {
  World w;
  const auto& a = w.in_zone("a1", "a");
  const auto db = w.placed("db", "a1", labelled("db"));
  const auto web = w.placed("w", "a1", labelled("web"));
  const auto wants = w.pod(required("podAffinity", Json::array({term("db")})));
  const auto avoids = w.pod(required("podAntiAffinity", Json::array({term("db")})));
  const auto spreads = w.pod(spread(1, "zone"), kWeb);
  const auto came = [&](const PodPtr& p) {
    return Change{.resource = EventResource::kAssignedPod, .actions = action::kAdd, .pod_after = p};
  };
  const auto went = [&](const PodPtr& p) {
    return Change{.resource = EventResource::kAssignedPod, .actions = action::kDelete, .pod_before = p};
  };
  CHECK(w.wakes(kAffinity, wants, came(db)));
  CHECK_FALSE(w.wakes(kAffinity, wants, came(web)));
  CHECK(w.wakes(kAffinity, avoids, went(db)));
  CHECK_FALSE(w.wakes(kAffinity, avoids, went(web)));
  CHECK(w.wakes(kSpread, spreads, went(web)));
  CHECK(w.wakes(kSpread, spreads, came(web)));
  CHECK_FALSE(w.wakes(kSpread, spreads, went(db)));
  const Change node{.resource = EventResource::kNode, .actions = action::kAdd, .node_after = &a};
  CHECK(w.wakes(kSpread, spreads, node));
  CHECK(w.wakes(kAffinity, wants, node));
}

TEST_CASE("topology keys that pods invent do not pile up, and forgetting some changes no answer") {
  World w;
  for (const char* node : {"a1", "a2"}) w.in_zone(node, "a");
  w.in_zone("b1", "b");
  w.placed("one", "a1", labelled("web"));
  w.placed("two", "a2", labelled("web", required("podAntiAffinity", Json::array({term("db")}))));
  const auto web = w.pod(spread(1, "zone"), kWeb);
  const auto db = w.pod(Json::object(), {{"app", "db"}});
  const auto answers = [&] {
    std::string out;
    for (const char* node : {"a1", "a2", "b1"}) {
      out += w.says(kSpread, web, node) + "|" + w.says(kAffinity, db, node) + "|";
    }
    return out;
  };
  const auto expected = answers();
  CHECK_FALSE(w.says(kSpread, web, "a1").empty());
  for (int i = 0; i < 2000; ++i) {
    w.cache.tallies().trim();
    CHECK_FALSE(w.says(kSpread, w.pod(spread(1, ("invented/" + std::to_string(i)).c_str()), kWeb), "a1").empty());
    REQUIRE(w.cache.tallies().topologies() < 300);
  }
  CHECK(answers() == expected);
  // What was forgotten is counted anew.
  w.cache.remove_pod("one");
  w.cache.remove_pod("two");
  CHECK(w.says(kSpread, web, "a1").empty());
  CHECK(w.says(kAffinity, db, "a2").empty());
}
