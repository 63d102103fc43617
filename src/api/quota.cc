#include "brume/api/quota.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "brume/api/pod_qos.h"
#include "brume/base/json.h"

namespace brume::api {

namespace {

constexpr std::string_view kCount = "count/";
constexpr std::string_view kRequests = "requests.";
constexpr std::string_view kLimits = "limits.";
constexpr std::string_view kOfClass = ".storageclass.storage.k8s.io/";
constexpr std::string_view kDevices = ".deviceclass.resource.k8s.io/devices";
constexpr std::int64_t kAllDevices = 32;  // what a claim of all devices counts: no claim can get more
constexpr std::array<std::string_view, 3> kCompute = {"cpu", "memory", "ephemeral-storage"};
constexpr std::array<std::string_view, 3> kServiceNames = {"services", "services.nodeports", "services.loadbalancers"};
constexpr std::array<std::string_view, 2> kClaimNames = {"persistentvolumeclaims", "requests.storage"};
/// Kinds that were counted under their plain names before count/ was.
constexpr std::array<std::string_view, 4> kPlainCounts = {"configmaps", "replicationcontrollers", "resourcequotas",
                                                          "secrets"};

bool is_core(const Resource& resource, std::string_view plural) {
  return resource.group.empty() && resource.plural == plural;
}

bool is_device_claim(const Resource& resource) {
  return resource.group == "resource.k8s.io" && resource.plural == "resourceclaims";
}

template <std::size_t N>
bool holds(const std::array<std::string_view, N>& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

// Kubernetes' own names; the others are extended resources, which nodes advertise.
bool is_native(std::string_view name) {
  return name.find('/') == std::string_view::npos || name.find("kubernetes.io/") != std::string_view::npos;
}

bool is_pod_name(std::string_view name) {
  if (name == "pods" || holds(kCompute, name) || name.starts_with("hugepages-")) return true;
  if (name.starts_with(kLimits)) return holds(kCompute, name.substr(kLimits.size()));
  if (!name.starts_with(kRequests)) return false;
  const auto of = name.substr(kRequests.size());
  return holds(kCompute, of) || of.starts_with("hugepages-") || !is_native(name) ||
         of.starts_with("deviceclass.resource.kubernetes.io/");
}

bool is_claim_name(std::string_view name) {
  if (holds(kClaimNames, name)) return true;
  return std::any_of(kClaimNames.begin(), kClaimNames.end(), [&](std::string_view what) {
    return name.ends_with(what) && name.substr(0, name.size() - what.size()).ends_with(kOfClass);
  });
}

Quantity one() { return Quantity(1); }

// ---- pods ----------------------------------------------------------------------------------------------------------

// By the names of quotas: a request is counted under two.
Amounts compute_names(const Amounts& requests, const Amounts& limits) {
  Amounts out;
  for (const auto& [name, amount] : requests) {
    const bool extended = !is_native(name) || name.starts_with("deviceclass.resource.kubernetes.io/");
    const bool plain = holds(kCompute, name) || name.starts_with("hugepages-");
    if (plain) out[name] = amount;
    if (plain || extended) out[std::string(kRequests) + name] = amount;
  }
  for (const auto& [name, amount] : limits) {
    if (holds(kCompute, name)) out[std::string(kLimits) + name] = amount;
  }
  return out;
}

const Json& status_of(const Json& pod, std::string_view list, std::string_view name) {
  static const Json kNone;
  for (const Json& status : at(pod, "status", list)) {
    if (str(status, "name") == name) return status;
  }
  return kNone;
}

bool is_infeasible(const Json& pod) {
  const Json& conditions = at(pod, "status", "conditions");
  return std::any_of(conditions.begin(), conditions.end(), [](const Json& condition) {
    return str(condition, "type") == "PodResizePending" && str(condition, "reason") == "Infeasible";
  });
}

void raise(Json& amounts, const Json& to) {
  for (const auto& [name, amount] : to.items()) {
    if (!amounts.contains(name) || amount_of(amounts, name) < amount_of(to, name)) amounts[name] = amount;
  }
}

// The spec with what each container has, where that is more than it asks for: a resize that is under way is counted
// with the greater amounts, and one that cannot be with those that the container keeps (KEP-1287).
Json spec_with_grants(const Json& pod) {
  Json spec = at(pod, "spec");
  const bool infeasible = is_infeasible(pod);
  for (const auto& [list, statuses] :
       {std::pair("containers", "containerStatuses"), std::pair("initContainers", "initContainerStatuses")}) {
    if (!at(spec, list).is_array()) continue;
    for (Json& container : spec[list]) {
      const Json& status = status_of(pod, statuses, str(container, "name"));
      const Json& has = at(status, "resources");
      if (!has.is_object()) continue;
      for (const char* which : {"requests", "limits"}) {
        Json amounts = infeasible ? Json() : at(container, "resources", which);
        if (!amounts.is_object()) amounts = Json::object();
        raise(amounts, at(has, which));
        if (which == std::string_view("requests")) raise(amounts, at(status, "allocatedResources"));
        if (!amounts.empty()) container["resources"][which] = std::move(amounts);
      }
    }
  }
  return spec;
}

// When a pod that is being deleted stops to count: its grace, which the timestamp holds, has passed twice. Its node is
// lost, say, and what replaces it must find room.
std::optional<WallTime> end_of_use(const Json& pod) {
  const Json& metadata = at(pod, "metadata");
  const auto ends = parse_rfc3339(str(metadata, "deletionTimestamp"));
  if (!ends || !metadata.contains("deletionGracePeriodSeconds")) return std::nullopt;
  return *ends + std::chrono::seconds(num(metadata, "deletionGracePeriodSeconds"));
}

bool crosses_namespaces(const Json& affinity) {
  const auto crosses = [](const Json& term) {
    return !at(term, "namespaces").empty() || at(term, "namespaceSelector").is_object();
  };
  for (const char* kind : {"podAffinity", "podAntiAffinity"}) {
    for (const Json& term : at(affinity, kind, "requiredDuringSchedulingIgnoredDuringExecution")) {
      if (crosses(term)) return true;
    }
    for (const Json& term : at(affinity, kind, "preferredDuringSchedulingIgnoredDuringExecution")) {
      if (crosses(at(term, "podAffinityTerm"))) return true;
    }
  }
  return false;
}

void look_at_pod(const Json& pod, WallTime now, QuotaItem& item) {
  const Json& spec = at(pod, "spec");
  item.terminating = at(spec, "activeDeadlineSeconds").is_number();
  item.best_effort = pod_qos_class(spec) == "BestEffort";
  item.crosses_namespaces = crosses_namespaces(at(spec, "affinity"));
  item.priority_class = str(spec, "priorityClassName");
  const auto phase = str(at(pod, "status"), "phase");
  if (phase == "Succeeded" || phase == "Failed") return;
  const auto ends = end_of_use(pod);
  if (ends && now > *ends) return;
  item.ends = ends;
  const Json grants = spec_with_grants(pod);
  item.usage.merge(compute_names(pod_requests(grants), pod_limits(grants)));
  item.usage["pods"] = one();
}

// ---- services and claims -------------------------------------------------------------------------------------------

void look_at_service(const Json& spec, QuotaItem& item) {
  const auto type = str(spec, "type");
  const Json& ports = at(spec, "ports");
  std::int64_t node_ports = 0;
  if (type == "NodePort" || (type == "LoadBalancer" && flag(spec, "allocateLoadBalancerNodePorts", true))) {
    node_ports = static_cast<std::int64_t>(ports.size());  // those that are not given yet will be
  } else if (type == "LoadBalancer") {
    node_ports = std::count_if(ports.begin(), ports.end(), [](const Json& port) { return num(port, "nodePort") != 0; });
  }
  item.usage["services"] = one();
  item.usage["services.nodeports"] = Quantity(node_ports);
  item.usage["services.loadbalancers"] = Quantity(type == "LoadBalancer" ? 1 : 0);
}

Quantity whole(const Quantity& amount) { return Quantity(amount.value(), amount.format()); }

void look_at_claim(const Json& claim, QuotaItem& item) {
  const Json& spec = at(claim, "spec");
  const Json& status = at(claim, "status");
  for (const auto name : {str(spec, "volumeAttributesClassName"), str(status, "currentVolumeAttributesClassName"),
                          str(at(status, "modifyVolumeStatus"), "targetVolumeAttributesClassName")}) {
    if (!name.empty()) item.attributes_classes.emplace_back(name);
  }
  // The annotation came first and still counts.
  std::string of_class(str(at(claim, "metadata", "annotations"), "volume.beta.kubernetes.io/storage-class"));
  if (of_class.empty()) of_class = str(spec, "storageClassName");
  if (!of_class.empty()) of_class += kOfClass;
  const auto put = [&](std::string_view name, const Quantity& amount) {
    item.usage[std::string(name)] = amount;
    if (!of_class.empty()) item.usage[of_class + std::string(name)] = amount;
  };
  put("persistentvolumeclaims", one());
  const Json& requests = at(spec, "resources", "requests");
  if (!requests.contains("storage")) return;
  const auto allocated = whole(amount_of(at(status, "allocatedResources"), "storage"));
  put("requests.storage", std::max(whole(amount_of(requests, "storage")), allocated));
}

// Of alternatives the greediest counts.
void look_at_device_claim(const Json& claim, QuotaItem& item) {
  const auto count = [](const Json& request) {
    return str(request, "allocationMode") == "All" ? kAllDevices : num(request, "count", 1);
  };
  for (const Json& request : at(claim, "spec", "devices", "requests")) {
    std::map<std::string, std::int64_t> most;
    const Json& exactly = at(request, "exactly");
    if (exactly.is_object()) most[std::string(str(exactly, "deviceClassName"))] = count(exactly);
    for (const Json& one : at(request, "firstAvailable")) {
      auto& present = most[std::string(str(one, "deviceClassName"))];
      present = std::max(present, count(one));
    }
    for (const auto& [device_class, devices] : most) {
      item.usage[device_class + std::string(kDevices)] += Quantity(devices);
    }
  }
}

}  // namespace

QuotaItem quota_item(const Resource& resource, const Json& object, WallTime now) {
  QuotaItem item;
  item.usage[std::string(kCount) + resource.group_resource()] = one();
  if (is_core(resource, "pods")) {
    look_at_pod(object, now, item);
  } else if (is_core(resource, "services")) {
    look_at_service(at(object, "spec"), item);
  } else if (is_core(resource, "persistentvolumeclaims")) {
    look_at_claim(object, item);
  } else if (is_device_claim(resource)) {
    look_at_device_claim(object, item);
  } else if (resource.group.empty() && holds(kPlainCounts, resource.plural)) {
    item.usage[std::string(resource.plural)] = one();
  }
  return item;
}

bool quota_items_differ(const Resource& resource) {
  return is_core(resource, "pods") || is_core(resource, "services") || is_core(resource, "persistentvolumeclaims") ||
         is_device_claim(resource);
}

bool quota_counts(const Resource& resource, std::string_view name) {
  if (name.starts_with(kCount)) return name.substr(kCount.size()) == resource.group_resource();
  if (is_device_claim(resource)) return name.ends_with(kDevices);
  if (!resource.group.empty()) return false;
  if (resource.plural == "pods") return is_pod_name(name);
  if (resource.plural == "services") return holds(kServiceNames, name);
  if (resource.plural == "persistentvolumeclaims") return is_claim_name(name);
  return resource.plural == name && holds(kPlainCounts, name);
}

const Resource* quota_resource(std::string_view name) {
  if (name.starts_with(kCount)) {
    const auto wanted = name.substr(kCount.size());
    for (const Resource& resource : builtin_resources()) {
      if (resource.namespaced && resource.has_verb("create") && resource.has_verb("list") &&
          resource.group_resource() == wanted) {
        return &resource;
      }
    }
    return nullptr;
  }
  if (holds(kServiceNames, name)) return &res("services");
  if (is_claim_name(name)) return &res("persistentvolumeclaims");
  if (name.ends_with(kDevices)) return &res("resourceclaims.resource.k8s.io");
  if (holds(kPlainCounts, name)) return &res(name);
  return is_pod_name(name) ? &res("pods") : nullptr;
}

std::string quota_demands(const std::vector<std::string>& names, const Json& pod_spec) {
  // Amounts of the pod as a whole stand for those of its containers.
  for (const char* which : {"requests", "limits"}) {
    for (const auto& [name, amount] : at(pod_spec, "resources", which).items()) {
      if (is_pod_level_resource(name)) return {};
    }
  }
  static const std::set<std::string_view> kDemanded = {"cpu",        "memory",       "requests.cpu", "requests.memory",
                                                       "limits.cpu", "limits.memory"};
  std::map<std::string, std::set<std::string>> missing;  // resource to containers
  for (const char* list : {"containers", "initContainers"}) {
    for (const Json& container : at(pod_spec, list)) {
      const Amounts has = compute_names(amounts_of(at(container, "resources", "requests")),
                                        amounts_of(at(container, "resources", "limits")));
      for (const auto& name : names) {
        if (kDemanded.contains(name) && !has.contains(name)) missing[name].emplace(str(container, "name"));
      }
    }
  }
  std::string out;
  for (const auto& [name, containers] : missing) {
    out += out.empty() ? "must specify " : "; ";
    out += name + " for: ";
    for (auto it = containers.begin(); it != containers.end(); ++it) out += (it == containers.begin() ? "" : ",") + *it;
  }
  return out;
}

QuotaRules::QuotaRules(const Json& spec) : hard_(amounts_of(at(spec, "hard"))) {
  for (const Json& scope : at(spec, "scopes")) scopes_.push_back({std::string(str(scope)), "Exists", {}});
  for (const Json& one : at(spec, "scopeSelector", "matchExpressions")) {
    Scope scope{std::string(str(one, "scopeName")), std::string(str(one, "operator")), {}};
    for (const Json& value : at(one, "values")) scope.values.emplace_back(str(value));
    scopes_.push_back(std::move(scope));
  }
}

std::vector<std::string> QuotaRules::names_for(const Resource& resource) const {
  std::vector<std::string> out;
  for (const auto& [name, amount] : hard_) {
    if (quota_counts(resource, name)) out.push_back(name);
  }
  return out;
}

bool QuotaRules::selects(const Resource& resource, const QuotaItem& item) const {
  const bool pods = is_core(resource, "pods");
  if (!pods && !is_core(resource, "persistentvolumeclaims")) return scopes_.empty();
  return std::all_of(scopes_.begin(), scopes_.end(), [&](const Scope& scope) { return selects(scope, pods, item); });
}

bool QuotaRules::selects(const Scope& scope, bool pods, const QuotaItem& item) {
  const auto among = [&](const std::string& value) {
    return std::find(scope.values.begin(), scope.values.end(), value) != scope.values.end();
  };
  const auto by_class = [&](const std::string& name) {
    if (scope.op == "Exists") return !name.empty();
    if (scope.op == "DoesNotExist") return name.empty();
    if (scope.op == "NotIn") return name.empty() || !among(name);
    return scope.op == "In" && !name.empty() && among(name);
  };
  if (!pods) {
    if (scope.name != "VolumeAttributesClass") return false;
    const auto& classes = item.attributes_classes;
    return classes.empty() ? by_class("") : std::any_of(classes.begin(), classes.end(), by_class);
  }
  if (scope.name == "Terminating") return item.terminating;
  if (scope.name == "NotTerminating") return !item.terminating;
  if (scope.name == "BestEffort") return item.best_effort;
  if (scope.name == "NotBestEffort") return !item.best_effort;
  if (scope.name == "PriorityClass") return by_class(item.priority_class);
  return scope.name == "CrossNamespacePodAffinity" && item.crosses_namespaces;
}

}  // namespace brume::api
