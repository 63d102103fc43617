// Services: ports, addresses, families, policies, and what may not change.
#include <algorithm>
#include <set>

#include "api/validation/kinds.h"
#include "api/validation/pod.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

const Path kSpec("spec");
constexpr std::string_view kOnlyLoadBalancer = "may only be used when `type` is 'LoadBalancer'";

bool is_headless(const Json& spec) {
  const auto& ips = items(at(spec, "clusterIPs"));
  return ips.size() == 1 && str(ips.front()) == "None";
}

bool is_external(const Json& spec) {
  const auto type = str(spec, "type");
  return type == "LoadBalancer" || type == "NodePort" || (type == "ClusterIP" && !blank(at(spec, "externalIPs")));
}

bool needs_health_check(const Json& spec) {
  return str(spec, "type") == "LoadBalancer" && str(spec, "externalTrafficPolicy") == "Local";
}

void check_type(Errors& errors, const Json& spec) {
  const auto type = str(spec, "type");
  if (blank(at(spec, "ports")) && !is_headless(spec) && type != "ExternalName") errors.required(kSpec / "ports");
  if ((type == "LoadBalancer" || type == "NodePort") && is_headless(spec)) {
    errors.invalid((kSpec / "clusterIPs")[0], "None",
                   "may not be set to 'None' for " + std::string(type) + " services");
  }
  if (type == "ExternalName") {
    for (const char* key : {"clusterIPs", "ipFamilies", "ipFamilyPolicy"}) {
      if (!blank(at(spec, key))) errors.forbidden(kSpec / key, "may not be set for ExternalName services");
    }
    auto name = str(spec, "externalName");
    if (name.ends_with('.')) name.remove_suffix(1);
    if (name.empty()) {
      errors.required(kSpec / "externalName");
    } else {
      check_format(errors, kSpec / "externalName", name, dns1123_subdomain);
    }
  }
  if (type.empty()) {
    errors.required(kSpec / "type");
  } else {
    check_enum(errors, kSpec / "type", type, {"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"});
  }
}

void check_ports(Errors& errors, const Json& spec) {
  const auto& ports = items(at(spec, "ports"));
  const auto type = str(spec, "type");
  std::set<std::string_view> names;
  std::set<std::string> node_ports, numbers;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const Path here = (kSpec / "ports")[i];
    const Json& port = ports[i];
    const auto name = str(port, "name");
    const std::string protocol(str(port, "protocol"));
    if (name.empty()) {
      if (ports.size() > 1) errors.required(here / "name");
    } else {
      check_format(errors, here / "name", name, dns1123_label);
      if (!names.insert(name).second) errors.duplicate(here / "name", name);
    }
    const auto number = num(port, "port");
    for (const auto& fault : port_number(number)) errors.invalid(here / "port", number, fault);
    if (protocol.empty()) {
      errors.required(here / "protocol");
    } else {
      check_enum(errors, here / "protocol", protocol, {"SCTP", "TCP", "UDP"});
    }
    check_port_or_name(errors, here / "targetPort", at(port, "targetPort"));
    if (has(port, "appProtocol")) {
      check_format(errors, here / "appProtocol", str(port, "appProtocol"), qualified_name);
    }
    if (const auto node_port = num(port, "nodePort"); node_port != 0) {
      if (type == "ClusterIP") errors.forbidden(here / "nodePort", "may not be used when `type` is 'ClusterIP'");
      if (!node_ports.insert(protocol + "/" + std::to_string(node_port)).second) {
        errors.duplicate(here / "nodePort", Json(node_port));
      }
    }
    if (!numbers.insert(protocol + "/" + std::to_string(number)).second) {
      errors.duplicate(here, Json{{"port", number}, {"protocol", protocol}, {"targetPort", 0}});
    }
  }
}

void check_affinity_config(Errors& errors, const Json& spec) {
  constexpr std::int64_t kLongest = 86400;
  const auto affinity = str(spec, "sessionAffinity");
  const Path path = kSpec / "sessionAffinityConfig";
  const Json& config = at(spec, "sessionAffinityConfig");
  if (affinity.empty()) {
    errors.required(kSpec / "sessionAffinity");
  } else {
    check_enum(errors, kSpec / "sessionAffinity", affinity, {"ClientIP", "None"});
  }
  if (affinity == "None" && !config.is_null()) {
    errors.forbidden(path, "must not be set when session affinity is None");
  }
  if (affinity != "ClientIP") return;
  constexpr std::string_view kWhen = "when session affinity type is ClientIP";
  if (!config.is_object()) return errors.required(path, kWhen);
  if (!at(config, "clientIP").is_object()) return errors.required(path / "clientIP", kWhen);
  const Json& seconds = at(config, "clientIP", "timeoutSeconds");
  if (!seconds.is_number()) return errors.required(path / "clientIP" / "timeoutSeconds", kWhen);
  if (const auto value = seconds.get<std::int64_t>(); value <= 0 || value > kLongest) {
    errors.invalid(path / "clientIP" / "timeoutSeconds", value, "must be greater than 0 and less than 86400");
  }
}

