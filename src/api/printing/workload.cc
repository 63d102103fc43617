#include <array>

#include "api/printing/printer.h"
#include "brume/api/quantity.h"
#include "brume/base/strings.h"

namespace brume::api::printing {

namespace {

constexpr TableColumn kContainers = wide_col("Containers", "Names of the template's containers.");
constexpr TableColumn kImages = wide_col("Images", "Images of the template's containers.");
constexpr TableColumn kSelector = wide_col("Selector", "Which pods belong to it.");

constexpr std::array kDeploymentColumns = {kNameColumn,
                                           col("Ready", "Ready pods of those wanted."),
                                           col("Up-to-date", "Pods of the current template."),
                                           col("Available", "Pods ready for long enough."),
                                           kAgeColumn,
                                           kContainers,
                                           kImages,
                                           kSelector};
constexpr std::array kReplicaColumns = {kNameColumn,
                                        number_col("Desired", "Pods wanted."),
                                        number_col("Current", "Pods there are."),
                                        number_col("Ready", "Pods ready."),
                                        kAgeColumn,
                                        kContainers,
                                        kImages,
                                        kSelector};
constexpr std::array kStatefulSetColumns = {kNameColumn, col("Ready", "Ready pods of those wanted."), kAgeColumn,
                                            kContainers, kImages};
constexpr std::array kDaemonSetColumns = {kNameColumn,
                                          number_col("Desired", "Nodes that should run its pod."),
                                          number_col("Current", "Nodes that run it."),
                                          number_col("Ready", "Pods ready."),
                                          number_col("Up-to-date", "Pods of the current template."),
                                          number_col("Available", "Pods ready for long enough."),
                                          col("Node Selector", "Labels that its nodes must have."),
                                          kAgeColumn,
                                          kContainers,
                                          kImages,
                                          kSelector};
constexpr std::array kJobColumns = {kNameColumn,
                                    col("Status", "How the job goes."),
                                    col("Completions", "Pods succeeded of those needed."),
                                    col("Duration", "From start to end."),
                                    kAgeColumn,
                                    kContainers,
                                    kImages,
                                    kSelector};
constexpr std::array kCronJobColumns = {kNameColumn,
                                        col("Schedule", "When it runs, as a cron line."),
                                        col("Timezone", "The zone of the schedule."),
                                        bool_col("Suspend", "Whether it is held back."),
                                        number_col("Active", "Jobs running now."),
                                        col("Last Schedule", "Time since it last started a job."),
                                        kAgeColumn,
                                        kContainers,
                                        kImages,
                                        kSelector};
constexpr std::array kRevisionColumns = {kNameColumn, col("Controller", "Whose revision it is."),
                                         col("Revision", "Its number."), kAgeColumn};
constexpr std::array kMetricsColumns = {kNameColumn, TableColumn{"cpu", "string", "quantity", "", 0},
                                        TableColumn{"memory", "string", "quantity", "", 0},
                                        TableColumn{"Window", "string", "duration", "", 0}};
constexpr std::array kHpaColumns = {kNameColumn,
                                    col("Reference", "What is scaled."),
                                    col("Targets", "Each metric, now and wanted."),
                                    col("MinPods", "Never fewer pods."),
                                    col("MaxPods", "Never more pods."),
                                    col("Replicas", "Pods there are."),
                                    kAgeColumn};
constexpr std::array kPdbColumns = {kNameColumn, col("Min Available", "Pods that must stay."),
                                    col("Max Unavailable", "Pods that may be missing."),
                                    number_col("Allowed Disruptions", "Pods that may be evicted now."), kAgeColumn};

const Json& pod_of(const Json& object) { return at(object, "spec", "template", "spec"); }

void deployment_row(Json& cells, const Json& object, WallTime now) {
  const Json& spec = at(object, "spec");
  const Json& status = at(object, "status");
  add_cells(cells, name_of(object),
            std::to_string(num(status, "readyReplicas")) + "/" + std::to_string(num(spec, "replicas")),
            num(status, "updatedReplicas"), num(status, "availableReplicas"), age_of(object, now),
            container_names(pod_of(object)), container_images(pod_of(object)), selector_text(at(spec, "selector")));
}

void replica_row(Json& cells, const Json& object, WallTime now, std::string selector) {
  const Json& status = at(object, "status");
  add_cells(cells, name_of(object), num(at(object, "spec"), "replicas"), num(status, "replicas"),
            num(status, "readyReplicas"), age_of(object, now), container_names(pod_of(object)),
            container_images(pod_of(object)), std::move(selector));
}
void replica_set_row(Json& cells, const Json& object, WallTime now) {
  replica_row(cells, object, now, selector_text(at(object, "spec", "selector")));
}
void replication_controller_row(Json& cells, const Json& object, WallTime now) {
  replica_row(cells, object, now, labels_text(at(object, "spec", "selector")));
}

void stateful_set_row(Json& cells, const Json& object, WallTime now) {
  add_cells(cells, name_of(object),
            std::to_string(num(at(object, "status"), "readyReplicas")) + "/" +
                std::to_string(num(at(object, "spec"), "replicas")),
            age_of(object, now), container_names(pod_of(object)), container_images(pod_of(object)));
}

void daemon_set_row(Json& cells, const Json& object, WallTime now) {
  const Json& status = at(object, "status");
  add_cells(cells, name_of(object), num(status, "desiredNumberScheduled"), num(status, "currentNumberScheduled"),
            num(status, "numberReady"), num(status, "updatedNumberScheduled"), num(status, "numberAvailable"),
            labels_text(at(pod_of(object), "nodeSelector")), age_of(object, now), container_names(pod_of(object)),
            container_images(pod_of(object)), selector_text(at(object, "spec", "selector")));
}

std::string job_status(const Json& job) {
  const auto holds = [&](std::string_view type) {
    for (const Json& condition : list_of(at(job, "status", "conditions"))) {
      if (str(condition, "type") == type) return str(condition, "status") == "True";
    }
    return false;
  };
  if (holds("Complete")) return "Complete";
  if (holds("Failed")) return "Failed";
  if (!str(at(job, "metadata"), "deletionTimestamp").empty()) return "Terminating";
  for (const char* type : {"Suspended", "FailureTarget", "SuccessCriteriaMet"}) {
    if (holds(type)) return type;
  }
  return "Running";
}

void job_row(Json& cells, const Json& object, WallTime now) {
  const Json& spec = at(object, "spec");
  const Json& status = at(object, "status");
  std::string completions = std::to_string(num(status, "succeeded")) + "/";
  if (at(spec, "completions").is_number()) {
    completions += std::to_string(num(spec, "completions"));
  } else {
    completions += "1";
    if (const auto parallelism = num(spec, "parallelism"); parallelism > 1) {
      completions += " of " + std::to_string(parallelism);
    }
  }
  std::string duration;
  if (const auto start = str(status, "startTime"); !start.empty()) {
    duration = age_since(start, parse_rfc3339(str(status, "completionTime")).value_or(now));
  }
  add_cells(cells, name_of(object), job_status(object), completions, duration, age_of(object, now),
            container_names(pod_of(object)), container_images(pod_of(object)), selector_text(at(spec, "selector")));
}

void cron_job_row(Json& cells, const Json& object, WallTime now) {
  const Json& spec = at(object, "spec");
  const Json& job = at(spec, "jobTemplate");
  const auto last = str(at(object, "status"), "lastScheduleTime");
  const Json& suspend = at(spec, "suspend");
  add_cells(cells, name_of(object), str(spec, "schedule"), or_else(str(spec, "timeZone"), "<none>"),
            suspend.is_boolean() ? (suspend.get<bool>() ? "True" : "False") : "<unset>",
            list_of(at(object, "status", "active")).size(), last.empty() ? std::string("<none>") : age_since(last, now),
            age_of(object, now), container_names(pod_of(job)), container_images(pod_of(job)),
            selector_text(at(job, "spec", "selector")));
}

void revision_row(Json& cells, const Json& object, WallTime now) {
  std::string controller = "<none>";
  for (const Json& owner : list_of(at(object, "metadata", "ownerReferences"))) {
    if (!flag(owner, "controller")) continue;
    const auto api_version = str(owner, "apiVersion");
    const auto slash = api_version.find('/');
    controller = to_lower(str(owner, "kind"));
    if (slash != std::string_view::npos) controller.append(".").append(api_version.substr(0, slash));
    controller.append("/").append(str(owner, "name"));
  }
  add_cells(cells, name_of(object), controller, num(object, "revision"), age_of(object, now));
}

// Where a metric's parts stand: {spec.metrics[i].<member>, status.currentMetrics[i].<member>}.
std::string_view metric_member(std::string_view type) {
  if (type == "External") return "external";
  if (type == "Pods") return "pods";
  if (type == "Object") return "object";
  if (type == "Resource") return "resource";
  if (type == "ContainerResource") return "containerResource";
  return {};
}

std::string metric_text(const Json& spec, const Json& status) {
  const auto member = metric_member(str(spec, "type"));
  if (member.empty()) return "<unknown type>";
  const Json& target = at(at(spec, member), "target");
  const Json& current = at(at(status, member), "current");
  const std::string average = number_text(at(target, "averageValue"));
  const auto now = [&](std::string_view key) { return or_else(number_text(at(current, key)), "<unknown>"); };
  if (member == "resource" || member == "containerResource") {
    std::string out(str(at(spec, member), "name"));
    if (!average.empty()) return out + ": " + now("averageValue") + "/" + average;
    const auto percent = [](const Json& value, std::string_view fallback) {
      return value.is_number() ? number_text(value) + "%" : std::string(fallback);
    };
    return out + ": " + percent(at(current, "averageUtilization"), "<unknown>") + "/" +
           percent(at(target, "averageUtilization"), "<auto>");
  }
  if (member == "pods") return now("averageValue") + "/" + average;
  if (!average.empty()) return now("averageValue") + "/" + average + " (avg)";
  return now("value") + "/" + number_text(at(target, "value"));
}

// autoscaling/v1 has one CPU target; v2 a list of metrics.
std::string hpa_targets(const Json& object) {
  constexpr std::size_t kShown = 2;
  const Json& spec = at(object, "spec");
  const Json& status = at(object, "status");
  if (at(spec, "targetCPUUtilizationPercentage").is_number()) {
    const Json& current = at(status, "currentCPUUtilizationPercentage");
    return "cpu: " + (current.is_number() ? number_text(current) + "%" : std::string("<unknown>")) + "/" +
           number_text(at(spec, "targetCPUUtilizationPercentage")) + "%";
  }
  const auto& metrics = list_of(at(spec, "metrics"));
  const auto& current = list_of(at(status, "currentMetrics"));
  static const Json kNone;
  std::string out;
  for (std::size_t i = 0; i < metrics.size() && i < kShown; ++i) {
    out += (i == 0 ? "" : ", ") + metric_text(metrics[i], i < current.size() ? current[i] : kNone);
  }
  if (metrics.size() > kShown) out += " + " + std::to_string(metrics.size() - kShown) + " more...";
  return or_else(out, "<none>");
}

void hpa_row(Json& cells, const Json& object, WallTime now) {
  const Json& spec = at(object, "spec");
  const Json& target = at(spec, "scaleTargetRef");
  add_cells(cells, name_of(object), std::string(str(target, "kind")) + "/" + std::string(str(target, "name")),
            hpa_targets(object), or_else(number_text(at(spec, "minReplicas")), "<unset>"), num(spec, "maxReplicas"),
            num(at(object, "status"), "currentReplicas"), age_of(object, now));
}

// What the containers of a pod use together; a node's is one figure already.
std::string total_usage(const Json& object, const char* resource) {
  if (object.contains("usage")) return std::string(str(at(object, "usage"), resource));
  Quantity sum;
  for (const Json& container : list_of(at(object, "containers"))) {
    sum += quantity_or_zero(str(at(container, "usage"), resource));
  }
  return sum.to_string();
}

void metrics_row(Json& cells, const Json& object, WallTime /*now*/) {
  add_cells(cells, name_of(object), total_usage(object, "cpu"), total_usage(object, "memory"), str(object, "window"));
}

void pdb_row(Json& cells, const Json& object, WallTime now) {
  const Json& spec = at(object, "spec");
  add_cells(cells, name_of(object), or_else(number_text(at(spec, "minAvailable")), "N/A"),
            or_else(number_text(at(spec, "maxUnavailable")), "N/A"), num(at(object, "status"), "disruptionsAllowed"),
            age_of(object, now));
}

constexpr std::array kPrinters = {
    Printer{"apps", "deployments", kDeploymentColumns, deployment_row},
    Printer{"apps", "replicasets", kReplicaColumns, replica_set_row},
    Printer{"apps", "statefulsets", kStatefulSetColumns, stateful_set_row},
    Printer{"apps", "daemonsets", kDaemonSetColumns, daemon_set_row},
    Printer{"apps", "controllerrevisions", kRevisionColumns, revision_row},
    Printer{"", "replicationcontrollers", kReplicaColumns, replication_controller_row},
    Printer{"batch", "jobs", kJobColumns, job_row},
    Printer{"batch", "cronjobs", kCronJobColumns, cron_job_row},
    Printer{"autoscaling", "horizontalpodautoscalers", kHpaColumns, hpa_row},
    Printer{"metrics.k8s.io", "nodes", kMetricsColumns, metrics_row},
    Printer{"metrics.k8s.io", "pods", kMetricsColumns, metrics_row},
    Printer{"policy", "poddisruptionbudgets", kPdbColumns, pdb_row},
};

}  // namespace

std::span<const Printer> workload_printers() { return kPrinters; }

}  // namespace brume::api::printing
