// Who asks, whether they may, and what admission makes of it: the contract between the request chain and its gates.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "brume/api/object.h"
#include "brume/api/resources.h"
#include "brume/base/json_fwd.h"
#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/http/message.h"

namespace brume::apiserver {

/// authentication.k8s.io UserInfo.
struct User {
  std::string name;
  std::string uid;
  std::vector<std::string> groups;
  std::vector<std::pair<std::string, std::vector<std::string>>> extra;
  [[nodiscard]] bool in_group(std::string_view group) const;
};

/// Objects as the watch caches hold them now. Thread-safe, never blocks on I/O.
class ObjectSource {
 public:
  virtual ~ObjectSource() = default;
  [[nodiscard]] virtual api::ObjectPtr find(const api::Resource& resource, std::string_view ns,
                                            std::string_view name) const = 0;
  /// Of one namespace, or of all with "".
  [[nodiscard]] virtual std::vector<api::ObjectPtr> all(const api::Resource& resource, std::string_view ns) const = 0;
  /// Grows with every change of the resource: a key for compiled copies.
  [[nodiscard]] virtual std::int64_t version(const api::Resource& resource) const = 0;
};

/// Finds out who sent a request. Thread-safe. kUnauthorized when credentials are given and bad; system:anonymous when
/// none.
class Authenticator {
 public:
  virtual ~Authenticator() = default;
  virtual Task<Result<User>> authenticate(const http::Request& request) = 0;
};

/// What a request wants, as authorization.k8s.io ResourceAttributes and NonResourceAttributes put it.
struct Attributes {
  User user;
  std::string
      verb;  ///< get, list, watch, create, update, patch, delete, deletecollection; for paths the lower-case method
  bool is_resource = true;
  std::string group, version, resource, subresource, ns, name;
  std::string path;  ///< when !is_resource
  /// Of list, watch and deletecollection: the request's fieldSelector as sent. nullopt: the asker does not know it
  /// (access reviews, say). By it a node may list the pods that run on it and no others.
  std::optional<std::string> field_selector;
  std::optional<std::string> label_selector = {};  ///< likewise
};

struct Decision {
  bool allowed = false;
  std::string reason;
};

/// Thread-safe; answers from caches.
class Authorizer {
 public:
  virtual ~Authorizer() = default;
  [[nodiscard]] virtual Decision authorize(const Attributes& attributes) const = 0;
};

/// One write on its way to the store.
struct AdmissionRequest {
  enum class Operation : std::uint8_t { kCreate, kUpdate, kDelete, kConnect };
  Operation operation = Operation::kCreate;
  const api::Resource* resource = nullptr;
  std::string subresource;
  std::string ns;
  std::string name;
  Json* object = nullptr;            ///< may be changed by mutate(); null for delete
  const Json* old_object = nullptr;  ///< the true stored object, for update and delete
  const User* user = nullptr;
  bool dry_run = false;
  std::vector<std::string>* warnings = nullptr;  ///< become Warning headers
};

/// The admission chain. mutate() runs before validation, validate() after it. Thread-safe.
class Admission {
 public:
  virtual ~Admission() = default;
  virtual Task<Status> mutate(AdmissionRequest& request) = 0;
  virtual Task<Status> validate(const AdmissionRequest& request) = 0;
};

/// Create-only resources that are computed, not stored: SubjectAccessReview and its kin, TokenReview,
/// SelfSubjectReview, serviceaccounts/token. Thread-safe.
class Reviews {
 public:
  virtual ~Reviews() = default;
  [[nodiscard]] virtual bool handles(const api::Resource& resource, std::string_view subresource) const = 0;
  virtual Task<Result<Json>> create(const api::Resource& resource, std::string subresource, std::string ns,
                                    std::string name, Json body, User user) = 0;
};

}  // namespace brume::apiserver
