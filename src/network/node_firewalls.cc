#include "node_firewalls.h"

#include <netinet/in.h>

#include <algorithm>

#include "brume/base/log.h"
#include "packet.h"

namespace brume::network {
namespace {

using nft::Hook;
using nft::Rule;

constexpr std::string_view kComment = "brume: pods";
constexpr std::string_view kOwnTables = "brume";  // and what begins so

const nft::Verdict kAccept{};

bool is_on_the_way(const nft::BaseChain& chain) {
  const bool passed = chain.hook.point == Hook::Point::kForward || chain.hook.point == Hook::Point::kInput;
  return passed && chain.hook.type == Hook::Type::kFilter && !chain.table.starts_with(kOwnTables);
}

bool is_ours(const nft::ListedRule& rule) { return rule.comment == kComment; }

/// Each chain of others on the way of IPv4 or IPv6: of that family's tables and of those for both.
template <typename Visit>
Status each_on_the_way(netlink::Socket& socket, nft::Family family, Visit visit) {
  Status first;
  for (const nft::Family of : {family, nft::Family::kInet}) {
    BRUME_TRY(const auto chains, nft::base_chains(socket, of));
    for (const auto& chain : chains) {
      if (!is_on_the_way(chain)) continue;
      if (auto done = visit(of, chain); !done && first) first = std::move(done);
    }
  }
  return first;
}

}  // namespace

Status NodeFirewalls::open_chain(netlink::Socket& socket, nft::Family family, const nft::BaseChain& chain) const {
  if (!chain.hook.drop) return {};
  BRUME_TRY(const auto rules, nft::list_rules(socket, family, chain.table, chain.name));
  if (std::ranges::any_of(rules, is_ours)) return {};
  nft::Batch batch(family, chain.table);
  if (chain.hook.point == Hook::Point::kForward) {
    batch.insert_rule(chain.name, Rule().input_interface_is(bridge_).counter().verdict(kAccept), kComment);
    batch.insert_rule(chain.name, Rule().output_interface_is(bridge_).counter().verdict(kAccept), kComment);
  } else {
    Rule api;
    api.input_interface_is(bridge_).meta_l4proto(0).compare(0, std::string(1, IPPROTO_TCP));
    api.payload(Rule::Base::kTransport, kDestinationPortOffset, kPortLength, 0);
    api.compare(0, port_key(api_port_).substr(0, kPortLength)).counter().verdict(kAccept);
    batch.insert_rule(chain.name, api, kComment);
  }
  BRUME_CHECK(batch.commit(socket));
  log::info("the node's firewall drops by policy: pods were let through",
            {{"table", chain.table}, {"chain", chain.name}});
  return {};
}

Status NodeFirewalls::pass(netlink::Socket& socket) {
  BRUME_TRY(const auto now, nft::generation(socket));
  if (seen_ == now) return {};
  seen_ = now;  // of before: what changes meanwhile, by ourselves too, is looked through the next time
  return each_on_the_way(socket, family_, [&](nft::Family family, const nft::BaseChain& chain) {
    return open_chain(socket, family, chain);
  });
}

Status NodeFirewalls::forget(netlink::Socket& socket, nft::Family family) {
  return each_on_the_way(socket, family, [&](nft::Family of, const nft::BaseChain& chain) -> Status {
    BRUME_TRY(const auto rules, nft::list_rules(socket, of, chain.table, chain.name));
    nft::Batch batch(of, chain.table);
    for (const auto& rule : rules) {
      if (is_ours(rule)) batch.delete_rule(chain.name, rule.handle);
    }
    return batch.commit(socket);
  });
}

}  // namespace brume::network
