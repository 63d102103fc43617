// KubeSchedulerConfiguration: what it may say, what it makes of profiles, and how it errs.
#include <string>
#include <vector>

#include "world.h"

using namespace brume;
using namespace brume::scheduler;

namespace {

const std::string kHead = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

std::shared_ptr<const Config> good(const std::string& text) {
  auto made = read_config(kHead + text);
  INFO((made ? "" : made.error().message));
  REQUIRE(made);
  return *made;
}

std::string error(const std::string& text) {
  const auto made = read_config(kHead + text);
  return made ? "" : made.error().message;
}

std::vector<std::string> names(const Profile& profile, Points at) {
  std::vector<std::string> out;
  for (const auto* plugin : profile.at(at)) out.emplace_back(plugin->name());
  return out;
}

}  // namespace

TEST_CASE("an empty configuration is the built-in profiles") {
  const auto config = good("");
  REQUIRE(config->profiles.size() == 2);
  CHECK(config->profiles[0].scheduler_name == "default-scheduler");
  CHECK(config->profiles[1].scheduler_name == "bin-packing");
  CHECK(config->queue.first_backoff == std::chrono::seconds(1));
  CHECK(config->queue.max_backoff == std::chrono::seconds(10));
}

TEST_CASE("the default profile has the default plugins in their order") {
  World w;
  CHECK(names(*w.profile, point::kQueueSort) == std::vector<std::string>{"PrioritySort"});
  CHECK(names(*w.profile, point::kBind) == std::vector<std::string>{"DefaultBinder"});
  CHECK(names(*w.profile, point::kPostFilter) == std::vector<std::string>{"DefaultPreemption"});
  const auto filters = names(*w.profile, point::kFilter);
  REQUIRE(filters.size() >= 5);
  CHECK(filters[0] == "NodeUnschedulable");
  CHECK(filters[1] == "NodeName");
  CHECK(filters[2] == "TaintToleration");
}

TEST_CASE("profiles, back-off and shares of nodes") {
  const auto config = good(R"(
parallelism: 4
percentageOfNodesToScore: 30
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
leaderElection: {leaderElect: false}
profiles:
- schedulerName: one
  percentageOfNodesToScore: 50
- schedulerName: two
)");
  REQUIRE(config->profiles.size() == 3);  // and bin-packing
  CHECK(config->profiles[0].percentage_of_nodes_to_score == 50);
  CHECK(config->percentage_of_nodes_to_score == 30);
  CHECK(config->queue.first_backoff == std::chrono::seconds(2));
  World w;
  auto two = build_profile(config->profiles[1], *config, w.handle());
  REQUIRE(two);
  CHECK((*two)->percentage_of_nodes_to_score == 30);
}

