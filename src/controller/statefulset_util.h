// The arithmetic of StatefulSets: pure functions on decoded objects.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "controller.h"

namespace brume::controller {

inline constexpr std::string_view kPodNameLabel = "statefulset.kubernetes.io/pod-name";
inline constexpr std::string_view kPodIndexLabel = "apps.kubernetes.io/pod-index";

/// "web-3" is ("web", 3); nothing for a name that no StatefulSet gives.
std::optional<std::pair<std::string, std::int64_t>> parse_pod_name(std::string_view name);

/// spec.persistentVolumeClaimRetentionPolicy: whether claims go with the set, and with a pod that is scaled away.
struct ClaimRetention {
  bool when_deleted = false;
  bool when_scaled = false;
};

/// A StatefulSet as one reconcile sees it.
struct StatefulSet {
  ObjectPtr object;
  Json value;

  [[nodiscard]] const std::string& name() const { return object->name(); }
  [[nodiscard]] const Json& spec() const { return at(value, "spec"); }
  [[nodiscard]] const Json& pod_template() const { return at(spec(), "template"); }
  [[nodiscard]] std::int64_t replicas() const { return num(spec(), "replicas", 1); }
  [[nodiscard]] std::int64_t start() const { return num(at(spec(), "ordinals"), "start"); }
  [[nodiscard]] bool in_range(std::int64_t ordinal) const {
    return ordinal >= start() && ordinal < start() + replicas();
  }
  [[nodiscard]] std::int64_t min_ready_seconds() const { return num(spec(), "minReadySeconds"); }
  [[nodiscard]] bool parallel() const { return str(spec(), "podManagementPolicy") == "Parallel"; }
  [[nodiscard]] bool rolling() const { return str(at(spec(), "updateStrategy"), "type") == "RollingUpdate"; }
  /// updateStrategy.rollingUpdate; null when absent.
  [[nodiscard]] const Json& rolling_update() const { return at(spec(), "updateStrategy", "rollingUpdate"); }
  [[nodiscard]] std::int64_t partition() const { return num(rolling_update(), "partition"); }
  /// Nothing when the field is absent; never below 1.
  [[nodiscard]] std::optional<std::int64_t> max_unavailable() const;
  [[nodiscard]] ClaimRetention retention() const;
  [[nodiscard]] const Json& claim_templates() const { return at(spec(), "volumeClaimTemplates"); }

  [[nodiscard]] std::string pod_name(std::int64_t ordinal) const { return name() + "-" + std::to_string(ordinal); }
  [[nodiscard]] std::string claim_name(const Json& claim_template, std::int64_t ordinal) const;
};

/// What storage_matches() reads of a pod: its volumes that are claims, as (volume, claim).
using PodClaims = std::vector<std::pair<std::string, std::string>>;
PodClaims decode_pod_claims(const Object& pod);

/// A pod of a set, there or still to be made.
struct Member {
  std::int64_t ordinal = 0;
  ObjectPtr pod = {};  ///< null: not there
  std::string revision = {};
  PodPhase phase = PodPhase::kPending;
  bool ready = false;  ///< running and ready
  bool available = false;
  bool in_order = false;  ///< identity and storage are as the set wants them

  [[nodiscard]] bool there() const { return pod != nullptr; }
  [[nodiscard]] bool deleting() const { return pod && pod->deleting(); }
  [[nodiscard]] bool finished() const { return pod && (phase == PodPhase::kFailed || phase == PodPhase::kSucceeded); }
  [[nodiscard]] bool unavailable() const { return !available || deleting(); }
  [[nodiscard]] std::string uid() const { return pod ? pod->uid() : ""; }
};
Member member_of(const StatefulSet& set, const ObjectPtr& pod, const PodView& view, const PodClaims& claims,
                 WallTime now);

/// The pod of that ordinal from `pod_template`.
Json make_pod(const StatefulSet& set, const Json& pod_template, const std::string& revision, std::int64_t ordinal);
/// Whether a pod that is missing is made from the current revision rather than from the update.
bool made_from_current(const StatefulSet& set, std::int64_t ordinal);
/// Sets the pod's labels of identity; whether something changed.
bool update_identity(const StatefulSet& set, std::int64_t ordinal, Json& pod);
/// Lets the pod's volumes be the set's claims; whether something changed.
bool update_storage(const StatefulSet& set, std::int64_t ordinal, Json& pod);

/// The pods that a rolling update deletes now, as indexes into `replicas` in the order of deletion. Without
/// maxUnavailable one at a time, from the highest ordinal, each after the one above it is available; with it as many as
/// may be unavailable.
std::vector<std::size_t> pods_to_update(const StatefulSet& set, const std::vector<Member>& replicas,
                                        const std::string& update_revision);

/// The numbers of a StatefulSet's status.
struct MemberCounts {
  std::int64_t replicas = 0, ready = 0, available = 0, current = 0, updated = 0;
};
void count_members(const std::vector<Member>& members, const std::string& current_revision,
                   const std::string& update_revision, MemberCounts& counts);

}  // namespace brume::controller
