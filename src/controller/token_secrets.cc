// Secrets of type kubernetes.io/service-account-token: filled with a token of the account that they name, and deleted
// with it. The token is made by serviceaccounts/token like any other and is bound to the Secret, so that it ends with
// it; signing stays with the API server, and controllers need no key.
#include "brume/base/strings.h"
#include "make.h"

namespace brume::controller {

namespace {

constexpr const char* kType = "kubernetes.io/service-account-token";
constexpr const char* kAccountName = "kubernetes.io/service-account.name";
constexpr const char* kAccountUid = "kubernetes.io/service-account.uid";
constexpr std::int64_t kLongest = std::int64_t{1} << 32;  // seconds that a TokenRequest may ask for: 136 years
constexpr std::string_view kByAccount = "account";        // index of token Secrets by ns/name of their account

class TokenSecrets final : public Controller {
 public:
  explicit TokenSecrets(Context& context)
      : Controller(context, "serviceaccount-token-controller"),
        secrets_(use("secrets")),
        accounts_(use("serviceaccounts")) {
    secrets_.add_index(kByAccount, [](const Object& secret, std::vector<std::string>& values) {
      if (secret.bytes().find(kType) == std::string::npos) return;
      const Json value = secret.parse();
      if (str(value, "type") != kType) return;
      values.push_back(secret.ns() + "/" + std::string(str(at(value, "metadata", "annotations"), kAccountName)));
    });
    const auto secret_changed = [this](const ObjectPtr& secret) {
      if (secret->bytes().find(kType) != std::string::npos) enqueue(secret);
    };
    secrets_.add_handler({.added = secret_changed, .updated = [secret_changed](const ObjectPtr&, const ObjectPtr& now) {
                            secret_changed(now);
                          }});
    const auto account_changed = [this](const ObjectPtr& account) {
      for (const auto& secret : secrets_.index(kByAccount, account->key())) enqueue(secret);
    };
    // Another account may have taken the name: updates matter when the uid does.
    accounts_.add_handler({.added = account_changed,
                           .updated =
                               [account_changed](const ObjectPtr& old, const ObjectPtr& now) {
                                 if (old->uid() != now->uid()) account_changed(now);
                               },
                           .deleted = account_changed});
  }

 private:
  Task<Status> reconcile(std::string key) override {
    const auto secret = secrets_.get(key);
    if (!secret || secret->deleting()) co_return Status{};
    const Json value = secret->parse();
    if (str(value, "type") != kType) co_return Status{};
    const std::string name(str(at(value, "metadata", "annotations"), kAccountName));
    const std::string uid(str(at(value, "metadata", "annotations"), kAccountUid));
    // Deleting is not made up for, so the account is asked for, not looked up in the copy.
    const auto account = co_await client().get(accounts_.resource(), secret->ns(), name);
    if (!account && account.error().code != Code::kNotFound) co_return fail(account.error());
    if (!account || (!uid.empty() && (*account)->uid() != uid)) {
      auto done = co_await client().remove(secrets_.resource(), secret->ns(), secret->name(), {.uid = secret->uid()});
      if (!done && done.error().code != Code::kNotFound) co_return done;
      co_return Status{};
    }
    co_return co_await fill(secret, value, *account);
  }

  Task<Status> fill(ObjectPtr secret, Json value, ObjectPtr account) {
    const Json before = value;
    value["metadata"]["annotations"][kAccountName] = account->name();
    value["metadata"]["annotations"][kAccountUid] = account->uid();
    Json& data = value["data"];
    if (!data.is_object()) data = Json::object();
    const auto& ca = context_.options.root_ca_pem;
    if (!ca.empty()) data["ca.crt"] = base64_encode(ca);
    if (str(data, "namespace").empty()) data["namespace"] = base64_encode(secret->ns());
    if (str(data, "token").empty()) {
      // The copy may lag behind what was written a moment ago: no token is made for nothing.
      BRUME_CO_TRY(const auto live, co_await client().get(secrets_.resource(), secret->ns(), secret->name()));
      if (live->resource_version() != secret->resource_version()) co_return Status{};
      BRUME_CO_TRY(const std::string token, co_await make_token(secret, account));
      data["token"] = base64_encode(token);
    }
    if (value == before) co_return Status{};
    auto done = co_await client().update(secrets_.resource(), secret->ns(), secret->name(), std::move(value));
    if (!done && done.error().code != Code::kNotFound) co_return fail(done.error());
    co_return Status{};
  }

  Task<Result<std::string>> make_token(ObjectPtr secret, ObjectPtr account) {
    Json request = {{"apiVersion", "authentication.k8s.io/v1"},
                    {"kind", "TokenRequest"},
                    {"spec",
                     {{"expirationSeconds", kLongest},
                      {"boundObjectRef",
                       {{"apiVersion", "v1"}, {"kind", "Secret"}, {"name", secret->name()}, {"uid", secret->uid()}}}}}};
    BRUME_CO_TRY(Json answer, co_await client().create_subresource(accounts_.resource(), account->ns(), account->name(),
                                                                   "token", std::move(request)));
    co_return std::string(str(at(answer, "status"), "token"));
  }

  Informer& secrets_;
  Informer& accounts_;
};

}  // namespace

std::unique_ptr<Controller> make_token_secrets(Context& context) { return std::make_unique<TokenSecrets>(context); }

}  // namespace brume::controller
