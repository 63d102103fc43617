// NodeRestriction's rule on tokens, which reviews apply too: a TokenRequest never reaches the store.
#pragma once

#include "plugin.h"

namespace brume::apiserver {

/// A node may ask only for tokens that are bound, by uid, to a pod that runs on it, and only for audiences that the
/// pod's volumes name. Whoever is no node passes. kForbidden otherwise.
[[nodiscard]] Status check_node_token_request(const User& user, const std::string& ns, const Json& token_request,
                                              const ObjectSource& objects);

}  // namespace brume::apiserver
