// Local disk limits, and a node that runs out of something.
#include <fstream>

#include "agent/admission.h"
#include "agent/eviction.h"
#include "agent/evictor.h"
#include "worker_fixture.h"

using namespace brume;
using namespace brume::node;
using namespace brume::test;

namespace {

constexpr std::int64_t kMi = 1 << 20;

Json pod_of(const std::string& name, const Json& requests, std::int64_t priority = 0) {
  Json pod = WorkerFixture::pod_json(name);
  pod["spec"]["priority"] = priority;
  pod["spec"]["containers"][0]["resources"] = {{"requests", requests}};
  return pod;
}

Candidate candidate(const Json& pod, std::int64_t used) {
  return {std::string(str(at(pod, "metadata"), "uid")), std::make_shared<const Json>(pod), {{"app", used}}};
}

std::string first(const std::vector<Candidate>& candidates, std::string_view resource = "ephemeral-storage") {
  const Candidate* found = first_to_evict(candidates, resource);
  return found == nullptr ? "none" : found->uid;
}

/// An evictor of the fixture's pod, or of several, and what it sees and asks for.
struct Eviction {
  Pressure now = {};  ///< what is read anew before a pod goes
  int collections = 0;
  std::vector<PodWorker*> pods;
  Evictor evictor;

  Eviction(WorkerFixture& f, std::vector<PodWorker*> all)
      : pods(std::move(all)),
        evictor({.runtime = f.runtime,
                 .clock = f.clock,
                 .events = f.events,
                 .node = {"v1", "Node", "", "node1", "", "", ""},
                 .pods = [this] { return pods; },
                 .remove_images = [this] { return collect(this); },
                 .read_pressure = [this] { return now; }},
                f.context->executor) {}
  static Task<void> collect(Eviction* self) {
    ++self->collections;
    co_return;
  }
};

void fill(const std::string& path, std::int64_t bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << std::string(static_cast<std::size_t>(bytes), 'x');
}

}  // namespace

TEST_CASE("a pod that uses more local disk than it may is told which limit it was") {
  Json pod = WorkerFixture::pod_json();
  CHECK_FALSE(has_disk_limit(pod));
  pod["spec"]["volumes"] = Json::array({{{"name", "cache"}, {"emptyDir", {{"sizeLimit", "1Mi"}}}},
                                        {{"name", "ram"}, {"emptyDir", {{"sizeLimit", "1Mi"}, {"medium", "Memory"}}}}});
  CHECK(has_disk_limit(pod));
  PodDisk used;
  used.empty_dirs["cache"].bytes = kMi;
  used.containers["app"].bytes = 3 * kMi;
  CHECK_FALSE(exceeded_disk_limit(pod, used));
  used.empty_dirs["cache"].bytes += 4096;
  CHECK(exceeded_disk_limit(pod, used) == "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Mi\". ");

  pod["spec"].erase("volumes");
  pod["spec"]["containers"][0]["resources"] = {{"limits", {{"ephemeral-storage", "4Mi"}}}};
  CHECK(has_disk_limit(pod));
  CHECK(exceeded_disk_limit(pod, used) ==
        "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ");
  used.empty_dirs.clear();
  CHECK_FALSE(exceeded_disk_limit(pod, used));
  pod["spec"]["containers"].push_back({{"name", "other"}, {"resources", {{"limits", {{"ephemeral-storage", "1Mi"}}}}}});
  used.containers["other"].bytes = 1500000;
  CHECK(exceeded_disk_limit(pod, used) == "Container other exceeded its local ephemeral storage limit \"1Mi\". ");
}

