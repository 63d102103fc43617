#include "brume/linux/link.h"

#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace brume::netlink {
namespace {

ifinfomsg link_header(int index = 0) {
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = index;
  return header;
}

/// Begins a change of an existing link, found by its name.
AttributeWriter change_link(Messages& out, std::string_view name, const ifinfomsg& header, std::string what) {
  AttributeWriter w = out.begin(RTM_NEWLINK, 0, std::move(what) + " " + std::string(name));
  w.structure(header);
  w.text(IFLA_IFNAME, name);
  return w;
}

Link parse_link(std::string_view body) {
  Link link;
  ifinfomsg header;
  if (body.size() < sizeof header) return link;
  std::memcpy(&header, body.data(), sizeof header);
  link.index = header.ifi_index;
  link.up = (header.ifi_flags & IFF_UP) != 0;
  each_attribute(body.substr(sizeof header), [&](std::uint16_t type, std::string_view value) {
    std::uint32_t number = 0;
    if (value.size() == sizeof number) std::memcpy(&number, value.data(), sizeof number);
    switch (type) {
      case IFLA_IFNAME: link.name = value.substr(0, value.find('\0')); break;
      case IFLA_ADDRESS: link.mac = value; break;
      case IFLA_MTU: link.mtu = number; break;
      case IFLA_MASTER: link.master = static_cast<int>(number); break;
      case IFLA_OPERSTATE: link.operational = !value.empty() && value[0] == IF_OPER_UP; break;
      case IFLA_LINKINFO: {
        std::string_view kind = find_attribute(value, IFLA_INFO_KIND);
        link.kind = kind.substr(0, kind.find('\0'));
        break;
      }
      default: break;
    }
  });
  return link;
}

void write_address(AttributeWriter& w, int link_index, const net::IpAddress& address, std::uint8_t prefix) {
  ifaddrmsg header{};
  header.ifa_family = static_cast<std::uint8_t>(address.family());
  header.ifa_prefixlen = prefix;
  header.ifa_scope = RT_SCOPE_UNIVERSE;
  header.ifa_index = static_cast<std::uint32_t>(link_index);
  if (address.is_v6()) header.ifa_flags = IFA_F_NODAD;
  w.structure(header);
  w.bytes(IFA_LOCAL, address.octets());
  w.bytes(IFA_ADDRESS, address.octets());
}

void write_route(AttributeWriter& w, const Route& route) {
  rtmsg header{};
  header.rtm_family = static_cast<std::uint8_t>(route.to.address.family());
  header.rtm_dst_len = route.to.prefix;
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = RTPROT_STATIC;
  header.rtm_scope = route.kind != Route::Kind::kUnicast || !route.gateway.empty() ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  switch (route.kind) {
    case Route::Kind::kUnicast: header.rtm_type = RTN_UNICAST; break;
    case Route::Kind::kBlackhole: header.rtm_type = RTN_BLACKHOLE; break;
    case Route::Kind::kUnreachable: header.rtm_type = RTN_UNREACHABLE; break;
  }
  if (route.gateway_on_link) header.rtm_flags = RTNH_F_ONLINK;
  w.structure(header);
  if (route.to.prefix > 0) w.bytes(RTA_DST, route.to.address.octets());
  if (route.link_index > 0) w.u32(RTA_OIF, static_cast<std::uint32_t>(route.link_index));
  if (!route.gateway.empty()) w.bytes(RTA_GATEWAY, route.gateway.octets());
  if (!route.source.empty()) w.bytes(RTA_PREFSRC, route.source.octets());
}

ndmsg neighbour_header(int link_index, const net::IpAddress& address) {
  ndmsg header{};
  header.ndm_family = static_cast<std::uint8_t>(address.family());
  header.ndm_ifindex = link_index;
  header.ndm_state = NUD_PERMANENT;
  return header;
}

}  // namespace

Result<std::optional<Link>> find_link(Socket& socket, std::string_view name) {
  Messages request;
  AttributeWriter w = request.begin(RTM_GETLINK, 0, "looking up link " + std::string(name), ENODEV);
  w.structure(link_header());
  w.text(IFLA_IFNAME, name);
  std::optional<Link> found;
  BRUME_CHECK(socket.query(request, [&](const Answer& answer) {
    if (answer.type == RTM_NEWLINK) found = parse_link(answer.body);
  }));
  return found;
}

Result<std::vector<Link>> list_links(Socket& socket) {
  Messages request;
  request.begin(RTM_GETLINK, NLM_F_DUMP, "listing links").structure(link_header());
  std::vector<Link> links;
  BRUME_CHECK(socket.query(request, [&](const Answer& answer) {
    if (answer.type == RTM_NEWLINK) links.push_back(parse_link(answer.body));
  }));
  return links;
}

Status await_operational(Socket& socket, std::string_view name) {
  constexpr auto kPause = std::chrono::microseconds(500);
  constexpr int kTries = 400;
  for (int i = 0; i < kTries; ++i) {
    // Since Linux 6.8 the question itself makes the kernel catch up: the first answer says yes.
    BRUME_TRY(auto link, find_link(socket, name));
    if (!link.has_value()) return fail(Code::kNotFound, "link " + std::string(name) + " went away");
    if (link->operational) return {};
    std::this_thread::sleep_for(kPause);
  }
  return fail(Code::kTimeout, "link " + std::string(name) + " does not come up");
}

