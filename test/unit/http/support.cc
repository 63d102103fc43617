#include "support.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace brume::http::test {

void on_test_loop(const std::function<Task<void>()>& body) {
  Loop loop("test");
  loop.start();
  loop.run_and_wait(body);
  loop.stop();
}

namespace {

std::string to_text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return out;
}

void add_name(X509_NAME* name, const char* field, const std::string& value) {
  const auto* text = reinterpret_cast<const unsigned char*>(value.data());
  ASN1_OBJECT* object = OBJ_txt2obj(field, 0);
  X509_NAME_add_entry_by_OBJ(name, object, MBSTRING_UTF8, text, static_cast<int>(value.size()), -1, 0);
  ASN1_OBJECT_free(object);
}

void add_extension(X509* certificate, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

template <typename T, typename F>
T* read_pem(const std::string& pem, F read) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  T* out = read(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return out;
}

}  // namespace

KeyPair make_certificate(const Subject& subject, const KeyPair* issuer) {
  static long serial = 1;
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -7200);
  X509_gmtime_adj(X509_getm_notAfter(certificate), subject.valid_seconds);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  for (const auto& organization : subject.organizations) add_name(name, "O", organization);
  if (!subject.uid.empty()) add_name(name, "1.3.6.1.4.1.57683.2", subject.uid);
  add_name(name, "CN", subject.common_name);
  if (!subject.alt_names.empty()) add_extension(certificate, NID_subject_alt_name, subject.alt_names);
  if (subject.is_ca) add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
  EVP_PKEY* signer = key;
  X509* issuer_certificate = nullptr;
  if (issuer != nullptr) {
    issuer_certificate = read_pem<X509>(issuer->certificate_pem, PEM_read_bio_X509);
    signer = read_pem<EVP_PKEY>(issuer->key_pem, PEM_read_bio_PrivateKey);
  }
  X509_set_issuer_name(certificate, X509_get_subject_name(issuer != nullptr ? issuer_certificate : certificate));
  X509_sign(certificate, signer, EVP_sha256());
  KeyPair out;
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, certificate);
  out.certificate_pem = to_text(bio);
  bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  out.key_pem = to_text(bio);
  if (issuer != nullptr) {
    X509_free(issuer_certificate);
    EVP_PKEY_free(signer);
  }
  X509_free(certificate);
  EVP_PKEY_free(key);
  return out;
}

std::unique_ptr<Server> serve(Handler handler, const Executor& loop, ServerOptions options) {
  options.address = "127.0.0.1";
  auto server = Server::listen(std::move(options), {loop}, std::move(handler));
  if (!server) std::abort();
  return std::move(*server);
}

std::string url_of(const Server& server, const std::string& path, const std::string& scheme) {
  return scheme + "://127.0.0.1:" + std::to_string(server.port()) + path;
}

int raw_connect(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval limit{5, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) std::abort();
  return fd;
}

std::string raw_exchange(std::uint16_t port, const std::string& bytes, const std::string& until) {
  const int fd = raw_connect(port);
  (void)!::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  std::string out;
  std::array<char, 4096> part{};
  while (until.empty() || out.find(until) == std::string::npos) {
    const auto n = ::recv(fd, part.data(), part.size(), 0);
    if (n <= 0) break;
    out.append(part.data(), static_cast<std::size_t>(n));
  }
  ::close(fd);
  return out;
}

}  // namespace brume::http::test
