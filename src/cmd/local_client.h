// The Client of the server process: calls into the registry with an identity attached, without HTTP.
#pragma once

#include <memory>

#include "../apiserver/access.h"
#include "brume/apiserver/registry.h"
#include "brume/client/client.h"

namespace brume::cmd {

struct LocalClientOptions {
  apiserver::User user;  ///< system:kube-controller-manager, system:node:<name>, ...; admission sees it
  /// When set, each call is authorised as an HTTP request would be. Null: everything is allowed (the server's own
  /// loops).
  const apiserver::Authorizer* authorizer = nullptr;
};

/// Thread-safe; calls resume on the caller's loop. `registry` (and the authorizer) must outlive it.
std::unique_ptr<client::Client> make_local_client(apiserver::Registry& registry, LocalClientOptions options);

}  // namespace brume::cmd