void add_bridge(Messages& out, const BridgeOptions& options) {
  AttributeWriter w = out.begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, "creating bridge " + options.name, EEXIST);
  w.structure(link_header());
  w.text(IFLA_IFNAME, options.name);
  w.u32(IFLA_MTU, options.mtu);
  w.bytes(IFLA_ADDRESS, options.mac);
  w.nest(IFLA_LINKINFO, [&] { w.text(IFLA_INFO_KIND, "bridge"); });
}

void add_veth(Messages& out, const VethOptions& options) {
  AttributeWriter w = out.begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, "creating veth pair " + options.name);
  w.structure(link_header());
  w.text(IFLA_IFNAME, options.name);
  w.u32(IFLA_MTU, options.mtu);
  if (!options.mac.empty()) w.bytes(IFLA_ADDRESS, options.mac);
  if (options.master > 0) w.u32(IFLA_MASTER, static_cast<std::uint32_t>(options.master));
  w.nest(IFLA_LINKINFO, [&] {
    w.text(IFLA_INFO_KIND, "veth");
    w.nest(IFLA_INFO_DATA, [&] {
      w.nest(VETH_INFO_PEER, [&] {
        w.structure(link_header());
        w.text(IFLA_IFNAME, options.peer_name);
        w.u32(IFLA_MTU, options.mtu);
        if (!options.peer_mac.empty()) w.bytes(IFLA_ADDRESS, options.peer_mac);
        if (options.peer_netns_fd >= 0) w.u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(options.peer_netns_fd));
      });
    });
  });
}

void delete_link(Messages& out, std::string_view name, bool missing_is_ok) {
  AttributeWriter w = out.begin(RTM_DELLINK, 0, "deleting link " + std::string(name), missing_is_ok ? ENODEV : 0);
  w.structure(link_header());
  w.text(IFLA_IFNAME, name);
}

void set_link(Messages& out, std::string_view name, bool up, bool no_ipv6) {
  if (no_ipv6) {
    // Its own message, and before the link goes up. EAFNOSUPPORT: this kernel has no IPv6, which is as good.
    AttributeWriter w =
        out.begin(RTM_NEWLINK, 0, "switching off IPv6 autoconfiguration of " + std::string(name), EAFNOSUPPORT);
    w.structure(link_header());
    w.text(IFLA_IFNAME, name);
    w.nest(IFLA_AF_SPEC, [&] { w.nest(AF_INET6, [&] { w.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE); }); });
  }
  ifinfomsg header = link_header();
  header.ifi_flags = up ? IFF_UP : 0;
  header.ifi_change = IFF_UP;
  change_link(out, name, header, up ? "setting up link" : "setting down link");
}

void set_mtu(Messages& out, std::string_view name, std::uint32_t mtu) {
  change_link(out, name, link_header(), "setting the MTU of").u32(IFLA_MTU, mtu);
}

void set_master(Messages& out, std::string_view name, int master) {
  change_link(out, name, link_header(), "joining to its bridge").u32(IFLA_MASTER, static_cast<std::uint32_t>(master));
}

void set_hairpin(Messages& out, int index, bool on) {
  ifinfomsg header = link_header(index);
  header.ifi_family = AF_BRIDGE;
  AttributeWriter w = out.begin(RTM_SETLINK, 0, "setting hairpin mode of link " + std::to_string(index));
  w.structure(header);
  w.nest(IFLA_PROTINFO, [&] { w.u8(IFLA_BRPORT_MODE, on ? 1 : 0); });
}

void add_address(Messages& out, int link_index, const net::IpAddress& address, std::uint8_t prefix) {
  AttributeWriter w = out.begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, "adding address " + address.str(), EEXIST);
  write_address(w, link_index, address, prefix);
}

void delete_address(Messages& out, int link_index, const net::IpAddress& address, std::uint8_t prefix) {
  AttributeWriter w = out.begin(RTM_DELADDR, 0, "deleting address " + address.str(), EADDRNOTAVAIL);
  write_address(w, link_index, address, prefix);
}

void set_route(Messages& out, const Route& route) {
  AttributeWriter w = out.begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, "setting route to " + route.to.str());
  write_route(w, route);
}

void delete_route(Messages& out, const Route& route, bool missing_is_ok) {
  AttributeWriter w = out.begin(RTM_DELROUTE, 0, "deleting route to " + route.to.str(), missing_is_ok ? ESRCH : 0);
  write_route(w, route);
}

void set_neighbour(Messages& out, int link_index, const net::IpAddress& address, std::string_view mac) {
  AttributeWriter w = out.begin(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, "setting neighbour " + address.str());
  w.structure(neighbour_header(link_index, address));
  w.bytes(NDA_DST, address.octets());
  w.bytes(NDA_LLADDR, mac);
}

void delete_neighbour(Messages& out, int link_index, const net::IpAddress& address) {
  AttributeWriter w = out.begin(RTM_DELNEIGH, 0, "deleting neighbour " + address.str(), ENOENT);
  w.structure(neighbour_header(link_index, address));
  w.bytes(NDA_DST, address.octets());
}

}  // namespace brume::netlink
