#include "pod_rules.h"

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/rtnetlink.h>

namespace brume::network {
namespace {

using nft::DataType;
using nft::Hook;
using nft::Rule;
using nft::Verdict;

constexpr const char* kHairpin = "hairpin";
constexpr const char* kHostPorts = "host-ports";
constexpr const char* kHostPortsOfAddress = "host-ports-of-address";

const Verdict kDrop{Verdict::Kind::kDrop, {}};
const Verdict kReturn{Verdict::Kind::kReturn, {}};

nft::Set host_port_map(const FamilyTraits& f, const char* name, bool with_address) {
  nft::Set set;
  set.name = name;
  set.key_type = with_address ? nft::concatenation({f.address_type, DataType::kProtocol, DataType::kPort})
                              : nft::concatenation({DataType::kProtocol, DataType::kPort});
  set.key_length = (with_address ? f.layout.length : 0) + 8;
  set.data = nft::Set::Data::kValue;
  set.data_type = nft::concatenation({f.address_type, DataType::kPort});
  set.data_length = f.layout.length + 4;
  return set;
}

/// Host ports: what comes to an address of the node. IPv4's loopback is one, for the node itself: the bridge routes it
/// (route_localnet) and loopback_source() gives the answer a way back; IPv6 has no such thing.
ChainSpec host_port_chain(const FamilyTraits& f) {
  const nft::Register kTarget = 8;
  ChainSpec chain;
  Rule not_local;
  not_local.fib_address_type(true, 0).compare_u32(0, RTN_LOCAL, false).verdict(kReturn);
  Rule of_address;
  load_destination(of_address, f, 0);
  load_port(of_address, f.address_registers);
  of_address.map(kHostPortsOfAddress, 0, kTarget).dnat(f.family, kTarget, kTarget + f.address_registers);
  Rule of_any;
  load_port(of_any, 0).map(kHostPorts, 0, kTarget).dnat(f.family, kTarget, kTarget + f.address_registers);
  chain.rules = {not_local, of_address, of_any};
  if (f.family == nft::Family::kIpv6) {
    Rule loopback;
    load_destination(loopback, f, 0);
    in_block(loopback, loopback_block(f.family), 0).verdict(kReturn);
    chain.rules.insert(chain.rules.begin() + 1, loopback);
  }
  return chain;
}

/// A pod could not answer a connection from 127.0.0.1.
Rule loopback_source(const FamilyTraits& f, const PodLinksOptions& options) {
  Rule rule;
  rule.output_interface_is(options.bridge);
  load_source(rule, f, 0);
  in_block(rule, loopback_block(f.family), 0).masquerade();
  return rule;
}

ChainSpec postrouting_chain(const FamilyTraits& f, const PodLinksOptions& options) {
  ChainSpec chain{Hook{Hook::Type::kNat, Hook::Point::kPostrouting, 100}, {}};
  // A pod that reaches itself through a service or a host port must see an answerable source.
  Rule hairpin;
  std::string translated = u32_key(IPS_DST_NAT);
  hairpin.ct_status(0).bitwise(0, 0, translated, u32_key(0)).compare(0, translated);
  load_source(hairpin, f, 0);
  load_destination(hairpin, f, f.address_registers);
  hairpin.in_set(kHairpin, 0).masquerade();
  // Beyond the cluster nobody knows a pod's address. What stays on the node or is multicast keeps it.
  Rule outside;
  outside.output_interface_is(options.bridge, false);
  load_source(outside, f, 0);
  in_block(outside, options.cluster_cidr, 0);
  load_destination(outside, f, 0);
  in_block(outside, options.cluster_cidr, 0, false);
  outside.fib_address_type(true, 0).compare_u32(0, RTN_LOCAL, false).compare_u32(0, RTN_MULTICAST, false).masquerade();
  chain.rules = {hairpin, outside, loopback_source(f, options)};
  return chain;
}

/// CVE-2020-8558: a neighbour or a pod must not reach what listens on the node's loopback only.
ChainSpec martian_chain(const FamilyTraits& f) {
  ChainSpec chain{Hook{Hook::Type::kFilter, Hook::Point::kPrerouting, -300}, {}};
  net::Cidr loopback = loopback_block(f.family);
  Rule to;
  to.input_interface_is("lo", false);
  load_destination(to, f, 0);
  in_block(to, loopback, 0).verdict(kDrop);
  Rule from;
  from.input_interface_is("lo", false);
  load_source(from, f, 0);
  in_block(from, loopback, 0).verdict(kDrop);
  chain.rules = {to, from};
  return chain;
}

}  // namespace

Fragment pod_base_rules(const FamilyTraits& f, const PodLinksOptions& options) {
  Fragment base;
  nft::Set hairpin;
  hairpin.name = kHairpin;
  hairpin.key_type = nft::concatenation({f.address_type, f.address_type});
  hairpin.key_length = 2 * f.layout.length;
  base.sets = {{kHairpin, hairpin},
               {kHostPorts, host_port_map(f, kHostPorts, false)},
               {kHostPortsOfAddress, host_port_map(f, kHostPortsOfAddress, true)}};
  Rule to_host_ports;
  to_host_ports.verdict({Verdict::Kind::kJump, "host-port-lookup"});
  base.chains["host-port-lookup"] = host_port_chain(f);
  // One after services' -100, so that the order does not depend on which table was made first.
  base.chains["nat-prerouting"] = {Hook{Hook::Type::kNat, Hook::Point::kPrerouting, -99}, {to_host_ports}};
  base.chains["nat-output"] = {Hook{Hook::Type::kNat, Hook::Point::kOutput, -99}, {to_host_ports}};
  base.chains["nat-postrouting"] = postrouting_chain(f, options);
  base.chains["martians"] = martian_chain(f);
  return base;
}

Fragment pod_rules(const Lease& lease) {
  Fragment fragment;
  std::string address(lease.address.octets());
  fragment.element(kHairpin, address + address);
  for (const auto& port : lease.host_ports) {
    std::string key = protocol_key(port.protocol) + port_key(port.host_port);
    nft::ElementData target{address + port_key(port.pod_port), std::nullopt};
    if (port.host_ip.empty() || port.host_ip.is_unspecified()) {
      fragment.element(kHostPorts, key, target);
    } else if (port.host_ip.family() == lease.address.family()) {
      fragment.element(kHostPortsOfAddress, std::string(port.host_ip.octets()) + key, target);
    }
  }
  return fragment;
}

}  // namespace brume::network
