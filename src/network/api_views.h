// What the network reads of Services and EndpointSlices, taken out of their JSON once.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "brume/api/object.h"
#include "brume/linux/address.h"

namespace brume::network {

/// One of spec.ports of a Service, or of the ports of an EndpointSlice (then node_port is 0).
struct PortView {
  std::string name;
  std::uint8_t protocol = 0;  ///< IPPROTO_*; 0: one that brume does not know
  std::string protocol_name;  ///< tcp, udp, sctp
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;
};

struct ServiceView {
  std::string ns, name;
  bool headless = false;
  std::string external_name;  ///< of type ExternalName
  std::vector<net::IpAddress> cluster_ips;
  std::vector<net::IpAddress> external_ips;       ///< spec.externalIPs
  std::vector<net::IpAddress> load_balancer_ips;  ///< status, those that are routed to the node as they are
  bool restricts_sources = false;                 ///< spec.loadBalancerSourceRanges is set
  std::vector<PortView> ports;
  std::chrono::seconds affinity{0};
  bool internal_local = false;
  bool external_local = false;
  bool foreign_proxy = false;  ///< label service.kubernetes.io/service-proxy-name: someone else's

  [[nodiscard]] std::string key() const { return ns + "/" + name; }
};

struct EndpointView {
  std::vector<net::IpAddress> addresses;
  std::string hostname;
  std::string node_name;
  bool ready = true;
  bool serving = true;
  bool terminating = false;
};

struct SliceView {
  std::string service;  ///< ns/name of the Service; empty: of none
  std::vector<PortView> ports;
  std::vector<EndpointView> endpoints;
};

[[nodiscard]] ServiceView view_service(const api::Object& service);
[[nodiscard]] SliceView view_slice(const api::Object& slice);
/// The key of the Service that a slice belongs to, without parsing its JSON.
[[nodiscard]] std::string service_of_slice(const api::Object& slice);

}  // namespace brume::network
