#include "service_allocator.h"

#include "brume/base/random.h"
#include "brume/base/strings.h"

namespace brume::apiserver {

namespace {

std::string ipv4_text(std::uint32_t ip) {
  return std::to_string(ip >> 24) + "." + std::to_string(ip >> 16 & 255) + "." + std::to_string(ip >> 8 & 255) + "." +
         std::to_string(ip & 255);
}

std::string owner_of(const Json& service) { return std::string(str(at(service, "metadata"), "uid")); }

}  // namespace

std::optional<std::uint32_t> parse_ipv4(std::string_view text) {
  const auto parts = split(text, '.');
  if (parts.size() != 4) return std::nullopt;
  std::uint32_t ip = 0;
  for (const auto part : parts) {
    const auto value = parse_int(part);
    if (!value || *value < 0 || *value > 255 || part.size() > 3 || (part.size() > 1 && part[0] == '0'))
      return std::nullopt;
    ip = ip << 8 | static_cast<std::uint32_t>(*value);
  }
  return ip;
}

ServiceAllocator::ServiceAllocator(std::string_view cidr, std::uint16_t first_port, std::uint16_t last_port)
    : cidr_(cidr), first_port_(first_port), last_port_(last_port) {
  const auto parts = split(cidr, '/');
  const auto base = parse_ipv4(parts[0]);
  const auto bits = parts.size() == 2 ? parse_int(parts[1]) : std::nullopt;
  if (!base || !bits || *bits < 8 || *bits > 30) return;  // size_ 0: every allocation fails and says so
  const std::uint32_t all = 1U << (32 - *bits);
  base_ = *base & ~(all - 1);
  size_ = all - 2;  // not the network's own address, not the broadcast address
}

Result<std::string> ServiceAllocator::take_ip(const std::string& owner, std::string_view wanted) {
  const std::lock_guard lock(mutex_);
  const auto refuse = [&](std::string why) { return fail(Code::kInvalid, std::move(why)); };
  if (!wanted.empty()) {
    const auto ip = parse_ipv4(wanted);
    if (!ip || *ip <= base_ || *ip > base_ + size_) {
      return refuse("failed to allocate IP " + std::string(wanted) + ": the provided IP (" + std::string(wanted) +
                    ") is not in the valid range. The range of valid IPs is " + cidr_);
    }
    const auto [it, fresh] = ips_.emplace(*ip, owner);
    if (!fresh && it->second != owner) {
      return refuse("failed to allocate IP " + std::string(wanted) + ": provided IP is already allocated");
    }
    return std::string(wanted);
  }
  // The low end of the range is left to people who choose addresses (KEP-3070): at most 256, a sixteenth of it.
  const std::uint32_t reserved = std::min<std::uint32_t>(256, std::max<std::uint32_t>(size_ / 16, size_ > 16 ? 16 : 0));
  for (const auto& [from, count] : {std::pair(reserved, size_ - reserved), std::pair(0U, reserved)}) {
    if (count == 0) continue;
    const auto start = static_cast<std::uint32_t>(random_u64() % count);
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t ip = base_ + 1 + from + (start + i) % count;
      if (ip == base_ + 10) continue;  // the tenth address is for DNS
      if (ips_.emplace(ip, owner).second) return ipv4_text(ip);
    }
  }
  return fail(Code::kInternal, "Internal error occurred: failed to allocate a serviceIP: range is full");
}

void ServiceAllocator::free_ip(const std::string& owner, std::string_view text) {
  const auto ip = parse_ipv4(text);
  if (!ip) return;
  const std::lock_guard lock(mutex_);
  const auto it = ips_.find(*ip);
  if (it != ips_.end() && it->second == owner) ips_.erase(it);
}

Result<int> ServiceAllocator::take_port(const std::string& owner, int wanted) {
  const std::lock_guard lock(mutex_);
  if (wanted != 0) {
    if (wanted < first_port_ || wanted > last_port_) {
      return fail(Code::kInvalid, "provided port is not in the valid range. The range of valid ports is " +
                                      std::to_string(first_port_) + "-" + std::to_string(last_port_));
    }
    const auto [it, fresh] = ports_.emplace(wanted, owner);
    if (!fresh && it->second != owner) return fail(Code::kInvalid, "provided port is already allocated");
    return wanted;
  }
  // The low end is left to people who choose ports (KEP-3668): at most 128 ports, a thirty-second of the range.
  const int count = last_port_ - first_port_ + 1;
  const int reserved = count < 16 ? 0 : std::min(128, std::max(16, count / 32));
  for (const auto& [from, width] : {std::pair(reserved, count - reserved), std::pair(0, reserved)}) {
    if (width <= 0) continue;
    const auto start = static_cast<int>(random_u64() % static_cast<std::uint64_t>(width));
    for (int i = 0; i < width; ++i) {
      const int port = first_port_ + from + (start + i) % width;
      if (ports_.emplace(port, owner).second) return port;
    }
  }
  return fail(Code::kInternal, "Internal error occurred: failed to allocate a nodePort: range is full");
}

void ServiceAllocator::free_port(const std::string& owner, int port) {
  const std::lock_guard lock(mutex_);
  const auto it = ports_.find(port);
  if (it != ports_.end() && it->second == owner) ports_.erase(it);
}

void ServiceAllocator::adopt(const Json& service) {
  const std::string owner = owner_of(service);
  const std::lock_guard lock(mutex_);
  for (const Json& text : at(service, "spec", "clusterIPs")) {
    if (const auto ip = parse_ipv4(str(text))) ips_.emplace(*ip, owner);
  }
  const auto note = [&](std::int64_t port) {
    if (port != 0) ports_.emplace(static_cast<int>(port), owner);
  };
  for (const Json& port : at(service, "spec", "ports")) note(num(port, "nodePort"));
  note(num(at(service, "spec"), "healthCheckNodePort"));
}

void ServiceAllocator::release(const Json& service) {
  const std::string owner = owner_of(service);
  for (const Json& ip : at(service, "spec", "clusterIPs")) free_ip(owner, str(ip));
  for (const Json& port : at(service, "spec", "ports")) free_port(owner, static_cast<int>(num(port, "nodePort")));
  free_port(owner, static_cast<int>(num(at(service, "spec"), "healthCheckNodePort")));
}

}  // namespace brume::apiserver
