// Links, addresses, routes and neighbours: rtnetlink requests by name. Each function appends to a Messages, so that a
// caller sends what belongs together in one go.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/result.h"
#include "brume/linux/address.h"
#include "brume/linux/netlink.h"

namespace brume::netlink {

/// A link as the kernel lists it.
struct Link {
  int index = 0;
  std::string name;
  std::string kind;  ///< bridge, veth, ... or empty
  std::string mac;   ///< 6 octets, or empty
  std::uint32_t mtu = 0;
  int master = 0;  ///< index of the bridge, 0: none
  bool up = false;
  bool operational = false;  ///< carries packets (RFC 2863 operStatus up): set up, the other end too, queues in place
};

/// The link `name` in the socket's namespace; nullopt when there is none.
Result<std::optional<Link>> find_link(Socket& socket, std::string_view name);

struct BridgeOptions {
  std::string name;
  std::string mac;  ///< 6 octets
  std::uint32_t mtu = 1500;
};
/// All links of the socket's namespace.
Result<std::vector<Link>> list_links(Socket& socket);

/// Waits until the link carries packets. The kernel activates a veth's queues and its bridge port some time after both
/// ends were set up; a TCP handshake that falls into that gap is repeated only after a second. kTimeout after 200 ms.
Status await_operational(Socket& socket, std::string_view name);

/// Creates a bridge (down) without spanning tree; an existing link of that name is accepted.
void add_bridge(Messages& out, const BridgeOptions& options);

struct VethOptions {
  std::string name;  ///< of the end in the socket's namespace
  std::string mac;   ///< 6 octets; empty: the kernel's choice
  int master = 0;    ///< index of the bridge that `name` joins, 0: none
  std::string peer_name;
  std::string peer_mac;
  int peer_netns_fd = -1;  ///< where the other end goes; -1: here
  std::uint32_t mtu = 1500;
};
/// Creates a veth pair, both ends down. kAlreadyExists when either name is taken.
void add_veth(Messages& out, const VethOptions& options);
void delete_link(Messages& out, std::string_view name, bool missing_is_ok);
/// Sets a link up or down. `no_ipv6` also keeps the kernel from giving it a link-local address: no detection of
/// duplicates, no router solicitations.
void set_link(Messages& out, std::string_view name, bool up, bool no_ipv6 = false);
void set_mtu(Messages& out, std::string_view name, std::uint32_t mtu);
/// Joins `name` to the bridge of index `master` (0: leaves its bridge).
void set_master(Messages& out, std::string_view name, int master);
/// Lets a bridge send a frame back out of the port that it came in by. `index`: of the port.
void set_hairpin(Messages& out, int index, bool on);

/// Adds an address; an existing one is accepted. IPv6 addresses skip the detection of duplicates (IFA_F_NODAD).
void add_address(Messages& out, int link_index, const net::IpAddress& address, std::uint8_t prefix);
void delete_address(Messages& out, int link_index, const net::IpAddress& address, std::uint8_t prefix);

struct Route {
  enum class Kind : std::uint8_t { kUnicast, kBlackhole, kUnreachable };
  Kind kind = Kind::kUnicast;
  net::Cidr to;                  ///< prefix 0 of a family: the default route
  int link_index = 0;            ///< 0: none
  net::IpAddress gateway;        ///< empty: on the link
  net::IpAddress source;         ///< preferred source; empty: the kernel's choice
  bool gateway_on_link = false;  ///< the gateway needs no route of its own (RTNH_F_ONLINK)
};
/// Adds the route or replaces the one to the same place.
void set_route(Messages& out, const Route& route);
void delete_route(Messages& out, const Route& route, bool missing_is_ok);

/// A neighbour entry that never ages, so that no ARP or neighbour discovery is needed.
void set_neighbour(Messages& out, int link_index, const net::IpAddress& address, std::string_view mac);
void delete_neighbour(Messages& out, int link_index, const net::IpAddress& address);

}  // namespace brume::netlink
