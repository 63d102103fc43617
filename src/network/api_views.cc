#include "api_views.h"

#include <netinet/in.h>

#include "brume/base/json.h"

namespace brume::network {
namespace {

constexpr std::int64_t kDefaultAffinitySeconds = 10'800;  // core/v1 ClientIPConfig.timeoutSeconds

std::vector<net::IpAddress> addresses_in(const Json& list) {
  std::vector<net::IpAddress> addresses;
  if (!list.is_array()) return addresses;
  for (const auto& item : list) {
    if (auto address = net::IpAddress::parse(str(item))) addresses.push_back(*address);
  }
  return addresses;
}

std::uint16_t port_number(const Json& value, std::string_view key) {
  std::int64_t number = num(value, key);
  return number > 0 && number <= 65'535 ? static_cast<std::uint16_t>(number) : 0;
}

std::vector<PortView> ports_in(const Json& list) {
  std::vector<PortView> ports;
  if (!list.is_array()) return ports;
  for (const auto& item : list) {
    PortView port;
    port.name = str(item, "name");
    std::string_view protocol = str(item, "protocol");
    if (protocol.empty() || protocol == "TCP") {
      port.protocol = IPPROTO_TCP;
      port.protocol_name = "tcp";
    } else if (protocol == "UDP") {
      port.protocol = IPPROTO_UDP;
      port.protocol_name = "udp";
    } else if (protocol == "SCTP") {
      port.protocol = IPPROTO_SCTP;
      port.protocol_name = "sctp";
    }
    port.port = port_number(item, "port");
    port.node_port = port_number(item, "nodePort");
    ports.push_back(std::move(port));
  }
  return ports;
}

void read_load_balancer(const Json& service, ServiceView& view) {
  const Json& ingress = at(service, "status", "loadBalancer", "ingress");
  if (!ingress.is_array()) return;
  for (const auto& item : ingress) {
    if (str(item, "ipMode") == "Proxy") continue;  // KEP-1860: the balancer itself must see that traffic
    if (auto address = net::IpAddress::parse(str(item, "ip"))) view.load_balancer_ips.push_back(*address);
  }
}

}  // namespace

ServiceView view_service(const api::Object& object) {
  Json service = object.parse();
  const Json& spec = at(service, "spec");
  ServiceView view;
  view.ns = object.ns();
  view.name = object.name();
  view.foreign_proxy = !object.label("service.kubernetes.io/service-proxy-name").empty();
  if (str(spec, "type") == "ExternalName") {
    view.external_name = str(spec, "externalName");
    return view;
  }
  view.headless = str(spec, "clusterIP") == "None";
  view.cluster_ips = addresses_in(at(spec, "clusterIPs"));
  if (view.cluster_ips.empty()) {
    if (auto address = net::IpAddress::parse(str(spec, "clusterIP"))) view.cluster_ips = {*address};
  }
  view.external_ips = addresses_in(at(spec, "externalIPs"));
  view.restricts_sources = !at(spec, "loadBalancerSourceRanges").empty();
  if (str(spec, "type") == "LoadBalancer") read_load_balancer(service, view);
  view.ports = ports_in(at(spec, "ports"));
  if (str(spec, "sessionAffinity") == "ClientIP") {
    view.affinity = std::chrono::seconds(
        num(at(spec, "sessionAffinityConfig", "clientIP"), "timeoutSeconds", kDefaultAffinitySeconds));
  }
  view.internal_local = str(spec, "internalTrafficPolicy") == "Local";
  view.external_local = str(spec, "externalTrafficPolicy") == "Local";
  return view;
}

std::string service_of_slice(const api::Object& slice) {
  std::string_view name = slice.label("kubernetes.io/service-name");
  return name.empty() ? std::string() : slice.ns() + "/" + std::string(name);
}

SliceView view_slice(const api::Object& object) {
  Json slice = object.parse();
  SliceView view;
  view.service = service_of_slice(object);
  view.ports = ports_in(at(slice, "ports"));
  const Json& endpoints = at(slice, "endpoints");
  if (!endpoints.is_array()) return view;
  for (const auto& item : endpoints) {
    EndpointView endpoint;
    endpoint.addresses = addresses_in(at(item, "addresses"));
    endpoint.hostname = str(item, "hostname");
    endpoint.node_name = str(item, "nodeName");
    // discovery/v1: an absent "ready" means ready, an absent "serving" means what "ready" says.
    const Json& conditions = at(item, "conditions");
    endpoint.ready = flag(conditions, "ready", true);
    endpoint.serving = flag(conditions, "serving", endpoint.ready);
    endpoint.terminating = flag(conditions, "terminating", false);
    if (!endpoint.addresses.empty()) view.endpoints.push_back(std::move(endpoint));
  }
  return view;
}

}  // namespace brume::network
