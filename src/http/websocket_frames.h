// WebSocket over any Stream (RFC 6455): shared by server and client.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "brume/base/task.h"
#include "brume/http/message.h"
#include "brume/http/stream.h"
#include "brume/http/websocket.h"

namespace brume::http {

enum class WebSocketRole : std::uint8_t { kServer, kClient };

/// Messages above this are refused with close code 1009.
inline constexpr std::size_t kMaxWebSocketMessage = 4 << 20;

/// Value of Sec-WebSocket-Accept for a key (RFC 6455 section 4.2.2).
std::string websocket_accept_key(std::string_view key);
/// The accept value for a good opening handshake; kNotAcceptable for a version other than 13, else kBadRequest.
Result<std::string> check_websocket_request(const Request& request);
/// `stream` is open and the handshake is done. A message over `max_message` bytes ends it with 1009.
std::unique_ptr<WebSocket> make_websocket(std::unique_ptr<Stream> stream, const Executor& executor, WebSocketRole role,
                                          std::string protocol, Farewell farewell = {},
                                          std::size_t max_message = kMaxWebSocketMessage);

}  // namespace brume::http
