#include "stream/usage_stats.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <map>
#include <sstream>

#include "brume/base/clock.h"
#include "brume/base/strings.h"
#include "brume/linux/fd.h"

namespace brume::node {

namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

// "name value" and "name: value kB" lines, as /proc has them.
class Lines {
 public:
  explicit Lines(const std::string& path) : text_(linux_os::read_file(path).value_or("")) {}

  [[nodiscard]] std::uint64_t value(std::string_view name) const {
    for (const std::string_view line : split(text_, '\n')) {
      if (!line.starts_with(name) || line.size() <= name.size()) continue;
      if (line[name.size()] != ' ' && line[name.size()] != ':') continue;
      std::string_view rest = trim(line.substr(name.size() + 1));
      const bool kilobytes = rest.ends_with(" kB");
      rest = rest.substr(0, rest.find(' '));
      return static_cast<std::uint64_t>(parse_int(rest).value_or(0)) * (kilobytes ? 1024 : 1);
    }
    return 0;
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// The first line of /proc/stat: ticks of user, nice, system, idle, iowait, irq, softirq, steal (proc(5)).
std::uint64_t busy_nanoseconds(const std::string& text) {
  std::istringstream in(text.substr(0, text.find('\n')));
  std::string name;
  std::array<std::uint64_t, 8> ticks{};
  in >> name;
  for (auto& one : ticks) in >> one;
  const std::uint64_t busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7];
  const auto per_second = static_cast<std::uint64_t>(std::max(1L, ::sysconf(_SC_CLK_TCK)));
  return busy * (kNanosecondsPerSecond / per_second);
}

Json cpu_json(const runtime::ResourceUse& use, const std::string& key, std::optional<WallTime> began,
              const RateHistory& history) {
  Json out{{"time", format_rfc3339_nano(use.at)}};
  if (!use.cpu_nanoseconds) return out;
  out["usageCoreNanoSeconds"] = *use.cpu_nanoseconds;
  if (const auto rate = history.rate(key, {use.at, *use.cpu_nanoseconds}, began)) {
    out["usageNanoCores"] = static_cast<std::uint64_t>(rate->per_second);
  }
  return out;
}

Json memory_json(const runtime::ResourceUse& use) {
  Json out{{"time", format_rfc3339_nano(use.at)}};
  if (!use.memory) return out;
  out["usageBytes"] = use.memory->usage;
  out["workingSetBytes"] = use.memory->working_set;
  out["rssBytes"] = use.memory->rss;
  return out;
}

/// One pass over the figures: writes their JSON and gathers the readings for the next rates.
class SummaryWriter {
 public:
  explicit SummaryWriter(RateHistory& history) : history_(history) {}

  Json node(const NodeStats& stats) {
    const MachineUse& machine = stats.machine;
    Json out{{"nodeName", stats.node_name}, {"startTime", format_rfc3339(machine.started)}};
    out["cpu"] = cpu(machine.use, "node", std::nullopt);
    out["memory"] = memory_json(machine.use);
    out["memory"]["availableBytes"] = machine.available_bytes;
    out["memory"]["pageFaults"] = machine.page_faults;
    out["memory"]["majorPageFaults"] = machine.major_page_faults;
    return out;
  }

  Json pod(const PodStats& stats) {
    Json out{{"podRef", {{"name", stats.name}, {"namespace", stats.ns}, {"uid", stats.uid}}},
             {"startTime", stats.started},
             {"containers", Json::array()}};
    for (const ContainerStats& container : stats.containers) {
      out["containers"].push_back(Json{{"name", container.name},
                                       {"startTime", format_rfc3339(container.started)},
                                       {"cpu", cpu(container.use, container.id, container.started)},
                                       {"memory", memory_json(container.use)}});
    }
    out["cpu"] = cpu(stats.use, stats.uid, parse_rfc3339(stats.started));
    out["memory"] = memory_json(stats.use);
    return out;
  }

  void remember(WallTime at) { history_.add(at, std::move(readings_)); }

 private:
  Json cpu(const runtime::ResourceUse& use, const std::string& key, std::optional<WallTime> began) {
    if (use.cpu_nanoseconds) readings_[key] = {use.at, *use.cpu_nanoseconds};
    return cpu_json(use, key, began, history_);
  }

  RateHistory& history_;
  std::map<std::string, RateHistory::Reading> readings_;
};

/// A family of the text format.
class Family {
 public:
  Family(std::string& out, std::string name, std::string_view type, std::string_view help)
      : out_(out), name_(std::move(name)) {
    out_.append("# HELP ").append(name_).append(" [STABLE] ").append(help).push_back('\n');
    out_.append("# TYPE ").append(name_).append(" ").append(type).push_back('\n');
  }
  void add(const std::string& labels, double value, WallTime at) {
    std::array<char, 32> text{};  // more than any double's shortest form
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
    out_.append(name_).append(labels).append(" ").append(text.data(), end);
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count();
    out_.append(" ").append(std::to_string(ms)).push_back('\n');
  }

