// ServiceRules: Services as nf_tables maps, table "brume". A plain model in, rules out; it knows no API objects.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/linux/address.h"
#include "packet.h"
#include "rule_table.h"

namespace brume::network {

struct ServiceEndpoint {
  net::IpAddress address;
  std::uint16_t port = 0;
  bool local = false;  ///< on this node
  auto operator<=>(const ServiceEndpoint&) const = default;
};

/// One port of one Service.
struct ServicePort {
  std::uint8_t protocol = 0;  ///< IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;  ///< 0: none
  std::vector<net::IpAddress> cluster_ips;
  std::vector<net::IpAddress> external_ips;  ///< load balancers', and spec.externalIPs where those are allowed
  std::chrono::seconds affinity{0};          ///< ClientIP affinity's life; 0: no affinity
  bool internal_local = false;               ///< internalTrafficPolicy: Local
  bool external_local = false;               ///< externalTrafficPolicy: Local
  std::vector<ServiceEndpoint> endpoints;    ///< ready ones, each once; order does not matter
  bool operator==(const ServicePort&) const = default;
};

/// By name: "namespace/name/port-name/protocol", of characters that nft(8) takes in an identifier.
using ServicePorts = std::map<std::string, ServicePort>;

struct ServiceRulesOptions {
  std::optional<net::Cidr> cluster_cidr;  ///< pods' addresses; what comes from elsewhere to a cluster IP is masqueraded
  std::vector<net::Cidr> service_cidrs;   ///< what no rule translates of these is refused
};

/// Rules stay in the kernel when this object goes: running connections and pods do not depend on brume. Not
/// thread-safe; every call blocks for the kernel's work.
class ServiceRules {
 public:
  static Result<ServiceRules> open(ServiceRulesOptions options);

  /// Puts the whole table in place in one step, whatever was there. Connections go on.
  Status start(ServicePorts services);
  /// Changes what differs: new or changed ports, and (empty) ports that are gone. Other services are not touched.
  Status apply(std::map<std::string, std::optional<ServicePort>> changes);
  [[nodiscard]] const ServicePorts& services() const { return services_; }

  /// Deletes the tables, if they are there.
  static Status cleanup();

 private:
  explicit ServiceRules(netlink::Socket socket) : socket_(std::move(socket)) {}
  void forget_stale(const ServicePorts& before, const ServicePorts& changed);
  ServiceRulesOptions options_;
  netlink::Socket socket_;
  ServicePorts services_;
  RuleTable table_{nft::Family::kIpv4, "brume"};
};

/// The base chains and maps.
Fragment service_base_rules(const FamilyTraits& family, const ServiceRulesOptions& options);
/// What one port adds, of this family's addresses.
Fragment service_rules(const FamilyTraits& family, const ServiceRulesOptions& options, const std::string& name,
                       const ServicePort& service);
/// The name of the map that remembers a port's clients.
std::string affinity_map_name(const std::string& service);

}  // namespace brume::network
