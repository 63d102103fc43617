// Deployments, replica sets, stateful sets, daemon sets, replication controllers.
#include <algorithm>
#include <cstdint>

#include "api/validation/kinds.h"
#include "api/validation/pod.h"
#include "brume/api/selector.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

const Path kSpec("spec");
constexpr std::string_view kNoMatch = "`selector` does not match template `labels`";

bool selects_all(const Json& selector) {
  return blank(at(selector, "matchLabels")) && blank(at(selector, "matchExpressions"));
}

// Its own form, and that it is not empty; `what` ends the message.
void check_selector(Errors& errors, const Json& selector, std::string_view what, bool required) {
  const Path path = kSpec / "selector";
  if (!selector.is_object()) {
    if (required) errors.required(path);
    return;
  }
  check_label_selector(errors, path, selector);
  if (selects_all(selector)) errors.invalid(path, selector, "empty selector is invalid for " + std::string(what));
}

void check_match(Errors& errors, const Json& spec, const Json& selector) {
  const auto parsed = LabelSelector::from_json(selector);
  if (!parsed) {
    if (selector.is_object()) errors.invalid(kSpec / "selector", selector, "invalid label selector");
    return;
  }
  const Json& labels = at(spec, "template", "metadata", "labels");
  if (!parsed->empty() && !parsed->matches_json(labels)) {
    errors.invalid(kSpec / "template" / "metadata" / "labels", labels, kNoMatch);
  }
}

// A template whose pods are replaced for ever: what is so beside its own form.
void check_lasting(Errors& errors, const Json& pod_template, std::string_view kind) {
  const Path path = kSpec / "template";
  const Json& spec = at(pod_template, "spec");
  if (str(spec, "restartPolicy") != "Always") {
    errors.not_supported(path / "spec" / "restartPolicy", str(spec, "restartPolicy"), {"Always"});
  }
  if (has(spec, "activeDeadlineSeconds")) {
    errors.forbidden(path / "spec" / "activeDeadlineSeconds",
                     "activeDeadlineSeconds in " + std::string(kind) + " is not Supported");
  }
}

void check_lasting_template(Errors& errors, const Json& pod_template, std::string_view kind) {
  check_pod_template(errors, kSpec / "template", pod_template);
  check_lasting(errors, pod_template, kind);
}

// The number, or the number before the percent sign.
std::int64_t amount_of(const Json& value) {
  if (value.is_number()) return value.get<std::int64_t>();
  auto text = str(value);
  if (text.ends_with('%')) text.remove_suffix(1);
  return parse_int(text).value_or(0);
}

void check_deployment_strategy(Errors& errors, const Json& strategy) {
  const Path path = kSpec / "strategy";
  const auto type = str(strategy, "type");
  const Json& rolling = at(strategy, "rollingUpdate");
  const Path here = path / "rollingUpdate";
  if (type == "Recreate") {
    if (rolling.is_object()) errors.forbidden(here, "may not be specified when strategy `type` is 'Recreate'");
  } else if (type == "RollingUpdate") {
    if (!rolling.is_object()) return errors.required(here, "this should be defaulted and never be nil");
    const Json& unavailable = at(rolling, "maxUnavailable");
    check_int_or_percent(errors, here / "maxUnavailable", unavailable);
    check_int_or_percent(errors, here / "maxSurge", at(rolling, "maxSurge"));
    if (amount_of(unavailable) == 0 && amount_of(at(rolling, "maxSurge")) == 0) {
      errors.invalid(here / "maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0");
    }
    check_at_most_100(errors, here / "maxUnavailable", unavailable);
  } else {
    errors.add("FieldValueNotSupported", "Unsupported value: " + shown(strategy), path,
               R"(supported values: "Recreate", "RollingUpdate")");
  }
}

