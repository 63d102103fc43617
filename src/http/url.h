// URLs of the HTTP client.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "brume/base/result.h"

namespace brume::http {

/// http://host:port/target, https://…, or unix:///socket/path|/target.
struct Url {
  std::string scheme;  ///< "http", "https" or "unix"
  std::string host;    ///< without brackets; unix: "localhost"
  std::uint16_t port = 0;
  std::string target = "/";  ///< path?query as sent
  std::string socket_path;   ///< unix only

  /// host[:port] for the Host field: the port only when it is not the scheme's own.
  [[nodiscard]] std::string authority() const;
  /// What connections may be shared by.
  [[nodiscard]] std::string origin() const;
};

/// kInvalid for another scheme, user info, a bad port, or bytes that may not stand in a request line.
Result<Url> parse_url(std::string_view text);
/// `location` of a redirect as seen from `base`: absolute, "//host/…", "/path" or relative. Never unix://.
Result<Url> resolve_redirect(const Url& base, std::string_view location);

}  // namespace brume::http
