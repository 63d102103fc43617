// What the node tells of use, in the kubelet's forms.
#include "stream/usage_stats.h"

#include "brume/base/strings.h"
#include "catch.h"

using namespace brume;
using namespace brume::node;
using namespace std::chrono_literals;

namespace {

const WallTime kNow = *parse_rfc3339("2026-01-01T00:10:00Z");

NodeStats stats(WallTime at, std::uint64_t seconds) {
  const std::uint64_t cpu = seconds * 1'000'000'000;
  const runtime::ResourceUse use{.at = at, .cpu_nanoseconds = cpu, .memory = runtime::MemoryUse{100, 80, 60}};
  NodeStats out{.node_name = "n1", .machine = {}, .pods = {}};
  out.machine.use = use;
  out.machine.available_bytes = 1000;
  out.machine.started = kNow - 24h;
  out.pods.push_back({.ns = "default",
                      .name = "web",
                      .uid = "u1",
                      .started = format_rfc3339(kNow - 1h),
                      .use = use,
                      .containers = {{.name = "main", .id = "c1", .started = kNow - 1h, .use = use}}});
  return out;
}

}  // namespace

TEST_CASE("a summary has counters at once and rates from the second on") {
  RateHistory history;
  const Json first = summary(stats(kNow, 100), history);
  CHECK(str(at(first, "node"), "nodeName") == "n1");
  CHECK(at(first, "node", "cpu", "usageCoreNanoSeconds") == 100'000'000'000);
  CHECK_FALSE(at(first, "node", "cpu").contains("usageNanoCores"));
  CHECK(at(first, "node", "memory", "availableBytes") == 1000);
  const Json& pod = at(first, "pods")[0];
  CHECK(at(pod, "podRef") == Json{{"name", "web"}, {"namespace", "default"}, {"uid", "u1"}});
  CHECK(at(pod, "memory", "workingSetBytes") == 80);
  CHECK(
      at(pod, "containers")[0]["memory"] ==
      Json{{"time", "2026-01-01T00:10:00.000000000Z"}, {"usageBytes", 100}, {"workingSetBytes", 80}, {"rssBytes", 60}});
  const Json second = summary(stats(kNow + 10s, 105), history);
  CHECK(at(second, "node", "cpu", "usageNanoCores") == 500'000'000);
  CHECK(at(second, "pods")[0]["containers"][0]["cpu"]["usageNanoCores"] == 500'000'000);
  CHECK(at(second, "pods")[0]["cpu"]["usageNanoCores"] == 500'000'000);
}

TEST_CASE("what the kernel does not count is left out of a summary") {
  RateHistory history;
  NodeStats some = stats(kNow, 1);
  some.pods[0].containers[0].use.memory.reset();
  some.pods[0].containers[0].use.cpu_nanoseconds.reset();
  const Json container = at(summary(some, history), "pods")[0]["containers"][0];
  CHECK(at(container, "memory") == Json{{"time", "2026-01-01T00:10:00.000000000Z"}});
  CHECK(at(container, "cpu") == Json{{"time", "2026-01-01T00:10:00.000000000Z"}});
}

TEST_CASE("the resource metrics carry the kubelet's names") {
  const std::string text = resource_metrics(stats(kNow, 3));
  const auto has = [&](std::string_view line) {
    const auto lines = split(text, '\n');
    return std::find(lines.begin(), lines.end(), line) != lines.end();
  };
  CHECK(has("# TYPE container_cpu_usage_seconds_total counter"));
  CHECK(has("container_cpu_usage_seconds_total{container=\"main\",namespace=\"default\",pod=\"web\"} 3 1767226200000"));
  CHECK(
      has("container_memory_working_set_bytes{container=\"main\",namespace=\"default\",pod=\"web\"} 80 1767226200000"));
  CHECK(has(
      "container_start_time_seconds{container=\"main\",namespace=\"default\",pod=\"web\"} 1767222600 1767226200000"));
  CHECK(has("pod_cpu_usage_seconds_total{namespace=\"default\",pod=\"web\"} 3 1767226200000"));
  CHECK(has("pod_memory_working_set_bytes{namespace=\"default\",pod=\"web\"} 80 1767226200000"));
  CHECK(has("node_cpu_usage_seconds_total 3 1767226200000"));
  CHECK(has("node_memory_working_set_bytes 80 1767226200000"));
  CHECK(has("resource_scrape_error 0"));
}

TEST_CASE("the machine's own use is read") {
  const MachineUse use = read_machine_use();
  REQUIRE(use.use.cpu_nanoseconds);
  CHECK(*use.use.cpu_nanoseconds > 0);
  REQUIRE(use.use.memory);
  CHECK(use.use.memory->working_set > 0);
  CHECK(use.use.memory->working_set <= use.use.memory->usage);
  CHECK(use.available_bytes > 0);
  CHECK(use.started > WallTime{});
}
