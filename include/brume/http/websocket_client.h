// WebSocket client: the opening handshake over http::Client::upgrade.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/http/client.h"
#include "brume/http/websocket.h"

namespace brume::http {

/// Opens a WebSocket at `request.url` (http:// or https://), offering `protocols` in order. kBadRequest (with the
/// status in the message) when the server refuses or answers a bad handshake.
Task<Result<std::unique_ptr<WebSocket>>> open_websocket(Client& client, ClientRequest request,
                                                        std::vector<std::string> protocols);

}  // namespace brume::http
