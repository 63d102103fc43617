#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "brume/linux/conntrack.h"

namespace brume::netlink {
namespace {

constexpr std::uint16_t message_type(std::uint16_t message) { return (NFNL_SUBSYS_CTNETLINK << 8) | message; }

nfgenmsg header_of(int family) {
  nfgenmsg header{};
  header.nfgen_family = static_cast<std::uint8_t>(family);
  header.version = NFNETLINK_V0;
  return header;
}

std::uint16_t port_of(std::string_view value) {
  std::uint16_t port = 0;
  if (value.size() == sizeof port) std::memcpy(&port, value.data(), sizeof port);
  return ntohs(port);
}

struct Tuple {
  net::IpAddress source, destination;
  std::uint8_t protocol = 0;
  std::uint16_t source_port = 0, destination_port = 0;
};

Tuple parse_tuple(std::string_view attributes, int family) {
  Tuple tuple;
  bool v4 = family == AF_INET;
  std::string_view ip = find_attribute(attributes, CTA_TUPLE_IP);
  if (auto a = net::IpAddress::from_octets(find_attribute(ip, v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC))) tuple.source = *a;
  if (auto a = net::IpAddress::from_octets(find_attribute(ip, v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST)))
    tuple.destination = *a;
  std::string_view proto = find_attribute(attributes, CTA_TUPLE_PROTO);
  std::string_view number = find_attribute(proto, CTA_PROTO_NUM);
  if (!number.empty()) tuple.protocol = static_cast<std::uint8_t>(number[0]);
  tuple.source_port = port_of(find_attribute(proto, CTA_PROTO_SRC_PORT));
  tuple.destination_port = port_of(find_attribute(proto, CTA_PROTO_DST_PORT));
  return tuple;
}

}  // namespace

Result<std::size_t> delete_flows(Socket& socket, int family, const std::function<bool(const Flow&)>& matches) {
  struct Doomed {
    std::string tuple, zone, id;
  };
  std::vector<Doomed> doomed;
  Messages request;
  request.begin(message_type(IPCTNL_MSG_CT_GET), NLM_F_DUMP, "listing tracked connections")
      .structure(header_of(family));
  BRUME_CHECK(socket.query(request, [&](const Answer& answer) {
    if (answer.body.size() < sizeof(nfgenmsg)) return;
    std::string_view entry = answer.body.substr(sizeof(nfgenmsg));
    std::string_view original = find_attribute(entry, CTA_TUPLE_ORIG);
    Tuple sent = parse_tuple(original, family);
    Tuple reply = parse_tuple(find_attribute(entry, CTA_TUPLE_REPLY), family);
    if (!matches(
            {sent.protocol, sent.source, sent.destination, sent.destination_port, reply.source, reply.source_port}))
      return;
    doomed.push_back({std::string(original), std::string(find_attribute(entry, CTA_ZONE)),
                      std::string(find_attribute(entry, CTA_ID))});
  }));
  if (doomed.empty()) return 0;
  Messages deletion;
  for (const auto& flow : doomed) {
    // An entry that ended by itself meanwhile is as good as deleted; the id keeps a successor of the same tuple alive.
    AttributeWriter w = deletion.begin(message_type(IPCTNL_MSG_CT_DELETE), 0, "deleting a tracked connection", ENOENT);
    w.structure(header_of(family));
    w.bytes(CTA_TUPLE_ORIG | NLA_F_NESTED, flow.tuple);
    if (!flow.zone.empty()) w.bytes(CTA_ZONE, flow.zone);
    if (!flow.id.empty()) w.bytes(CTA_ID, flow.id);
  }
  BRUME_CHECK(socket.transact(deletion));
  return doomed.size();
}

}  // namespace brume::netlink
