// The points behind the choice of a node: a plugin of the test's own reserves, holds back, prepares and sees it
// through.
#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "bench.h"
#include "registry.h"
#include "resources.h"
#include "world.h"

using namespace brume;
using namespace brume::scheduler;
using namespace std::chrono_literals;
using test::settle;

namespace {

/// What the plugin is told to answer, and what it was asked.
struct Script {
  std::vector<std::string> asked = {};
  bool refuse_enqueue = false;
  bool refuse_reserve = false;
  int reject_pre_bind = 0;  // so many times
  bool error_pre_bind = false;
  PermitResult permit = {};
  Handle* handle = nullptr;
};
Script script;

class Recorder final : public Plugin {
 public:
  std::string_view name() const override { return "Recorder"; }
  Points points() const override {
    return point::kPreEnqueue | point::kPreFilter | point::kReserve | point::kPermit | point::kPreBind |
           point::kPostBind;
  }
  std::vector<EventInterest> events() override {
    return {{.resource = EventResource::kPersistentVolumeClaim, .actions = action::kAdd}};
  }
  Verdict pre_enqueue(const PodInfo&) override {
    return script.refuse_enqueue ? Verdict::unresolvable(passing_reason("not yet")) : Verdict{};
  }
  PreFilterResult pre_filter(CycleState& state, const PodInfo& pod) override {
    state.put(seen_, pod.name());
    return {};
  }
  Verdict reserve(CycleState& state, const PodInfo& pod, const std::string& node) override {
    CHECK(*state.find(seen_) == pod.name());
    script.asked.push_back("reserve " + node);
    return script.refuse_reserve ? Verdict::unschedulable(passing_reason("nothing left to reserve")) : Verdict{};
  }
  void unreserve(CycleState&, const PodInfo&, const std::string& node) override {
    script.asked.push_back("unreserve " + node);
  }
  PermitResult permit(CycleState&, const PodInfo&, const std::string&) override { return script.permit; }
  Task<Verdict> pre_bind(std::shared_ptr<CycleState> state, PodPtr pod, std::string node) override {
    co_await yield_now();
    CHECK(*state->find(seen_) == pod->name());
    script.asked.push_back("pre_bind " + node);
    if (script.error_pre_bind) co_return Verdict::error("broken");
    if (script.reject_pre_bind > 0) {
      --script.reject_pre_bind;
      co_return Verdict::unschedulable(passing_reason("volume is elsewhere"));
    }
    co_return Verdict{};
  }
  void post_bind(CycleState&, const PodInfo&, const std::string& node) override {
    script.asked.push_back("post_bind " + node);
  }

 private:
  StateSlot<std::string> seen_;
};

PluginResult make_recorder(const Json&, Handle& handle) {
  script.handle = &handle;
  return std::make_unique<Recorder>();
}

scheduler::Options with_recorder() {
  static const bool once = [] {
    register_plugin({"Recorder", 0, make_recorder});
    return true;
  }();
  REQUIRE(once);
  script = {};
  auto config = read_config(
      "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
      "profiles: [{plugins: {multiPoint: {enabled: [{name: Recorder}]}}}]\n");
  REQUIRE(config);
  return {.config = *config};
}

using Asked = std::vector<std::string>;

}  // namespace

TEST_CASE("amounts that no machine has do not turn into small ones") {
  const auto of = [](const char* amount) {
    const Json container = {{"resources", {{"requests", {{"memory", amount}, {"example.com/gpu", amount}}}}}};
    return pod_requests({{"containers", Json::array({container, container, container})}}, Json());
  };
  const auto most = of("9223372036854775807");
  CHECK(most.basic[Resources::kMemory] > (std::int64_t{1} << 50));
  CHECK(most.extended_of(resource_id("example.com/gpu")) > (std::int64_t{1} << 50));
  Resources node = of("5");
  node.add(most);
  node.subtract(most);
  CHECK(node == of("5"));
}

TEST_CASE("a pod passes all points in order") {
  Bench b(with_recorder());
  b.run([&]() -> Task<void> {
    b.node("one");
    b.pod("a");
    co_await settle();
    CHECK(b.node_of("a") == "one");
    CHECK(script.asked == Asked{"reserve one", "pre_bind one", "post_bind one"});
  });
}