void check_daemon_strategy(Errors& errors, const Json& strategy) {
  const Path path = kSpec / "updateStrategy";
  const auto type = str(strategy, "type");
  if (type == "OnDelete") return;
  if (type != "RollingUpdate") {
    return errors.add("FieldValueNotSupported", "Unsupported value: " + shown(strategy), path,
                      R"(supported values: "RollingUpdate", "OnDelete")");
  }
  const Json& rolling = at(strategy, "rollingUpdate");
  const Path here = path / "rollingUpdate";
  if (!rolling.is_object()) return errors.required(here);
  for (const char* key : {"maxUnavailable", "maxSurge"}) {
    check_int_or_percent(errors, here / key, at(rolling, key));
    check_at_most_100(errors, here / key, at(rolling, key));
  }
  const bool unavailable = amount_of(at(rolling, "maxUnavailable")) != 0;
  const bool surge = amount_of(at(rolling, "maxSurge")) != 0;
  if (unavailable && surge) {
    errors.invalid(here / "maxSurge", at(rolling, "maxSurge"), "may not be set when maxUnavailable is non-zero");
  } else if (!unavailable && !surge) {
    errors.required(here / "maxUnavailable", "cannot be 0 when maxSurge is 0");
  }
}

void check_stateful_strategy(Errors& errors, const Json& strategy) {
  const Path path = kSpec / "updateStrategy";
  const auto type = str(strategy, "type");
  const Json& rolling = at(strategy, "rollingUpdate");
  const Path here = path / "rollingUpdate";
  if (type.empty()) return errors.required(path);
  if (type == "OnDelete") {
    if (rolling.is_object()) errors.invalid(here, rolling, "only allowed for updateStrategy 'RollingUpdate'");
  } else if (type == "RollingUpdate") {
    check_not_negative(errors, here / "partition", at(rolling, "partition"));
    const Json& unavailable = at(rolling, "maxUnavailable");
    if (unavailable.is_null()) return;
    check_int_or_percent(errors, here / "maxUnavailable", unavailable);
    if (amount_of(unavailable) == 0) errors.invalid(here / "maxUnavailable", unavailable, "cannot be 0");
    check_at_most_100(errors, here / "maxUnavailable", unavailable);
  } else {
    errors.invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'");
  }
}

// The template as its pods will have it: named by the controller, each claim template a volume.
Json stateful_template(const Json& spec) {
  Json out = at(spec, "template");
  if (at(out, "spec").is_object()) {
    out["spec"].erase("hostname");
    out["spec"].erase("subdomain");
  }
  const auto& claims = items(at(spec, "volumeClaimTemplates"));
  if (claims.empty()) return out;
  Json volumes = Json::array();
  for (const Json& claim : claims) {
    const std::string name(str(at(claim, "metadata"), "name"));
    volumes.push_back({{"name", name}, {"persistentVolumeClaim", {{"claimName", name}}}});
  }
  for (const Json& volume : items(at(out, "spec", "volumes"))) {
    const bool covered = std::any_of(claims.begin(), claims.end(), [&](const Json& claim) {
      return str(at(claim, "metadata"), "name") == str(volume, "name");
    });
    if (!covered) volumes.push_back(volume);
  }
  out["spec"]["volumes"] = std::move(volumes);
  return out;
}

enum class Template : std::uint8_t { kChecked, kTolerated };

