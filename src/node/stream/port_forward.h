// Port-forward: each pair of SPDY streams becomes one TCP connection inside the pod's network namespace.
#pragma once

#include <memory>
#include <string>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/http/spdy.h"

namespace brume::node {

constexpr const char* kPortForwardProtocol = "portforward.k8s.io";

/// Serves until the client ends the session. `netns_path`: where connections are made (to the pod's localhost); empty:
/// in the node's own network namespace. Owner: the session's loop.
Task<void> serve_port_forward(std::shared_ptr<http::SpdySession> spdy, std::string netns_path);

}  // namespace brume::node
