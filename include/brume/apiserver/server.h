// ApiServer: the request chain from an HTTP exchange to the registry and back.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "brume/apiserver/registry.h"
#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/http/client.h"
#include "brume/http/server.h"

namespace brume::apiserver {

class Authenticator;
class Authorizer;
class Admission;

/// A named check behind /livez and /readyz. Thread-safe and quick.
struct HealthCheck {
  std::string name;
  std::function<Status()> run;
  bool live = false;  ///< counts for /livez too
};

struct ApiServerOptions {
  std::string git_version = "v1.36.0+brume";
  std::string build_date = "1970-01-01T00:00:00Z";
  std::string server_address;              ///< host:port that /api tells clients
  http::TlsClientConfig node_tls;          ///< CA of the nodes' endpoints and this server's client certificate
  std::vector<HealthCheck> checks = {};    ///< beside ping and store
  std::function<std::string()> jwks = {};  ///< body of /openid/v1/jwks; empty: not served
  std::function<std::string()> openid_configuration = {};
  std::chrono::seconds min_watch{1800};  ///< a watch without timeoutSeconds ends after one to two times this
  std::chrono::seconds bookmark_interval{60};
  std::size_t max_body = 3U << 20;  ///< of a request, as Kubernetes' limit
};

/// Thread-safe: one for all API loops. What it is given must outlive it.
class ApiServer {
 public:
  static Result<std::unique_ptr<ApiServer>> create(Registry& registry, Authenticator& authenticator,
                                                   Authorizer& authorizer, Admission* admission,
                                                   ApiServerOptions options);
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  /// Answers one exchange; what the HTTP server is started with.
  [[nodiscard]] http::Handler handler();
  /// /readyz fails until it is set, and after it is unset.
  void set_ready(bool ready);
  /// Talks to nodes with a renewed client certificate from the next request on; what runs goes on with the old one. On
  /// an error, nothing changes.
  Status set_node_tls(http::TlsClientConfig tls);
  /// Forgets OpenAPI documents that nobody asked for in a while; returns when cancelled. Spawn it once.
  Task<void> maintain();

  struct Impl;  ///< for the files that implement the server

 private:
  explicit ApiServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace brume::apiserver
