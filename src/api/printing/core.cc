#include <algorithm>
#include <array>
#include <set>

#include "api/printing/printer.h"
#include "brume/base/strings.h"

namespace brume::api::printing {

namespace {

constexpr std::array kNamespaceColumns = {kNameColumn, col("Status", "Active, or Terminating."), kAgeColumn};
constexpr std::array kNodeColumns = {kNameColumn,
                                     col("Status", "Whether it takes pods."),
                                     col("Roles", "What the node is for."),
                                     kAgeColumn,
                                     col("Version", "The version of its node agent."),
                                     wide_col("Internal-IP", "Its address inside the cluster."),
                                     wide_col("External-IP", "Its address outside."),
                                     wide_col("OS-Image", "Its system."),
                                     wide_col("Kernel-Version", "Its kernel."),
                                     wide_col("Container-Runtime", "What runs its containers.")};
constexpr std::array kConfigMapColumns = {kNameColumn, col("Data", "How many keys it has."), kAgeColumn};
constexpr std::array kSecretColumns = {kNameColumn, col("Type", "What the secret is for."),
                                       col("Data", "How many keys it has."), kAgeColumn};
constexpr std::array kPlainColumns = {kNameColumn, kAgeColumn};
constexpr std::array kEventColumns = {
    col("Last Seen", "Time since it happened last."),
    col("Type", "Normal or Warning."),
    col("Reason", "Why, in one word."),
    col("Object", "What it is about."),
    wide_col("Subobject", "Which part of that."),
    wide_col("Source", "Who reported it."),
    col("Message", "What happened."),
    wide_col("First Seen", "Time since it happened first."),
    wide_col("Count", "How often it happened."),
    TableColumn{"Name", "string", "name", "The event's own name.", 1},
};
constexpr std::array kComponentColumns = {kNameColumn, col("Status", "Whether it is healthy."),
                                          col("Message", "What it said."), col("Error", "What is wrong.")};
constexpr std::array kQuotaColumns = {kNameColumn, col("Request", "Used of the requests allowed."),
                                      col("Limit", "Used of the limits allowed."), kAgeColumn};
constexpr std::array kLimitRangeColumns = {kNameColumn,
                                           TableColumn{"Created At", "date", "", "When the object was created."}};

void namespace_row(Json& cells, const Json& object, WallTime now) {
  add_cells(cells, name_of(object), str(at(object, "status"), "phase"), age_of(object, now));
}

std::string node_status(const Json& node) {
  std::string out = "Unknown";
  for (const Json& condition : list_of(at(node, "status", "conditions"))) {
    if (str(condition, "type") == "Ready") out = str(condition, "status") == "True" ? "Ready" : "NotReady";
  }
  return flag(at(node, "spec"), "unschedulable") ? out + ",SchedulingDisabled" : out;
}

std::string node_roles(const Json& node) {
  constexpr std::string_view kPrefix = "node-role.kubernetes.io/";
  std::set<std::string> roles;
  const Json& labels = at(node, "metadata", "labels");
  if (labels.is_object()) {
    for (const auto& [key, value] : labels.items()) {
      if (key.starts_with(kPrefix) && key.size() > kPrefix.size()) roles.insert(key.substr(kPrefix.size()));
      if (key == "kubernetes.io/role" && !str(value).empty()) roles.emplace(str(value));
    }
  }
  return or_else(join(std::vector<std::string>(roles.begin(), roles.end()), ","), "<none>");
}

std::string node_address(const Json& node, std::string_view type) {
  for (const Json& address : list_of(at(node, "status", "addresses"))) {
    if (str(address, "type") == type) return std::string(str(address, "address"));
  }
  return "<none>";
}

void node_row(Json& cells, const Json& object, WallTime now) {
  const Json& info = at(object, "status", "nodeInfo");
  std::string kernel = or_else(str(info, "kernelVersion"), "<unknown>");
  if (const auto arch = str(info, "architecture"); !arch.empty()) kernel.append(" (").append(arch).append(")");
  add_cells(cells, name_of(object), node_status(object), node_roles(object), age_of(object, now),
            str(info, "kubeletVersion"), node_address(object, "InternalIP"), node_address(object, "ExternalIP"),
            or_else(str(info, "osImage"), "<unknown>"), kernel,
            or_else(str(info, "containerRuntimeVersion"), "<unknown>"));
}

std::size_t count_of(const Json& map) { return map.is_object() ? map.size() : 0; }

void config_map_row(Json& cells, const Json& object, WallTime now) {
  add_cells(cells, name_of(object), count_of(at(object, "data")) + count_of(at(object, "binaryData")),
            age_of(object, now));
}
void secret_row(Json& cells, const Json& object, WallTime now) {
  add_cells(cells, name_of(object), str(object, "type"), count_of(at(object, "data")), age_of(object, now));
}
void plain_row(Json& cells, const Json& object, WallTime now) {
  add_cells(cells, name_of(object), age_of(object, now));
}

// core/v1 and events.k8s.io/v1 name the same fields differently.
void event_row(Json& cells, const Json& object, WallTime now) {
  const bool newer = str(object, "apiVersion").starts_with("events.k8s.io/");
  const auto field = [&](std::string_view core, std::string_view events) -> const Json& {
    return at(object, newer ? events : core);
  };
  const auto first_time = str(field("firstTimestamp", "deprecatedFirstTimestamp"));
  const auto last_time = str(field("lastTimestamp", "deprecatedLastTimestamp"));
  const std::string first = age_since(first_time.empty() ? str(object, "eventTime") : first_time, now);
  std::string last = last_time.empty() ? first : age_since(last_time, now);
  const Json& count_field = field("count", "deprecatedCount");
  std::int64_t count = count_field.is_number() ? count_field.get<std::int64_t>() : 0;
  if (const Json& series = at(object, "series"); series.is_object()) {
    last = age_since(str(series, "lastObservedTime"), now);
    count = num(series, "count");
  } else if (count == 0) {
    count = 1;  // the newer API counts only in a series
  }
  const Json& about = field("involvedObject", "regarding");
  std::string target = to_lower(str(about, "kind"));
  if (const auto name = str(about, "name"); !name.empty()) target.append("/").append(name);
  const Json& source = field("source", "deprecatedSource");
  std::string from =
      or_else(str(source, "component"), or_else(str(object, "reportingComponent"), str(object, "reportingController")));
  if (const auto host = or_else(str(source, "host"), str(object, "reportingInstance")); !host.empty())
    from += ", " + host;
  add_cells(cells, last, str(object, "type"), str(object, "reason"), target, str(about, "fieldPath"), from,
            trim(str(field("message", "note"))), first, count, name_of(object));
}

void component_row(Json& cells, const Json& object, WallTime /*now*/) {
  std::string status = "Unknown";
  std::string message, error;
  for (const Json& condition : list_of(at(object, "conditions"))) {
    if (str(condition, "type") != "Healthy") continue;
    status = str(condition, "status") == "True" ? "Healthy" : "Unhealthy";
    message = str(condition, "message");
    error = str(condition, "error");
    break;
  }
  add_cells(cells, name_of(object), status, message, error);
}

void quota_row(Json& cells, const Json& object, WallTime now) {
  std::string requests, limits;
  const Json& hard = at(object, "status", "hard");
  if (hard.is_object()) {
    for (const auto& [resource, amount] : hard.items()) {
      std::string& out = resource.starts_with("limits.") ? limits : requests;
      if (!out.empty()) out += ", ";
      const std::string used = number_text(at(at(object, "status", "used"), resource));
      out += resource + ": " + or_else(used, "0") + "/" + number_text(amount);
    }
  }
  add_cells(cells, name_of(object), requests, limits, age_of(object, now));
}

void limit_range_row(Json& cells, const Json& object, WallTime /*now*/) {
  add_cells(cells, name_of(object), str(at(object, "metadata"), "creationTimestamp"));
}

constexpr std::array kPrinters = {
    Printer{"", "namespaces", kNamespaceColumns, namespace_row},
    Printer{"", "nodes", kNodeColumns, node_row},
    Printer{"", "configmaps", kConfigMapColumns, config_map_row},
    Printer{"", "secrets", kSecretColumns, secret_row},
    Printer{"", "serviceaccounts", kPlainColumns, plain_row},
    Printer{"", "events", kEventColumns, event_row},
    Printer{"events.k8s.io", "events", kEventColumns, event_row},
    Printer{"", "componentstatuses", kComponentColumns, component_row},
    Printer{"", "resourcequotas", kQuotaColumns, quota_row},
    Printer{"", "limitranges", kLimitRangeColumns, limit_range_row},
};

}  // namespace

std::span<const Printer> core_printers() { return kPrinters; }

}  // namespace brume::api::printing