TEST_CASE("who goes first: over its requests, of low priority, furthest over") {
  const Json small = pod_of("small", {{"ephemeral-storage", "10Mi"}});
  const Json plain = pod_of("plain", Json::object());
  const Json high = pod_of("high", Json::object(), 1000);
  const Json critical = pod_of("critical", Json::object(), 2'000'001'000);
  CHECK(first({candidate(small, 9 * kMi), candidate(high, kMi)}) == "uid-high");
  CHECK(first({candidate(small, 12 * kMi), candidate(high, 100 * kMi)}) == "uid-small");
  CHECK(first({candidate(small, 12 * kMi), candidate(plain, 3 * kMi)}) == "uid-plain");
  CHECK(first({candidate(critical, 100 * kMi)}) == "none");
  CHECK(first({}) == "none");
  const Shortage shortage{"ephemeral-storage", "1Gi", "900Mi"};
  CHECK(eviction_message(shortage, candidate(small, 12 * kMi)) ==
        "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 900Mi. Container app was "
        "using 12Mi, request is 10Mi, has larger consumption of ephemeral-storage. ");
  CHECK(eviction_message({"inodes", "10", "2"}, candidate(plain, 7)) ==
        "The node was low on resource: inodes. Threshold quantity: 10, available: 2. ");
}

TEST_CASE("a pod over its limit is evicted, others stay") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    pod["spec"]["volumes"] = Json::array({{{"name", "cache"}, {"emptyDir", {{"sizeLimit", "1Mi"}}}}});
    f.start(pod);
    bool ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    Eviction eviction(f, {f.worker.get()});
    eviction.evictor.check(eviction.now);
    co_await settle();
    CHECK(f.worker->evictable());

    const std::string cache = f.context->pod_dir("uid-web") + "/volumes/kubernetes.io~empty-dir/cache";
    fill(cache + "/deep/down/file", 2 * kMi);
    co_await f.until([&] {
      f.clock.advance(std::chrono::seconds(1));  // files are not looked at all the time
      eviction.evictor.check(eviction.now);
      return !f.worker->evictable();
    });
    ok = co_await f.until([&] { return f.phase() == "Failed"; });
    REQUIRE(ok);
    CHECK(str(f.status(), "reason") == "Evicted");
    CHECK(str(f.status(), "message") == "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Mi\". ");
    CHECK(f.has_event("Evicted", "Usage of EmptyDir volume"));
    CHECK_FALSE(f.condition("DisruptionTarget"));
    CHECK(eviction.collections == 0);
    co_await eviction.evictor.stop();
  });
}

TEST_CASE("a node without disk first lets go of images, and then of one pod") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.start(WorkerFixture::pod_json());
    bool ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    Pressure full;
    full.disk = true;
    full.disk_short = Shortage{"ephemeral-storage", "1Gi", "900Mi"};
    Eviction eviction(f, {f.worker.get()});
    eviction.evictor.check(full);  // and the images were enough
    ok = co_await f.until(
        [&] { return eviction.collections == 1 && f.has_event("EvictionThresholdMet", "ephemeral-storage"); });
    REQUIRE(ok);
    co_await settle();
    CHECK(f.worker->evictable());
    eviction.now = full;
    co_await f.until([&] {
      eviction.evictor.check(full);
      return !f.worker->evictable();
    });
    ok = co_await f.until([&] { return f.phase() == "Failed" && f.condition("DisruptionTarget"); });
    REQUIRE(ok);
    CHECK(
        str(f.status(), "message").starts_with("The node was low on resource: ephemeral-storage. Threshold quantity:"));
    co_await eviction.evictor.stop();
  });
}

