#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <algorithm>

#include "service_rules.h"

namespace brume::network {
namespace {

using nft::DataType;
using nft::Hook;
using nft::Register;
using nft::Rule;
using nft::Verdict;

constexpr const char* kServiceIps = "service-ips";
constexpr const char* kNodePorts = "service-nodeports";
constexpr const char* kServices = "services";
constexpr const char* kReject = "reject";

/// Carries "masquerade this" from where a packet is translated to postrouting; the bit that kube-proxy uses by default.
constexpr std::uint32_t kMasqueradeMark = 0x4000;
constexpr std::uint32_t kStateInvalid = 1;  // NF_CT_STATE_INVALID_BIT

constexpr Register kClient = 0;    // registers of an address at most: 0-3
constexpr Register kEndpoint = 8;  // endpoint address, then port: 8-12

const Verdict kDropped{Verdict::Kind::kDrop, {}};
const Verdict kReturn{Verdict::Kind::kReturn, {}};
Verdict go_to(std::string chain) { return {Verdict::Kind::kGoto, std::move(chain)}; }

Rule& mark_for_masquerade(Rule& rule) {
  return rule.meta_mark(0).bitwise(0, 0, u32_key(~kMasqueradeMark), u32_key(kMasqueradeMark)).set_meta_mark(0);
}

ChainSpec postrouting_chain() {
  ChainSpec chain{Hook{Hook::Type::kNat, Hook::Point::kPostrouting, 100}, {}};
  Rule rule;
  std::string bit = u32_key(kMasqueradeMark);
  rule.meta_mark(0).bitwise(0, 1, bit, u32_key(0)).compare(1, bit);
  // Unmarked again: a tunnel that wraps the packet must not be masqueraded too.
  rule.bitwise(0, 0, u32_key(~kMasqueradeMark), u32_key(0)).set_meta_mark(0).masquerade();
  chain.rules = {rule};
  return chain;
}

ChainSpec lookup_chain(const FamilyTraits& f) {
  ChainSpec chain;
  Rule by_address;
  load_destination(by_address, f, 0);
  load_port(by_address, f.address_registers).verdict_map(kServiceIps, 0);
  Rule not_local;
  not_local.fib_address_type(true, 0).compare_u32(0, RTN_LOCAL, false).verdict(kReturn);
  Rule by_node_port;
  load_port(by_node_port, 0).verdict_map(kNodePorts, 0);
  chain.rules = {by_address, not_local, by_node_port};
  if (f.family == nft::Family::kIpv6) {  // IPv4's loopback is routed to pods as for host ports: see pod_rules.cc
    Rule loopback;
    load_destination(loopback, f, 0);
    in_block(loopback, loopback_block(f.family), 0).verdict(kReturn);
    chain.rules.insert(chain.rules.begin() + 2, loopback);
  }
  return chain;
}

ChainSpec reject_chain(const FamilyTraits& f) {
  ChainSpec chain;
  Rule tcp;
  tcp.meta_l4proto(0).compare(0, std::string(1, IPPROTO_TCP)).reject_tcp_reset();
  Rule other;
  other.reject_port_unreachable(f.family);
  chain.rules = {tcp, other};
  return chain;
}

/// After translation nothing is addressed to a service any more, unless there is no such service or it has no
/// endpoints.
void refuse_service_addresses(const FamilyTraits& f, const ServiceRulesOptions& options, ChainSpec& chain) {
  for (const auto& block : options.service_cidrs) {
    if (block.address.octets().size() != f.layout.length) continue;
    Rule rule;
    load_destination(rule, f, 0);
    in_block(rule, block, 0).verdict(go_to(kReject));
    chain.rules.push_back(rule);
  }
}

nft::Set endpoint_set(const FamilyTraits& f, std::string name) {
  nft::Set set;
  set.name = std::move(name);
  set.key_type = nft::concatenation({f.address_type, DataType::kPort});
  set.key_length = f.layout.length + 4;
  return set;
}

nft::Set endpoint_map(const FamilyTraits& f, std::string name) {
  nft::Set set;
  set.name = std::move(name);
  set.key_type = static_cast<std::uint32_t>(DataType::kMark);
  set.key_length = 4;
  set.data = nft::Set::Data::kValue;
  set.data_type = nft::concatenation({f.address_type, DataType::kPort});
  set.data_length = f.layout.length + 4;
  return set;
}

nft::Set affinity_map(const FamilyTraits& f, const std::string& service, std::chrono::seconds life) {
  constexpr std::uint32_t kMostClients = 65'536;  // as a set of nft(8) without a size; bounds kernel memory
  nft::Set set = endpoint_map(f, affinity_map_name(service));
  set.key_type = static_cast<std::uint32_t>(f.address_type);
  set.key_length = f.layout.length;
  set.dynamic = true;
  set.timeout = life;
  set.size = kMostClients;
  return set;
}

/// Builds the fragment of one port.
class Builder {
 public:
  Builder(const FamilyTraits& family, const ServiceRulesOptions& options, const std::string& name,
          const ServicePort& service)
      : f_(family), options_(options), name_(name), service_(service) {
    for (const auto& endpoint : service.endpoints) {
      if (endpoint.address.octets().size() == f_.layout.length) all_.push_back(endpoint);
    }
    // A fixed order keeps the elements of the map the same when only the order of the model changed.
    std::sort(all_.begin(), all_.end());
    all_.erase(std::unique(all_.begin(), all_.end()), all_.end());
    std::copy_if(all_.begin(), all_.end(), std::back_inserter(local_), [](const auto& e) { return e.local; });
  }

