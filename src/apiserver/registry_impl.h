// Inside of the Registry, shared by the files that implement it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "access.h"
#include "brume/apiserver/registry.h"
#include "brume/base/clock.h"
#include "brume/base/json.h"
#include "quota_ledger.h"
#include "service_allocator.h"
#include "strategy.h"
#include "watch_cache.h"

namespace brume::apiserver {

/// Others may write the same object meanwhile; what names no resourceVersion starts again so often.
inline constexpr int kConflictRetries = 16;

/// One stored resource: its cache and its rules.
struct Stored {
  const api::Resource* resource = nullptr;
  const Strategy* strategy = nullptr;
  std::unique_ptr<WatchCache> cache;
  std::string prefix;  ///< of its keys in the store: /<group resource>/
  bool view = false;   ///< another version of what is stored under another resource
};

struct Registry::Impl final : ObjectSource {
  Impl(store::Store& store_in, RegistryOptions options_in, Clock& clock_in);

  // ---- ObjectSource --------------------------------------------------------------------------------------------
  [[nodiscard]] api::ObjectPtr find(const api::Resource& resource, std::string_view ns,
                                    std::string_view name) const override;
  [[nodiscard]] std::vector<api::ObjectPtr> all(const api::Resource& resource, std::string_view ns) const override;
  [[nodiscard]] std::int64_t version(const api::Resource& resource) const override;

  [[nodiscard]] const Stored* stored(const api::Resource& resource) const;
  [[nodiscard]] Result<const Stored*> require(const api::Resource& resource) const;
  void build_caches();
  void on_events(std::span<const store::Event> events);
  void prime(const store::Range& range, store::Revision history_start);
  Task<Status> wait_for_revision(std::int64_t revision);

  // ---- writes --------------------------------------------------------------------------------------------------
  /// What a write makes of the stored object: gets it as JSON, gives the new whole object (body semantics).
  using Change = std::function<Result<Json>(const Json& old)>;
  struct Update {
    std::string subresource = {};
    Change change = {};
    bool retry = true;      ///< on a conflict, when the change names no resourceVersion
    bool internal = false;  ///< the server's own: no decoding, no admission, no validation
    bool as_patch = false;  ///< words decoding errors as for a patch
  };

  Task<Result<api::ObjectPtr>> create(const Stored& stored, std::string ns, Json body, WriteContext context);
  Task<Result<api::ObjectPtr>> modify(const Stored& stored, std::string ns, std::string name, Update update,
                                      WriteContext context);
  Task<Result<Deleted>> remove(const Stored& stored, std::string ns, std::string name, DeleteRequest request,
                               WriteContext context);
  /// Asks admission about a body for a pod's sub-resource, and lets it change the body.
  Task<Status> admit(std::string_view subresource, const std::string& ns, const std::string& name, Json& body,
                     const WriteContext& context);
  Task<Result<Json>> bind(std::string ns, std::string name, Json body, WriteContext context);
  Task<Result<Json>> evict(std::string ns, std::string name, Json body, WriteContext context);
  Task<Status> evict_pod(api::ObjectPtr pod, DeleteRequest request, WriteContext context);
  Task<Result<bool>> evict_freely(api::ObjectPtr pod, DeleteRequest request, WriteContext context);
  [[nodiscard]] Result<api::ObjectPtr> budget_of(const api::Object& pod) const;
  Task<Status> take_disruption(api::ObjectPtr budget, std::string pod, WriteContext context);
  Task<Status> mark_and_remove(std::string ns, std::string name, DeleteRequest request, WriteContext context);
  Task<void> drop_old_events();

  /// Checks fields, coerces and defaults `body`, which is to become an object of `type`.
  [[nodiscard]] Status digest(const api::Resource& resource, Json& body, WriteContext& context, bool as_patch) const;
  [[nodiscard]] Status check_identity(const Stored& stored, Json& body, std::string_view ns,
                                      std::string_view name) const;
  [[nodiscard]] StrategyContext strategy_context(const WriteContext& context);
  Task<Result<Json>> prepare_create(const Stored& stored, Json body, const std::string& ns, WriteContext& context,
                                    StrategyContext& strategy);
  Task<Result<Json>> prepare_update(const Stored& stored, const Update& update, Json next, const Json& old,
                                    WriteContext& context, StrategyContext& strategy);
  /// Puts what the objects of the resource use into the status of the namespace's quotas.
  Task<void> report_usage(const api::Resource& resource, std::string ns);
  Task<Result<api::ObjectPtr>> put(const Stored& stored, Json object, store::Revision expected);
  Task<Result<api::ObjectPtr>> put_bytes(const Stored& stored, std::string ns, std::string name, std::string text,
                                         store::Revision expected);
  Task<Result<api::ObjectPtr>> erase(const Stored& stored, api::ObjectPtr object, WriteContext context);
  [[nodiscard]] Result<api::ObjectPtr> settled(const Stored& stored, std::string_view ns, std::string_view name,
                                               store::Revision revision, std::string_view bytes) const;

  store::Store& store;
  RegistryOptions options;
  Clock& clock;
  Admission* admission = nullptr;
  Reviews* reviews = nullptr;
  std::atomic<Computed*> computed = nullptr;
  ServiceAllocator services;
  QuotaLedger quota;
  std::atomic<store::Revision> newest = 0;
  std::atomic<store::Revision> oldest_page = 0;  ///< continue tokens of older revisions have expired
  std::atomic<bool> closed = false;
  std::vector<std::unique_ptr<Stored>> all_stored;
  std::unordered_map<const api::Resource*, Stored*> by_resource;
  std::unordered_map<std::string_view, std::vector<Stored*>> by_prefix;  // by group resource
  std::unique_ptr<store::Watch> follow;                                  // last: it stops before what it feeds goes
};

/// Another version's or group's form of a stored object (events.k8s.io, autoscaling/v1). Null: the resource has its own
/// storage. The functions convert in place.
struct View {
  const api::Resource* storage = nullptr;
  void (*to_view)(Json& object) = nullptr;
  void (*to_storage)(Json& object) = nullptr;
};
[[nodiscard]] const View* view_of(const api::Resource& resource);

}  // namespace brume::apiserver
