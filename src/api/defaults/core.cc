// Defaults of the core group that depend on other fields.
#include <algorithm>

#include "api/defaults/defaults_impl.h"

namespace brume::api::defaults {

namespace {

constexpr int kClientIpSeconds = 10800;  // three hours

void service_port(Json& port) {
  const Json& target = at(port, "targetPort");
  if (target.is_null() || target == 0 || target == Json("")) port["targetPort"] = at(port, "port");
}

void service(Json& object) {
  Json* spec = object_in(object, "spec");
  if (spec == nullptr) return;
  auto type = std::string(str(*spec, "type"));
  if (str(*spec, "sessionAffinity") == "None") spec->erase("sessionAffinityConfig");
  if (str(*spec, "sessionAffinity") == "ClientIP" &&
      at(*spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds").is_null()) {
    (*spec)["sessionAffinityConfig"] = {{"clientIP", {{"timeoutSeconds", kClientIpSeconds}}}};
  }
  if (Json* ports = array_in(*spec, "ports")) {
    for (Json& port : *ports) {
      if (port.is_object()) service_port(port);
    }
  }
  bool external = type == "NodePort" || type == "LoadBalancer";
  if (external || (type == "ClusterIP" && !is_empty(*spec, "externalIPs"))) {
    set_empty(*spec, "externalTrafficPolicy", "Cluster");
  }
  if (external || type == "ClusterIP") set_absent(*spec, "internalTrafficPolicy", "Cluster");
  if (type != "LoadBalancer") return;
  set_absent(*spec, "allocateLoadBalancerNodePorts", true);
  Json* status = object_in(object, "status");
  Json* balancer = status == nullptr ? nullptr : object_in(*status, "loadBalancer");
  Json* ingress = balancer == nullptr ? nullptr : array_in(*balancer, "ingress");
  if (ingress == nullptr) return;
  for (Json& item : *ingress) {
    if (!is_empty(item, "ip")) set_absent(item, "ipMode", "VIP");
  }
}

void replication_controller(Json& object) {
  Json* spec = object_in(object, "spec");
  if (spec == nullptr) return;
  Json labels = at(*spec, "template", "metadata", "labels");
  if (!labels.is_object()) return;
  set_empty(*spec, "selector", labels);
  if (Json* metadata = object_in(object, "metadata")) set_empty(*metadata, "labels", labels);
}

void name_space(Json& object) {
  Json* metadata = object_in(object, "metadata");
  if (metadata == nullptr || is_empty(*metadata, "name")) return;
  Json& labels = (*metadata)["labels"];
  if (!labels.is_object()) labels = Json::object();
  labels["kubernetes.io/metadata.name"] = at(*metadata, "name");
}

void copy_missing(const Json& from, Json& to) {
  if (!from.is_object()) return;
  for (const auto& [name, value] : from.items()) {
    if (!to.contains(name)) to[name] = value;
  }
}

void limit_range_item(Json& item) {
  if (str(item, "type") != "Container") return;
  Json limit = at(item, "default").is_object() ? at(item, "default") : Json::object();
  Json request = at(item, "defaultRequest").is_object() ? at(item, "defaultRequest") : Json::object();
  copy_missing(at(item, "max"), limit);
  copy_missing(limit, request);
  copy_missing(at(item, "min"), request);
  if (!limit.empty()) item["default"] = std::move(limit);
  if (!request.empty()) item["defaultRequest"] = std::move(request);
}

void template_in(Json& object) {
  if (Json* pod_template = object_in(object, "template")) {
    if (Json* spec = object_in(*pod_template, "spec")) pod_spec(*spec);
  }
}

}  // namespace

void core(std::string_view kind, Json& object) {
  Json* spec = object_in(object, "spec");
  if (kind == "Pod") {
    if (spec != nullptr) pod_spec(*spec);
    pod(object);
  } else if (kind == "Service") {
    service(object);
  } else if (kind == "ReplicationController") {
    if (spec != nullptr) template_in(*spec);
    replication_controller(object);
  } else if (kind == "PodTemplate") {
    template_in(object);
  } else if (kind == "Namespace") {
    name_space(object);
  } else if (kind == "Node") {
    Json* status = object_in(object, "status");
    if (status != nullptr && !is_empty(*status, "capacity"))
      set_absent(*status, "allocatable", at(*status, "capacity"));
  } else if (kind == "LimitRange" && spec != nullptr) {
    if (Json* limits = array_in(*spec, "limits")) std::for_each(limits->begin(), limits->end(), limit_range_item);
  }
}

}  // namespace brume::api::defaults
