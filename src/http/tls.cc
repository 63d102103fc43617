#include "tls.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

namespace brume::http {

namespace {

struct Free {
  void operator()(BIO* p) const { BIO_free(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

std::string queue_text() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (code == 0) return "unknown error";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "error " + std::to_string(code);
}

Owned<BIO> memory_bio(const std::string& text) {
  return Owned<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Result<std::vector<Owned<X509>>> read_certificates(const std::string& pem) {
  std::vector<Owned<X509>> out;
  const auto bio = memory_bio(pem);
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) out.emplace_back(certificate);
  const auto code = ERR_peek_last_error();
  const bool at_end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
  if (!at_end) return fail(Code::kInvalid, "bad certificate PEM: " + queue_text());
  ERR_clear_error();
  if (out.empty()) return fail(Code::kInvalid, "no certificate in the PEM text");
  return out;
}

// PEM_read_bio_PrivateKey asks the terminal for a passphrase unless told otherwise.
int no_passphrase(char*, int, int, void*) { return 0; }

Status use_key_pair(SSL_CTX* context, const std::string& chain_pem, const std::string& key_pem) {
  BRUME_TRY(auto chain, read_certificates(chain_pem));
  const auto bio = memory_bio(key_pem);
  const Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (!key) return fail(Code::kInvalid, "bad private key PEM: " + queue_text());
  if (SSL_CTX_use_certificate(context, chain.front().get()) != 1) {
    return fail(Code::kInvalid, "certificate refused: " + queue_text());
  }
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context, chain[i].get()) != 1) {
      return fail(Code::kInvalid, "certificate chain refused: " + queue_text());
    }
  }
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    return fail(Code::kInvalid, "the private key does not belong to the certificate: " + queue_text());
  }
  return {};
}

Status trust(SSL_CTX* context, const std::string& ca_pem, bool announce) {
  BRUME_TRY(auto authorities, read_certificates(ca_pem));
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  // A CA that is not self-signed is an anchor all the same: the operator named it.
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  for (const auto& authority : authorities) {
    X509_STORE_add_cert(store, authority.get());
    if (announce) SSL_CTX_add_client_CA(context, authority.get());
  }
  ERR_clear_error();
  return {};
}

Result<SSL_CTX*> new_context(const SSL_METHOD* method) {
  SSL_CTX* context = SSL_CTX_new(method);
  if (context == nullptr) return fail(Code::kInternal, "SSL_CTX_new: " + queue_text());
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  // Partial writes: one record a call. Released buffers: an idle connection then holds no 16 KiB records.
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
  // Otherwise each record costs two reads, one for its header.
  SSL_CTX_set_read_ahead(context, 1);
  // As Go's TLS, which Kubernetes' servers speak: 128 bits of AES, since 256 cost a third more, unless the client puts
  // ChaCha20 first, as those do that have no AES in hardware.
  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                   SSL_OP_PRIORITIZE_CHACHA);
  return context;
}

// RFC 7301: brume speaks http/1.1 only; a client that offers nothing we know goes on without ALPN.
int select_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                unsigned int offered_size, void*) {
  constexpr std::string_view kOurs = "http/1.1";
  for (unsigned int i = 0; i < offered_size;) {
    const unsigned int size = offered[i];
    if (i + 1 + size > offered_size) break;
    if (std::string_view(reinterpret_cast<const char*>(offered + i + 1), size) == kOurs) {
      *out = offered + i + 1;
      *out_size = static_cast<unsigned char>(size);
      return SSL_TLSEXT_ERR_OK;
    }
    i += 1 + size;
  }
  return SSL_TLSEXT_ERR_NOACK;
}

// A hashed directory is read certificate by certificate when needed; a bundle costs a megabyte at once, so it is
// second.
Status trust_system(SSL_CTX* context) {
  const char* env_file = std::getenv("SSL_CERT_FILE");
  const char* env_dir = std::getenv("SSL_CERT_DIR");
  if (env_file != nullptr || env_dir != nullptr) {
    if (SSL_CTX_load_verify_locations(context, env_file, env_dir) == 1) return {};
    return fail(Code::kInvalid, "SSL_CERT_FILE or SSL_CERT_DIR: " + queue_text());
  }
  const std::string dir = "/etc/ssl/certs";
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(dir, ec)) {
    if (entry.path().extension() != ".0") continue;
    SSL_CTX_load_verify_dir(context, dir.c_str());
    return {};
  }
  for (const char* file :
       {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}) {
    if (std::filesystem::exists(file, ec) && SSL_CTX_load_verify_file(context, file) == 1) return {};
  }
  ERR_clear_error();
  return {};  // no CA at all: every handshake then fails and says so
}

// The BIO that OpenSSL reads and writes through: as its socket BIO, but without SIGPIPE, and able to hold writes back.
TlsSocket& bio_socket(BIO* bio) { return *static_cast<TlsSocket*>(BIO_get_data(bio)); }

