// PublicKey and PrivateKey: ECDSA on P-256 through EVP.
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <array>

#include "brume/base/crypto.h"

namespace brume {
namespace {

constexpr int kCoordinateSize = 32;

struct BioFree {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using Bio = std::unique_ptr<BIO, BioFree>;

Bio reader(std::string_view text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

std::string contents(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return size > 0 ? std::string(data, static_cast<std::size_t>(size)) : std::string();
}

EVP_PKEY* pkey(void* native) { return static_cast<EVP_PKEY*>(native); }

std::shared_ptr<void> own(EVP_PKEY* key) {
  return {key, [](void* p) { EVP_PKEY_free(static_cast<EVP_PKEY*>(p)); }};
}

bool is_p256(EVP_PKEY* key) {
  std::array<char, 64> group{};
  std::size_t size = 0;
  return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
         EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group.data(), group.size(), &size) == 1 &&
         (std::string_view(group.data(), size) == "prime256v1" || std::string_view(group.data(), size) == "P-256");
}

/// PEM readers ask on the terminal for a passphrase unless told otherwise; a server must never do that.
int no_passphrase(char*, int, int, void*) { return -1; }

std::string coordinate(EVP_PKEY* key, const char* name) {
  BIGNUM* number = nullptr;
  std::string out(kCoordinateSize, '\0');
  if (EVP_PKEY_get_bn_param(key, name, &number) == 1) {
    BN_bn2binpad(number, reinterpret_cast<unsigned char*>(out.data()), kCoordinateSize);
  }
  BN_free(number);
  return out;
}

struct SignatureFree {
  void operator()(ECDSA_SIG* signature) const { ECDSA_SIG_free(signature); }
};
using Signature = std::unique_ptr<ECDSA_SIG, SignatureFree>;

struct ContextFree {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_MD_CTX, ContextFree>;

}  // namespace

Result<PublicKey> PublicKey::from_pem(std::string_view pem) {
  const Bio bio = reader(pem);
  auto key = own(PEM_read_bio_PUBKEY(bio.get(), nullptr, no_passphrase, nullptr));
  if (!key) return fail(openssl_error(Code::kInvalid, "not a PEM public key"));
  if (!is_p256(pkey(key.get()))) return fail(Code::kInvalid, "not an ECDSA P-256 public key");
  return PublicKey(std::move(key));
}

std::string PublicKey::to_pem() const {
  const Bio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PUBKEY(bio.get(), pkey(native()));
  return contents(bio.get());
}

std::string PublicKey::to_der() const {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(pkey(native()), &der);
  std::string out;
  if (size > 0) out.assign(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return out;
}

PublicKey::Point PublicKey::point() const {
  return {coordinate(pkey(native()), OSSL_PKEY_PARAM_EC_PUB_X), coordinate(pkey(native()), OSSL_PKEY_PARAM_EC_PUB_Y)};
}

bool PublicKey::verify_es256(std::string_view bytes, std::string_view signature) const {
  if (signature.size() != 2 * kCoordinateSize) return false;
  // JOSE writes r || s, OpenSSL reads a DER SEQUENCE of the two.
  const auto* raw = reinterpret_cast<const unsigned char*>(signature.data());
  const Signature pair(ECDSA_SIG_new());
  ECDSA_SIG_set0(pair.get(), BN_bin2bn(raw, kCoordinateSize, nullptr),
                 BN_bin2bn(raw + kCoordinateSize, kCoordinateSize, nullptr));
  unsigned char* der = nullptr;
  const int der_size = i2d_ECDSA_SIG(pair.get(), &der);
  if (der_size <= 0) return false;
  const Context context(EVP_MD_CTX_new());
  const bool good = EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, pkey(native())) == 1 &&
                    EVP_DigestVerify(context.get(), der, static_cast<std::size_t>(der_size),
                                     reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()) == 1;
  OPENSSL_free(der);
  if (!good) (void)openssl_error(Code::kInvalid, "");  // leave no error queued for this thread's next TLS call
  return good;
}

Result<PrivateKey> PrivateKey::generate() {
  auto key = own(EVP_EC_gen("P-256"));
  if (!key) return fail(openssl_error(Code::kInternal, "generating an ECDSA key"));
  return PrivateKey(std::move(key));
}

Result<PrivateKey> PrivateKey::from_pem(std::string_view pem) {
  const Bio bio = reader(pem);
  auto key = own(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (!key) return fail(openssl_error(Code::kInvalid, "not a PEM private key"));
  if (!is_p256(pkey(key.get()))) return fail(Code::kInvalid, "not an ECDSA P-256 private key");
  return PrivateKey(std::move(key));
}

std::string PrivateKey::to_pem() const {
  const Bio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PKCS8PrivateKey(bio.get(), pkey(native()), nullptr, nullptr, 0, nullptr, nullptr);
  return contents(bio.get());
}

PublicKey PrivateKey::public_key() const { return PublicKey(key_); }

Result<std::string> PrivateKey::sign_es256(std::string_view bytes) const {
  const Context context(EVP_MD_CTX_new());
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  std::size_t size = 0;
  if (EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, pkey(native())) != 1 ||
      EVP_DigestSign(context.get(), nullptr, &size, data, bytes.size()) != 1) {
    return fail(openssl_error(Code::kInternal, "signing"));
  }
  std::string der(size, '\0');
  if (EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(der.data()), &size, data, bytes.size()) != 1) {
    return fail(openssl_error(Code::kInternal, "signing"));
  }
  const auto* cursor = reinterpret_cast<const unsigned char*>(der.data());
  const Signature pair(d2i_ECDSA_SIG(nullptr, &cursor, static_cast<long>(size)));
  if (!pair) return fail(openssl_error(Code::kInternal, "signing"));
  std::string out(2 * kCoordinateSize, '\0');
  auto* raw = reinterpret_cast<unsigned char*>(out.data());
  BN_bn2binpad(ECDSA_SIG_get0_r(pair.get()), raw, kCoordinateSize);
  BN_bn2binpad(ECDSA_SIG_get0_s(pair.get()), raw + kCoordinateSize, kCoordinateSize);
  return out;
}

}  // namespace brume
