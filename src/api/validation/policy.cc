// RBAC, priority classes, disruption budgets, runtime classes, leases, CRDs.
#include <algorithm>

#include "api/validation/kinds.h"
#include "api/validation/pod.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

constexpr std::string_view kRbacGroup = "rbac.authorization.k8s.io";

void check_rules(Errors& errors, const Json& object, bool namespaced) {
  std::size_t i = 0;
  for (const Json& rule : items(at(object, "rules"))) {
    const Path here = Path("rules")[i++];
    if (blank(at(rule, "verbs"))) errors.required(here / "verbs", "verbs must contain at least one value");
    const Json& urls = at(rule, "nonResourceURLs");
    if (!blank(urls)) {
      if (namespaced) {
        errors.invalid(here / "nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs");
      }
      if (!blank(at(rule, "apiGroups")) || !blank(at(rule, "resources")) || !blank(at(rule, "resourceNames"))) {
        errors.invalid(here / "nonResourceURLs", urls,
                       "rules cannot apply to both regular resources and non-resource URLs");
      }
      continue;
    }
    if (blank(at(rule, "apiGroups"))) {
      errors.required(here / "apiGroups", "resource rules must supply at least one api group");
    }
    if (blank(at(rule, "resources"))) {
      errors.required(here / "resources", "resource rules must supply at least one resource");
    }
  }
}

void check_subject(Errors& errors, const Path& path, const Json& subject, bool namespaced) {
  const auto kind = str(subject, "kind");
  const auto name = str(subject, "name");
  const auto group = str(subject, "apiGroup");
  if (name.empty()) errors.required(path / "name");
  if (kind == "ServiceAccount") {
    if (!name.empty()) check_format(errors, path / "name", name, dns1123_subdomain);
    if (!group.empty()) errors.not_supported(path / "apiGroup", group, {""});
    if (!namespaced && str(subject, "namespace").empty()) errors.required(path / "namespace");
  } else if (kind == "User" || kind == "Group") {
    if (group != kRbacGroup) errors.not_supported(path / "apiGroup", group, {kRbacGroup});
  } else {
    errors.not_supported(path / "kind", kind, {"ServiceAccount", "User", "Group"});
  }
}

void check_binding(Errors& errors, const Json& object, bool namespaced) {
  const Path path("roleRef");
  const Json& role = at(object, "roleRef");
  if (str(role, "apiGroup") != kRbacGroup) errors.not_supported(path / "apiGroup", str(role, "apiGroup"), {kRbacGroup});
  if (namespaced) {
    check_enum(errors, path / "kind", str(role, "kind"), {"Role", "ClusterRole"});
  } else {
    check_enum(errors, path / "kind", str(role, "kind"), {"ClusterRole"});
  }
  if (const auto name = str(role, "name"); name.empty()) {
    errors.required(path / "name");
  } else {
    check_format(errors, path / "name", name, path_segment);
  }
  std::size_t i = 0;
  for (const Json& subject : items(at(object, "subjects"))) {
    check_subject(errors, Path("subjects")[i++], subject, namespaced);
  }
}

void check_role_kept(Errors& errors, const Json& object, const Json& old) {
  if (!same(at(object, "roleRef"), at(old, "roleRef"))) {
    errors.invalid(Path("roleRef"), at(object, "roleRef"), "cannot change roleRef");
  }
}

}  // namespace

void create_role(Errors& errors, const Json& object) { check_rules(errors, object, true); }
void create_cluster_role(Errors& errors, const Json& object) {
  check_rules(errors, object, false);
  const Json& aggregation = at(object, "aggregationRule");
  if (!aggregation.is_object()) return;
  const Path path = Path("aggregationRule") / "clusterRoleSelectors";
  const auto& selectors = items(at(aggregation, "clusterRoleSelectors"));
  if (selectors.empty()) {
    errors.required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
  }
  for (std::size_t i = 0; i < selectors.size(); ++i) check_label_selector(errors, path[i], selectors[i]);
}
void create_role_binding(Errors& errors, const Json& object) { check_binding(errors, object, true); }
void create_cluster_role_binding(Errors& errors, const Json& object) { check_binding(errors, object, false); }
void update_role_binding(Errors& errors, const Json& object, const Json& old) {
  create_role_binding(errors, object);
  check_role_kept(errors, object, old);
}
void update_cluster_role_binding(Errors& errors, const Json& object, const Json& old) {
  create_cluster_role_binding(errors, object);
  check_role_kept(errors, object, old);
}