TEST_CASE("plugins are turned off and on, everywhere or at one point") {
  const auto build = [](const std::string& plugins) {
    const auto config = good("profiles:\n- plugins:\n" + plugins);
    World w(config->profiles[0]);
    return std::pair(names(*w.profile, point::kFilter), names(*w.profile, point::kScore));
  };
  const auto has = [](const std::vector<std::string>& list, const std::string& name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  const auto [filters, scores] = build("    multiPoint: {disabled: [{name: TaintToleration}]}\n");
  CHECK_FALSE(has(filters, "TaintToleration"));
  CHECK_FALSE(has(scores, "TaintToleration"));
  const auto [filters2, scores2] =
      build("    score: {disabled: [{name: '*'}], enabled: [{name: NodeResourcesFit, weight: 7}]}\n");
  CHECK(has(filters2, "TaintToleration"));
  CHECK(scores2 == std::vector<std::string>{"NodeResourcesFit"});
  const auto [filters3, scores3] = build(
      "    multiPoint: {disabled: [{name: '*'}], enabled: [{name: PrioritySort}, {name: DefaultBinder}, {name: "
      "NodePorts}]}\n");
  CHECK(filters3 == std::vector<std::string>{"NodePorts"});
  CHECK(scores3.empty());
}

TEST_CASE("weights decide between scores") {
  // One node is emptier, the other has the image.
  const auto chosen = [](const std::string& weights) {
    const auto config =
        good("profiles:\n- plugins:\n    score:\n      disabled: [{name: '*'}]\n      enabled: " + weights + "\n");
    World w(config->profiles[0]);
    w.node("empty");
    w.node("image", {{"status", {{"images", Json::array({{{"names", {"web:1"}}, {"sizeBytes", 2LL << 30}}})}}}});
    w.placed("a", "image", {{"spec", requests({{"cpu", "2"}, {"memory", "4Gi"}})}});
    return w.choose(w.pod({{"containers", Json::array({{{"name", "c"}, {"image", "web:1"}}})}}));
  };
  CHECK(chosen("[{name: ImageLocality, weight: 1}, {name: NodeResourcesFit, weight: 10}]") == "empty");
  CHECK(chosen("[{name: ImageLocality, weight: 10}, {name: NodeResourcesFit, weight: 1}]") == "image");
  // One that is named without a weight weighs 1, and not what it does by default.
  const auto weights = [](const std::string& text) {
    const auto config = good("profiles:\n- plugins:\n    score:\n      " + text + "\n");
    World w(config->profiles[0]);
    std::map<std::string, std::int64_t> out;
    std::size_t i = 0;
    for (auto* scorer : w.profile->at(point::kScore)) out[std::string(scorer->name())] = w.profile->weights()[i++];
    return out;
  };
  CHECK(weights("disabled: []").at("TaintToleration") == 3);
  CHECK(weights("enabled: [{name: TaintToleration}]").at("TaintToleration") == 1);
  CHECK(weights("enabled: [{name: TaintToleration}]").at("NodeAffinity") == 2);
}

TEST_CASE("errors are one line that names the place") {
  CHECK(read_config("kind: Pod\n").error().message ==
        "scheduler configuration: must be a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1");
  CHECK(error("profils: []") == "scheduler configuration: unknown field \"profils\"");
  CHECK(error("profiles: [{schedulerNam: x}]") == "profiles[0]: unknown field \"schedulerNam\"");
  CHECK(error("profiles: [{plugins: {scoring: {}}}]") == "profiles[0].plugins: unknown field \"scoring\"");
  CHECK(error("profiles: [{plugins: {score: {enabled: [{name: Best}]}}}]") ==
        "profiles[0].plugins.score.enabled[0].name: there is no plugin \"Best\"");
  CHECK(error("profiles: [{plugins: {score: {enabled: [{name: ImageLocality}, {name: ImageLocality}]}}}]") ==
        "profiles[0].plugins.score.enabled[1]: \"ImageLocality\" is enabled twice");
  CHECK(error("profiles: [{pluginConfig: [{name: NodeAffinity, args: {kind: Other}}]}]") ==
        "profiles[0].pluginConfig[0].args.kind: must be NodeAffinityArgs, not \"Other\"");
  CHECK(error("profiles: [{schedulerName: a}, {schedulerName: a}]") ==
        "profiles[1].schedulerName: \"a\" is taken by another profile");
  CHECK(error("profiles: [{schedulerName: a}, {}]") == "profiles[1].schedulerName: must be given");
  CHECK(error("percentageOfNodesToScore: 101") ==
        "scheduler configuration.percentageOfNodesToScore: must be between 0 and 100, not 101");
  CHECK(error("parallelism: 0") == "scheduler configuration.parallelism: must be between 1 and 2147483647, not 0");
  CHECK(error("podInitialBackoffSeconds: 30") ==
        "scheduler configuration.podMaxBackoffSeconds: must be no less than podInitialBackoffSeconds");
  CHECK(error("extenders: [{urlPrefix: 'http://x'}]") ==
        "scheduler configuration.extenders: extenders are not supported");
  for (const auto& text : {"- a: b", "{", "profiles: 3"}) CHECK_FALSE(error(text).empty());
}

TEST_CASE("a plugin that does not take part at a point is refused there") {
  const auto config = good("profiles: [{plugins: {score: {enabled: [{name: NodePorts}]}}}]");
  World w;
  const auto made = build_profile(config->profiles[0], *config, w.handle());
  REQUIRE_FALSE(made);
  CHECK(made.error().message == "profile \"default-scheduler\": plugin \"NodePorts\" does not take part at score");
}
