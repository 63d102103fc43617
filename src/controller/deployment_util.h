// The arithmetic of Deployments: pure functions on decoded objects.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "controller.h"

namespace brume::controller {

inline constexpr std::string_view kRevision = "deployment.kubernetes.io/revision";
inline constexpr std::string_view kRevisionHistory = "deployment.kubernetes.io/revision-history";
inline constexpr std::string_view kDesiredReplicas = "deployment.kubernetes.io/desired-replicas";
inline constexpr std::string_view kMaxReplicas = "deployment.kubernetes.io/max-replicas";
inline constexpr std::string_view kRollbackTo = "deprecated.deployment.rollback.to";
inline constexpr std::string_view kTemplateHash = "pod-template-hash";

/// A ReplicaSet of a Deployment; a value that is changed locally after a write.
struct ReplicaSet {
  ObjectPtr object;
  Json value;

  [[nodiscard]] const std::string& name() const { return object->name(); }
  [[nodiscard]] std::int64_t replicas() const { return num(at(value, "spec"), "replicas", 1); }
  [[nodiscard]] std::int64_t actual() const { return num(at(value, "status"), "replicas"); }
  [[nodiscard]] std::int64_t ready() const { return num(at(value, "status"), "readyReplicas"); }
  [[nodiscard]] std::int64_t available() const { return num(at(value, "status"), "availableReplicas"); }
  [[nodiscard]] std::string_view annotation(std::string_view key) const {
    return str(at(value, "metadata", "annotations"), key);
  }
  [[nodiscard]] std::int64_t revision() const;  ///< 0 when it has none
  /// A size that an annotation holds; nothing for what is none.
  [[nodiscard]] std::optional<std::int64_t> size_annotation(std::string_view key) const;
};

using ReplicaSets = std::vector<ReplicaSet>;

/// A Deployment as one reconcile sees it. `status` is what will be written.
struct DeploymentState {
  ObjectPtr object;
  Json value;
  Json status;

  [[nodiscard]] const Json& spec() const { return at(value, "spec"); }
  [[nodiscard]] std::int64_t replicas() const { return num(spec(), "replicas", 1); }
  [[nodiscard]] bool paused() const { return flag(spec(), "paused"); }
  [[nodiscard]] bool rolling() const { return str(at(spec(), "strategy"), "type") != "Recreate"; }
  [[nodiscard]] bool has_deadline() const;
  [[nodiscard]] std::chrono::seconds deadline() const;
  [[nodiscard]] std::int64_t max_surge() const;
  [[nodiscard]] std::int64_t max_unavailable() const;
};

/// spec.strategy's maxSurge (rounded up) and maxUnavailable (rounded down); never both zero.
std::pair<std::int64_t, std::int64_t> fenceposts(const Json& strategy, std::int64_t replicas);

/// The name of a Deployment's ReplicaSet, cut where it would be too long.
std::string replica_set_name(const std::string& deployment, const std::string& hash);
/// The hash that names a ReplicaSet: stable over the template's canonical bytes and the collision count.
std::string template_hash(const Json& pod_template, std::int64_t collisions);
/// Whether two pod templates are the same but for the hash label.
bool same_template(const Json& a, const Json& b);
/// The oldest ReplicaSet with the Deployment's template; -1 when there is none.
int find_new(const DeploymentState& deployment, const ReplicaSets& sets);

std::int64_t sum_replicas(const ReplicaSets& sets);
std::int64_t sum_available(const ReplicaSets& sets);
/// Nothing when a set that its controller has looked at does not tell.
std::optional<std::int64_t> sum_terminating(const ReplicaSets& sets);
ReplicaSets with_replicas(const ReplicaSets& sets);    ///< those whose spec.replicas is above 0
bool older(const ReplicaSet& a, const ReplicaSet& b);  ///< by creation, then name

/// What the new ReplicaSet's size is to be now, of all `sets` (the new one, of size `current`, among them).
std::int64_t new_size(const DeploymentState& deployment, std::int64_t total, std::int64_t current);
/// How many replicas of `to_add` (negative: to take away) fall on this set in a proportional scale; `added` is given
/// already.
std::int64_t proportion(const ReplicaSet& set, const DeploymentState& deployment, std::int64_t to_add,
                        std::int64_t added);

/// Rollout is done: all replicas are of the new template and available.
bool complete(const DeploymentState& deployment, const Json& status);
/// The status moved on from the one stored.
bool progressing(const Json& before, const Json& after);
/// No progress for longer than the deadline.
bool timed_out(const DeploymentState& deployment, const Json& status, WallTime now);

/// Sets a Deployment condition as Kubernetes does: nothing when status and reason are as before.
void set_deployment_condition(Json& status, std::string_view type, std::string_view value, std::string_view reason,
                              std::string message, WallTime now);

/// Copies the Deployment's annotations that a ReplicaSet inherits; whether something changed.
bool inherit_annotations(const DeploymentState& deployment, Json& set);
/// Gives a Deployment (its JSON) the set's template and the annotations that the set inherited when it was the newest.
void become(Json& deployment, const ReplicaSet& set);
/// Raises the set's revision annotation, keeping the old one in its history of 2000 characters; whether something
/// changed.
bool raise_revision(Json& set, std::int64_t revision);
bool set_annotation(Json& object, std::string_view key, const std::string& value);

}  // namespace brume::controller
