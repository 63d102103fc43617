// The gates of the API server, assembled: who asks, whether they may, what admission makes of a write; and the objects
// that a cluster starts with.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "brume/api/object.h"
#include "brume/api/resources.h"
#include "brume/base/clock.h"
#include "brume/base/crypto.h"
#include "brume/base/json_fwd.h"
#include "brume/base/result.h"
#include "brume/base/task_fwd.h"

namespace brume::apiserver {

// Their contracts: src/apiserver/access.h.
class ObjectSource;
class Authenticator;
class Authorizer;
class Admission;
class Reviews;

struct SecurityOptions {
  PrivateKey token_key;  ///< Pki::token_key()
  std::string issuer = "https://kubernetes.default.svc.cluster.local";
  std::vector<std::string> api_audiences = {};  ///< empty: the issuer
  std::string join_token = {};                  ///< --token: its bearer is system:bootstrap:brume, a bootstrapper
  bool anonymous_auth = true;                   ///< system:anonymous may go where RBAC lets it
  /// Adds the pvc-protection and pv-protection finalizers. Only with the controllers that take them off again.
  bool storage_protection = true;
};

/// Owns the gates. Thread-safe, except for construction and destruction. `objects` and `clock` must outlive it.
class Security {
 public:
  static std::unique_ptr<Security> create(SecurityOptions options, const ObjectSource& objects, Clock& clock);
  virtual ~Security() = default;
  virtual Authenticator& authenticator() = 0;
  virtual Authorizer& authorizer() = 0;
  virtual Admission& admission() = 0;
  virtual Reviews& reviews() = 0;
  /// Bodies of /openid/v1/jwks (application/jwk-set+json) and /.well-known/openid-configuration (application/json).
  [[nodiscard]] virtual std::string jwks() const = 0;
  [[nodiscard]] virtual std::string openid_configuration(std::string_view base_url) const = 0;
};

/// Every object that must be there before the first request: namespaces, priority classes, default roles and bindings.
/// Namespaces come first.
[[nodiscard]] std::vector<Json> bootstrap_objects();

/// What to do about a default object that exists already.
struct Reconciled {
  enum class Action : std::uint8_t {
    kKeep,     ///< it has all that it needs, or is marked rbac.authorization.kubernetes.io/autoupdate: "false"
    kUpdate,   ///< write `object`
    kReplace,  ///< a binding to another role, which may not be updated: delete it, then create `object`
  };
  Action action = Action::kKeep;
  std::shared_ptr<Json> object;
};
/// Adds what is missing (rules, subjects, labels, annotations) and takes nothing away, as Kubernetes does at start.
[[nodiscard]] Reconciled reconcile_default(const Json& existing, const Json& desired);

/// Where bootstrap() reads and writes: a client with system:masters. Errors are the API's.
class BootstrapTarget {
 public:
  virtual ~BootstrapTarget() = default;
  virtual Task<Result<api::ObjectPtr>> get(const api::Resource& resource, std::string ns, std::string name) = 0;
  virtual Task<Status> create(const api::Resource& resource, std::string ns, Json object) = 0;
  virtual Task<Status> update(const api::Resource& resource, std::string ns, std::string name, Json object) = 0;
  virtual Task<Status> remove(const api::Resource& resource, std::string ns, std::string name) = 0;
};

/// Makes and mends every bootstrap object; the namespaces first, then the rest all at once, so that the store folds the
/// writes into few commits. Runs on the caller's loop. The first error is returned after all have ended.
Task<Status> bootstrap(BootstrapTarget& target);

}  // namespace brume::apiserver