  Fragment build() {
    bool external = service_.node_port != 0 || !service_.external_ips.empty();
    if (!all_.empty()) {
      if (service_.affinity.count() > 0) {
        nft::Set clients = affinity_map(f_, name_, service_.affinity);
        fragment_.sets.emplace(clients.name, clients);
      }
      cluster_chain();
      if (service_.internal_local && !local_.empty()) local_chain("internal");
      if (external) external_chain();
    }
    Verdict internal = all_.empty()               ? go_to(kReject)
                       : !service_.internal_local ? go_to("cluster/" + name_)
                       : local_.empty()           ? kDropped
                                                  : go_to("internal/" + name_);
    for (const auto& ip : service_.cluster_ips) address_element(ip, internal);
    Verdict outside = all_.empty() ? go_to(kReject) : go_to("external/" + name_);
    for (const auto& ip : service_.external_ips) address_element(ip, outside);
    if (service_.node_port != 0) {
      fragment_.element(kNodePorts, protocol_key(service_.protocol) + port_key(service_.node_port), {{}, outside});
    }
    return std::move(fragment_);
  }

 private:
  void address_element(const net::IpAddress& ip, const Verdict& verdict) {
    if (ip.octets().size() != f_.layout.length) return;
    fragment_.element(kServiceIps, std::string(ip.octets()) + protocol_key(service_.protocol) + port_key(service_.port),
                      {{}, verdict});
  }

  /// Rules that choose one of `endpoints`; `purpose` names their sets.
  void balance(ChainSpec& chain, const std::string& purpose, const std::vector<ServiceEndpoint>& endpoints) {
    std::string choice = purpose + "-endpoints/" + name_;
    fragment_.sets.emplace(choice, endpoint_map(f_, choice));
    std::uint32_t index = 0;
    for (const auto& e : endpoints) {
      fragment_.element(choice, u32_key(index++), {std::string(e.address.octets()) + port_key(e.port), std::nullopt});
    }
    bool sticky = service_.affinity.count() > 0;
    std::string clients = affinity_map_name(name_);
    auto port = static_cast<Register>(kEndpoint + f_.address_registers);
    if (sticky) {
      // A remembered endpoint counts only while it is one of the endpoints.
      std::string valid = purpose + "-valid/" + name_;
      fragment_.sets.emplace(valid, endpoint_set(f_, valid));
      for (const auto& e : endpoints) fragment_.element(valid, std::string(e.address.octets()) + port_key(e.port));
      Rule remembered;
      load_source(remembered, f_, kClient);
      remembered.map(clients, kClient, kEndpoint).in_set(valid, kEndpoint);
      remembered.update_set(clients, kClient, kEndpoint, service_.affinity).dnat(f_.family, kEndpoint, port);
      chain.rules.push_back(remembered);
    }
    Rule chosen;
    chosen.random(static_cast<std::uint32_t>(endpoints.size()), 0).map(choice, 0, kEndpoint);
    if (sticky) load_source(chosen, f_, kClient).update_set(clients, kClient, kEndpoint, service_.affinity);
    chosen.dnat(f_.family, kEndpoint, port);
    chain.rules.push_back(chosen);
  }