TEST_CASE("the next pod goes only when the last one has left, or after a while") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    Json pod = WorkerFixture::pod_json();
    pod["spec"]["volumes"] = Json::array({{{"name", "cache"}, {"emptyDir", Json::object()}}});
    f.start(pod);
    bool ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    PodWorker other(*f.context, f.client.seed("pods", WorkerFixture::pod_json("other")), [](const std::string&) {});
    other.start();
    fill(f.context->pod_dir("uid-web") + "/volumes/kubernetes.io~empty-dir/cache/file", 2 * kMi);
    f.runtime.obey_all = false;  // and the last takes its time
    Pressure full;
    full.disk_short = Shortage{"ephemeral-storage", "1Gi", "900Mi"};
    Eviction eviction(f, {&other, f.worker.get()});
    eviction.now = full;
    eviction.evictor.check(full);
    ok = co_await f.until([&] { return !f.worker->evictable(); });
    REQUIRE(ok);
    for (int i = 0; i < 20; ++i) {
      eviction.evictor.check(full);
      co_await sleep_for(std::chrono::milliseconds(5));
    }
    CHECK(other.evictable());
    f.clock.advance(std::chrono::seconds(31));
    ok = co_await f.until([&] {
      eviction.evictor.check(full);
      return !other.evictable();
    });
    CHECK(ok);
    co_await eviction.evictor.stop();
    co_await other.stop();
  });
}

TEST_CASE("a node without memory evicts the pod that is furthest over what it asked for") {
  with_worker([](WorkerFixture& f) -> Task<void> {
    f.start(pod_of("web", {{"memory", "16Mi"}}));
    bool ok = co_await f.until([&] { return f.condition("Ready"); });
    REQUIRE(ok);
    f.runtime.memory["app"] = 128 * kMi;  // half of it files that could go
    Pressure scarce;
    scarce.memory_short = Shortage{"memory", "100Mi", "80Mi"};
    Eviction eviction(f, {f.worker.get()});
    eviction.now = scarce;
    eviction.evictor.check(scarce);
    ok = co_await f.until([&] { return f.phase() == "Failed"; });
    REQUIRE(ok);
    CHECK(str(f.status(), "message") ==
          "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. Container app was using "
          "64Mi, request is 16Mi, has larger consumption of memory. ");
    co_await eviction.evictor.stop();
  });
}

TEST_CASE("what a machine has less of than it shall is told with its amounts") {
  const std::string here = std::filesystem::temp_directory_path().string();
  CHECK_FALSE(read_pressure(here, {}).memory);
  const auto all = parse_eviction_thresholds("memory.available<100%,nodefs.available<100%,pid.available<100%");
  REQUIRE(all);
  const Pressure short_of = read_pressure(here, *all);
  CHECK(short_of.pid);
  REQUIRE(short_of.memory_short);
  CHECK(short_of.memory_short->resource == "memory");
  REQUIRE(short_of.disk_short);
  CHECK(short_of.disk_short->resource == "ephemeral-storage");
  CHECK_FALSE(short_of.disk_short->available.empty());
  const Pressure none = read_pressure(here, *parse_eviction_thresholds("memory.available<1Ki,nodefs.available<1"));
  CHECK_FALSE((none.memory || none.disk || none.pid));
}

TEST_CASE("a node under pressure takes critical pods, and for want of memory those that ask for some") {
  AdmissionInputs in;
  in.max_pods = 10;
  in.milli_cpu = 1000;
  in.memory = 1 << 30;
  const Json best_effort = pod_of("a", Json::object());
  const Json burstable = pod_of("b", {{"cpu", "10m"}});
  in.memory_pressure = true;
  REQUIRE(admit_pod(best_effort, in));
  CHECK(admit_pod(best_effort, in)->reason == "Evicted");
  CHECK(admit_pod(best_effort, in)->message == "The node had condition: [MemoryPressure]. ");
  CHECK_FALSE(admit_pod(burstable, in));
  Json tolerant = best_effort;
  tolerant["spec"]["tolerations"] =
      Json::array({{{"key", "node.kubernetes.io/memory-pressure"}, {"operator", "Exists"}}});
  CHECK_FALSE(admit_pod(tolerant, in));
  in.disk_pressure = true;
  CHECK(admit_pod(burstable, in)->message == "The node had condition: [MemoryPressure DiskPressure]. ");
  CHECK_FALSE(admit_pod(pod_of("c", Json::object(), 2'000'000'000), in));
}