void check_stateful_set(Errors& errors, const Json& spec, bool fresh, Template pods = Template::kChecked) {
  if (const auto policy = str(spec, "podManagementPolicy"); policy.empty()) {
    errors.required(kSpec / "podManagementPolicy");
  } else if (policy != "OrderedReady" && policy != "Parallel") {
    errors.invalid(kSpec / "podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'");
  }
  check_stateful_strategy(errors, at(spec, "updateStrategy"));
  if (const Json& retention = at(spec, "persistentVolumeClaimRetentionPolicy"); retention.is_object()) {
    for (const char* key : {"whenDeleted", "whenScaled"}) {
      check_enum(errors, kSpec / "persistentVolumeClaimRetentionPolicy" / key, str(retention, key),
                 {"Retain", "Delete"});
    }
  }
  std::size_t i = 0;
  for (const Json& claim : items(at(spec, "volumeClaimTemplates"))) {
    if (fresh) check_claim_spec(errors, (kSpec / "volumeClaimTemplates")[i++] / "spec", at(claim, "spec"), true);
  }
  check_not_negative(errors, kSpec / "replicas", at(spec, "replicas"));
  check_not_negative(errors, kSpec / "minReadySeconds", at(spec, "minReadySeconds"));
  check_not_negative(errors, kSpec / "ordinals.start", at(spec, "ordinals", "start"));
  if (const auto name = str(spec, "serviceName"); fresh && !name.empty()) {
    check_format(errors, kSpec / "serviceName", name, dns1123_label);
  }
  check_selector(errors, at(spec, "selector"), "statefulset", true);
  check_match(errors, spec, at(spec, "selector"));
  const Json pod_template = stateful_template(spec);
  if (pods == Template::kChecked) check_pod_template(errors, kSpec / "template", pod_template);
  check_lasting(errors, pod_template, "StatefulSet");
}

void check_daemon_set(Errors& errors, const Json& spec) {
  check_selector(errors, at(spec, "selector"), "daemonset", false);
  const auto parsed = LabelSelector::from_json(at(spec, "selector"));
  const Json& labels = at(spec, "template", "metadata", "labels");
  if (parsed && !parsed->matches_json(labels)) {
    errors.invalid(kSpec / "template" / "metadata" / "labels", labels, kNoMatch);
  }
  check_lasting_template(errors, at(spec, "template"), "DaemonSet");
  check_not_negative(errors, kSpec / "minReadySeconds", at(spec, "minReadySeconds"));
  check_daemon_strategy(errors, at(spec, "updateStrategy"));
  check_not_negative(errors, kSpec / "revisionHistoryLimit", at(spec, "revisionHistoryLimit"));
}

}  // namespace

void create_deployment(Errors& errors, const Json& object) {
  const Json& spec = at(object, "spec");
  check_not_negative(errors, kSpec / "replicas", at(spec, "replicas"));
  check_selector(errors, at(spec, "selector"), "deployment", true);
  check_match(errors, spec, at(spec, "selector"));
  check_lasting_template(errors, at(spec, "template"), "ReplicaSet");
  check_deployment_strategy(errors, at(spec, "strategy"));
  for (const char* key : {"minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"}) {
    check_not_negative(errors, kSpec / key, at(spec, key));
  }
  const Json& deadline = at(spec, "progressDeadlineSeconds");
  if (deadline.is_number() && deadline.get<std::int64_t>() <= num(spec, "minReadySeconds")) {
    errors.invalid(kSpec / "progressDeadlineSeconds", deadline, "must be greater than minReadySeconds");
  }
}
void update_deployment(Errors& errors, const Json& object, const Json& old) {
  create_deployment(errors, object);
  check_immutable(errors, kSpec / "selector", at(object, "spec", "selector"), at(old, "spec", "selector"));
}

void create_replica_set(Errors& errors, const Json& object) {
  const Json& spec = at(object, "spec");
  check_not_negative(errors, kSpec / "replicas", at(spec, "replicas"));
  check_not_negative(errors, kSpec / "minReadySeconds", at(spec, "minReadySeconds"));
  check_selector(errors, at(spec, "selector"), "deployment", true);
  check_match(errors, spec, at(spec, "selector"));
  check_lasting_template(errors, at(spec, "template"), "ReplicaSet");
}
void update_replica_set(Errors& errors, const Json& object, const Json& old) {
  create_replica_set(errors, object);
  check_immutable(errors, kSpec / "selector", at(object, "spec", "selector"), at(old, "spec", "selector"));
}

