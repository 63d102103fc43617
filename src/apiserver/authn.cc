#include "authn.h"

#include <algorithm>

#include "brume/base/crypto.h"
#include "brume/base/log.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"

namespace brume::apiserver {
namespace {

constexpr std::string_view kAuthenticated = "system:authenticated";

/// The token of "Authorization: Bearer ...", or "" for none. Other schemes are not ours and count as nothing.
std::string_view bearer_token(const http::Headers& headers) {
  const std::string_view value = trim(headers.get("Authorization"));
  const auto space = value.find(' ');
  if (space == std::string_view::npos || !iequals(value.substr(0, space), "Bearer")) return {};
  return trim(value.substr(space));
}

constexpr std::string_view kBearerProtocol = "base64url.bearer.authorization.k8s.io.";

/// A browser cannot set headers on a WebSocket, so Kubernetes takes a token as one of the offered sub-protocols:
/// base64url.bearer.authorization.k8s.io.TOKEN.
std::string websocket_token(const http::Headers& headers) {
  if (!headers.has_token("Connection", "upgrade") || !iequals(headers.get("Upgrade"), "websocket")) return {};
  for (const auto field : headers.get_all("Sec-WebSocket-Protocol")) {
    for (auto protocol : split(field, ',')) {
      protocol = trim(protocol);
      if (protocol.starts_with(kBearerProtocol))
        return base64url_decode(protocol.substr(kBearerProtocol.size())).value_or("");
    }
  }
  return {};
}

User from_certificate(const http::PeerCertificate& certificate) {
  User user;
  user.name = certificate.common_name;
  user.uid = certificate.uid;
  user.groups = certificate.organizations;
  user.groups.emplace_back(kAuthenticated);
  return user;
}

}  // namespace

std::vector<std::string> without_token(std::vector<std::string> offered) {
  std::erase_if(offered, [](const std::string& one) { return one.starts_with(kBearerProtocol); });
  return offered;
}

bool User::in_group(std::string_view group) const { return std::ranges::find(groups, group) != groups.end(); }

ChainAuthenticator::ChainAuthenticator(const ServiceAccountTokens& tokens, const Authorizer& authorizer,
                                       std::string join_token, bool anonymous_auth)
    : tokens_(tokens), authorizer_(authorizer), join_token_(std::move(join_token)), anonymous_auth_(anonymous_auth) {}

Result<ServiceAccountTokens::Verified> ChainAuthenticator::identify_token(
    std::string_view token, const std::vector<std::string>& audiences) const {
  // Digests are compared so that not even the length of the secret shows in the time taken.
  if (!join_token_.empty() && constant_time_equal(sha256(token), sha256(join_token_))) {
    User user;
    user.name = "system:bootstrap:brume";
    user.groups = {"system:bootstrappers", std::string(kAuthenticated)};
    return ServiceAccountTokens::Verified{std::move(user),
                                          audiences.empty() ? tokens_.options().api_audiences : audiences};
  }
  BRUME_TRY(auto verified, tokens_.verify(token, audiences));
  verified.user.groups.emplace_back(kAuthenticated);
  return verified;
}

Result<User> ChainAuthenticator::identify_sender(const http::Request& request) const {
  // The TLS layer has verified the certificate against the client CA; without a name it says nothing about anyone.
  if (request.peer_certificate && !request.peer_certificate->common_name.empty()) {
    return from_certificate(*request.peer_certificate);
  }
  std::string token(bearer_token(request.headers));
  if (token.empty()) token = websocket_token(request.headers);
  if (!token.empty()) {
    auto verified = identify_token(token, {});
    if (verified) return std::move(verified->user);
    // The sender learns no more than Kubernetes tells: why a token is refused helps who guesses them.
    log::debug("bearer token refused", {{"why", verified.error().message}, {"peer", request.peer_address}});
    return fail(Code::kUnauthorized, "Unauthorized");
  }
  if (!anonymous_auth_) return fail(Code::kUnauthorized, "Unauthorized");
  User user;
  user.name = "system:anonymous";
  user.groups = {"system:unauthenticated"};
  return user;
}

Result<User> ChainAuthenticator::identify(const http::Request& request) const {
  BRUME_TRY(User sender, identify_sender(request));
  return impersonate(std::move(sender), request.headers, authorizer_);
}

Task<Result<User>> ChainAuthenticator::authenticate(const http::Request& request) { co_return identify(request); }

}  // namespace brume::apiserver
