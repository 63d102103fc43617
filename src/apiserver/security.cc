#include "brume/apiserver/security.h"

#include "admission.h"
#include "authn.h"
#include "authz.h"
#include "reviews.h"
#include "tokens.h"

namespace brume::apiserver {
namespace {

/// The parts in the order in which they need one another.
class Gates : public Security {
 public:
  Gates(SecurityOptions options, const ObjectSource& objects, Clock& clock)
      : tokens_(options.token_key, {.issuer = options.issuer, .api_audiences = audiences(options)}, objects, clock),
        authorizer_(objects),
        authenticator_(tokens_, authorizer_, options.join_token, options.anonymous_auth),
        admission_(objects, authorizer_, clock, options.storage_protection),
        reviews_(authenticator_, authorizer_, tokens_, objects) {}

  Authenticator& authenticator() override { return authenticator_; }
  Authorizer& authorizer() override { return authorizer_; }
  Admission& admission() override { return admission_; }
  Reviews& reviews() override { return reviews_; }
  [[nodiscard]] std::string jwks() const override { return tokens_.jwks(); }
  [[nodiscard]] std::string openid_configuration(std::string_view base_url) const override {
    return tokens_.discovery(base_url);
  }

 private:
  static std::vector<std::string> audiences(const SecurityOptions& options) {
    return options.api_audiences.empty() ? std::vector{options.issuer} : options.api_audiences;
  }

  ServiceAccountTokens tokens_;
  ChainAuthorizer authorizer_;
  ChainAuthenticator authenticator_;
  AdmissionChain admission_;
  ReviewService reviews_;
};

}  // namespace

std::unique_ptr<Security> Security::create(SecurityOptions options, const ObjectSource& objects, Clock& clock) {
  return std::make_unique<Gates>(std::move(options), objects, clock);
}

}  // namespace brume::apiserver
