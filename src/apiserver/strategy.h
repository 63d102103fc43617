// Strategy: what one kind's writes mean beyond the generic rules.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "access.h"
#include "brume/api/resources.h"
#include "brume/base/json.h"
#include "brume/base/result.h"
#include "brume/base/time.h"
#include "quota_ledger.h"

namespace brume::apiserver {

class ServiceAllocator;

/// One write under way. Exactly one of commit and abort is run when its fate is known.
struct StrategyContext {
  const User* user = nullptr;
  WallTime now;
  ServiceAllocator* services = nullptr;
  QuotaLedger::Claim room = {};                  ///< in the namespace's quotas
  std::vector<std::string>* warnings = nullptr;  ///< for the client; null when nobody listens
  std::vector<std::function<void()>> commit = {};
  std::vector<std::function<void()>> abort = {};
};

/// What deleting an owner does to its dependents when the request does not say.
enum class GarbageDefault : std::uint8_t { kBackground, kOrphan, kUnsupported };

/// Facts about a kind. Defaults are those of most kinds.
struct StrategyFacts {
  bool generation = false;  ///< metadata.generation counts changes of the spec
  bool keeps_status_on_create = false;
  bool create_on_update = false;     ///< PUT of an absent object creates it
  bool unconditional_update = true;  ///< PUT may leave out resourceVersion
  bool is_volatile = false;          ///< kept in memory until a clean stop
  bool returns_deleted = false;      ///< DELETE answers with the object rather than with a Status
  bool graceful = false;             ///< DELETE waits for a grace period (pods)
  GarbageDefault garbage = GarbageDefault::kBackground;
};

/// Stateless and shared; hooks change the object that is about to be validated and written. Metadata is done already.
class Strategy {
 public:
  explicit Strategy(StrategyFacts facts) : facts_(facts) {}
  virtual ~Strategy() = default;
  [[nodiscard]] const StrategyFacts& facts() const { return facts_; }
  virtual Status prepare_create(Json& object, StrategyContext& context) const;
  virtual Status prepare_update(Json& object, const Json& old, StrategyContext& context) const;
  /// A write through status, finalize, approval, ...: `object` has only what that sub-resource may change.
  virtual Status prepare_subresource(std::string_view subresource, Json& object, const Json& old,
                                     StrategyContext& context) const;
  /// The object is about to be removed for good.
  virtual void prepare_removal(const Json& old, StrategyContext& context) const;
  /// Whether the change from `old` counts as a new generation.
  [[nodiscard]] virtual bool new_generation(const Json& object, const Json& old) const;
  /// Whether a deleting object without metadata.finalizers may go.
  [[nodiscard]] virtual bool may_go(const Json& object) const;

 private:
  StrategyFacts facts_;
};

/// The resource's strategy; the generic one for kinds without rules of their own.
[[nodiscard]] const Strategy& strategy_of(const api::Resource& resource);

/// Sets or adds the condition of that type in status.conditions; lastTransitionTime moves when the status does.
void set_condition(Json& status, std::string_view type, std::string_view value, std::string_view reason,
                   std::string_view message, WallTime now);

namespace strategies {
// One per file in src/apiserver/strategies/; null when the file knows nothing of the resource.
[[nodiscard]] const Strategy* core_kind(std::string_view group_resource);
[[nodiscard]] const Strategy* storage_kind(std::string_view group_resource);
[[nodiscard]] const Strategy* workload_kind(std::string_view group_resource);
[[nodiscard]] const Strategy* pod_kind(std::string_view group_resource);
[[nodiscard]] const Strategy* service_kind(std::string_view group_resource);
}  // namespace strategies

}  // namespace brume::apiserver