void create_replication_controller(Errors& errors, const Json& object) {
  const Json& spec = at(object, "spec");
  check_not_negative(errors, kSpec / "minReadySeconds", at(spec, "minReadySeconds"));
  const Json& selector = at(spec, "selector");
  if (blank(selector)) errors.required(kSpec / "selector");
  if (at(spec, "replicas").is_null()) errors.required(kSpec / "replicas");
  check_not_negative(errors, kSpec / "replicas", at(spec, "replicas"));
  if (!at(spec, "template").is_object()) return errors.required(kSpec / "template");
  const Json& labels = at(spec, "template", "metadata", "labels");
  if (!blank(selector) && !LabelSelector::from_map(selector).matches_json(labels)) {
    errors.invalid(kSpec / "template" / "metadata" / "labels", labels, kNoMatch);
  }
  check_lasting_template(errors, at(spec, "template"), "ReplicationController");
}

void create_stateful_set(Errors& errors, const Json& object) { check_stateful_set(errors, at(object, "spec"), true); }
void update_stateful_set(Errors& errors, const Json& object, const Json& old) {
  Json now = at(object, "spec");
  Json before = at(old, "spec");
  // One that an older release let in with a template that is invalid today can still be changed.
  Errors known;
  check_stateful_set(known, before, false);
  check_stateful_set(errors, now, false, known.empty() ? Template::kChecked : Template::kTolerated);
  for (const char* key : {"replicas", "template", "updateStrategy", "minReadySeconds", "ordinals",
                          "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy"}) {
    if (now.is_object()) now.erase(key);
    if (before.is_object()) before.erase(key);
  }
  if (!same(now, before)) {
    errors.forbidden(kSpec,
                     "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
                     "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
                     "'minReadySeconds' are forbidden");
  }
}

void create_daemon_set(Errors& errors, const Json& object) { check_daemon_set(errors, at(object, "spec")); }
void update_daemon_set(Errors& errors, const Json& object, const Json& old) {
  check_immutable(errors, kSpec / "selector", at(object, "spec", "selector"), at(old, "spec", "selector"));
  check_daemon_set(errors, at(object, "spec"));
}

void create_pod_template(Errors& errors, const Json& object) {
  check_pod_template(errors, Path("template"), at(object, "template"));
}

void create_controller_revision(Errors& errors, const Json& object) {
  check_not_negative(errors, Path("revision"), at(object, "revision"));
  const Json& data = at(object, "data");
  if (data.is_null()) {
    errors.required(Path("data"), "data is mandatory");
  } else if (!data.is_object()) {
    errors.required(Path("data"), "data must be a valid JSON object");
  }
}
void update_controller_revision(Errors& errors, const Json& object, const Json& old) {
  check_not_negative(errors, Path("revision"), at(object, "revision"));
  check_immutable(errors, Path("data"), at(object, "data"), at(old, "data"));
}

// Counts in a status: none negative, none above the whole. `ready` is how the message names the ready ones.
void check_counts(Errors& errors, const Json& object, const Json& old, std::string_view ready) {
  const Path path("status");
  const Json& status = at(object, "status");
  if (!status.is_object()) return;
  for (const auto& [key, value] : status.items()) {
    if (value.is_number()) check_not_negative(errors, path / key, value);
  }
  if (const auto collisions = num(status, "collisionCount"); collisions < num(at(old, "status"), "collisionCount")) {
    errors.invalid(path / "collisionCount", collisions, "cannot be decremented");
  }
  if (!has(at(object, "spec"), "replicas")) return;  // daemon sets count nodes
  const auto total = num(status, "replicas");
  for (const char* key :
       {"updatedReplicas", "currentReplicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"}) {
    if (num(status, key) > total)
      errors.invalid(path / key, num(status, key), "cannot be greater than status.replicas");
  }
  if (num(status, "availableReplicas") > num(status, "readyReplicas")) {
    errors.invalid(path / "availableReplicas", num(status, "availableReplicas"),
                   "cannot be greater than " + std::string(ready));
  }
}

void check_replica_counts(Errors& errors, const Json& object, const Json& old) {
  check_counts(errors, object, old, "readyReplicas");
}
void check_stateful_counts(Errors& errors, const Json& object, const Json& old) {
  check_counts(errors, object, old, "status.readyReplicas");
}

}  // namespace brume::api::validation
