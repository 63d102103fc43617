// Where rules find addresses and ports in a packet, and how they appear in the keys of sets.
#pragma once

#include <cstdint>
#include <string>

#include "brume/linux/address.h"
#include "brume/linux/nft.h"

namespace brume::network {

/// Offsets in the IP header: RFC 791 for IPv4, RFC 8200 for IPv6.
struct IpLayout {
  std::uint32_t source, destination, length;
};
inline constexpr IpLayout kIpv4Layout{12, 16, 4};
inline constexpr IpLayout kIpv6Layout{8, 24, 16};

/// Registers that one address takes.
inline constexpr nft::Register kIpv4Registers = 1;
inline constexpr nft::Register kIpv6Registers = 4;

/// NFPROTO family of rules, with what depends on it.
struct FamilyTraits {
  nft::Family family;
  IpLayout layout;
  nft::Register address_registers;
  nft::DataType address_type;
};
inline constexpr FamilyTraits kIpv4{nft::Family::kIpv4, kIpv4Layout, kIpv4Registers, nft::DataType::kIpv4};
inline constexpr FamilyTraits kIpv6{nft::Family::kIpv6, kIpv6Layout, kIpv6Registers, nft::DataType::kIpv6};

/// A destination port is 2 bytes at offset 2 of TCP's, UDP's and SCTP's headers alike.
inline constexpr std::uint32_t kDestinationPortOffset = 2;
inline constexpr std::uint32_t kPortLength = 2;

// Parts of concatenated keys: each padded with zeros to 4 bytes, as registers are.
inline std::string protocol_key(std::uint8_t protocol) { return {static_cast<char>(protocol), 0, 0, 0}; }
inline std::string port_key(std::uint16_t port) {
  return {static_cast<char>(port >> 8), static_cast<char>(port & 0xff), 0, 0};
}
inline std::string u32_key(std::uint32_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }

/// 127.0.0.0/8 or ::1/128.
inline net::Cidr loopback_block(nft::Family family) {
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access): both are blocks
  return *net::Cidr::parse(family == nft::Family::kIpv4 ? "127.0.0.0/8" : "::1/128");
}

/// Loads the destination address into `to` and the registers after it.
inline nft::Rule& load_destination(nft::Rule& rule, const FamilyTraits& f, nft::Register to) {
  return rule.payload(nft::Rule::Base::kNetwork, f.layout.destination, f.layout.length, to);
}
inline nft::Rule& load_source(nft::Rule& rule, const FamilyTraits& f, nft::Register to) {
  return rule.payload(nft::Rule::Base::kNetwork, f.layout.source, f.layout.length, to);
}
/// Loads protocol and destination port into `to` and `to + 1`.
inline nft::Rule& load_port(nft::Rule& rule, nft::Register to) {
  return rule.meta_l4proto(to).payload(nft::Rule::Base::kTransport, kDestinationPortOffset, kPortLength, to + 1);
}
/// Goes on only if the address in `from` is (not) in `block`. Overwrites `from`.
inline nft::Rule& in_block(nft::Rule& rule, const net::Cidr& block, nft::Register from, bool inside = true) {
  std::string mask = block.mask();
  return rule.bitwise(from, from, mask, std::string(mask.size(), '\0')).compare(from, block.address.octets(), inside);
}

}  // namespace brume::network
