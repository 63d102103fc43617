#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "brume/base/strings.h"
#include "brume/linux/address.h"

namespace brume::net {

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  if (text.size() >= INET6_ADDRSTRLEN) return std::nullopt;
  char buffer[INET6_ADDRSTRLEN] = {};
  std::memcpy(buffer, text.data(), text.size());
  if (text.find('\0') != std::string_view::npos) return std::nullopt;
  IpAddress address;
  if (inet_pton(AF_INET, buffer, address.octets_.data()) == 1) {
    address.size_ = 4;
  } else if (inet_pton(AF_INET6, buffer, address.octets_.data()) == 1) {
    address.size_ = 16;
  } else {
    return std::nullopt;
  }
  return address;
}

std::optional<IpAddress> IpAddress::from_octets(std::string_view octets) {
  if (octets.size() != 4 && octets.size() != 16) return std::nullopt;
  IpAddress address;
  address.size_ = static_cast<std::uint8_t>(octets.size());
  std::memcpy(address.octets_.data(), octets.data(), octets.size());
  return address;
}

std::string IpAddress::str() const {
  if (empty()) return {};
  char buffer[INET6_ADDRSTRLEN] = {};
  inet_ntop(family(), octets_.data(), buffer, sizeof buffer);
  return buffer;
}

std::string_view IpAddress::octets() const { return {reinterpret_cast<const char*>(octets_.data()), size_}; }

bool IpAddress::is_loopback() const {
  if (is_v4()) return octets_[0] == 127;
  return is_v6() && octets_[15] == 1 && std::all_of(octets_.begin(), octets_.end() - 1, [](auto o) { return o == 0; });
}

bool IpAddress::is_unspecified() const {
  return !empty() && std::all_of(octets_.begin(), octets_.end(), [](auto o) { return o == 0; });
}

int IpAddress::family() const { return is_v4() ? AF_INET : is_v6() ? AF_INET6 : AF_UNSPEC; }

IpAddress IpAddress::plus(std::uint64_t count) const {
  IpAddress sum = *this;
  for (std::size_t i = size_; i-- > 0 && count > 0;) {
    std::uint64_t octet = sum.octets_[i] + (count & 0xff);
    sum.octets_[i] = static_cast<std::uint8_t>(octet);
    count = (count >> 8) + (octet >> 8);
  }
  return sum;
}

std::optional<Cidr> Cidr::parse(std::string_view text) {
  auto slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  auto address = IpAddress::parse(text.substr(0, slash));
  auto digits = text.substr(slash + 1);
  if (digits.empty() || digits.size() > 3 || digits.find_first_not_of("0123456789") != std::string_view::npos)
    return std::nullopt;
  auto prefix = parse_int(digits);
  if (!address || !prefix || *prefix < 0 || *prefix > static_cast<std::int64_t>(address->octets().size() * 8))
    return std::nullopt;
  Cidr cidr{*address, static_cast<std::uint8_t>(*prefix)};
  std::string octets(address->octets());
  std::string mask = cidr.mask();
  for (std::size_t i = 0; i < octets.size(); ++i) octets[i] = static_cast<char>(octets[i] & mask[i]);
  if (auto masked = IpAddress::from_octets(octets)) cidr.address = *masked;
  return cidr;
}

std::string Cidr::mask() const {
  std::string mask(address.octets().size(), '\0');
  for (std::size_t bit = 0; bit < prefix && bit / 8 < mask.size(); ++bit) {
    mask[bit / 8] = static_cast<char>(mask[bit / 8] | (0x80 >> (bit % 8)));
  }
  return mask;
}

bool Cidr::contains(const IpAddress& other) const {
  if (other.octets().size() != address.octets().size()) return false;
  std::string bits = mask();
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if ((other.octets()[i] & bits[i]) != (address.octets()[i] & bits[i])) return false;
  }
  return true;
}

std::string Cidr::str() const { return address.str() + "/" + std::to_string(prefix); }

std::uint64_t Cidr::host_count() const {
  std::size_t host_bits = address.octets().size() * 8 - prefix;
  return host_bits >= 63 ? 1ULL << 63 : 1ULL << host_bits;
}

}  // namespace brume::net