void create_priority_class(Errors& errors, const Json& object) {
  constexpr std::int64_t kHighestUser = 1'000'000'000;
  const auto name = str(at(object, "metadata"), "name");
  const auto value = num(object, "value");
  if (name.starts_with("system-")) {
    const bool known = (name == "system-node-critical" && value == 2'000'001'000) ||
                       (name == "system-cluster-critical" && value == 2'000'000'000);
    if (!known) {
      errors.forbidden(Path("metadata") / "name",
                       "priority class names with 'system-' prefix are reserved for system use only. error: " +
                           std::string(name) + " is not a known system priority class");
    }
  } else if (value > kHighestUser) {
    errors.forbidden(Path("value"), "maximum allowed value of a user defined priority is 1000000000");
  }
  if (has(object, "preemptionPolicy")) {
    check_enum(errors, Path("preemptionPolicy"), str(object, "preemptionPolicy"), {"PreemptLowerPriority", "Never"});
  }
}
void update_priority_class(Errors& errors, const Json& object, const Json& old) {
  if (num(object, "value") != num(old, "value")) errors.forbidden(Path("value"), "may not be changed in an update.");
  check_immutable(errors, Path("preemptionPolicy"), at(object, "preemptionPolicy"), at(old, "preemptionPolicy"));
}

void create_disruption_budget(Errors& errors, const Json& object) {
  const Path path("spec");
  const Json& spec = at(object, "spec");
  if (has(spec, "minAvailable") && has(spec, "maxUnavailable")) {
    errors.invalid(path, spec, "minAvailable and maxUnavailable cannot be both set");
  }
  for (const char* key : {"minAvailable", "maxUnavailable"}) {
    if (!has(spec, key)) continue;
    check_int_or_percent(errors, path / key, at(spec, key));
    check_at_most_100(errors, path / key, at(spec, key));
  }
  check_label_selector(errors, path / "selector", at(spec, "selector"));
  if (has(spec, "unhealthyPodEvictionPolicy")) {
    check_enum(errors, path / "unhealthyPodEvictionPolicy", str(spec, "unhealthyPodEvictionPolicy"),
               {"AlwaysAllow", "IfHealthyBudget"});
  }
}

void create_runtime_class(Errors& errors, const Json& object) {
  check_format(errors, Path("handler"), str(object, "handler"), dns1123_label);
  const Json& overhead = at(object, "overhead", "podFixed");
  if (overhead.is_object()) {
    Json limits = Json::object();
    limits["limits"] = overhead;
    check_resources(errors, Path("overhead") / "podFixed", limits);
  }
  const Json& scheduling = at(object, "scheduling");
  check_labels(errors, Path("scheduling") / "nodeSelector", at(scheduling, "nodeSelector"));
  check_tolerations(errors, Path("scheduling") / "tolerations", at(scheduling, "tolerations"));
}
void update_runtime_class(Errors& errors, const Json& object, const Json& old) {
  create_runtime_class(errors, object);
  check_immutable(errors, Path("handler"), at(object, "handler"), at(old, "handler"));
}

void create_lease(Errors& errors, const Json& object) {
  const Path path("spec");
  const Json& spec = at(object, "spec");
  const Json& seconds = at(spec, "leaseDurationSeconds");
  if (seconds.is_number() && seconds.get<std::int64_t>() <= 0) {
    errors.invalid(path / "leaseDurationSeconds", seconds, "must be greater than 0");
  }
  check_not_negative(errors, path / "leaseTransitions", at(spec, "leaseTransitions"));
  if (has(spec, "holderIdentity") && str(spec, "holderIdentity").empty() && has(spec, "strategy")) {
    errors.invalid(path / "holderIdentity", "", "must not be empty");
  }
}

void create_definition(Errors& errors, const Json& object) {
  const Path path("spec");
  const Json& spec = at(object, "spec");
  const Json& names = at(spec, "names");
  const auto group = str(spec, "group");
  const auto plural = str(names, "plural");
  const auto name = str(at(object, "metadata"), "name");
  if (const std::string wanted = std::string(plural) + "." + std::string(group); name != wanted) {
    errors.invalid(Path("metadata") / "name", name, "must be spec.names.plural+\".\"+spec.group");
  }
  if (group.empty()) {
    errors.required(path / "group");
  } else {
    const auto faults = dns1123_subdomain(group);
    if (!faults.empty()) {
      errors.invalid(path / "group", group, join(faults, ","));
    } else if (group.find('.') == std::string_view::npos) {
      errors.invalid(path / "group", group, "should be a domain with at least one dot");
    }
  }
  check_enum(errors, path / "scope", str(spec, "scope"), {"Cluster", "Namespaced"});
  const auto& versions = items(at(spec, "versions"));
  int stored = 0;
  for (std::size_t i = 0; i < versions.size(); ++i) {
    const Path here = (path / "versions")[i];
    const auto version = str(versions[i], "name");
    stored += flag(versions[i], "storage") ? 1 : 0;
    errors.invalid_each(here / "name", version, dns1035_label(version));
    if (!at(versions[i], "schema", "openAPIV3Schema").is_object()) {
      errors.required(here / "schema" / "openAPIV3Schema", "schemas are required");
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (str(versions[j], "name") == version)
        errors.invalid(path / "versions", version, "must contain unique version names");
    }
  }
  if (stored != 1) {
    errors.invalid(path / "versions", at(spec, "versions"), "must have exactly one version marked as storage version");
  }
  for (const char* key : {"plural", "singular", "kind", "listKind"}) {
    const auto text = str(names, key);
    const bool required = std::string_view(key) == "plural" || std::string_view(key) == "kind";
    if (text.empty()) {
      if (required) errors.required(path / "names" / key);
      continue;
    }
    if (const auto faults = dns1035_label(to_lower(text)); !faults.empty()) {
      errors.invalid(path / "names" / key, text, join(faults, ","));
    }
  }
  if (!str(names, "kind").empty() && str(names, "kind") == str(names, "listKind")) {
    errors.invalid(path / "names" / "listKind", str(names, "listKind"), "kind and listKind may not be the same");
  }
}

}  // namespace brume::api::validation