int bio_write(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  TlsSocket& socket = bio_socket(bio);
  if (socket.held) {
    socket.held->append(data, static_cast<std::size_t>(size));
    return size;
  }
  const auto n = ::send(socket.fd, data, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

int bio_read(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  const auto n = ::recv(bio_socket(bio).fd, data, static_cast<std::size_t>(size), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  if (n == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(n);
}

long bio_ctrl(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
  return 0;
}

BIO_METHOD* socket_method() {
  static BIO_METHOD* method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "brume socket");
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_ctrl(made, bio_ctrl);
    return made;
  }();
  return method;
}

void each_value(X509_NAME* subject, int nid, const ASN1_OBJECT* object, std::vector<std::string>& out) {
  int at = -1;
  while (true) {
    at = object != nullptr ? X509_NAME_get_index_by_OBJ(subject, object, at)
                           : X509_NAME_get_index_by_NID(subject, nid, at);
    if (at < 0) return;
    unsigned char* text = nullptr;
    const int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (size >= 0) out.emplace_back(reinterpret_cast<char*>(text), static_cast<std::size_t>(size));
    OPENSSL_free(text);
  }
}

}  // namespace

Result<std::shared_ptr<const TlsContext>> TlsContext::for_server(const TlsServerConfig& config) {
  BRUME_TRY(SSL_CTX * raw, new_context(TLS_server_method()));
  auto context = std::make_shared<const TlsContext>(raw);
  BRUME_CHECK(use_key_pair(raw, config.certificate_pem, config.private_key_pem));
  // No resumption: a resumed session would carry a client's identity past the end of its certificate.
  SSL_CTX_set_options(raw, SSL_OP_NO_TICKET);
  SSL_CTX_set_num_tickets(raw, 0);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_alpn_select_cb(raw, select_alpn, nullptr);
  if (!config.client_ca_pem.empty()) {
    BRUME_CHECK(trust(raw, config.client_ca_pem, true));
    SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nullptr);
  }
  return context;
}

Result<std::shared_ptr<const TlsContext>> TlsContext::for_client(const TlsClientConfig& config) {
  BRUME_TRY(SSL_CTX * raw, new_context(TLS_client_method()));
  auto context = std::make_shared<const TlsContext>(raw);
  if (!config.certificate_pem.empty()) {
    BRUME_CHECK(use_key_pair(raw, config.certificate_pem, config.private_key_pem));
  }
  if (config.insecure) {
    SSL_CTX_set_verify(raw, SSL_VERIFY_NONE, nullptr);
    return context;
  }
  if (config.ca_pem.empty() || config.system_cas) BRUME_CHECK(trust_system(raw));
  if (!config.ca_pem.empty()) BRUME_CHECK(trust(raw, config.ca_pem, false));
  SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nullptr);
  static constexpr std::array<unsigned char, 9> kAlpn = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  SSL_CTX_set_alpn_protos(raw, kAlpn.data(), kAlpn.size());
  return context;
}

SSL* new_ssl(const TlsContext& context, TlsSocket& socket) {
  SSL* ssl = SSL_new(context.get());
  BIO* bio = BIO_new(socket_method());
  BIO_set_data(bio, &socket);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  return ssl;
}

Status expect_server_name(SSL* ssl, const std::string& name) {
  std::array<unsigned char, 16> address{};
  const bool numeric = ::inet_pton(AF_INET, name.c_str(), address.data()) == 1 ||
                       ::inet_pton(AF_INET6, name.c_str(), address.data()) == 1;
  X509_VERIFY_PARAM* param = SSL_get0_param(ssl);
  if (numeric) {
    if (X509_VERIFY_PARAM_set1_ip_asc(param, name.c_str()) == 1) return {};
  } else {
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set_tlsext_host_name(ssl, name.c_str()) == 1 && X509_VERIFY_PARAM_set1_host(param, name.c_str(), 0) == 1) {
      return {};
    }
  }
  return fail(Code::kInvalid, "TLS: bad server name " + name);
}

std::optional<PeerCertificate> peer_certificate_of(SSL* ssl) {
  const Owned<X509> certificate(SSL_get1_peer_certificate(ssl));
  if (!certificate || SSL_get_verify_result(ssl) != X509_V_OK) return std::nullopt;
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  PeerCertificate peer;
  std::vector<std::string> names;
  each_value(subject, NID_commonName, nullptr, names);
  if (!names.empty()) peer.common_name = names.back();  // Go takes the last one too
  each_value(subject, NID_organizationName, nullptr, peer.organizations);
  ASN1_OBJECT* uid = OBJ_txt2obj("1.3.6.1.4.1.57683.2", 1);  // see PeerCertificate::uid
  std::vector<std::string> uids;
  each_value(subject, 0, uid, uids);
  ASN1_OBJECT_free(uid);
  if (!uids.empty()) peer.uid = uids.front();
  return peer;
}

std::string tls_error_text(SSL* ssl) {
  const long verdict = SSL_get_verify_result(ssl);
  if (verdict != X509_V_OK && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE) {
    ERR_clear_error();
    return std::string("TLS: ") + X509_verify_cert_error_string(verdict);
  }
  return "TLS: " + queue_text();
}

}  // namespace brume::http
