// The firewall that the node has beside brume, of whatever tool: what it drops by policy must not be pods' traffic.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "brume/linux/nft.h"

namespace brume::network {

/// Rules of brume in chains of others. A chain's accept holds for that chain only, so brume's own tables cannot make up
/// for another's drop. iptables of the nf_tables kind (Debian's) understands these rules; chains of iptables-legacy are
/// not seen. Not thread-safe; every call blocks.
class NodeFirewalls {
 public:
  NodeFirewalls(nft::Family family, std::string bridge, std::uint16_t api_port)
      : family_(family), bridge_(std::move(bridge)), api_port_(api_port) {}

  /// Puts the rules wherever they are missing. The first error is returned after all chains were tried, once for each
  /// change of the node's rules.
  Status pass(netlink::Socket& socket);
  /// Takes out what any brume put in.
  static Status forget(netlink::Socket& socket, nft::Family family);

 private:
  Status open_chain(netlink::Socket& socket, nft::Family family, const nft::BaseChain& chain) const;
  nft::Family family_;
  std::string bridge_;
  std::uint16_t api_port_;
  std::optional<std::uint32_t> seen_;  // the generation that was looked through
};

}  // namespace brume::network
