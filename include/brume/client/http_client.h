// Client over HTTPS: for processes other than the server, such as `brume dns`.
#pragma once

#include <memory>
#include <string>

#include "brume/base/result.h"
#include "brume/client/client.h"
#include "brume/http/client.h"

namespace brume::client {

struct HttpClientOptions {
  std::string server;  ///< https://host:port, without a path
  http::TlsClientConfig tls;
  std::string token;       ///< bearer token
  std::string token_file;  ///< read again when it is older than a minute: projected tokens are rotated in place
  std::string user_agent = "brume";
};

/// kInvalid for TLS material that cannot be read.
Result<std::unique_ptr<Client>> make_http_client(HttpClientOptions options);

/// What a pod has to reach its API server: the service's environment variables, and the service account's mounted token
/// and CA (KEP-1205). kNotFound outside of a pod.
Result<HttpClientOptions> in_cluster_options();

}  // namespace brume::client
