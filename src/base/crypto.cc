#include "brume/base/crypto.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "brume/base/strings.h"

namespace brume {
namespace {

constexpr std::size_t kDigestSize = 32;

const unsigned char* bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }
unsigned char* bytes_of(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

/// SHA-256 can only fail for want of memory or of a broken OpenSSL: nothing that a caller could handle.
void require(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "brume: OpenSSL failed: %s\n", what);
  std::abort();
}

}  // namespace

std::string sha256(std::string_view bytes) {
  std::string out(kDigestSize, '\0');
  unsigned size = 0;
  require(EVP_Digest(bytes.data(), bytes.size(), bytes_of(out), &size, EVP_sha256(), nullptr) == 1, "SHA-256");
  return out;
}

std::string sha256_hex(std::string_view bytes) { return hex_encode(sha256(bytes)); }

std::string hmac_sha256(std::string_view key, std::string_view bytes) {
  std::string out(kDigestSize, '\0');
  unsigned size = 0;
  require(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes_of(bytes), bytes.size(), bytes_of(out),
               &size) != nullptr,
          "HMAC-SHA-256");
  return out;
}

bool constant_time_equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  require(state_->context != nullptr && EVP_DigestInit_ex2(state_->context, EVP_sha256(), nullptr) == 1, "SHA-256");
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::string_view bytes) {
  require(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1, "SHA-256");
}

std::string Sha256::digest() const {
  const State copy;
  require(copy.context != nullptr && EVP_MD_CTX_copy_ex(copy.context, state_->context) == 1, "SHA-256");
  std::string out(kDigestSize, '\0');
  unsigned size = 0;
  require(EVP_DigestFinal_ex(copy.context, bytes_of(out), &size) == 1, "SHA-256");
  return out;
}

std::string Sha256::hex() const { return hex_encode(digest()); }

Error openssl_error(Code code, std::string_view what) {
  std::string message(what);
  if (const unsigned long error = ERR_peek_last_error(); error != 0) {
    std::array<char, 256> text{};
    ERR_error_string_n(error, text.data(), text.size());
    message.append(": ").append(text.data());
  }
  ERR_clear_error();
  return Error{code, std::move(message)};
}

}  // namespace brume
