// TLS contexts over OpenSSL: certificates, verification, what the peer's certificate says.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <optional>
#include <string>

#include "brume/base/result.h"
#include "brume/http/client.h"
#include "brume/http/message.h"
#include "brume/http/server.h"

namespace brume::http {

/// An immutable SSL_CTX, shared by the connections made from it; thread-safe as OpenSSL's contexts are.
class TlsContext {
 public:
  static Result<std::shared_ptr<const TlsContext>> for_server(const TlsServerConfig& config);
  static Result<std::shared_ptr<const TlsContext>> for_client(const TlsClientConfig& config);
  explicit TlsContext(SSL_CTX* context) : context_(context) {}
  ~TlsContext() { SSL_CTX_free(context_); }
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  [[nodiscard]] SSL_CTX* get() const { return context_; }

 private:
  SSL_CTX* context_;
};

/// The socket (not owned) under an SSL. While `held` is there, what OpenSSL would send is appended to it instead, so
/// that many records can go out in one system call; its owner sends it.
struct TlsSocket {
  int fd = -1;
  std::optional<std::string> held = {};
};

/// A non-blocking SSL over `socket`, which outlives it; writes never raise SIGPIPE.
SSL* new_ssl(const TlsContext& context, TlsSocket& socket);
/// SNI and the name or address that the certificate must carry.
Status expect_server_name(SSL* ssl, const std::string& name);
/// Subject of the verified certificate that the peer showed; nullopt without one.
std::optional<PeerCertificate> peer_certificate_of(SSL* ssl);
/// "TLS: certificate has expired" and the like, from the verification result or OpenSSL's error queue.
std::string tls_error_text(SSL* ssl);

}  // namespace brume::http
