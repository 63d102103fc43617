// HTTP/1.1 client: whole answers, streamed answers, upgrades; TLS; kept connections.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/http/message.h"
#include "brume/http/proxy.h"
#include "brume/http/stream.h"

namespace brume::http {

struct TlsClientConfig {
  std::string ca_pem;       ///< empty: the system's CAs
  bool system_cas = false;  ///< those are trusted beside ca_pem
  std::string certificate_pem;
  std::string private_key_pem;
  std::string server_name;  ///< for SNI and verification; empty: the URL's host
  bool insecure = false;
};

struct ClientOptions {
  TlsClientConfig tls = {};
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds response_timeout{30'000};  ///< until the head of the answer
  std::chrono::milliseconds stream_timeout{0};         ///< between two pieces of a body that is read by open(); 0: none
  std::size_t max_body = 64U << 20;
  int max_redirects = 0;          ///< followed for GET and HEAD only; Authorization is dropped when the host changes
  Proxies proxies = {};           ///< for requests without dial_address and unix socket
  std::string dial_address = {};  ///< numeric address to connect to instead of resolving the host (checked addresses)
};

struct ClientRequest {
  std::string method = "GET";
  std::string url;  ///< http://, https:// or unix:///path/to/socket|/path
  Headers headers;
  std::string body;
};

/// An answer whose body is read piece by piece.
class ResponseStream {
 public:
  virtual ~ResponseStream() = default;
  [[nodiscard]] virtual int status() const = 0;
  [[nodiscard]] virtual const Headers& headers() const = 0;
  /// 0 at the end; kCorrupt when the connection broke before the announced end.
  virtual Task<Result<std::size_t>> read(std::span<char> buffer) = 0;
};

/// The answer to an upgrade request: a stream after 101, else the refusal.
struct Upgraded {
  Response head;
  std::unique_ptr<Stream> stream;  ///< null unless head.status is 101
};

/// Thread-safe; connections are pooled per loop and host.
class Client {
 public:
  static Result<std::unique_ptr<Client>> create(ClientOptions options);
  virtual ~Client() = default;
  virtual Task<Result<Response>> fetch(ClientRequest request) = 0;
  virtual Task<Result<std::unique_ptr<ResponseStream>>> open(ClientRequest request) = 0;
  virtual Task<Result<Upgraded>> upgrade(ClientRequest request) = 0;
};

}  // namespace brume::http