 private:
  std::string& out_;
  std::string name_;
};

double seconds_of(std::uint64_t nanoseconds) {
  return static_cast<double>(nanoseconds) / static_cast<double>(kNanosecondsPerSecond);
}

// Names of pods, namespaces and containers need no escaping.
std::string pod_labels(const PodStats& pod) { return "{namespace=\"" + pod.ns + "\",pod=\"" + pod.name + "\"}"; }
std::string container_labels(const PodStats& pod, const ContainerStats& container) {
  return "{container=\"" + container.name + "\",namespace=\"" + pod.ns + "\",pod=\"" + pod.name + "\"}";
}

void each_container(const NodeStats& stats, const std::function<void(const PodStats&, const ContainerStats&)>& visit) {
  for (const PodStats& pod : stats.pods) {
    for (const ContainerStats& container : pod.containers) visit(pod, container);
  }
}

void write_containers(std::string& out, const NodeStats& stats) {
  Family cpu(out, "container_cpu_usage_seconds_total", "counter",
             "Cumulative cpu time consumed by the container in core-seconds");
  each_container(stats, [&](const PodStats& pod, const ContainerStats& container) {
    const auto& use = container.use;
    if (use.cpu_nanoseconds) cpu.add(container_labels(pod, container), seconds_of(*use.cpu_nanoseconds), use.at);
  });
  Family memory(out, "container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes");
  each_container(stats, [&](const PodStats& pod, const ContainerStats& container) {
    const auto& use = container.use;
    if (use.memory) memory.add(container_labels(pod, container), static_cast<double>(use.memory->working_set), use.at);
  });
  Family started(out, "container_start_time_seconds", "gauge",
                 "Start time of the container since unix epoch in seconds");
  each_container(stats, [&](const PodStats& pod, const ContainerStats& container) {
    const std::chrono::duration<double> since = container.started.time_since_epoch();
    started.add(container_labels(pod, container), since.count(), container.use.at);
  });
}

void write_node(std::string& out, const MachineUse& machine) {
  Family cpu(out, "node_cpu_usage_seconds_total", "counter",
             "Cumulative cpu time consumed by the node in core-seconds");
  if (machine.use.cpu_nanoseconds) cpu.add("", seconds_of(*machine.use.cpu_nanoseconds), machine.use.at);
  Family memory(out, "node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes");
  if (machine.use.memory) memory.add("", static_cast<double>(machine.use.memory->working_set), machine.use.at);
}

void write_pods(std::string& out, const NodeStats& stats) {
  Family cpu(out, "pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds");
  for (const PodStats& pod : stats.pods) {
    if (pod.use.cpu_nanoseconds) cpu.add(pod_labels(pod), seconds_of(*pod.use.cpu_nanoseconds), pod.use.at);
  }
  Family memory(out, "pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes");
  for (const PodStats& pod : stats.pods) {
    if (pod.use.memory) memory.add(pod_labels(pod), static_cast<double>(pod.use.memory->working_set), pod.use.at);
  }
}

}  // namespace

MachineUse read_machine_use() {
  MachineUse out;
  out.use.at = system_clock().now();
  const Lines stat("/proc/stat");
  if (!stat.text().empty()) out.use.cpu_nanoseconds = busy_nanoseconds(stat.text());
  out.started = WallTime(std::chrono::seconds(stat.value("btime")));
  const Lines memory("/proc/meminfo");
  const std::uint64_t total = memory.value("MemTotal");
  // As the kubelet counts for the root cgroup: what is not free, and of that not the files that could go at once.
  const std::uint64_t usage = total - std::min(total, memory.value("MemFree"));
  const std::uint64_t working_set = usage - std::min(usage, memory.value("Inactive(file)"));
  out.use.memory = runtime::MemoryUse{usage, working_set, memory.value("AnonPages")};
  out.available_bytes = static_cast<std::int64_t>(total - working_set);
  const Lines faults("/proc/vmstat");
  out.page_faults = faults.value("pgfault");
  out.major_page_faults = faults.value("pgmajfault");
  return out;
}

Json summary(const NodeStats& stats, RateHistory& history) {
  SummaryWriter writer(history);
  Json out{{"node", writer.node(stats)}, {"pods", Json::array()}};
  for (const PodStats& pod : stats.pods) out["pods"].push_back(writer.pod(pod));
  writer.remember(stats.machine.use.at);
  return out;
}

std::string resource_metrics(const NodeStats& stats) {
  std::string out;
  write_containers(out, stats);
  write_node(out, stats.machine);
  write_pods(out, stats);
  Family errors(out, "resource_scrape_error", "gauge",
                "1 if there was an error while getting container metrics, 0 otherwise");
  out += "resource_scrape_error 0\n";
  return out;
}

}  // namespace brume::node