TEST_CASE("a refused reservation is undone and told, and its event brings the pod back") {
  Bench b(with_recorder());
  b.run([&]() -> Task<void> {
    script.refuse_reserve = true;
    b.node("one", "1");
    b.pod("a", "1");
    co_await settle();
    CHECK(script.asked == Asked{"reserve one", "unreserve one"});
    CHECK(str(b.condition("a"), "message") == "0/1 nodes are available: 1 nothing left to reserve.");
    CHECK(str(b.condition("a"), "reason") == "Unschedulable");
    script.refuse_reserve = false;
    b.api.seed("persistentvolumeclaims", {{"metadata", {{"name", "c"}}}});
    co_await settle();
    b.clock.advance(2s);
    co_await settle();
    CHECK(b.node_of("a") == "one");
  });
}

TEST_CASE("a permit may be waited for, and the pod counts on its node meanwhile") {
  Bench b(with_recorder());
  b.run([&]() -> Task<void> {
    script.permit = {.verdict = Verdict::waiting(), .timeout = 60s};
    b.node("one", "1");
    b.pod("a", "1");
    co_await settle();
    CHECK(b.node_of("a").empty());
    std::string waiting;
    script.handle->waiting.each(
        [&](const PodPtr& pod, const std::string& node) { waiting = pod->name() + "@" + node; });
    CHECK(waiting == "a@one");
    CHECK(str(at(b.api.json("pods", "default", "a"), "status"), "nominatedNodeName") == "one");
    script.permit = {};
    b.pod("b", "1");
    co_await settle();
    CHECK(b.node_of("b").empty());
    const auto uid = b.api.find("pods", "default", "a")->uid();
    script.handle->waiting.allow(uid, "SomebodyElse");
    co_await settle();
    CHECK(b.node_of("a").empty());
    script.handle->waiting.allow(uid, "Recorder");
    co_await settle();
    CHECK(b.node_of("a") == "one");
  });
}

TEST_CASE("a permit that does not come in time is a rejection; so is a word from another") {
  Bench b(with_recorder());
  b.run([&]() -> Task<void> {
    script.permit = {.verdict = Verdict::waiting(), .timeout = 90s};
    b.node("one", "1");
    b.pod("a", "1");
    co_await settle();
    script.permit = {.verdict = Verdict::unschedulable(reason_id("no permit"))};
    b.clock.advance(90s);
    co_await settle();
    b.clock.advance(1s);  // whatever might have helped may have happened meanwhile, so it is tried again by itself
    co_await settle();
    CHECK(script.asked == Asked{"reserve one", "unreserve one", "reserve one", "unreserve one"});
    bool said = false;
    for (const auto& text : b.events("FailedScheduling")) {
      said |= text == "0/1 nodes are available: 1 rejected due to timeout after waiting 1m30s at plugin Recorder.";
    }
    CHECK(said);
    CHECK(str(b.condition("a"), "message") == "0/1 nodes are available: 1 no permit.");
  });
}

TEST_CASE("a waiting pod that is deleted frees its node") {
  Bench b(with_recorder());
  b.run([&]() -> Task<void> {
    script.permit = {.verdict = Verdict::waiting(), .timeout = 60s};
    b.node("one", "1");
    b.pod("a", "1");
    co_await settle();
    script.permit = {};
    b.api.erase("pods", "default", "a");
    co_await settle();
    b.pod("b", "1");
    co_await settle();
    CHECK(b.node_of("b") == "one");
  });
}

TEST_CASE("preparation that fails lets the node go and tries again") {
  for (const bool broken : {false, true}) {
    Bench b(with_recorder());
    b.run([&]() -> Task<void> {
      script.error_pre_bind = broken;
      script.reject_pre_bind = broken ? 0 : 1;
      b.node("one", "1");
      b.pod("a", "1");
      co_await settle();
      const auto reason = std::string(str(b.condition("a"), "reason"));
      const auto message = std::string(str(b.condition("a"), "message"));
      if (broken) {
        CHECK(reason == "SchedulerError");
        CHECK(message == "running PreBind plugin \"Recorder\": broken");
      } else {
        CHECK(message == "0/1 nodes are available: 1 volume is elsewhere.");
      }
      CHECK(b.count_of("unreserve one", script.asked) >= 1);
      script.error_pre_bind = false;
      for (int i = 0; i < 4; ++i) {
        b.clock.advance(2s);
        co_await settle();
      }
      CHECK(b.node_of("a") == "one");
    });
  }
}

