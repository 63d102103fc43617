// Registry: every API resource over the store. The only one that touches the store, and the meaning of each write.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/api/object.h"
#include "brume/api/resources.h"
#include "brume/apiserver/filter.h"
#include "brume/apiserver/watch.h"
#include "brume/base/json_fwd.h"
#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/store/store.h"

namespace brume::apiserver {

struct User;
class Admission;
class ObjectSource;
class Reviews;

struct RegistryOptions {
  std::string service_cidr = "10.43.0.0/16";  ///< IPv4; cluster IPs come from it
  std::uint16_t node_port_first = 30'000;
  std::uint16_t node_port_last = 32'767;
  std::chrono::seconds event_ttl{3600};  ///< Events older than that are deleted; 0: kept
};

/// What to do with fields that the schema does not know (fieldValidation).
enum class FieldValidation : std::uint8_t { kIgnore, kWarn, kStrict };

enum class PatchType : std::uint8_t { kJson, kMerge, kStrategic };

/// How one write is to be done.
struct WriteContext {
  const User* user = nullptr;  ///< who asks; outlives the call
  std::string field_manager = {};
  bool dry_run = false;
  FieldValidation validation = FieldValidation::kIgnore;
  std::vector<std::string>* warnings = nullptr;    ///< gets what becomes Warning headers; may be null
  std::vector<std::string> duplicate_fields = {};  ///< that decoding found, in its words
};

struct ListQuery {
  std::string ns = {};
  std::string label_selector = {};
  std::string field_selector = {};
  std::int64_t limit = 0;
  std::string continue_token = {};
  std::string resource_version = {};        ///< as the client wrote it
  std::string resource_version_match = {};  ///< "", Exact or NotOlderThan
};

/// A continue token that goes on where `continue_token` does, but with the objects as they are now: for clients whose
/// token has expired. "" for what is no token.
[[nodiscard]] std::string resume_token(std::string_view continue_token);

struct ListPage {
  std::vector<api::ObjectPtr> items;
  std::int64_t resource_version = 0;
  std::string continue_token;
  std::int64_t remaining = -1;  ///< remainingItemCount; -1: not known
};

struct WatchQuery {
  std::string ns = {};
  std::string label_selector = {};
  std::string field_selector = {};
  std::string resource_version = {};
  std::string resource_version_match = {};
  std::optional<bool> send_initial_events = {};
  bool allow_bookmarks = false;
};

/// metav1.DeleteOptions.
struct DeleteRequest {
  std::optional<std::int64_t> grace_period_seconds = {};
  std::string propagation_policy = {};         ///< Orphan, Background, Foreground or ""
  std::optional<bool> orphan_dependents = {};  ///< the deprecated form
  std::string uid = {};                        ///< preconditions
  std::string resource_version = {};
};

struct Deleted {
  api::ObjectPtr object;  ///< its last or its new state
  bool gone = false;      ///< false: it is marked and waits for grace or finalizers
};

/// Resources that are worked out when somebody reads them, and stored nowhere: metrics.k8s.io. Thread-safe.
class Computed {
 public:
  virtual ~Computed() = default;
  [[nodiscard]] virtual bool serves(const api::Resource& resource) const = 0;
  virtual Task<Result<api::ObjectPtr>> get(const api::Resource& resource, std::string ns, std::string name) = 0;
  virtual Task<Result<ListPage>> list(const api::Resource& resource, ListQuery query) = 0;
};

/// Thread-safe. Reads answer from the watch caches at once; writes are coroutines that resume on the caller's loop.
/// Errors carry the texts that Kubernetes clients know.
class Registry {
 public:
  /// Reads the whole store into the caches and follows it. Runs on any loop; call once, before anything else.
  static Task<Result<std::unique_ptr<Registry>>> open(store::Store& store, RegistryOptions options, Clock& clock);
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  /// Admission and computed resources are made after the registry, since they read from it. They outlive it.
  void set_admission(Admission* admission);
  void set_reviews(Reviews* reviews);
  /// Null takes it away again; nobody may be reading then.
  void set_computed(Computed* computed);

  /// Whether the resource is stored here (reviews and tokens are not).
  [[nodiscard]] bool stores(const api::Resource& resource) const;
  /// What works the resource out; null for all others. list() asks it by itself.
  [[nodiscard]] Computed* computed(const api::Resource& resource) const;
  [[nodiscard]] const ObjectSource& objects() const;
  [[nodiscard]] store::Store& store() const;
  [[nodiscard]] Clock& clock() const;
  /// The newest revision that every cache has seen.
  [[nodiscard]] std::int64_t revision() const;
  [[nodiscard]] std::size_t watch_count(const api::Resource& resource) const;
  [[nodiscard]] std::size_t object_count(const api::Resource& resource) const;

  [[nodiscard]] Result<api::ObjectPtr> get(const api::Resource& resource, std::string_view ns,
                                           std::string_view name) const;
  Task<Result<ListPage>> list(const api::Resource& resource, ListQuery query);
  /// The stream delivers on the calling loop.
  Task<Result<std::unique_ptr<WatchStream>>> watch(const api::Resource& resource, WatchQuery query);

  Task<Result<api::ObjectPtr>> create(const api::Resource& resource, std::string ns, Json body, WriteContext context);
  /// `subresource` is "", status, finalize, approval, ephemeralcontainers, resize or (taking and giving a Scale) scale.
  Task<Result<Json>> update_scale(const api::Resource& resource, std::string ns, std::string name, Json body,
                                  WriteContext context);
  Task<Result<api::ObjectPtr>> update(const api::Resource& resource, std::string ns, std::string name,
                                      std::string subresource, Json body, WriteContext context);
  Task<Result<api::ObjectPtr>> patch(const api::Resource& resource, std::string ns, std::string name,
                                     std::string subresource, PatchType type, Json patch, WriteContext context);
  Task<Result<Json>> patch_scale(const api::Resource& resource, std::string ns, std::string name, PatchType type,
                                 Json patch, WriteContext context);
  [[nodiscard]] Result<Json> get_scale(const api::Resource& resource, std::string_view ns, std::string_view name) const;
  /// pods/binding, pods/eviction and whatever Reviews handles; gives the answer's JSON.
  Task<Result<Json>> create_subresource(const api::Resource& resource, std::string ns, std::string name,
                                        std::string subresource, Json body, WriteContext context);
  Task<Result<Deleted>> remove(const api::Resource& resource, std::string ns, std::string name, DeleteRequest request,
                               WriteContext context);
  /// Gives what was deleted or marked.
  Task<Result<ListPage>> remove_collection(const api::Resource& resource, ListQuery which, DeleteRequest request,
                                           WriteContext context);

  /// Work that recurs (old Events, cache trimming); returns when cancelled. Spawn it once, in a TaskGroup.
  Task<void> maintain();
  /// Cuts all watches; writes after it fail. Call before the store is closed.
  void close();

  struct Impl;  ///< for the files that implement the registry

 private:
  explicit Registry(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace brume::apiserver
