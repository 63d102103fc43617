// HTTP/1.1 server with TLS, streaming responses, WebSocket and raw upgrades.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/http/message.h"
#include "brume/http/stream.h"
#include "brume/http/websocket.h"

namespace brume::http {

/// Writes the body of a streamed (chunked) response. Destroying it without finish() cuts the connection.
class BodyWriter {
 public:
  virtual ~BodyWriter() = default;
  /// Sends one chunk and flushes it.
  virtual Task<Status> write(std::string_view bytes) = 0;
  virtual Task<Status> finish() = 0;
};

/// How a WebSocket carries an answer that is streamed (k8s.io/apimachinery/pkg/util/httpstream/wsstream).
enum class SocketBody : std::uint8_t {
  kBinary,  ///< each write() is one binary message
  kBase64,  ///< each write() is one text message of base64
  kLines,   ///< each line that is written is one text message, without its end
};

/// One request and its one answer. Owner: the connection's loop; valid while the handler runs.
class Exchange {
 public:
  virtual ~Exchange() = default;
  [[nodiscard]] virtual const Request& request() const = 0;
  /// The whole request body. kRequestEntityTooLarge above `limit` bytes (checked against Content-Length before any is
  /// read), kTimeout when it comes too slowly, kBadRequest for broken framing.
  virtual Task<Result<std::string>> read_body(std::size_t limit) = 0;
  /// Sends the whole answer. Exactly one of respond, respond_stream, accept_websocket,
  /// respond_websocket, upgrade is called.
  virtual Task<Status> respond(Response response) = 0;
  /// Starts a chunked answer. When the peer goes away, the handler's task is cancelled.
  virtual Task<Result<std::unique_ptr<BodyWriter>>> respond_stream(int status, Headers headers) = 0;
  /// Whether the request asks for a WebSocket, and the sub-protocols it offers, in its order.
  [[nodiscard]] virtual bool wants_websocket() const = 0;
  [[nodiscard]] virtual std::vector<std::string> websocket_protocols() const = 0;
  virtual Task<Result<std::unique_ptr<WebSocket>>> accept_websocket(std::string protocol) = 0;
  /// As respond_stream(), over a WebSocket; what the peer sends is dropped, and finish() closes it. When the peer goes
  /// away or closes, the handler's task is cancelled.
  virtual Task<Result<std::unique_ptr<BodyWriter>>> respond_websocket(std::string protocol, SocketBody how) = 0;
  /// Answers 101 with `headers` (Connection and Upgrade are the caller's) and hands over the bytes.
  virtual Task<Result<std::unique_ptr<Stream>>> upgrade(Headers headers) = 0;
};

/// Answers one request. It runs on the connection's loop; it may take as long as it needs.
using Handler = std::function<Task<void>(Exchange&)>;

struct TlsServerConfig {
  std::string certificate_pem;  ///< chain
  std::string private_key_pem;
  std::string client_ca_pem;  ///< empty: client certificates are not asked for; else asked for, verified if given
};

struct ServerOptions {
  std::string address = "0.0.0.0";
  std::uint16_t port = 0;  ///< 0: any; see Server::port()
  std::optional<TlsServerConfig> tls = {};
  std::size_t max_header_bytes = 64 * 1024;
  std::size_t max_connections = 4096;
  std::chrono::seconds header_timeout{10};  ///< for TLS handshake and for each request's head
  std::chrono::seconds body_timeout{60};
  std::chrono::seconds idle_timeout{120};
};

/// Listens and serves connections, spread over `loops`. Lives on loops[0].
class Server {
 public:
  /// kAlreadyExists when the port is taken; the message names address and port.
  static Result<std::unique_ptr<Server>> listen(ServerOptions options, std::vector<Executor> loops, Handler handler);
  virtual ~Server() = default;
  [[nodiscard]] virtual std::uint16_t port() const = 0;
  /// New handshakes use the new certificate and CA; running connections go on. Thread-safe.
  virtual Status set_tls(TlsServerConfig config) = 0;
  /// Stops accepting, cancels handlers, closes connections, awaits their ends.
  virtual Task<void> stop() = 0;
};

}  // namespace brume::http
