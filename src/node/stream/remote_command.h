// exec and attach to a client: the streams of a process over WebSocket (v4, v5 and base64 channel protocols) and
// SPDY/3.1.
#pragma once

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

/// Carries the session until the process ends (the client then gets its exit code) or the client goes (an exec'd
/// process is then killed). Owner: the socket's loop.
Task<void> serve_websocket(std::shared_ptr<http::WebSocket> socket, std::shared_ptr<runtime::Session> session,
                           StreamOptions options);
/// The same over SPDY; waits up to 30 s for the client to open its streams. `open` starts the process after that.
Task<void> serve_spdy(std::shared_ptr<http::SpdySession> spdy, std::string protocol, StreamOptions options,
                      Clock& clock, std::function<Task<Result<std::unique_ptr<runtime::Session>>>()> open);

}  // namespace brume::node