TEST_CASE("a plugin may keep pods out of the queue, and let one in") {
  Bench b(with_recorder());
  b.run([&]() -> Task<void> {
    script.refuse_enqueue = true;
    b.node("one");
    b.pod("a");
    co_await settle();
    CHECK(script.asked.empty());
    CHECK(b.it->pending() == 1);
    script.refuse_enqueue = false;
    script.handle->activate(b.api.find("pods", "default", "a")->uid());
    co_await settle();
    CHECK(b.node_of("a") == "one");
  });
}

// Filters belong to the pod in hand
// --------------------------------------------------------------------------------------

namespace {

/// Filters those pods that it is told to, and notes them.
class Sieve final : public Plugin {
 public:
  std::string_view name() const override { return "Sieve"; }
  Points points() const override { return point::kPreFilter | point::kFilter; }
  PreFilterResult pre_filter(CycleState& state, const PodInfo& pod) override {
    if (skips.contains(pod.name())) return {Verdict::skipped(), {}};
    state.put(own_, pod.name());
    return {};
  }
  Verdict filter(CycleState& state, const PodInfo& pod, const NodeInfo&) override {
    asked.push_back(pod.name());
    const auto* own = state.find(own_);
    CHECK((own != nullptr && *own == pod.name()));
    return {};
  }
  std::set<std::string> skips;
  std::vector<std::string> asked;

 private:
  StateSlot<std::string> own_;
};

/// Its pre_filter answers what it is told to.
class Gate final : public Plugin {
 public:
  std::string_view name() const override { return "Gate"; }
  Points points() const override { return point::kPreFilter; }
  PreFilterResult pre_filter(CycleState&, const PodInfo&) override { return answer; }
  PreFilterResult answer;
};

}  // namespace

TEST_CASE("a cycle that ends early leaves no filters of the pod before it") {
  World w;
  const auto& node = w.node("n");
  for (const bool gate_first : {true, false}) {
    Profile profile("own", w.handle());
    auto gate = std::make_unique<Gate>();
    auto sieve = std::make_unique<Sieve>();
    auto& told = *gate;
    auto& seen = *sieve;
    auto& one = gate_first ? profile.add(std::move(gate)) : profile.add(std::move(sieve));
    auto& two = gate_first ? profile.add(std::move(sieve)) : profile.add(std::move(gate));
    profile.enable(point::kPreFilter, one);
    profile.enable(point::kPreFilter, two);
    profile.enable(point::kFilter, seen);
    const auto named = [](const std::string& name) { return decode_pod(World::pod_object(name, Json::object())); };
    const auto cycle = [&](const std::string& name, PreFilterResult answer) {
      told.answer = std::move(answer);
      seen.asked.clear();
      CycleState state;
      Diagnosis diagnosis;
      const auto pod = named(name);
      (void)profile.pre_filter(state, *pod, diagnosis);
      return profile.filter(state, *pod, node);
    };
    const auto no = passing_reason("no");
    seen.skips = {"b"};
    CHECK(cycle("a", {}).ok());
    CHECK(seen.asked == Asked{"a"});
    // As preemption does: a rejection that others' going may undo, then filters. Skipped now, asked before.
    CHECK(cycle("b", {Verdict::unschedulable(no), {}}).ok());
    CHECK(seen.asked.empty());
    // Asked now, skipped before.
    CHECK(cycle("c", {Verdict::unschedulable(no), {}}).ok());
    CHECK(seen.asked == Asked{"c"});
    // Not every plugin was asked about the pod: there is nothing to filter by.
    for (const auto& end :
         {PreFilterResult{Verdict::unresolvable(no), {}}, PreFilterResult{Verdict::error("broken"), {}},
          PreFilterResult{{}, std::set<std::string>{}}}) {
      CHECK(cycle("a", {}).ok());
      CHECK(cycle("d", end).code == Verdict::Code::kError);
      CHECK(seen.asked.empty());
    }
    CHECK(cycle("e", {}).ok());
    CHECK(seen.asked == Asked{"e"});
  }
}
