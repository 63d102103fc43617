// The server's side of `brume image`: a few paths beside the Kubernetes API, for the admin only.
#pragma once

#include <string_view>

#include "brume/base/task_fwd.h"
#include "brume/http/server.h"
#include "brume/runtime/images.h"

namespace brume::apiserver {
class Authenticator;
}

namespace brume::cmd {

inline constexpr std::string_view kImagePath = "/brume/v1/images";

/// Answers what is below kImagePath and passes the rest on to `next`. Callers must be in the group system:masters.
/// `images` lives on `node_loop`. Thread-safe; what it is given outlives it.
http::Handler with_image_api(http::Handler next, apiserver::Authenticator& authenticator, runtime::Images& images,
                             const Executor& node_loop);

}  // namespace brume::cmd
