// Keeps namespaces within their ResourceQuotas.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "access.h"
#include "brume/api/quota.h"
#include "brume/base/clock.h"
#include "brume/base/json.h"

namespace brume::apiserver {

/// What a namespace uses is what the watch caches hold of it, which is every committed object, and what writes under
/// way have claimed. Both are looked at under one lock of the namespace, so that any number of writes on any loops
/// never exceed a quota together, and those of other namespaces do not wait. Sums are kept: a write costs a look at
/// what is new, which alone is decoded. A quota's status only tells of it: the registry writes what a write has used
/// before it acknowledges that write. A namespace without quotas costs one look. Thread-safe.
class QuotaLedger {
  struct Space;

 public:
  QuotaLedger(const ObjectSource& objects, Clock& clock) : objects_(objects), clock_(clock) {}

  /// Room that a write has been given, until the object is in the cache or the write has failed. May outlive the
  /// ledger.
  class Claim {
   public:
    Claim() = default;
    Claim(Claim&& other) noexcept { swap(other); }
    Claim& operator=(Claim&& other) noexcept {
      swap(other);
      return *this;
    }
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    ~Claim();
    /// Whether a quota counts the write.
    explicit operator bool() const { return space_ != nullptr; }

   private:
    friend class QuotaLedger;
    void swap(Claim& other) noexcept;
    std::shared_ptr<Space> space_;
    std::uint64_t id_ = 0;
  };

  /// Room for the write, the last step of admission; kForbidden with Kubernetes' text when a quota has none. Of a dry
  /// run nothing is kept.
  Result<Claim> claim(const AdmissionRequest& request);

  /// The quota with status.used as it is for objects of this resource; nullopt when it says so already.
  [[nodiscard]] std::optional<Json> counted(const api::ObjectPtr& quota, const api::Resource& resource);

 private:
  struct Pending {
    std::uint64_t id = 0;
    const api::Resource* resource = nullptr;
    std::string name, uid;
    api::QuotaItem item;
  };
  struct Known {
    api::ObjectPtr object;  ///< the version that `item` is of
    api::QuotaItem item;
  };
  /// Does not saturate, so that what was added can be taken off again.
  struct Sum {
    api::Quantity::Int nano = 0;
    api::Quantity::Format format = {};
  };
  /// What a quota counts of the known objects of one resource.
  struct Total {
    std::vector<std::string> names;
    std::map<std::string, Sum, std::less<>> used;
  };
  struct Quota {
    api::ObjectPtr object;  ///< the version that was seen last
    Json spec;
    api::QuotaRules rules;
    std::map<const api::Resource*, Total> totals;  ///< of resources whose objects differ in use
  };
  struct Space {
    std::mutex mutex;
    std::uint64_t last_id = 0;
    std::vector<Pending> pending;
    std::map<const api::Resource*, std::vector<std::unique_ptr<Known>>> known;  ///< likewise; in the cache's order
    std::unordered_map<std::string, Quota> quotas;                              ///< by uid
  };
  struct Wish;

  [[nodiscard]] static bool matters(const AdmissionRequest& request);
  std::shared_ptr<Space> space_of(const std::string& ns);
  void sweep();
  // With the space's lock held:
  static Quota& quota_of(Space& space, const api::ObjectPtr& object);
  static void forget_others(Space& space, const std::vector<api::ObjectPtr>& quotas);
  Status check(const Wish& wish, Space& space, Quota& quota, bool& counted) const;
  void refresh(Space& space, const api::Resource& resource, const std::string& ns) const;
  static void count(Space& space, const api::Resource& resource, const api::QuotaItem& item, int sign);
  static void add(Total& total, const api::QuotaItem& item, int sign);
  static const Total& total_of(Space& space, Quota& quota, const api::Resource& resource);
  static const Known* known_of(Space& space, const api::Resource& resource, const Pending& pending);
  api::Amounts used(Space& space, Quota& quota, const api::Resource& resource, const std::string& ns,
                    const std::vector<std::string>& names, bool with_pending) const;
  api::Amounts number_of(const Space& space, const Quota& quota, const api::Resource& resource, const std::string& ns,
                         const std::vector<std::string>& names, bool with_pending) const;
  static void add_pending(Space& space, const Quota& quota, const api::Resource& resource,
                          const std::vector<std::string>& names, api::Amounts& sum);

  const ObjectSource& objects_;
  Clock& clock_;
  std::mutex mutex_;
  std::size_t sweep_at_ = 16;  ///< spaces held before those without quotas are looked for
  std::unordered_map<std::string, std::shared_ptr<Space>> spaces_;
};

}  // namespace brume::apiserver
