#include <algorithm>
#include <array>

#include "api/printing/printer.h"

namespace brume::api::printing {

namespace {

constexpr std::array kPodColumns = {
    kNameColumn,
    col("Ready", "Ready containers of all."),
    col("Status", "What the pod is doing, or what keeps it."),
    col("Restarts", "How often its containers were started again, and when last."),
    kAgeColumn,
    wide_col("IP", "The pod's first address."),
    wide_col("Node", "Where it runs."),
    wide_col("Nominated Node", "Where room is being made for it."),
    wide_col("Readiness Gates", "Readiness gates passed of all."),
};
constexpr std::array kTemplateColumns = {
    kNameColumn,
    col("Containers", "Names of the containers."),
    col("Images", "Images of the containers."),
    col("Pod Labels", "Labels that its pods get."),
};

const Json& condition_of(const Json& status, std::string_view type) {
  static const Json kNone;
  for (const Json& condition : list_of(at(status, "conditions"))) {
    if (str(condition, "type") == type) return condition;
  }
  return kNone;
}
bool condition_true(const Json& status, std::string_view type) {
  return str(condition_of(status, type), "status") == "True";
}

// Restart counts and the last end, over containers.
struct Restarts {
  std::int64_t count = 0;
  std::string last;  // RFC 3339 of one zone and width, so text order is time order
  void add(const Json& status) {
    count += num(status, "restartCount");
    const auto finished = str(at(status, "lastState", "terminated"), "finishedAt");
    if (finished > last) last = finished;
  }
};

// Signal:9, ExitCode:3 or the reason that the node gave.
std::string terminated_reason(const Json& terminated) {
  if (const auto reason = str(terminated, "reason"); !reason.empty()) return std::string(reason);
  if (const auto signal = num(terminated, "signal"); signal != 0) return "Signal:" + std::to_string(signal);
  return "ExitCode:" + std::to_string(num(terminated, "exitCode"));
}

struct Summary {
  std::string reason;
  std::int64_t ready = 0;
  std::int64_t total = 0;
  Restarts all;       // every init container up to the one that runs now
  Restarts sidecars;  // the restartable ones among them
  bool initializing = false;
};

void scan_init_containers(Summary& out, const Json& spec, const Json& status) {
  const auto& init = list_of(at(spec, "initContainers"));
  const auto is_sidecar = [&](std::string_view name) {
    return std::any_of(init.begin(), init.end(), [&](const Json& container) {
      return str(container, "name") == name && str(container, "restartPolicy") == "Always";
    });
  };
  std::size_t i = 0;
  for (const Json& container : list_of(at(status, "initContainerStatuses"))) {
    const std::size_t index = i++;
    const bool sidecar = is_sidecar(str(container, "name"));
    out.all.add(container);
    if (sidecar) out.sidecars.add(container);
    const Json& state = at(container, "state");
    const Json& terminated = at(state, "terminated");
    if (terminated.is_object() && num(terminated, "exitCode") == 0) continue;
    if (sidecar && flag(container, "started")) {
      out.ready += flag(container, "ready") ? 1 : 0;
      continue;
    }
    const auto waiting = str(at(state, "waiting"), "reason");
    if (terminated.is_object()) {
      out.reason = "Init:" + terminated_reason(terminated);
    } else if (!waiting.empty() && waiting != "PodInitializing") {
      out.reason = "Init:" + std::string(waiting);
    } else {
      out.reason = "Init:" + std::to_string(index) + "/" + std::to_string(init.size());
    }
    out.initializing = true;
    break;
  }
}

void scan_containers(Summary& out, const Json& status) {
  out.all = out.sidecars;  // finished init containers no longer count
  bool running = false;
  std::string failure;
  const auto& list = list_of(at(status, "containerStatuses"));
  for (auto it = list.rbegin(); it != list.rend(); ++it) {  // the first container's reason wins
    const Json& container = *it;
    out.all.add(container);
    const Json& state = at(container, "state");
    if (const auto waiting = str(at(state, "waiting"), "reason"); !waiting.empty()) {
      out.reason = waiting;
    } else if (const Json& terminated = at(state, "terminated"); terminated.is_object()) {
      out.reason = terminated_reason(terminated);
      if (num(terminated, "exitCode") != 0) failure = out.reason;
    } else if (flag(container, "ready") && at(state, "running").is_object()) {
      running = true;
      ++out.ready;
    }
  }
  if (out.reason != "Completed") return;
  if (running && condition_true(status, "Ready")) {
    out.reason = "Running";
  } else if (!failure.empty()) {
    out.reason = failure;
  } else if (running) {
    out.reason = "NotReady";
  }
}

Summary summarize(const Json& pod) {
  const Json& spec = at(pod, "spec");
  const Json& status = at(pod, "status");
  const auto phase = str(status, "phase");
  Summary out;
  out.reason = or_else(str(status, "reason"), phase);
  if (str(condition_of(status, "PodScheduled"), "reason") == "SchedulingGated") out.reason = "SchedulingGated";
  out.total = static_cast<std::int64_t>(list_of(at(spec, "containers")).size());
  for (const Json& container : list_of(at(spec, "initContainers"))) {
    out.total += str(container, "restartPolicy") == "Always" ? 1 : 0;
  }
  scan_init_containers(out, spec, status);
  if (!out.initializing || condition_true(status, "Initialized")) scan_containers(out, status);
  if (!str(at(pod, "metadata"), "deletionTimestamp").empty()) {
    if (str(status, "reason") == "NodeLost") {
      out.reason = "Unknown";
    } else if (phase != "Succeeded" && phase != "Failed") {
      out.reason = "Terminating";
    }
  }
  return out;
}

std::string readiness_gates(const Json& pod) {
  const auto& gates = list_of(at(pod, "spec", "readinessGates"));
  if (gates.empty()) return "<none>";
  const auto passed = std::count_if(gates.begin(), gates.end(), [&](const Json& gate) {
    return condition_true(at(pod, "status"), str(gate, "conditionType"));
  });
  return std::to_string(passed) + "/" + std::to_string(gates.size());
}

void pod_row(Json& cells, const Json& pod, WallTime now) {
  const Summary summary = summarize(pod);
  std::string restarts = std::to_string(summary.all.count);
  if (summary.all.count != 0 && !summary.all.last.empty()) {
    restarts += " (" + age_since(summary.all.last, now) + " ago)";
  }
  const auto& ips = list_of(at(pod, "status", "podIPs"));
  add_cells(cells, name_of(pod), std::to_string(summary.ready) + "/" + std::to_string(summary.total), summary.reason,
            restarts, age_of(pod, now), or_else(ips.empty() ? std::string_view() : str(ips.front(), "ip"), "<none>"),
            or_else(str(at(pod, "spec"), "nodeName"), "<none>"),
            or_else(str(at(pod, "status"), "nominatedNodeName"), "<none>"), readiness_gates(pod));
}

void template_row(Json& cells, const Json& object, WallTime /*now*/) {
  const Json& pod = at(object, "template");
  add_cells(cells, name_of(object), container_names(at(pod, "spec")), container_images(at(pod, "spec")),
            labels_text(at(pod, "metadata", "labels")));
}

constexpr std::array kPrinters = {
    Printer{"", "pods", kPodColumns, pod_row},
    Printer{"", "podtemplates", kTemplateColumns, template_row},
};

}  // namespace

std::span<const Printer> pod_printers() { return kPrinters; }

}  // namespace brume::api::printing
