// One connection of the HTTP client: requests go out, answers come in, one at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "brume/base/task.h"
#include "brume/http/client.h"
#include "deadline.h"
#include "http1_parser.h"
#include "socket_stream.h"
#include "url.h"

namespace brume::http {

/// Owner: one loop; between requests it rests in the pool, with no operation pending.
class ClientConnection {
 public:
  ClientConnection(const Executor& executor, std::unique_ptr<SocketStream> transport);

  /// Sends the request and reads the head of the answer (interim 1xx answers are passed over). `touched` says whether
  /// the peer had sent anything by then: an untouched failure of a kept connection may be tried again.
  Task<Status> exchange(const ClientRequest& request, const Url& url, std::chrono::milliseconds timeout, bool& touched);
  Task<Status> start_tls(std::shared_ptr<const TlsContext> context, std::string name, bool insecure,
                         std::chrono::milliseconds timeout);
  /// Asks a proxy for the way to `url`'s host (CONNECT): what follows goes there.
  Task<Status> tunnel(const Url& url, std::string authorization, std::chrono::milliseconds timeout);
  /// The peer is a proxy that forwards each request to where its URL says.
  void forward_by_proxy(std::string authorization) { proxy_authorization_ = std::move(authorization); }
  Http1Parser::Head& head() { return parser_.head(); }

  /// Body bytes into `out` (appended); false at the end of the body. `idle_timeout` zero: none.
  Task<Result<bool>> read_some(std::string& out, std::chrono::milliseconds idle_timeout);
  [[nodiscard]] bool done() const { return parser_.done(); }
  /// Whether another request may follow: the body was read to its end, and neither side asked to close.
  [[nodiscard]] bool reusable() const;
  /// Whether the peer left a resting connection alone.
  [[nodiscard]] bool is_quiet() const { return transport_->is_quiet(); }
  /// Ready for the pool: no timer is left behind.
  void rest();
  /// The bytes both ways, after a 101.
  std::unique_ptr<Stream> take_stream();

 private:
  Task<Status> send(const ClientRequest& request, const Url& url);
  Task<Status> read_head(bool& touched);
  Task<Status> fill();
  Deadline& deadline();

  Executor executor_;
  std::unique_ptr<SocketStream> transport_;
  std::optional<Deadline> deadline_;
  Http1Parser parser_;  // of the answer that is being read
  std::string in_;
  std::optional<std::string> proxy_authorization_;  // set: the peer forwards
  bool is_head_ = false;
  bool at_end_ = false;
};

}  // namespace brume::http