void check_families(Errors& errors, const Json& spec) {
  std::set<std::string_view> seen;
  std::size_t i = 0;
  for (const Json& family : items(at(spec, "ipFamilies"))) {
    const Path here = (kSpec / "ipFamilies")[i++];
    check_enum(errors, here, str(family), {"IPv4", "IPv6"});
    if (!seen.insert(str(family)).second) errors.duplicate(here, str(family));
  }
  if (has(spec, "ipFamilyPolicy")) {
    check_enum(errors, kSpec / "ipFamilyPolicy", str(spec, "ipFamilyPolicy"),
               {"PreferDualStack", "RequireDualStack", "SingleStack"});
  }
}

void check_cluster_ips(Errors& errors, const Json& spec) {
  if (str(spec, "type") == "ExternalName") return;
  const Path path = kSpec / "clusterIPs";
  const auto first = str(spec, "clusterIP");
  const Json& list = at(spec, "clusterIPs");
  const auto& ips = items(list);
  if (first.empty()) {
    if (!ips.empty()) errors.invalid(path, list, "must be empty when `clusterIP` is not specified");
  } else if (ips.empty()) {
    errors.required(path);
  } else if (str(ips.front()) != first) {
    errors.invalid(path, list, "first value must match `clusterIP`");
  }
  check_families(errors, spec);
  bool bad = false;
  int v6 = 0;
  for (std::size_t i = 0; i < ips.size(); ++i) {
    if (i == 0 && str(ips[i]) == "None") {
      if (ips.size() > 1) {
        bad = true;
        errors.invalid(path, list, "'None' must be the first and only value");
      }
      continue;
    }
    const std::size_t before = errors.size();
    check_ip(errors, path[i], str(ips[i]));
    bad |= errors.size() != before;
    v6 += is_ipv6(str(ips[i])) ? 1 : 0;
  }
  if (ips.size() > 2) errors.invalid(path, list, "may only hold up to 2 values");
  if (bad) return;
  if (ips.size() == 2 && v6 != 1) errors.invalid(path, list, "may specify no more than one IP for each IP family");
  const auto& families = items(at(spec, "ipFamilies"));
  for (std::size_t i = 0; !is_headless(spec) && i < std::min(ips.size(), families.size()); ++i) {
    const auto family = str(families[i]);
    if ((family == "IPv4") == !is_ipv6(str(ips[i]))) continue;
    errors.invalid(
        path[i], str(ips[i]),
        "expected an " + std::string(family) + " value as indicated by `ipFamilies[" + std::to_string(i) + "]`");
  }
}

