// Reviews: the create-only resources that are answered and never stored.
#pragma once

#include "access.h"
#include "authn.h"
#include "authz.h"
#include "brume/base/clock.h"
#include "tokens.h"

namespace brume::apiserver {

/// Answers SubjectAccessReview, LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, TokenReview,
/// SelfSubjectReview and serviceaccounts/token. Thread-safe.
class ReviewService : public Reviews {
 public:
  ReviewService(const ChainAuthenticator& authenticator, const ChainAuthorizer& authorizer,
                const ServiceAccountTokens& tokens, const ObjectSource& objects)
      : authenticator_(authenticator), authorizer_(authorizer), tokens_(tokens), objects_(objects) {}
  [[nodiscard]] bool handles(const api::Resource& resource, std::string_view subresource) const override;
  Task<Result<Json>> create(const api::Resource& resource, std::string subresource, std::string ns, std::string name,
                            Json body, User user) override;

  /// The same without coroutine.
  [[nodiscard]] Result<Json> answer(const api::Resource& resource, std::string_view subresource, const std::string& ns,
                                    const std::string& name, Json body, const User& user) const;

 private:
  [[nodiscard]] Result<Json> subject_access(Json body, const User& subject) const;
  [[nodiscard]] Result<Json> other_subject_access(Json body) const;
  [[nodiscard]] Result<Json> rules(Json body, const User& user) const;
  [[nodiscard]] Result<Json> token_review(Json body) const;

  const ChainAuthenticator& authenticator_;
  const ChainAuthorizer& authorizer_;
  const ServiceAccountTokens& tokens_;
  const ObjectSource& objects_;
};

}  // namespace brume::apiserver