  void cluster_chain() {
    ChainSpec chain;
    if (options_.cluster_cidr.has_value() && options_.cluster_cidr->address.octets().size() == f_.layout.length) {
      Rule from_elsewhere;  // the answer must come back by this node, wherever the endpoint is
      load_source(from_elsewhere, f_, 0);
      in_block(from_elsewhere, *options_.cluster_cidr, 0, false);
      chain.rules.push_back(mark_for_masquerade(from_elsewhere));
    }
    balance(chain, "all", all_);
    fragment_.chains.emplace("cluster/" + name_, std::move(chain));
  }

  void local_chain(const std::string& purpose) {
    ChainSpec chain;
    balance(chain, purpose, local_);
    fragment_.chains.emplace(purpose + "/" + name_, std::move(chain));
  }

  void external_chain() {
    ChainSpec chain;
    std::string cluster = "cluster/" + name_;
    if (!service_.external_local) {
      Rule masquerade;
      mark_for_masquerade(masquerade).verdict(go_to(cluster));
      chain.rules = {masquerade};
    } else {
      // Policy Local is about keeping the client's address; pods and the node itself may use every endpoint.
      if (options_.cluster_cidr.has_value() && options_.cluster_cidr->address.octets().size() == f_.layout.length) {
        Rule from_pods;
        load_source(from_pods, f_, 0);
        in_block(from_pods, *options_.cluster_cidr, 0).verdict(go_to(cluster));
        chain.rules.push_back(from_pods);
      }
      Rule from_node;
      from_node.fib_address_type(false, 0).compare_u32(0, RTN_LOCAL);
      chain.rules.push_back(mark_for_masquerade(from_node).verdict(go_to(cluster)));
      if (local_.empty()) {
        Rule none;
        chain.rules.push_back(none.verdict(kDropped));
      } else {
        balance(chain, "external", local_);
      }
    }
    fragment_.chains.emplace("external/" + name_, std::move(chain));
  }

  const FamilyTraits& f_;
  const ServiceRulesOptions& options_;
  const std::string& name_;
  const ServicePort& service_;
  std::vector<ServiceEndpoint> all_, local_;
  Fragment fragment_;
};

}  // namespace

std::string affinity_map_name(const std::string& service) { return "clients/" + service; }

Fragment service_base_rules(const FamilyTraits& f, const ServiceRulesOptions& options) {
  Fragment base;
  nft::Set ips;
  ips.name = kServiceIps;
  ips.key_type = nft::concatenation({f.address_type, DataType::kProtocol, DataType::kPort});
  ips.key_length = f.layout.length + 8;
  ips.data = nft::Set::Data::kVerdict;
  nft::Set ports = ips;
  ports.name = kNodePorts;
  ports.key_type = nft::concatenation({DataType::kProtocol, DataType::kPort});
  ports.key_length = 8;
  base.sets = {{ips.name, ips}, {ports.name, ports}};
  Rule look_up;
  look_up.verdict({Verdict::Kind::kJump, kServices});
  base.chains[kReject] = reject_chain(f);
  base.chains[kServices] = lookup_chain(f);
  base.chains["nat-prerouting"] = {Hook{Hook::Type::kNat, Hook::Point::kPrerouting, -100}, {look_up}};
  base.chains["nat-output"] = {Hook{Hook::Type::kNat, Hook::Point::kOutput, -100}, {look_up}};
  base.chains["nat-postrouting"] = postrouting_chain();
  ChainSpec forward{Hook{Hook::Type::kFilter, Hook::Point::kForward, -10}, {}};
  refuse_service_addresses(f, options, forward);
  if (options.cluster_cidr.has_value() && options.cluster_cidr->address.octets().size() == f.layout.length) {
    // An answer that connection tracking does not recognise would go out with the endpoint's own address, and the
    // client would reset a connection that is fine.
    Rule invalid;
    invalid.ct_state(0).bitwise(0, 0, u32_key(kStateInvalid), u32_key(0)).compare(0, u32_key(kStateInvalid));
    load_source(invalid, f, 0);
    in_block(invalid, *options.cluster_cidr, 0).verdict(kDropped);
    forward.rules.push_back(invalid);
  }
  ChainSpec output{Hook{Hook::Type::kFilter, Hook::Point::kOutput, -10}, {}};
  refuse_service_addresses(f, options, output);
  base.chains["filter-forward"] = std::move(forward);
  base.chains["filter-output"] = std::move(output);
  return base;
}

Fragment service_rules(const FamilyTraits& family, const ServiceRulesOptions& options, const std::string& name,
                       const ServicePort& service) {
  return Builder(family, options, name, service).build();
}

}  // namespace brume::network
