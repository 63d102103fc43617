// Keeps namespaces within their ResourceQuotas.
#pragma once

#include <cstdint>
#include <map>
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
/// way have claimed. Both are looked at under one lock, so that any number of writes on any loops never exceed a quota
/// together. A quota's status only tells of it: the registry writes what a write has used before it acknowledges that
/// write. A namespace without quotas costs one look. Thread-safe.
class QuotaLedger {
 public:
  QuotaLedger(const ObjectSource& objects, Clock& clock) : objects_(objects), clock_(clock) {}

  /// Room that a write has been given, until the object is in the cache or the write has failed.
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
    explicit operator bool() const { return ledger_ != nullptr; }

   private:
    friend class QuotaLedger;
    void swap(Claim& other) noexcept;
    QuotaLedger* ledger_ = nullptr;
    std::string ns_;
    std::uint64_t id_ = 0;
  };

  /// Room for the write, the last step of admission; kForbidden with Kubernetes' text when a quota has none. Of a dry
  /// run nothing is kept.
  Result<Claim> claim(const AdmissionRequest& request);

  /// The quota with status.used as it is for objects of this resource; nullopt when it says so already.
  [[nodiscard]] std::optional<Json> counted(const api::Object& quota, const api::Resource& resource);

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
  using ByUid = std::unordered_map<std::string, Known>;
  struct Space {
    std::vector<Pending> pending;
    std::map<const api::Resource*, ByUid> known;  ///< of resources whose objects differ in use
  };
  struct Wish;

  [[nodiscard]] static bool matters(const AdmissionRequest& request);
  Status check(const Wish& wish, const api::Object& quota, bool& counted);
  api::Amounts used(const api::QuotaRules& rules, const api::Resource& resource, const std::string& ns,
                    const std::vector<std::string>& names, bool with_pending);
  void refresh(ByUid& known, const api::Resource& resource, const std::string& ns);
  void release(const std::string& ns, std::uint64_t id);
  void sweep();

  const ObjectSource& objects_;
  Clock& clock_;
  std::mutex mutex_;
  std::uint64_t last_id_ = 0;
  std::size_t sweep_at_ = 16;  ///< spaces held before those without quotas are looked for
  std::unordered_map<std::string, Space> spaces_;
};

}  // namespace brume::apiserver
