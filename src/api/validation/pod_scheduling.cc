// Where a pod may run: affinity, tolerations, spreading.
#include <set>

#include "api/validation/pod.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

void check_node_requirement(Errors& errors, const Path& path, const Json& requirement, bool values) {
  const auto op = str(requirement, "operator");
  const auto& list = items(at(requirement, "values"));
  if (op == "In" || op == "NotIn") {
    if (list.empty()) errors.required(path / "values", "must be specified when `operator` is 'In' or 'NotIn'");
  } else if (op == "Exists" || op == "DoesNotExist") {
    if (!list.empty()) {
      errors.forbidden(path / "values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    }
  } else if (op == "Gt" || op == "Lt") {
    if (list.size() != 1) {
      errors.required(path / "values", "must be specified single value when `operator` is 'Lt' or 'Gt'");
    }
  } else {
    errors.invalid(path / "operator", op, "not a valid selector operator");
  }
  check_label_key(errors, path / "key", str(requirement, "key"));
  for (std::size_t i = 0; values && i < list.size(); ++i) {
    check_format(errors, (path / "values")[i], str(list[i]), label_value);
  }
}

void check_node_field(Errors& errors, const Path& path, const Json& requirement) {
  const auto op = str(requirement, "operator");
  const auto& list = items(at(requirement, "values"));
  if (op != "In" && op != "NotIn") {
    errors.invalid(path / "operator", op, "not a valid selector operator");
  } else if (list.size() != 1) {
    errors.required(path / "values",
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
  }
  if (const auto key = str(requirement, "key"); key != "metadata.name") {
    errors.invalid(path / "key", key, "not a valid field selector key");
  } else {
    for (std::size_t i = 0; i < list.size(); ++i) {
      check_format(errors, (path / "values")[i], str(list[i]), dns1123_subdomain);
    }
  }
}

void check_node_term(Errors& errors, const Path& path, const Json& term, bool values) {
  std::size_t i = 0;
  for (const Json& requirement : items(at(term, "matchExpressions"))) {
    check_node_requirement(errors, (path / "matchExpressions")[i++], requirement, values);
  }
  i = 0;
  for (const Json& requirement : items(at(term, "matchFields"))) {
    check_node_field(errors, (path / "matchFields")[i++], requirement);
  }
}

void check_weight(Errors& errors, const Path& path, const Json& term) {
  if (const auto weight = num(term, "weight"); weight <= 0 || weight > 100) {
    errors.invalid(path / "weight", weight, "must be in the range 1-100");
  }
}

void check_key_list(Errors& errors, const Path& path, const Json& keys, const Json& selector) {
  const auto& list = items(keys);
  if (list.empty()) return;
  if (!selector.is_object()) return errors.forbidden(path, "must not be specified when labelSelector is not set");
  for (std::size_t i = 0; i < list.size(); ++i) check_label_key(errors, path[i], str(list[i]));
}

void check_match_keys(Errors& errors, const Path& path, const Json& term) {
  const Json& match = at(term, "matchLabelKeys");
  const Json& mismatch = at(term, "mismatchLabelKeys");
  const Json& selector = at(term, "labelSelector");
  check_key_list(errors, path / "matchLabelKeys", match, selector);
  check_key_list(errors, path / "mismatchLabelKeys", mismatch, selector);
  // The selector has had one expression a key added when the pod was made: a second one is the user's own.
  std::set<std::string_view> seen;
  if (const Json& labels = at(selector, "matchLabels"); labels.is_object()) {
    for (auto it = labels.begin(); it != labels.end(); ++it) seen.insert(it.key());
  }
  const auto& keys = items(match);
  for (const Json& expression : items(at(selector, "matchExpressions"))) {
    const auto key = str(expression, "key");
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (str(keys[i]) == key && seen.contains(key)) {
        errors.invalid(path[i], key, "exists in both matchLabelKeys and labelSelector");
      }
    }
    seen.insert(key);
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    for (const Json& other : items(mismatch)) {
      if (other == keys[i]) {
        errors.invalid((path / "matchLabelKeys")[i], str(keys[i]),
                       "exists in both matchLabelKeys and mismatchLabelKeys");
      }
    }
  }
}

void check_pod_term(Errors& errors, const Path& path, const Json& term) {
  check_label_selector(errors, path / "labelSelector", at(term, "labelSelector"));
  check_label_selector(errors, path / "namespaceSelector", at(term, "namespaceSelector"));
  for (const Json& name : items(at(term, "namespaces"))) {
    check_format(errors, path / "namespace", str(name), dns1123_label);
  }
  check_match_keys(errors, path, term);
  const auto key = str(term, "topologyKey");
  if (key.empty()) errors.required(path / "topologyKey", "can not be empty");
  check_label_key(errors, path / "topologyKey", key);
}

void check_pod_affinity(Errors& errors, const Path& path, const Json& affinity) {
  const Path required = path / "requiredDuringSchedulingIgnoredDuringExecution";
  const Path preferred = path / "preferredDuringSchedulingIgnoredDuringExecution";
  std::size_t i = 0;
  for (const Json& term : items(at(affinity, "requiredDuringSchedulingIgnoredDuringExecution"))) {
    check_pod_term(errors, required[i++], term);
  }
  i = 0;
  for (const Json& term : items(at(affinity, "preferredDuringSchedulingIgnoredDuringExecution"))) {
    const Path here = preferred[i++];
    check_weight(errors, here, term);
    check_pod_term(errors, here / "podAffinityTerm", at(term, "podAffinityTerm"));
  }
}

bool is_decimal(std::string_view text) {
  const auto digits = text.starts_with('-') ? text.substr(1) : text;
  return parse_int(text).has_value() && !digits.empty() && (digits.front() != '0' || text == "0");
}

}  // namespace

void check_node_selector(Errors& errors, const Path& path, const Json& selector) {
  const auto& terms = items(at(selector, "nodeSelectorTerms"));
  if (terms.empty()) {
    return errors.required(path / "nodeSelectorTerms", "must have at least one node selector term");
  }
  for (std::size_t i = 0; i < terms.size(); ++i) {
    check_node_term(errors, (path / "nodeSelectorTerms")[i], terms[i], true);
  }
}

void check_affinity(Errors& errors, const Path& path, const Json& affinity) {
  if (const Json& node = at(affinity, "nodeAffinity"); node.is_object()) {
    const Path here = path / "nodeAffinity";
    const Json& required = at(node, "requiredDuringSchedulingIgnoredDuringExecution");
    if (required.is_object()) {
      check_node_selector(errors, here / "requiredDuringSchedulingIgnoredDuringExecution", required);
    }
    std::size_t i = 0;
    for (const Json& term : items(at(node, "preferredDuringSchedulingIgnoredDuringExecution"))) {
      const Path where = (here / "preferredDuringSchedulingIgnoredDuringExecution")[i++];
      check_weight(errors, where, term);
      check_node_term(errors, where / "preference", at(term, "preference"), false);
    }
  }
  for (const char* key : {"podAffinity", "podAntiAffinity"}) check_pod_affinity(errors, path / key, at(affinity, key));
}

void check_taint_effect(Errors& errors, const Path& path, std::string_view effect) {
  check_enum(errors, path, effect, {"NoSchedule", "PreferNoSchedule", "NoExecute"});
}

void check_tolerations(Errors& errors, const Path& path, const Json& list) {
  std::size_t i = 0;
  for (const Json& toleration : items(list)) {
    const Path here = path[i++];
    const auto key = str(toleration, "key");
    const auto op = str(toleration, "operator");
    const auto value = str(toleration, "value");
    const auto effect = str(toleration, "effect");
    if (!key.empty()) check_label_key(errors, here / "key", key);
    if (key.empty() && op != "Exists") {
      errors.invalid(here / "operator", op,
                     "operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
    }
    if (has(toleration, "tolerationSeconds") && effect != "NoExecute") {
      errors.invalid(here / "effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
    if (op == "Equal" || op.empty()) {
      if (const auto faults = label_value(value); !faults.empty())
        errors.invalid(here / "operator", value, join(faults, ";"));
    } else if (op == "Exists") {
      if (!value.empty()) errors.invalid(here / "operator", value, "value must be empty when `operator` is 'Exists'");
    } else if (op == "Lt" || op == "Gt") {
      if (!is_decimal(value))
        errors.invalid(here / "value", value, "must be a valid decimal integer in canonical form");
    } else {
      errors.not_supported(here / "operator", op, {"Equal", "Exists"});
    }
    if (!effect.empty()) check_taint_effect(errors, here / "effect", effect);
  }
}

void check_spread_constraints(Errors& errors, const Path& path, const Json& list) {
  const auto& constraints = items(list);
  for (std::size_t i = 0; i < constraints.size(); ++i) {
    const Path here = path[i];
    const Json& constraint = constraints[i];
    const auto key = str(constraint, "topologyKey");
    const auto action = str(constraint, "whenUnsatisfiable");
    if (const auto skew = num(constraint, "maxSkew"); skew <= 0) {
      errors.invalid(here / "maxSkew", skew, "must be greater than zero");
    }
    if (key.empty()) errors.required(here / "topologyKey", "can not be empty");
    check_enum(errors, here / "whenUnsatisfiable", action, {"DoNotSchedule", "ScheduleAnyway"});
    for (std::size_t j = i + 1; j < constraints.size(); ++j) {
      if (str(constraints[j], "topologyKey") != key || str(constraints[j], "whenUnsatisfiable") != action) continue;
      errors.duplicate(here / "{topologyKey, whenUnsatisfiable}",
                       "{" + std::string(key) + ", " + std::string(action) + "}");
      break;
    }
    if (const Json& domains = at(constraint, "minDomains"); domains.is_number()) {
      if (domains.get<std::int64_t>() <= 0) errors.invalid(here / "minDomains", domains, "must be greater than zero");
      if (action != "DoNotSchedule") {
        errors.invalid(here / "minDomains", domains,
                       "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not " + std::string(action));
      }
    }
    for (const char* policy : {"nodeAffinityPolicy", "nodeTaintsPolicy"}) {
      if (has(constraint, policy)) check_enum(errors, here / policy, str(constraint, policy), {"Honor", "Ignore"});
    }
    check_match_keys(errors, here, constraint);
    check_label_selector(errors, here / "labelSelector", at(constraint, "labelSelector"));
  }
}

}  // namespace brume::api::validation
