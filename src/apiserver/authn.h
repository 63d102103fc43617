// Who sent a request: client certificate, bearer token, or nobody; and whom they act as.
#pragma once

#include <string>
#include <vector>

#include "access.h"
#include "tokens.h"

namespace brume::apiserver {

/// The sub-protocols that a WebSocket offers without the one that carries a token, which no connection speaks.
[[nodiscard]] std::vector<std::string> without_token(std::vector<std::string> offered);

/// The chain that the API server uses. Thread-safe.
class ChainAuthenticator : public Authenticator {
 public:
  /// `join_token` (--token; empty: none) makes its bearer a bootstrapper: it may ask for a node certificate, no more.
  ChainAuthenticator(const ServiceAccountTokens& tokens, const Authorizer& authorizer, std::string join_token,
                     bool anonymous_auth);
  Task<Result<User>> authenticate(const http::Request& request) override;

  /// The same without coroutine: certificate or token or anonymous, then impersonation.
  [[nodiscard]] Result<User> identify(const http::Request& request) const;
  /// Of a bearer token alone, as TokenReview asks; kUnauthorized with the true reason.
  [[nodiscard]] Result<ServiceAccountTokens::Verified> identify_token(std::string_view token,
                                                                      const std::vector<std::string>& audiences) const;

 private:
  [[nodiscard]] Result<User> identify_sender(const http::Request& request) const;

  const ServiceAccountTokens& tokens_;
  const Authorizer& authorizer_;
  std::string join_token_;
  bool anonymous_auth_;
};

/// Whom the Impersonate-* headers ask to be: `user` itself when there are none. kForbidden when `user` may not
/// (verb `impersonate`), kBadRequest for groups, uid or extra without a user.
[[nodiscard]] Result<User> impersonate(User user, const http::Headers& headers, const Authorizer& authorizer);

}  // namespace brume::apiserver
