// Nodes and pods in tables, and a profile's plugins asked about them one by one. No API and no loop runs.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "brume/base/json.h"
#include "brume/base/task.h"
#include "brume/client/events.h"
#include "catch.h"
#include "config.h"
#include "cycle.h"
#include "queue.h"
#include "registry.h"
#include "support/fake_client.h"
#include "support/fake_clock.h"

namespace brume::scheduler {

inline ObjectPtr object(Json value) {
  auto& metadata = value["metadata"];
  if (!metadata.contains("uid")) metadata["uid"] = metadata["name"];
  auto made = api::Object::from_json(value);
  REQUIRE(made);
  return *made;
}

class World {
 public:
  explicit World(ProfileConfig config = {})
      : loop_("test"),
        api(clock),
        informers_(api, loop_.executor(), clock),
        events_(api, loop_.executor(), clock, "default-scheduler"),
        tasks_(loop_.executor()),
        reporter_(informers_, informers_.informer("pods"), tasks_),
        cycle(cache) {
    auto made = build_profile(config, Config{}, handle());
    INFO((made ? "" : made.error().message));
    REQUIRE(made);
    profile = std::move(*made);
    cache.tallies().set_namespace_labels(
        [this](const std::string& ns) -> const api::StringMap& { return labels_[ns]; });
  }

  Handle handle() {
    return {.informers = informers_,
            .nodes = cache,
            .nominations = nominations,
            .waiting = no_waiting_,
            .events = events_,
            .reporter = reporter_,
            .tasks = tasks_,
            .announce = [](const Change&) {},
            .activate = [](const std::string&) {}};
  }

  /// A node of 4 CPUs, 8 GiB and 10 pods in zone a, but for `extra`.
  const NodeInfo& node(const std::string& name, Json extra = Json::object()) {
    Json value = {{"apiVersion", "v1"},
                  {"kind", "Node"},
                  {"metadata", {{"name", name}, {"labels", {{"kubernetes.io/hostname", name}, {"zone", "a"}}}}},
                  {"status", {{"allocatable", {{"cpu", "4"}, {"memory", "8Gi"}, {"pods", "10"}}}}}};
    value.merge_patch(extra);
    cache.set_node(object(value));
    return *cache.find(name);
  }
  const NodeInfo& in_zone(const std::string& name, const std::string& zone) {
    return node(name, {{"metadata", {{"labels", {{"zone", zone}}}}}});
  }
  static ObjectPtr pod_object(const std::string& name, Json extra) {
    Json value = {{"apiVersion", "v1"},
                  {"kind", "Pod"},
                  {"metadata", {{"name", name}, {"namespace", "default"}}},
                  {"spec", Json::object()}};
    value.merge_patch(extra);
    return object(value);
  }
  /// A pod that waits.
  PodPtr pod(Json spec, Json labels = Json::object(), const std::string& ns = "default") {
    return decode_pod(pod_object("p", {{"metadata", {{"labels", labels}, {"namespace", ns}}}, {"spec", spec}}));
  }
  /// A pod on a node.
  PodPtr placed(const std::string& name, const std::string& node, Json extra = Json::object()) {
    auto made = decode_pod(pod_object(name, std::move(extra)));
    cache.set_pod(made, node);
    return made;
  }
  /// Lets the informers that plugins use read the API's objects.
  void sync() {
    loop_.start();
    loop_.run_and_wait([&]() -> Task<void> {
      informers_.start();
      co_await informers_.wait_synced();
      co_await informers_.stop();
    });
    loop_.stop();
  }
  void namespace_labels(const std::string& ns, api::StringMap labels) {
    labels_[ns] = std::move(labels);
    cache.tallies().namespaces_changed();
  }

  Plugin& plugin(std::string_view name) {
    for (const auto& have : profile->plugins()) {
      if (have->name() == name) return *have;
    }
    FAIL("no plugin " << name);
    return *profile->plugins().front();
  }
  /// What one plugin answers about a node: "" when it has nothing against it.
  std::string says(std::string_view name, const PodPtr& pod, const std::string& node) {
    return verdict(name, pod, node).message();
  }
  Verdict verdict(std::string_view name, const PodPtr& pod, const std::string& node) {
    CycleState state;
    auto& one = plugin(name);
    if ((one.points() & point::kPreFilter) != 0) {
      const auto answer = one.pre_filter(state, *pod);
      if (answer.verdict.skip()) return {};
      if (!answer.verdict.ok()) return answer.verdict;
    }
    return one.filter(state, *pod, *cache.find(node));
  }
  /// One plugin's normalised scores by node; all zero when it skips the pod.
  std::map<std::string, std::int64_t> scores(std::string_view name, const PodPtr& pod, bool normalised = true) {
    CycleState state;
    auto& one = plugin(name);
    std::vector<const NodeInfo*> nodes(cache.nodes().begin(), cache.nodes().end());
    std::vector<std::int64_t> out(nodes.size());
    if ((one.points() & point::kPreScore) == 0 || one.pre_score(state, *pod, nodes).ok()) {
      one.score(state, *pod, nodes, out);
      if (normalised) one.normalize(state, *pod, nodes, out);
    }
    std::map<std::string, std::int64_t> by_name;
    for (std::size_t i = 0; i < nodes.size(); ++i) by_name[nodes[i]->name] = out[i];
    return by_name;
  }
  /// The node that the profile chooses, or why there is none.
  std::string choose(const PodPtr& pod) {
    CycleState state;
    auto choice = cycle.choose(*profile, state, *pod);
    return choice.node != nullptr ? choice.node->name : choice.diagnosis.message();
  }
  /// Whether a change would bring back a pod that the plugin rejected.
  bool wakes(std::string_view name, const PodPtr& waiting, const Change& change) {
    for (const auto& event : plugin(name).events()) {
      if (event.matches(change) && (!event.hint || event.hint(*waiting, change))) return true;
    }
    return false;
  }

 private:
  struct NoWaiting final : WaitingPods {
    void allow(const std::string&, std::string_view) override {}
    bool reject(const std::string&, std::string_view, const std::string&) override { return false; }
    void wake_when_ended(const std::string&, std::function<void()>) override {}
    [[nodiscard]] const std::string* ended(const std::string&) const override { return nullptr; }
    void each(const std::function<void(const PodPtr&, const std::string&)>&) const override {}
  };
  Loop loop_;

 public:
  test::FakeClock clock;
  test::FakeClient api;

 private:
  client::InformerFactory informers_;
  client::EventRecorder events_;
  TaskGroup tasks_;
  PodReporter reporter_;
  NoWaiting no_waiting_;
  std::map<std::string, api::StringMap> labels_;

 public:
  NodeCache cache;
  Nominations nominations;
  Cycle cycle;
  std::unique_ptr<Profile> profile;
};

inline Json requests(Json list) {
  return {{"containers", Json::array({{{"name", "c"}, {"resources", {{"requests", list}}}}})}};
}

}  // namespace brume::scheduler
