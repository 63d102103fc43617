// Where a request to pods/proxy, services/proxy or nodes/proxy goes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "access.h"
#include "brume/base/json_fwd.h"
#include "brume/base/result.h"

namespace brume::apiserver {

/// What stands in the place of a name before /proxy: "name", "name:port" or "scheme:name:port".
struct ProxyName {
  std::string scheme;  ///< "", http or https
  std::string name;
  std::string port;  ///< "", a number or (of a Service) a port's name

  /// nullopt for another scheme, no name or too many parts.
  static std::optional<ProxyName> parse(std::string_view text);
};

struct ProxyTarget {
  std::string origin;     ///< https://10.42.0.7:8443; the host is always a number, so no name is resolved
  bool is_agent = false;  ///< the node agent's own endpoint, which wants this server's client certificate
};

/// The pod's address and the port asked for, or its first container's first port. kBadRequest for an address that is
/// none, or that is the node's own (loopback, link-local).
[[nodiscard]] Result<ProxyTarget> pod_target(const ProxyName& asked, const Json& pod);

/// One of the Service's ready endpoints that are pods of its namespace, at random. kServiceUnavailable when it has none
/// or no such port.
[[nodiscard]] Result<ProxyTarget> service_target(const ProxyName& asked, std::string_view ns,
                                                 const ObjectSource& objects);

/// The node's address, and its agent's port unless another is asked for.
[[nodiscard]] Result<ProxyTarget> node_target(const ProxyName& asked, const Json& node);

}  // namespace brume::apiserver
