// Cluster IPs and node ports of Services.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "brume/base/json.h"
#include "brume/base/result.h"

namespace brume::apiserver {

/// Thread-safe. Holds which Service (by uid) has which address and port; filled from the stored Services at the start.
class ServiceAllocator {
 public:
  ServiceAllocator(std::string_view cidr, std::uint16_t first_port, std::uint16_t last_port);

  /// Takes note of what a stored Service has.
  void adopt(const Json& service);
  /// Gives back what `service` has.
  void release(const Json& service);

  /// The address for `owner`: `wanted`, or the next free one. kInvalid with Kubernetes' text when it cannot be had.
  Result<std::string> take_ip(const std::string& owner, std::string_view wanted);
  void free_ip(const std::string& owner, std::string_view ip);
  /// A node port; a Service may use one number for several protocols.
  Result<int> take_port(const std::string& owner, int wanted);
  void free_port(const std::string& owner, int port);

 private:
  std::mutex mutex_;
  std::string cidr_;
  std::uint32_t base_ = 0, size_ = 0;  ///< usable addresses are base_+1 .. base_+size_
  int first_port_, last_port_;
  std::map<std::uint32_t, std::string> ips_;
  std::map<int, std::string> ports_;
};

/// The IPv4 address as a number in host order.
[[nodiscard]] std::optional<std::uint32_t> parse_ipv4(std::string_view text);

}  // namespace brume::apiserver
