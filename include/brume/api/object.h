// Object: one API object as immutable canonical JSON bytes plus the few header fields that everyone asks for.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"

namespace brume::api {

/// metav1.OwnerReference.
struct OwnerReference {
  std::string api_version;
  std::string kind;
  std::string name;
  std::string uid;
  bool controller = false;
  bool block_owner_deletion = false;
};

/// Label or annotation pairs, sorted by key.
using StringMap = std::vector<std::pair<std::string, std::string>>;

class Object;
/// How objects are passed everywhere: shared and const, so a cache, a watcher and a response hold the same bytes.
using ObjectPtr = std::shared_ptr<const Object>;

/// Immutable. Thread-safe.
class Object {
 public:
  /// From whole JSON (apiVersion, kind, metadata...); the header is taken from it. kBadRequest if it is no object with
  /// metadata.
  static Result<ObjectPtr> from_json(const Json& value);
  /// From canonical bytes as the store holds them, which lack metadata.resourceVersion: it is put in as `revision`.
  static Result<ObjectPtr> from_stored(std::string_view bytes, std::int64_t revision);

  /// Canonical JSON: keys sorted, no white space.
  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  /// The bytes from the value of `spec` or `status` on, "" without one: a look for something in there may begin there.
  [[nodiscard]] std::string_view from_spec() const { return from(spec_at_); }
  [[nodiscard]] std::string_view from_status() const { return from(status_at_); }
  /// A DOM of the bytes: parsed anew at each call, so keep it.
  [[nodiscard]] Json parse() const;

  [[nodiscard]] const std::string& api_version() const { return api_version_; }
  [[nodiscard]] const std::string& kind() const { return kind_; }
  [[nodiscard]] const std::string& ns() const { return ns_; }  ///< empty for cluster-scoped
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string key() const;  ///< ns/name, or name
  [[nodiscard]] const std::string& uid() const { return uid_; }
  [[nodiscard]] std::int64_t resource_version() const { return resource_version_; }
  [[nodiscard]] std::int64_t generation() const { return generation_; }
  [[nodiscard]] const StringMap& labels() const { return labels_; }
  [[nodiscard]] std::string_view label(std::string_view key) const;  ///< "" when absent
  [[nodiscard]] const std::vector<OwnerReference>& owners() const { return owners_; }
  [[nodiscard]] const OwnerReference* controller() const;  ///< the owner with controller: true, or null
  [[nodiscard]] const std::vector<std::string>& finalizers() const { return finalizers_; }
  [[nodiscard]] bool deleting() const { return !deletion_timestamp_.empty(); }
  [[nodiscard]] const std::string& deletion_timestamp() const { return deletion_timestamp_; }
  [[nodiscard]] const std::string& creation_timestamp() const { return creation_timestamp_; }

 private:
  friend struct ObjectBuilder;
  Object() = default;
  [[nodiscard]] std::string_view from(std::uint32_t at) const {
    return at == 0 ? std::string_view() : std::string_view(bytes_).substr(at);
  }
  std::string bytes_;
  std::uint32_t spec_at_ = 0, status_at_ = 0;
  std::string api_version_, kind_, ns_, name_, uid_;
  std::int64_t resource_version_ = 0;
  std::int64_t generation_ = 0;
  StringMap labels_;
  std::vector<OwnerReference> owners_;
  std::vector<std::string> finalizers_;
  std::string deletion_timestamp_, creation_timestamp_;
};

/// The canonical bytes that go into the store: `value` without metadata.resourceVersion (and selfLink).
[[nodiscard]] std::string stored_bytes(Json value);

}  // namespace brume::api