void check_external(Errors& errors, const Json& spec) {
  std::size_t i = 0;
  for (const Json& ip : items(at(spec, "externalIPs"))) {
    const Path here = (kSpec / "externalIPs")[i++];
    check_ip(errors, here, str(ip));
    check_endpoint_ip(errors, here, str(ip));
  }
  const auto policy = str(spec, "externalTrafficPolicy");
  const Path path = kSpec / "externalTrafficPolicy";
  if (!is_external(spec)) {
    if (!policy.empty()) errors.invalid(path, policy, "may only be set for externally-accessible services");
  } else if (policy.empty()) {
    errors.required(path);
  } else {
    check_enum(errors, path, policy, {"Cluster", "Local"});
  }
  const auto port = num(spec, "healthCheckNodePort");
  const Path port_path = kSpec / "healthCheckNodePort";
  if (!needs_health_check(spec)) {
    if (port != 0) {
      errors.invalid(port_path, port,
                     "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
    }
  } else if (port == 0) {
    errors.required(port_path);
  } else {
    for (const auto& fault : port_number(port)) errors.invalid(port_path, port, fault);
  }
}

void check_load_balancer(Errors& errors, const Json& spec) {
  const bool balancer = str(spec, "type") == "LoadBalancer";
  const auto& ranges = items(at(spec, "loadBalancerSourceRanges"));
  const Path path = kSpec / "LoadBalancerSourceRanges";
  if (!ranges.empty() && !balancer) errors.forbidden(path, kOnlyLoadBalancer);
  for (std::size_t i = 0; i < ranges.size(); ++i) check_cidr(errors, path[i], trim(str(ranges[i])));
  if (has(spec, "allocateLoadBalancerNodePorts") && !balancer) {
    errors.forbidden(kSpec / "allocateLoadBalancerNodePorts", kOnlyLoadBalancer);
  }
  if (balancer && !has(spec, "allocateLoadBalancerNodePorts")) errors.required(Path("allocateLoadBalancerNodePorts"));
  if (!has(spec, "loadBalancerClass")) return;
  if (balancer) {
    check_format(errors, kSpec / "loadBalancerClass", str(spec, "loadBalancerClass"), qualified_name);
  } else {
    errors.forbidden(kSpec / "loadBalancerClass", kOnlyLoadBalancer);
  }
}

void check_policies(Errors& errors, const Json& spec) {
  const Path path = kSpec / "internalTrafficPolicy";
  if (has(spec, "internalTrafficPolicy")) {
    check_enum(errors, path, str(spec, "internalTrafficPolicy"), {"Cluster", "Local"});
  } else if (const auto type = str(spec, "type"); type == "ClusterIP" || type == "NodePort" || type == "LoadBalancer") {
    errors.required(path);
  }
  if (has(spec, "trafficDistribution")) {
    check_enum(errors, kSpec / "trafficDistribution", str(spec, "trafficDistribution"),
               {"PreferClose", "PreferSameZone", "PreferSameNode"});
  }
}

// The list's first entry is for life; the second can come and go, with the family policy saying so.
void check_list_kept(Errors& errors, const Json& spec, const Json& old, std::string_view key, std::string_view what) {
  const Json& list = at(spec, key);
  const auto& now = items(list);
  const auto& before = items(at(old, key));
  const Path path = kSpec / key;
  if (now.size() == before.size()) {
    for (std::size_t i = 0; i < now.size(); ++i) {
      if (now[i] != before[i]) errors.invalid(path[i], list, "may not change once set");
    }
    return;
  }
  if (now.size() < before.size() && items(at(spec, "clusterIPs")).empty()) {
    errors.invalid(path[0], list, "primary " + std::string(what) + " can not be unset");
  }
  if (!now.empty() && !before.empty() && now.front() != before.front()) {
    errors.invalid(path[0], list, "may not change once set");
  }
  if (now.size() < before.size() && now.size() == 1 && str(spec, "ipFamilyPolicy") != "SingleStack") {
    errors.invalid(kSpec / "ipFamilyPolicy", at(spec, "ipFamilyPolicy"),
                   "must be set to 'SingleStack' when releasing the secondary " + std::string(what));
  }
}

}  // namespace

void create_service(Errors& errors, const Json& object) {
  const Json& spec = at(object, "spec");
  check_type(errors, spec);
  check_ports(errors, spec);
  check_labels(errors, kSpec / "selector", at(spec, "selector"));
  check_affinity_config(errors, spec);
  check_cluster_ips(errors, spec);
  check_external(errors, spec);
  check_load_balancer(errors, spec);
  check_policies(errors, spec);
}

void update_service(Errors& errors, const Json& object, const Json& old_object) {
  const Json& spec = at(object, "spec");
  const Json& old = at(old_object, "spec");
  if (str(spec, "type") != "ExternalName" && str(old, "type") != "ExternalName") {
    if (!is_headless(spec) || !is_headless(old)) check_list_kept(errors, spec, old, "clusterIPs", "clusterIP");
    if (!is_headless(spec) && !is_headless(old)) check_list_kept(errors, spec, old, "ipFamilies", "ipFamily");
  }
  if (str(spec, "type") == "LoadBalancer" && str(old, "type") == "LoadBalancer" &&
      at(spec, "loadBalancerClass") != at(old, "loadBalancerClass")) {
    errors.invalid(kSpec / "loadBalancerClass", at(spec, "loadBalancerClass"), "may not change once set");
  }
  if (needs_health_check(spec) && needs_health_check(old) &&
      num(spec, "healthCheckNodePort") != num(old, "healthCheckNodePort")) {
    errors.forbidden(kSpec / "healthCheckNodePort", kImmutable);
  }
  create_service(errors, object);
}

void update_service_status(Errors& errors, const Json& object, const Json& /*old*/) {
  const Path path = Path("status") / "loadBalancer" / "ingress";
  const auto& list = items(at(object, "status", "loadBalancer", "ingress"));
  if (!list.empty() && str(at(object, "spec"), "type") != "LoadBalancer") {
    errors.forbidden(path, "may only be used when `spec.type` is \"LoadBalancer\"");
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (const auto ip = str(list[i], "ip"); !ip.empty()) check_ip(errors, path[i] / "ip", ip);
    if (const auto name = str(list[i], "hostname"); !name.empty()) {
      check_format(errors, path[i] / "hostname", name, dns1123_subdomain);
      if (parse_address(name)) {
        errors.invalid(path[i] / "hostname", name, "must be a DNS name, not an IP address");
      }
    }
  }
}

}  // namespace brume::api::validation
