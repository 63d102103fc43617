// Reading a kubeconfig: where the server is, and who we are to it.
#pragma once

#include <string>

#include "brume/base/result.h"
#include "brume/http/client.h"

namespace brume::cmd {

struct Cluster {
  std::string server;  ///< https://host:port
  http::TlsClientConfig tls;
  std::string token;
};

/// The current context of the kubeconfig at `path`; "" takes KUBECONFIG, then /etc/brume/brume.yaml.
Result<Cluster> read_kubeconfig(std::string path);

}  // namespace brume::cmd
