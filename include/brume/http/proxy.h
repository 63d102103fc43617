// Proxies between the HTTP client and the servers it calls.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/result.h"

namespace brume::http {

/// One proxy: requests for http URLs are sent to it, https goes through it by CONNECT (RFC 9110 section 9.3.6).
struct Proxy {
  std::string host;
  std::uint16_t port = 0;
  std::string authorization;  ///< of Proxy-Authorization; empty: none
};

/// Which requests go through which proxy, as the environment says it to curl and to programs in Go: HTTP_PROXY,
/// HTTPS_PROXY and NO_PROXY, in capitals or not.
class Proxies {
 public:
  Proxies() = default;
  /// `lookup` gives a variable's value, or nothing. kInvalid for a proxy that is no http://[user:password@]host[:port].
  static Result<Proxies> from(const std::function<std::optional<std::string>(const std::string& name)>& lookup);
  static Result<Proxies> from_environment();

  /// Null: call the server itself. So it is for loopback addresses, and for what NO_PROXY names: "*", a host and those
  /// below it, ".domain" for those below alone, an address, a CIDR, each with or without a port.
  [[nodiscard]] const Proxy* find(bool https, std::string_view host, std::uint16_t port) const;

 private:
  std::optional<Proxy> http_, https_;
  std::vector<std::string> direct_;  ///< of NO_PROXY, in lower case
};

}  // namespace brume::http
