// PodLinks: the node's bridge, and for each pod a veth pair, an address, routes and host ports. All by netlink.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/linux/address.h"

namespace brume::network {

struct PodLinksOptions {
  std::string state_dir;                 ///< <data-dir>/network: which pod has which address
  net::Cidr pod_cidr;                    ///< this node's block, e.g. 10.42.0.0/24; its first address is the gateway's
  net::Cidr cluster_cidr;                ///< all nodes' blocks; what leaves it is masqueraded
  std::vector<net::Cidr> service_cidrs;  ///< routed to the bridge, so that a service address never leaves the node
  std::string bridge = "brume0";
  std::uint16_t api_port = 6443;  ///< of this node, where pods find the API server
  std::uint32_t mtu = 1500;
};

struct PodHostPort {
  std::uint8_t protocol = 0;  ///< IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP
  std::uint16_t host_port = 0;
  std::uint16_t pod_port = 0;
  net::IpAddress host_ip;  ///< empty: every address of the node
  bool operator==(const PodHostPort&) const = default;
};

/// Thread-safe. Every call blocks (system calls; about a millisecond for attach): call it through run_blocking.
class PodLinks {
 public:
  /// Creates the bridge and the node's own rules (table "brume-pods"), or takes over what an earlier brume left:
  /// running pods keep addresses, links and host ports, and no connection is cut. kForbidden without CAP_NET_ADMIN.
  static Result<std::unique_ptr<PodLinks>> start(PodLinksOptions options);
  virtual ~PodLinks() = default;

  /// Gives the pod's network namespace "eth0" with an address and a default route, sets up its "lo", and opens host
  /// ports. Idempotent: the same uid gets the same address, a complete link is left alone. The first address is the
  /// pod's IP. kTooManyRequests when the node's block is used up.
  virtual Result<std::vector<net::IpAddress>> attach(const std::string& uid, const std::string& netns_path,
                                                     std::vector<PodHostPort> host_ports) = 0;
  /// Takes link, address and host ports back. A uid that is not known is success.
  virtual Status detach(const std::string& uid) = 0;
  /// Lets pods through the node's own firewall where that drops by policy, as Docker, ufw and many an
  /// /etc/nftables.conf have it: in each chain that drops what is forwarded or comes in, rules at the head accept what
  /// comes from or goes to the bridge, or comes from it to the API server. Called every ten seconds: a firewall may be
  /// loaded at any time. Cheap while no rule of the node changes.
  virtual Status pass_firewalls() = 0;
  /// The uids that hold an address, e.g. to detach those whose pods went away while brume was not running.
  [[nodiscard]] virtual std::set<std::string> attached() const = 0;
  [[nodiscard]] virtual net::IpAddress gateway() const = 0;

  /// Removes bridge, routes, all pods' links, the rules and the state directory's contents. Also works for what an
  /// earlier process made; nothing that is already gone is an error.
  static Status cleanup(const PodLinksOptions& options);
};

}  // namespace brume::network
