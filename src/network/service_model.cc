#include "service_model.h"

#include <algorithm>

namespace brume::network {
namespace {

/// Endpoints of one port. If none is ready, those that end but still serve are better than nothing (KEP-1669).
std::vector<ServiceEndpoint> endpoints_of(const PortView& port, const std::vector<const SliceView*>& slices,
                                          const std::string& node_name) {
  std::vector<ServiceEndpoint> ready;
  std::vector<ServiceEndpoint> ending;
  for (const SliceView* slice : slices) {
    auto target = std::find_if(slice->ports.begin(), slice->ports.end(),
                               [&](const PortView& p) { return p.name == port.name && p.protocol == port.protocol; });
    if (target == slice->ports.end() || target->port == 0) continue;
    for (const auto& endpoint : slice->endpoints) {
      // An endpoint has several addresses only in theory; discovery/v1 has consumers take the first.
      ServiceEndpoint one{endpoint.addresses.front(), target->port, endpoint.node_name == node_name};
      if (endpoint.ready) {
        ready.push_back(one);
      } else if (endpoint.serving && endpoint.terminating) {
        ending.push_back(one);
      }
    }
  }
  std::vector<ServiceEndpoint>& chosen = ready.empty() ? ending : ready;
  std::sort(chosen.begin(), chosen.end());
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  return std::move(chosen);
}

}  // namespace

ServicePorts service_ports(const ServiceView& service, const std::vector<const SliceView*>& slices,
                           const ServiceProxyOptions& options) {
  ServicePorts ports;
  if (service.headless || service.foreign_proxy || !service.external_name.empty() || service.cluster_ips.empty())
    return ports;
  for (const auto& port : service.ports) {
    if (port.protocol == 0 || port.port == 0) continue;
    ServicePort rule;
    rule.protocol = port.protocol;
    rule.port = port.port;
    rule.node_port = port.node_port;
    rule.cluster_ips = service.cluster_ips;
    // Source ranges are not enforced yet, so an address that asks for them is not opened to everybody.
    if (!service.restricts_sources) rule.external_ips = service.load_balancer_ips;
    if (options.allow_external_ips) {
      rule.external_ips.insert(rule.external_ips.end(), service.external_ips.begin(), service.external_ips.end());
    }
    rule.affinity = service.affinity;
    rule.internal_local = service.internal_local;
    rule.external_local = service.external_local;
    rule.endpoints = endpoints_of(port, slices, options.node_name);
    std::string label = port.name.empty() ? std::to_string(port.port) : port.name;
    ports.emplace(service.key() + "/" + label + "/" + port.protocol_name, std::move(rule));
  }
  return ports;
}

}  // namespace brume::network
