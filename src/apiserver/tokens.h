// Service-account tokens: signed JWTs (RFC 7519, ES256) as Kubernetes' TokenRequest gives them out.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "access.h"
#include "brume/base/clock.h"
#include "brume/base/crypto.h"
#include "brume/base/json_fwd.h"

namespace brume::apiserver {

/// Signs and checks compact JWTs with one key. Thread-safe. Knows nothing of what the claims mean.
class JwtSigner {
 public:
  explicit JwtSigner(PrivateKey key);
  [[nodiscard]] Result<std::string> sign(const Json& claims) const;
  /// The claims of a token that this key signed; kUnauthorized otherwise. Only ES256 is known: the header's alg is
  /// compared, never obeyed. Signatures once seen good are remembered by digest, for they cost more than all else.
  [[nodiscard]] Result<std::shared_ptr<const Json>> verify(std::string_view token) const;
  [[nodiscard]] const std::string& key_id() const { return key_id_; }
  /// A JSON Web Key Set (RFC 7517) with the public key.
  [[nodiscard]] std::string jwks() const;

 private:
  PrivateKey key_;
  PublicKey public_key_;
  std::string key_id_;
  mutable std::mutex mutex_;
  mutable std::unordered_map<std::string, std::shared_ptr<const Json>> verified_;
};

struct TokenOptions {
  std::string issuer;                      ///< https://kubernetes.default.svc.cluster.local
  std::vector<std::string> api_audiences;  ///< of tokens for this API server; the first is given when none is asked for
  /// Tokens of the automatic volume (3607 s) are honoured for a year, because old client libraries never read their
  /// token again (KEP-1205); the agent replaces the file in time all the same.
  bool extend_volume_tokens = true;
};

/// Gives out and checks service-account tokens. Thread-safe.
class ServiceAccountTokens {
 public:
  ServiceAccountTokens(PrivateKey key, TokenOptions options, const ObjectSource& objects, const Clock& clock);

  struct Verified {
    User user;
    std::vector<std::string> audiences;  ///< those of the asked ones that the token has
  };
  /// kUnauthorized, with why, for a token that is not ours, out of its time, for other audiences, or bound to an
  /// account, pod, secret or node that is gone. No audiences: the API's.
  [[nodiscard]] Result<Verified> verify(std::string_view token, const std::vector<std::string>& audiences = {}) const;

  /// Answers authentication.k8s.io/v1 TokenRequest `request` for a service account: the same object with its status.
  [[nodiscard]] Result<Json> issue(const std::string& ns, const std::string& name, Json request) const;

  /// /openid/v1/jwks and /.well-known/openid-configuration (`base_url`: where this server is reached).
  [[nodiscard]] std::string jwks() const { return signer_.jwks(); }
  [[nodiscard]] std::string discovery(std::string_view base_url) const;
  [[nodiscard]] const TokenOptions& options() const { return options_; }

 private:
  [[nodiscard]] Status check_times(const Json& claims) const;
  [[nodiscard]] Status check_bound(const api::Resource& resource, std::string_view ns, const Json& claim) const;
  [[nodiscard]] Result<Json> bound_claims(const std::string& ns, const std::string& account, const Json& ref) const;

  JwtSigner signer_;
  TokenOptions options_;
  const ObjectSource& objects_;
  const Clock& clock_;
};

/// The user that a service account is: name, uid and groups, without system:authenticated.
[[nodiscard]] User service_account_user(std::string_view ns, std::string_view name, std::string_view uid);

}  // namespace brume::apiserver
