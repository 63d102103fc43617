// DnsServer: the cluster's DNS, `brume dns`. It answers for Services, endpoints and pods from the API and forwards the
// rest.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"

namespace brume::client {
class Client;
}

namespace brume::network {

struct DnsOptions {
  std::string listen_address = "0.0.0.0";
  std::uint16_t port = 53;  ///< UDP and TCP; 0: any, see DnsServer::port()
  std::string domain = "cluster.local";
  std::string resolv_conf = "/etc/resolv.conf";  ///< whose name servers everything else is forwarded to
  std::vector<std::string> upstreams;            ///< "address" or "address:port" (IPv4): instead of resolv_conf's
  std::uint16_t health_port = 8080;              ///< GET /health: the process serves; 0: none
  std::uint16_t ready_port = 8181;               ///< GET /ready: the API's objects have been read; 0: none
  bool log_queries = false;
};

/// Owner: one loop, the one that start() was called on.
class DnsServer {
 public:
  /// Listens at once; until Services, EndpointSlices and Namespaces have been read, names of the cluster get SERVFAIL
  /// (never a "no such name" that is not true). kAlreadyExists: the port is taken. `client` must live longer.
  static Task<Result<std::unique_ptr<DnsServer>>> start(DnsOptions options, client::Client& client, Clock& clock);
  virtual ~DnsServer() = default;

  [[nodiscard]] virtual std::uint16_t port() const = 0;
  [[nodiscard]] virtual bool ready() const = 0;
  virtual Task<void> stop() = 0;
};

}  // namespace brume::network
