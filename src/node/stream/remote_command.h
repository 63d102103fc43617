// exec and attach to a client: the streams of a process over WebSocket (v4, v5 and base64 channel protocols) and
// SPDY/3.1.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "brume/base/clock.h"
#include "brume/base/json_fwd.h"
#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/http/spdy.h"
#include "brume/http/websocket.h"
#include "brume/runtime/runtime.h"

namespace brume::node {

/// Which streams the client asked for.
struct StreamOptions {
  bool stdin = false;
  bool stdout = false;
  bool stderr = false;
  bool tty = false;
};

/// The metav1.Status that ends a session: Success, or NonZeroExitCode with the code as a cause.
[[nodiscard]] Json exit_status(int exit_code);
[[nodiscard]] Json error_status(const Error& error);

/// The first of `offered` that this server speaks, or "".
[[nodiscard]] std::string choose_websocket_protocol(const std::vector<std::string>& offered);
[[nodiscard]] std::string choose_spdy_protocol(const std::vector<std::string>& offered);

/// Starts a process, or attaches to one.
using OpenSession = std::function<Task<Result<std::unique_ptr<runtime::Session>>>()>;

/// Opens the session once the client has answered a ping, or after a second, and carries it until the process ends (the
/// client then gets its exit code) or the client goes (an exec'd process is then killed). Owner: the socket's loop.
///
/// client-go before 1.34 reads a WebSocket before it has made its streams and drops what comes for them meanwhile, exit
/// status and all: "Unknown stream id 1, discarding message" (kubernetes/kubernetes#131189). So the client is pinged,
/// and the process starts after the pong: the streams are made while that travels and the process starts, so the race
/// is narrow, not closed. Kubernetes' servers have no such rule but a process that starts late: after the upgrade and
/// over another connection.
Task<void> serve_websocket(std::shared_ptr<http::WebSocket> socket, StreamOptions options, OpenSession open);
/// The same over SPDY; waits up to 30 s for the client to open its streams.
Task<void> serve_spdy(std::shared_ptr<http::SpdySession> spdy, std::string protocol, StreamOptions options,
                      Clock& clock, OpenSession open);

}  // namespace brume::node
