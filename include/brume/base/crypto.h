// Digests, MACs, constant-time comparison and ECDSA P-256 keys: the cryptography that brume needs beside TLS.
// A thin layer over OpenSSL 3's EVP interface; nothing here throws.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "brume/base/result.h"

namespace brume {

/// SHA-256 of `bytes`, 32 raw bytes.
[[nodiscard]] std::string sha256(std::string_view bytes);
/// SHA-256 of `bytes` in lower-case hex, as image digests write it (without the "sha256:" prefix).
[[nodiscard]] std::string sha256_hex(std::string_view bytes);
/// HMAC-SHA-256 (RFC 2104), 32 raw bytes.
[[nodiscard]] std::string hmac_sha256(std::string_view key, std::string_view bytes);
/// Equality that takes the same time wherever the first difference is. Only the lengths may leak.
[[nodiscard]] bool constant_time_equal(std::string_view a, std::string_view b);

/// SHA-256 of a stream, piece by piece. Owner: one thread.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::string_view bytes);
  /// The digest so far, 32 raw bytes. The object may be updated further.
  [[nodiscard]] std::string digest() const;
  [[nodiscard]] std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The public half of an ECDSA P-256 key. Immutable, cheap to copy, thread-safe.
class PublicKey {
 public:
  /// A SubjectPublicKeyInfo ("BEGIN PUBLIC KEY"). kInvalid unless it is a P-256 key.
  static Result<PublicKey> from_pem(std::string_view pem);
  [[nodiscard]] std::string to_pem() const;
  /// DER of the SubjectPublicKeyInfo: what key identifiers are hashed from.
  [[nodiscard]] std::string to_der() const;
  /// The affine coordinates, 32 bytes each, big-endian (JWK's x and y, RFC 7518 section 6.2.1).
  struct Point {
    std::string x, y;
  };
  [[nodiscard]] Point point() const;
  /// Whether `signature` (r || s, 64 bytes, RFC 7518 section 3.4) is this key's over SHA-256 of `bytes`.
  [[nodiscard]] bool verify_es256(std::string_view bytes, std::string_view signature) const;

  /// OpenSSL's EVP_PKEY*, for x509.cc; the pointer stays owned by this object.
  [[nodiscard]] void* native() const { return key_.get(); }

 private:
  friend class PrivateKey;
  explicit PublicKey(std::shared_ptr<void> key) : key_(std::move(key)) {}
  std::shared_ptr<void> key_;
};

/// An ECDSA P-256 key pair. Immutable, cheap to copy, thread-safe.
class PrivateKey {
 public:
  static Result<PrivateKey> generate();
  /// PKCS#8 ("BEGIN PRIVATE KEY") or SEC 1 ("BEGIN EC PRIVATE KEY"). kInvalid unless it is a P-256 key.
  static Result<PrivateKey> from_pem(std::string_view pem);
  [[nodiscard]] std::string to_pem() const;  ///< PKCS#8, not encrypted: keep it in files of mode 0600
  [[nodiscard]] PublicKey public_key() const;
  /// An ES256 signature: r || s, 64 bytes.
  [[nodiscard]] Result<std::string> sign_es256(std::string_view bytes) const;

  /// As PublicKey::native().
  [[nodiscard]] void* native() const { return key_.get(); }

 private:
  explicit PrivateKey(std::shared_ptr<void> key) : key_(std::move(key)) {}
  std::shared_ptr<void> key_;
};

/// OpenSSL's newest queued error as "what: reason", and clears the queue. For files that wrap OpenSSL.
[[nodiscard]] Error openssl_error(Code code, std::string_view what);

}  // namespace brume
