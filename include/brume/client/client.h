// Client: the only way by which controllers, scheduler, node agent and network see the API. In the server process it is
// a call into the registry with an identity attached; elsewhere it is HTTPS.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "brume/api/object.h"
#include "brume/api/resources.h"
#include "brume/base/json_fwd.h"
#include "brume/base/result.h"
#include "brume/base/task_fwd.h"

namespace brume::client {

using api::ObjectPtr;
using api::Resource;

struct ListOptions {
  std::string ns = {};  ///< empty: all namespaces (or cluster-scoped)
  std::string label_selector = {};
  std::string field_selector = {};
  std::int64_t limit = 0;
  std::string continue_token = {};
};

struct List {
  std::vector<ObjectPtr> items;
  std::int64_t resource_version = 0;
  std::string continue_token;
};

struct WatchOptions {
  std::string ns = {};
  std::string label_selector = {};
  std::string field_selector = {};
  std::int64_t resource_version = 0;  ///< events after it
};

struct WatchEvent {
  enum class Type : std::uint8_t { kAdded, kModified, kDeleted, kBookmark };
  Type type = Type::kAdded;
  ObjectPtr object;  ///< of a delete, the last state with the delete's resourceVersion; of a bookmark, null
  std::int64_t resource_version = 0;
};

/// A running watch. Owner: the loop that opened it.
class Watch {
 public:
  virtual ~Watch() = default;
  /// Waits for the next events, one at least. kExpired: list again. kCancelled or kServiceUnavailable: watch again.
  virtual Task<Result<std::vector<WatchEvent>>> next() = 0;
};

enum class PatchType : std::uint8_t { kJson, kMerge, kStrategic, kApply };

struct WriteOptions {
  std::string subresource = {};  ///< status, scale, binding, eviction, token, ...
  std::string field_manager = "brume";
  bool dry_run = false;
  bool force = false;  ///< of kApply
};

struct DeleteOptions {
  std::optional<std::int64_t> grace_period_seconds = {};
  std::string propagation_policy = {};  ///< Background, Foreground, Orphan or "" for the kind's default
  std::string uid = {};                 ///< precondition
  std::string resource_version = {};    ///< precondition
};

/// Thread-safe; coroutines resume on the caller's loop. Parameters are by value: calls may be spawned.
/// Errors are the API's: kNotFound, kConflict, kAlreadyExists, kInvalid, kForbidden, ...
class Client {
 public:
  virtual ~Client() = default;
  virtual Task<Result<ObjectPtr>> get(const Resource& resource, std::string ns, std::string name) = 0;
  /// A sub-resource that is read, such as scale: its JSON. kNotFound in the server's words where there is none.
  virtual Task<Result<Json>> get_subresource(const Resource& resource, std::string ns, std::string name,
                                             std::string subresource);
  /// What the API has at `path` (a query may be in it): for APIs that others serve, whose resources are in no table.
  /// kNotFound in the server's words where it has nothing.
  virtual Task<Result<Json>> get_raw(std::string path);
  virtual Task<Result<List>> list(const Resource& resource, ListOptions options) = 0;
  virtual Task<Result<std::unique_ptr<Watch>>> watch(const Resource& resource, WatchOptions options) = 0;
  /// `body` needs no apiVersion and kind. For a sub-resource such as binding, `name` is the parent's.
  virtual Task<Result<ObjectPtr>> create(const Resource& resource, std::string ns, Json body,
                                         WriteOptions options = {}) = 0;
  /// Creates a sub-resource object (pods/binding, pods/eviction, serviceaccounts/token) and gives the answer's JSON.
  virtual Task<Result<Json>> create_subresource(const Resource& resource, std::string ns, std::string name,
                                                std::string subresource, Json body) = 0;
  virtual Task<Result<ObjectPtr>> update(const Resource& resource, std::string ns, std::string name, Json body,
                                         WriteOptions options = {}) = 0;
  virtual Task<Result<ObjectPtr>> patch(const Resource& resource, std::string ns, std::string name, PatchType type,
                                        Json patch, WriteOptions options = {}) = 0;
  virtual Task<Status> remove(const Resource& resource, std::string ns, std::string name,
                              DeleteOptions options = {}) = 0;
  virtual Task<Status> remove_collection(const Resource& resource, ListOptions which, DeleteOptions options = {}) = 0;
};

}  // namespace brume::client
