// JwtSigner: the JOSE part, without meaning.
#include <array>

#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "tokens.h"

namespace brume::apiserver {
namespace {

constexpr std::size_t kMaxToken = 64 * 1024;      ///< longer than any header that the server accepts
constexpr std::size_t kRememberedTokens = 4'096;  ///< about 6 MiB when every pod of a large node has its own

std::unexpected<Error> bad(std::string why) {
  return fail(Code::kUnauthorized, "invalid bearer token: " + std::move(why));
}

}  // namespace

JwtSigner::JwtSigner(PrivateKey key)
    : key_(std::move(key)), public_key_(key_.public_key()), key_id_(base64url_encode(sha256(public_key_.to_der()))) {}

Result<std::string> JwtSigner::sign(const Json& claims) const {
  const Json header = {{"alg", "ES256"}, {"kid", key_id_}};
  std::string token = base64url_encode(dump_json(header)) + "." + base64url_encode(dump_json(claims));
  BRUME_TRY(const std::string signature, key_.sign_es256(token));
  return token + "." + base64url_encode(signature);
}

Result<std::shared_ptr<const Json>> JwtSigner::verify(std::string_view token) const {
  if (token.size() > kMaxToken) return bad("too long");
  const std::string digest = sha256(token);
  {
    const std::lock_guard lock(mutex_);
    if (auto known = verified_.find(digest); known != verified_.end()) return known->second;
  }
  const auto parts = split(token, '.');
  if (parts.size() != 3) return bad("not a JSON web token");
  const auto header_text = base64url_decode(parts[0]);
  const auto claims_text = base64url_decode(parts[1]);
  const auto signature = base64url_decode(parts[2]);
  if (!header_text || !claims_text || !signature) return bad("not base64url");
  const auto header = parse_json(*header_text, {.max_depth = 8});
  if (!header) return bad("header is not JSON");
  // The algorithm is ours to choose: "none" and HMAC under the public key are the classic confusions (RFC 8725
  // section 3.1).
  if (str(*header, "alg") != "ES256") return bad("algorithm is not ES256");
  if (header->contains("crit")) return bad("critical header parameters are not supported");
  if (header->contains("kid") && str(*header, "kid") != key_id_) return bad("signed by another key");
  const std::string_view signed_part = token.substr(0, parts[0].size() + 1 + parts[1].size());
  if (!public_key_.verify_es256(signed_part, *signature)) return bad("signature does not match");
  auto claims = parse_json(*claims_text, {.max_depth = 16});
  if (!claims || !claims->is_object()) return bad("claims are not a JSON object");
  auto shared = std::make_shared<const Json>(std::move(*claims));
  const std::lock_guard lock(mutex_);
  if (verified_.size() >= kRememberedTokens) verified_.clear();
  verified_.emplace(digest, shared);
  return shared;
}

std::string JwtSigner::jwks() const {
  const auto point = public_key_.point();
  const Json key = {{"use", "sig"},
                    {"kty", "EC"},
                    {"kid", key_id_},
                    {"crv", "P-256"},
                    {"alg", "ES256"},
                    {"x", base64url_encode(point.x)},
                    {"y", base64url_encode(point.y)}};
  return dump_json(Json{{"keys", Json::array({key})}});
}

}  // namespace brume::apiserver
