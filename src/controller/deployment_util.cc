#include "deployment_util.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "brume/base/strings.h"

namespace brume::controller {

namespace {

constexpr std::int64_t kForever = std::numeric_limits<std::int32_t>::max();  // a deadline that means none
constexpr std::size_t kMaxName = 253;                                        // of a DNS subdomain
constexpr std::size_t kMaxHistory = 2000;                                    // characters of the history of revisions

}  // namespace

std::optional<std::int64_t> ReplicaSet::size_annotation(std::string_view key) const {
  const auto size = parse_int(annotation(key));
  if (!size || *size < 0 || *size > std::numeric_limits<std::int32_t>::max()) return std::nullopt;
  return size;
}

std::int64_t ReplicaSet::revision() const { return parse_int(annotation(kRevision)).value_or(0); }

bool DeploymentState::has_deadline() const {
  const auto seconds = num(spec(), "progressDeadlineSeconds", kForever);
  return seconds != kForever;
}

std::chrono::seconds DeploymentState::deadline() const {
  return std::chrono::seconds(num(spec(), "progressDeadlineSeconds", 600));
}

std::int64_t DeploymentState::max_surge() const {
  return rolling() ? fenceposts(at(spec(), "strategy"), replicas()).first : 0;
}

std::int64_t DeploymentState::max_unavailable() const {
  if (!rolling() || replicas() == 0) return 0;
  return std::min(fenceposts(at(spec(), "strategy"), replicas()).second, replicas());
}

// Sizes
// ----------------------------------------------------------------------------------------------------------------

std::pair<std::int64_t, std::int64_t> fenceposts(const Json& strategy, std::int64_t replicas) {
  static const Json kQuarter = "25%";
  const auto& rolling = at(strategy, "rollingUpdate");
  const auto& surge = at(rolling, "maxSurge");
  const auto& unavailable = at(rolling, "maxUnavailable");
  const auto up = scaled_value(surge.is_null() ? kQuarter : surge, replicas, true);
  auto down = scaled_value(unavailable.is_null() ? kQuarter : unavailable, replicas, false);
  if (up == 0 && down == 0) down = 1;  // else nothing could ever move
  return {up, down};
}

std::int64_t sum_replicas(const ReplicaSets& sets) {
  std::int64_t sum = 0;
  for (const auto& set : sets) sum += set.replicas();
  return sum;
}

std::int64_t sum_available(const ReplicaSets& sets) {
  std::int64_t sum = 0;
  for (const auto& set : sets) sum += set.available();
  return sum;
}

std::optional<std::int64_t> sum_terminating(const ReplicaSets& sets) {
  std::int64_t sum = 0;
  for (const auto& set : sets) {
    const auto& status = at(set.value, "status");
    if (at(status, "terminatingReplicas").is_number()) {
      sum += num(status, "terminatingReplicas");
    } else if (num(status, "observedGeneration") != 0) {
      return std::nullopt;
    }
  }
  return sum;
}

ReplicaSets with_replicas(const ReplicaSets& sets) {
  ReplicaSets out;
  std::copy_if(sets.begin(), sets.end(), std::back_inserter(out), [](const auto& set) { return set.replicas() > 0; });
  return out;
}

bool older(const ReplicaSet& a, const ReplicaSet& b) {
  if (a.object->creation_timestamp() != b.object->creation_timestamp()) {
    return a.object->creation_timestamp() < b.object->creation_timestamp();
  }
  return a.name() < b.name();
}

std::int64_t new_size(const DeploymentState& deployment, std::int64_t total, std::int64_t current) {
  if (!deployment.rolling()) return deployment.replicas();
  const auto limit = deployment.replicas() + deployment.max_surge();
  if (total >= limit) return current;
  return current + std::min(limit - total, deployment.replicas() - current);
}

std::int64_t proportion(const ReplicaSet& set, const DeploymentState& deployment, std::int64_t to_add,
                        std::int64_t added) {
  const auto size = set.replicas();
  if (size == 0 || to_add == 0 || to_add == added) return 0;
  std::int64_t share = -size;
  if (deployment.replicas() != 0) {
    // The set's share of the limit that held when it was last scaled.
    auto before = set.size_annotation(kMaxReplicas).value_or(0);
    if (before == 0) before = num(at(deployment.value, "status"), "replicas");
    if (before == 0) return 0;
    const auto limit = deployment.replicas() + deployment.max_surge();
    const auto wanted = static_cast<double>(size) * static_cast<double>(limit) / static_cast<double>(before);
    share = static_cast<std::int64_t>(std::llround(wanted)) - size;
  }
  return to_add > 0 ? std::min(share, to_add - added) : std::max(share, to_add - added);
}

// Templates
// ------------------------------------------------------------------------------------------------------------

std::string replica_set_name(const std::string& deployment, const std::string& hash) {
  return deployment.substr(0, kMaxName - 1 - hash.size()) + "-" + hash;
}

std::string template_hash(const Json& pod_template, std::int64_t collisions) {
  return name_hash(dump_json(pod_template), collisions);
}

namespace {

Json without_hash(Json pod_template) {
  if (!pod_template.is_object()) return pod_template;
  auto meta = pod_template.find("metadata");
  if (meta == pod_template.end() || !meta->is_object()) return pod_template;
  if (auto labels = meta->find("labels"); labels != meta->end() && labels->is_object()) {
    labels->erase(std::string(kTemplateHash));
    if (labels->empty()) meta->erase("labels");
  }
  if (at(*meta, "creationTimestamp").is_null()) meta->erase("creationTimestamp");
  if (meta->empty()) pod_template.erase("metadata");
  return pod_template;
}

}  // namespace

bool same_template(const Json& a, const Json& b) { return without_hash(a) == without_hash(b); }

int find_new(const DeploymentState& deployment, const ReplicaSets& sets) {
  for (std::size_t i = 0; i < sets.size(); ++i) {
    if (same_template(at(sets[i].value, "spec", "template"), at(deployment.spec(), "template"))) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

// Progress
// -------------------------------------------------------------------------------------------------------------

bool complete(const DeploymentState& deployment, const Json& status) {
  const auto wanted = deployment.replicas();
  return num(status, "updatedReplicas") == wanted && num(status, "replicas") == wanted &&
         num(status, "availableReplicas") == wanted &&
         num(status, "observedGeneration") >= deployment.object->generation();
}

bool progressing(const Json& before, const Json& after) {
  const auto old_before = num(before, "replicas") - num(before, "updatedReplicas");
  const auto old_after = num(after, "replicas") - num(after, "updatedReplicas");
  return num(after, "updatedReplicas") > num(before, "updatedReplicas") || old_after < old_before ||
         num(after, "readyReplicas") > num(before, "readyReplicas") ||
         num(after, "availableReplicas") > num(before, "availableReplicas");
}

bool timed_out(const DeploymentState& deployment, const Json& status, WallTime now) {
  if (!deployment.has_deadline()) return false;
  const auto& condition = client::find_condition(status, "Progressing");
  if (condition.is_null()) return false;
  const auto reason = str(condition, "reason");
  if (reason == "NewReplicaSetAvailable") return false;
  if (reason == "ProgressDeadlineExceeded") return true;
  const auto since = parse_rfc3339(str(condition, "lastUpdateTime"));
  return since && *since + deployment.deadline() < now;
}

void set_deployment_condition(Json& status, std::string_view type, std::string_view value, std::string_view reason,
                              std::string message, WallTime now) {
  const auto& current = client::find_condition(status, type);
  if (!current.is_null() && str(current, "status") == value && str(current, "reason") == reason) return;
  client::set_condition(status,
                        {{"type", std::string(type)},
                         {"status", std::string(value)},
                         {"reason", std::string(reason)},
                         {"message", std::move(message)},
                         {"lastUpdateTime", format_rfc3339(now)}},
                        now);
}

// Annotations
// ----------------------------------------------------------------------------------------------------------

bool set_annotation(Json& object, std::string_view key, const std::string& value) {
  if (str(at(object, "metadata", "annotations"), key) == value && at(object, "metadata", "annotations").contains(key)) {
    return false;
  }
  object["metadata"]["annotations"][std::string(key)] = value;
  return true;
}

namespace {

// What belongs to the one object alone.
bool stays_behind(std::string_view key) {
  return key == "kubectl.kubernetes.io/last-applied-configuration" || key == kRevision || key == kRevisionHistory ||
         key == kDesiredReplicas || key == kMaxReplicas || key == kRollbackTo;
}

}  // namespace

bool inherit_annotations(const DeploymentState& deployment, Json& set) {
  const auto& annotations = at(deployment.value, "metadata", "annotations");
  if (!annotations.is_object()) return false;
  bool changed = false;
  for (const auto& [key, value] : annotations.items()) {
    if (!stays_behind(key)) changed = set_annotation(set, key, std::string(str(value))) || changed;
  }
  return changed;
}

void become(Json& deployment, const ReplicaSet& set) {
  deployment["spec"]["template"] = without_hash(at(set.value, "spec", "template"));
  Json annotations = Json::object();
  const auto take = [&annotations](const Json& from, bool those_that_stay) {
    if (!from.is_object()) return;
    for (const auto& [key, value] : from.items()) {
      if (stays_behind(key) == those_that_stay) annotations[key] = value;
    }
  };
  take(at(deployment, "metadata", "annotations"), true);
  take(at(set.value, "metadata", "annotations"), false);
  deployment["metadata"]["annotations"] = std::move(annotations);
}

bool raise_revision(Json& set, std::int64_t revision) {
  const std::string old(str(at(set, "metadata", "annotations"), kRevision));
  const auto before = parse_int(old);
  if (!before && !old.empty()) return false;  // somebody's own idea of a revision
  if (before.value_or(0) >= revision) return false;
  set_annotation(set, kRevision, std::to_string(revision));
  if (!before) return true;
  std::string history(str(at(set, "metadata", "annotations"), kRevisionHistory));
  history += (history.empty() ? "" : ",") + old;
  while (history.size() > kMaxHistory && history.find(',') != std::string::npos) {
    history.erase(0, history.find(',') + 1);  // the oldest
  }
  set_annotation(set, kRevisionHistory, history);
  return true;
}

}  // namespace brume::controller
