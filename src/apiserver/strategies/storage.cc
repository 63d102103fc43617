// Persistent volumes and claims.
#include <map>

#include "../strategy.h"

namespace brume::apiserver::strategies {

namespace {

class VolumeStrategy final : public Strategy {
 public:
  VolumeStrategy() : Strategy({.returns_deleted = true}) {}

  Status prepare_create(Json& object, StrategyContext& context) const override {
    object["status"] = Json{{"phase", "Pending"}, {"lastPhaseTransitionTime", format_rfc3339(context.now)}};
    return {};
  }

  // The time of a phase's beginning is the server's to know, unless the client says it (KEP-3762).
  Status prepare_subresource(std::string_view subresource, Json& object, const Json& old,
                             StrategyContext& context) const override {
    if (subresource != "status" || !at(object, "status").is_object()) return {};
    Json& status = object["status"];
    const Json& before = at(old, "status");
    const std::string_view since = str(status, "lastPhaseTransitionTime");
    if (str(status, "phase") == str(before, "phase")) {
      if (since.empty() && before.contains("lastPhaseTransitionTime")) {
        status["lastPhaseTransitionTime"] = at(before, "lastPhaseTransitionTime");
      }
    } else if (since.empty() || since == str(before, "lastPhaseTransitionTime")) {
      status["lastPhaseTransitionTime"] = format_rfc3339(context.now);
    }
    return {};
  }
};

class ClaimStrategy final : public Strategy {
 public:
  ClaimStrategy() : Strategy({.returns_deleted = true}) {}

  Status prepare_create(Json& object, StrategyContext& /*context*/) const override {
    object["status"] = Json{{"phase", "Pending"}};
    settle_sources(object, Json());
    return {};
  }
  Status prepare_update(Json& object, const Json& old, StrategyContext& /*context*/) const override {
    settle_sources(object, old);
    return {};
  }

 private:
  // dataSource and dataSourceRef say the same (KEP-1495): of one the other is made. A dataSource alone is a claim or a
  // snapshot, or is dropped; a source in another namespace needs a gate that is off.
  static void settle_sources(Json& object, const Json& old) {
    Json& spec = object["spec"];
    const Json& before = at(old, "spec");
    const bool had = at(before, "dataSource").is_object() || at(before, "dataSourceRef").is_object();
    if (!had && !str(at(spec, "dataSourceRef"), "namespace").empty()) spec.erase("dataSourceRef");
    const Json& source = at(spec, "dataSource");
    if (!had && source.is_object() && !at(spec, "dataSourceRef").is_object() && !is_claim_or_snapshot(source)) {
      spec.erase("dataSource");
    }
    const bool by_source = at(spec, "dataSource").is_object();
    const bool by_ref = at(spec, "dataSourceRef").is_object();
    if (by_source == by_ref || !str(at(spec, "dataSourceRef"), "namespace").empty()) return;
    const Json& from = at(spec, by_source ? "dataSource" : "dataSourceRef");
    Json made = Json::object();
    for (const char* field : {"apiGroup", "kind", "name"}) {
      if (from.contains(field)) made[field] = from.at(field);
    }
    spec[by_source ? "dataSourceRef" : "dataSource"] = std::move(made);
  }

  static bool is_claim_or_snapshot(const Json& source) {
    const auto kind = str(source, "kind");
    const auto group = str(source, "apiGroup");
    return (kind == "PersistentVolumeClaim" && group.empty()) ||
           (kind == "VolumeSnapshot" && group == "snapshot.storage.k8s.io");
  }
};

}  // namespace

const Strategy* storage_kind(std::string_view group_resource) {
  static const VolumeStrategy volumes;
  static const ClaimStrategy claims;
  if (group_resource == "persistentvolumes") return &volumes;
  if (group_resource == "persistentvolumeclaims") return &claims;
  return nullptr;
}

}  // namespace brume::apiserver::strategies
