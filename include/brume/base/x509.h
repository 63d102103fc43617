// X.509 certificates: issuing, reading, checking who signed them. Keys are ECDSA P-256 (base/crypto.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/crypto.h"
#include "brume/base/result.h"
#include "brume/base/time.h"

namespace brume::x509 {

/// What a certificate is for: sets basicConstraints, keyUsage and extendedKeyUsage (RFC 5280 section 4.2.1).
enum class Purpose : std::uint8_t {
  kCa,      ///< signs other certificates; may not sign further CAs (pathlen 0)
  kServer,  ///< serverAuth
  kClient,  ///< clientAuth
};

struct Spec {
  Purpose purpose = Purpose::kClient;
  std::string common_name;
  std::vector<std::string> organizations;
  std::vector<std::string> dns_names;  ///< subjectAltName
  std::vector<std::string> ips;        ///< subjectAltName; textual IPv4 or IPv6
  WallTime not_before;
  WallTime not_after;
};

/// A certificate as read. Times have seconds' precision.
struct Certificate {
  std::string common_name;
  std::vector<std::string> organizations;
  std::vector<std::string> dns_names;
  std::vector<std::string> ips;  ///< textual
  std::string serial;            ///< lower-case hex
  bool is_ca = false;
  WallTime not_before;
  WallTime not_after;
};

/// A certificate of `spec` for `subject`, signed by `issuer_key` in the name of `issuer_pem`, as PEM. Without an issuer
/// it signs itself with `issuer_key` (whose public half is then `subject`). The serial number has 127 random bits.
/// kInvalid for an address that does not parse.
[[nodiscard]] Result<std::string> issue(const Spec& spec, const PublicKey& subject,
                                        std::optional<std::string_view> issuer_pem, const PrivateKey& issuer_key);

/// The first certificate of a PEM text. kInvalid when there is none.
[[nodiscard]] Result<Certificate> parse(std::string_view pem);

/// Whether the first certificate of `pem` was signed by the key of `ca_pem` and names it as issuer. Dates are not
/// looked at.
[[nodiscard]] bool signed_by(std::string_view pem, std::string_view ca_pem);
/// Whether the first certificate of `pem` is for `key`.
[[nodiscard]] bool is_for(std::string_view pem, const PublicKey& key);

}  // namespace brume::x509
