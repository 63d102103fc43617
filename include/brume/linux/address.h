// IP addresses and prefixes as values: what links, routes, rules and DNS records are made of.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace brume::net {

/// An IPv4 or IPv6 address. Default: no address (size 0).
class IpAddress {
 public:
  IpAddress() = default;
  /// Dotted quad or RFC 4291 text; no zone, no prefix, no leading zeros (inet_pton(3)).
  static std::optional<IpAddress> parse(std::string_view text);
  /// From 4 or 16 octets in network order; nullopt for another count.
  static std::optional<IpAddress> from_octets(std::string_view octets);

  [[nodiscard]] std::string str() const;          ///< RFC 5952 text; "" for no address
  [[nodiscard]] std::string_view octets() const;  ///< network order, 0, 4 or 16 of them
  [[nodiscard]] bool is_v4() const { return size_ == 4; }
  [[nodiscard]] bool is_v6() const { return size_ == 16; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] bool is_loopback() const;     ///< 127.0.0.0/8, ::1
  [[nodiscard]] bool is_unspecified() const;  ///< 0.0.0.0, ::
  [[nodiscard]] int family() const;           ///< AF_INET, AF_INET6, or AF_UNSPEC

  /// The address `count` further on; wraps at the end of the address space.
  [[nodiscard]] IpAddress plus(std::uint64_t count) const;

  auto operator<=>(const IpAddress&) const = default;

 private:
  std::uint8_t size_ = 0;
  std::array<std::uint8_t, 16> octets_{};
};

/// An address block. `address` has its host bits cleared when it came from parse().
struct Cidr {
  IpAddress address;
  std::uint8_t prefix = 0;  ///< length in bits

  /// "10.42.0.0/16"; nullopt without a prefix or with one that is too long.
  static std::optional<Cidr> parse(std::string_view text);
  [[nodiscard]] bool contains(const IpAddress& other) const;
  [[nodiscard]] std::string str() const;
  [[nodiscard]] std::string mask() const;          ///< the mask's octets in network order
  [[nodiscard]] std::uint64_t host_count() const;  ///< addresses in the block, 2^63 at most
  auto operator<=>(const Cidr&) const = default;
};

}  // namespace brume::net
