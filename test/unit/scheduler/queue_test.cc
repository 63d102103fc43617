// The queue: order, back-off, gates, and what brings a rejected pod back.
#include <chrono>

#include "world.h"

using namespace brume;
using namespace brume::scheduler;
using namespace std::chrono_literals;

namespace {

struct Waiting {
  Waiting() : queue({w.profile.get()}, {}) {}
  PodPtr pod(const std::string& name, Json spec = Json::object()) {
    return decode_pod(World::pod_object(name, {{"spec", std::move(spec)}}));
  }
  bool add(const std::string& name, Json spec = Json::object()) {
    wall += 1s;
    return queue.add(pod(name, std::move(spec)), *w.profile, wall);
  }
  std::string pop() {
    auto entry = queue.pop();
    if (!entry) return "";
    last = *entry;
    return last.pod->name();
  }
  std::uint64_t bit(std::string_view plugin) { return std::uint64_t{1} << w.profile->place_of(w.plugin(plugin)); }
  void reject(std::string_view plugin) {
    last.plugins = bit(plugin);
    queue.add_unschedulable(last, wall, now);
  }
  Change pod_deleted() {
    gone = pod("gone", requests({{"cpu", "1"}}));
    return {.resource = EventResource::kAssignedPod,
            .actions = action::kDelete,
            .before = gone->object,
            .pod_before = gone};
  }

  World w;
  SchedulingQueue queue;
  SchedulingQueue::Entry last;
  WallTime wall{};
  SchedulingQueue::SteadyTime now{1h};
  PodPtr gone;
};

}  // namespace

TEST_CASE("higher priority first, then who waits longest") {
  Waiting t;
  t.add("a");
  t.add("b", {{"priority", 5}});
  t.add("c");
  CHECK(t.pop() == "b");
  CHECK(t.pop() == "a");
  CHECK(t.pop() == "c");
  CHECK(t.pop().empty());
}

TEST_CASE("a rejected pod waits for what its plugin registered") {
  Waiting t;
  t.add("a");
  t.pop();
  t.reject("NodeResourcesFit");
  CHECK(t.queue.ready() == 0);
  const auto other = t.pod("other");
  t.queue.changed({.resource = EventResource::kAssignedPod, .actions = action::kAdd, .pod_after = other}, t.now);
  CHECK(t.pop().empty());
  t.queue.changed(t.pod_deleted(), t.now);
  CHECK(t.queue.ready() == 0);  // its back-off of a second is not over
  CHECK(*t.queue.next_tick() == t.now + 1s);
  CHECK(t.pop() == "a");  // but nobody else is there
  CHECK(t.last.attempts == 2);
  t.reject("NodeAffinity");
  t.queue.changed(t.pod_deleted(), t.now);
  CHECK(t.pop().empty());
}

TEST_CASE("back-off doubles up to its limit, and errors wait it out") {
  Waiting t;
  t.add("a");
  for (const auto wait : {1s, 2s, 4s, 8s, 10s, 10s}) {
    REQUIRE(t.pop() == "a");
    t.queue.add_backoff(t.last, t.wall, t.now);
    CHECK(t.pop().empty());
    CHECK(*t.queue.next_tick() == t.now + wait);
    t.now += wait;
    t.queue.tick(t.now);
  }
}

TEST_CASE("unschedulable pods are tried again after five minutes whatever happens") {
  Waiting t;
  t.add("a");
  t.pop();
  t.reject("NodeAffinity");
  t.queue.tick(t.now + 4min);
  CHECK(t.queue.ready() == 0);
  t.queue.tick(t.now + 5min);
  CHECK(t.pop() == "a");
}

TEST_CASE("gated pods are not tried until their gates are gone") {
  Waiting t;
  const Json gated = {{"schedulingGates", Json::array({{{"name", "wait"}}})}};
  CHECK_FALSE(t.add("a", gated));
  CHECK(t.queue.size() == 1);
  CHECK(t.pop().empty());
  CHECK_FALSE(t.queue.next_tick());
  const auto before = t.pod("a", gated);
  const auto open = t.pod("a");
  t.queue.update(open,
                 {.resource = EventResource::kUnscheduledPod,
                  .actions = action::kUpdatePodGatesGone,
                  .pod_before = before,
                  .pod_after = open},
                 t.now);
  CHECK(t.pop() == "a");
}

TEST_CASE("an update of a waiting pod counts when its plugin cares") {
  Waiting t;
  t.add("a");
  t.pop();
  t.reject("TaintToleration");
  const auto before = t.pod("a");
  const auto tolerant = t.pod("a", {{"tolerations", Json::array({{{"operator", "Exists"}}})}});
  const auto change = [&](Actions actions) {
    return Change{
        .resource = EventResource::kUnscheduledPod, .actions = actions, .pod_before = before, .pod_after = tolerant};
  };
  t.queue.update(tolerant, change(0), t.now);  // its status only
  CHECK(t.pop().empty());
  t.queue.update(tolerant, change(action::kUpdatePodToleration), t.now);
  CHECK(t.pop() == "a");
  CHECK_FALSE(t.last.pod->spec->tolerations.empty());
}

TEST_CASE("pods that are removed are nowhere any more") {
  Waiting t;
  t.add("a");
  t.add("b");
  t.pop();
  t.reject("NodeResourcesFit");
  t.queue.remove("a");
  t.queue.remove("b");
  CHECK(t.queue.size() == 0);
  CHECK(t.pop().empty());
  CHECK_FALSE(t.queue.next_tick());
}

TEST_CASE("a pod may be activated by hand") {
  Waiting t;
  t.add("a");
  t.pop();
  t.reject("NodeAffinity");
  t.queue.activate("a", t.now);
  CHECK(t.queue.is_ready("a"));
}

TEST_CASE("a pod waits once, wherever it waited before") {
  Waiting t;
  // Ready twice.
  t.add("a");
  t.add("a", {{"priority", 5}});
  CHECK(t.queue.size() == 1);
  CHECK(t.queue.ready() == 1);
  CHECK(t.pop() == "a");
  CHECK(t.last.pod->priority() == 5);
  CHECK(t.pop().empty());
  // It is put back while another version of it has come: the one that is put back replaces it, and the other way round.
  t.add("a");
  t.reject("NodeResourcesFit");
  CHECK(t.queue.size() == 1);
  CHECK(t.queue.counts().active == 0);
  CHECK(t.queue.counts().unschedulable == 1);
  t.add("a");
  CHECK(t.queue.size() == 1);
  CHECK(t.queue.counts().active == 1);
  CHECK(t.queue.counts().unschedulable == 0);
  CHECK(t.pop() == "a");
  t.queue.add_backoff(t.last, t.wall, t.now);
  t.queue.add_backoff(t.last, t.wall, t.now);
  CHECK(t.queue.counts().backoff == 1);
  t.add("a", {{"schedulingGates", Json::array({{{"name", "g"}}})}});
  CHECK(t.queue.size() == 1);
  CHECK(t.queue.counts().gated == 1);
  CHECK(t.queue.counts().backoff == 0);
  t.queue.tick(t.now + 1h);
  CHECK(t.pop().empty());
  t.queue.remove("a");
  CHECK(t.queue.size() == 0);
}
