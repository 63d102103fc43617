// LimitRanges and ResourceQuotas.
#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <set>

#include "api/validation/kinds.h"
#include "api/validation/pod.h"
#include "brume/api/pod_resources.h"

namespace brume::api::validation {

namespace {

using Names = std::initializer_list<std::string_view>;

bool among(std::string_view name, Names list) { return std::find(list.begin(), list.end(), name) != list.end(); }

bool is_hugepages(std::string_view name) { return name.starts_with("hugepages-"); }

// ---- limit ranges --------------------------------------------------------------------------------------------------

constexpr std::array<const char*, 5> kBounds = {"min", "max", "default", "defaultRequest", "maxLimitRequestRatio"};

/// What one item of a LimitRange says of one resource.
class Limit {
 public:
  Limit(Errors& errors, const Path& path, const Json& item, std::string name)
      : errors_(errors), path_(path), item_(item), name_(std::move(name)) {}

  void check() {
    in_order({"min", "min"}, {"max", "max"}, "min", "min");
    in_order({"min", "min"}, {"defaultRequest", "default request"}, "defaultRequest", "defaultRequest");
    in_order({"defaultRequest", "default request"}, {"max", "max"}, "defaultRequest", "defaultRequest");
    in_order({"defaultRequest", "default request"}, {"default", "default limit"}, "defaultRequest", "defaultRequest");
    in_order({"min", "min"}, {"default", "default"}, "default", "min");
    in_order({"default", "default"}, {"max", "max"}, "default", "max");
    check_ratio();
    const bool overcommits = is_native_resource(name_) && !is_hugepages(name_);
    if (!overcommits && says("default") && says("defaultRequest") && of("default") != of("defaultRequest")) {
      invalid("defaultRequest", "defaultRequest",
              "default value " + of("default").to_string() + " must equal to defaultRequest value " +
                  of("defaultRequest").to_string() + " in " + name_);
    }
  }

 private:
  [[nodiscard]] bool says(const char* bound) const { return at(item_, bound).contains(name_); }
  [[nodiscard]] Quantity of(const char* bound) const { return amount_of(at(item_, bound), name_); }
  void invalid(const char* field, const char* shown, const std::string& why) {
    errors_.invalid((path_ / field).key(name_), of(shown).to_string(), why);
  }

  struct Bound {
    const char* name;
    const char* word;  // for it in messages
  };
  // `field` is blamed and the value of `shown` is told, as Kubernetes does.
  void in_order(Bound low, Bound high, const char* field, const char* shown) {
    if (!says(low.name) || !says(high.name) || of(low.name) <= of(high.name)) return;
    invalid(field, shown,
            std::string(low.word) + " value " + of(low.name).to_string() + " is greater than " + high.word + " value " +
                of(high.name).to_string());
  }

  void check_ratio() {
    const char* field = "maxLimitRequestRatio";
    if (!says(field)) return;
    const Quantity ratio = of(field);
    if (ratio < Quantity(1)) invalid(field, field, "ratio " + ratio.to_string() + " is less than 1");
    if (!says("min") || !says("max")) return;
    const double most = api::ratio(of("max"), of("min"));
    if (api::ratio(ratio, Quantity(1)) <= most) return;
    char text[64];
    std::snprintf(text, sizeof text, "%f", most);
    invalid(field, field, "ratio " + ratio.to_string() + " is greater than max/min = " + text);
  }

  Errors& errors_;
  const Path& path_;
  const Json& item_;
  std::string name_;
};

void check_limit_type(Errors& errors, const Path& path, std::string_view type) {
  const auto faults = qualified_name(type);
  errors.invalid_each(path, type, faults);
  if (faults.empty() && type.find('/') == std::string_view::npos &&
      !among(type, {"Pod", "Container", "PersistentVolumeClaim"})) {
    errors.invalid(path, type, "must be a standard limit type or fully qualified");
  }
}

void check_limit_item(Errors& errors, const Path& path, const Json& item) {
  const auto type = str(item, "type");
  const bool of_pods = among(type, {"Pod", "Container"});
  std::set<std::string> names;
  for (const char* bound : kBounds) {
    const Json& amounts = at(item, bound);
    const bool fallback = std::string_view(bound).starts_with("default");
    if (type == "Pod" && fallback) {
      if (!blank(amounts)) errors.forbidden(path / bound, "may not be specified when `type` is 'Pod'");
      continue;
    }
    for (const auto& [name, amount] : amounts.items()) {
      const auto check_name = of_pods ? check_container_resource_name : check_resource_name;
      check_name(errors, (path / bound).key(name), name);
      names.insert(name);
    }
  }
  if (type == "PersistentVolumeClaim" && !has(at(item, "min"), "storage") && !has(at(item, "max"), "storage")) {
    errors.required(path / "limits", "either minimum or maximum storage value is required, but neither was provided");
  }
  for (const auto& name : names) Limit(errors, path, item, name).check();
}

// ---- quotas --------------------------------------------------------------------------------------------------------

constexpr std::string_view kNotForResource = "unsupported scope applied to resource";

bool is_quota_resource(std::string_view name) {
  return is_hugepages(name) || name.starts_with("requests.hugepages-") ||
         among(name, {"cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage",
                      "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods",
                      "resourcequotas", "services", "replicationcontrollers", "secrets", "persistentvolumeclaims",
                      "configmaps", "services.nodeports", "services.loadbalancers"});
}

bool is_scope(std::string_view name) {
  return among(name, {"Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass",
                      "CrossNamespacePodAffinity", "VolumeAttributesClass"});
}

// Whether objects in the scope can use the resource.
bool scope_fits(std::string_view scope, std::string_view resource) {
  if (!is_quota_resource(resource) || !is_scope(scope)) return true;
  if (scope == "VolumeAttributesClass") return among(resource, {"persistentvolumeclaims", "requests.storage"});
  if (resource == "pods") return true;
  return scope != "BestEffort" &&
         among(resource, {"cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"});
}

void check_quota_amounts(Errors& errors, const Path& path, const Json& amounts) {
  if (!amounts.is_object()) return;
  for (const auto& [name, amount] : amounts.items()) {
    errors.invalid_each(path.key(name), name, qualified_name(name));
    if (name.find('/') == std::string::npos && !is_quota_resource(name)) {
      errors.invalid(path.key(name), name, "must be a standard resource for quota");
    }
    check_resource_amount(errors, path.key(name), name, amount);
  }
}

bool contradict(const std::set<std::string_view>& scopes) {
  return (scopes.contains("BestEffort") && scopes.contains("NotBestEffort")) ||
         (scopes.contains("Terminating") && scopes.contains("NotTerminating"));
}

void check_scopes(Errors& errors, const Json& spec) {
  const Path path = Path("spec") / "scopes";
  const Json& scopes = at(spec, "scopes");
  std::set<std::string_view> seen;
  bool known = true, fits = true;  // told once: the value told is the whole list
  for (const Json& scope : items(scopes)) {
    known = known && is_scope(str(scope));
    for (const auto& [name, amount] : at(spec, "hard").items()) fits = fits && scope_fits(str(scope), name);
    seen.insert(str(scope));
  }
  if (!known) errors.invalid(path, scopes, "unsupported scope");
  if (!fits) errors.invalid(path, scopes, kNotForResource);
  if (contradict(seen)) errors.invalid(path, scopes, "conflicting scopes");
}

void check_scope_operator(Errors& errors, const Path& path, const Json& one) {
  const auto op = str(one, "operator");
  if (!among(str(one, "scopeName"), {"PriorityClass", "VolumeAttributesClass"}) && is_scope(str(one, "scopeName")) &&
      op != "Exists") {
    errors.invalid(path / "operator", op,
                   "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "
                   "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
                   "ResourceQuotaScopeCrossNamespacePodAffinity");
  }
  const bool none = blank(at(one, "values"));
  if (among(op, {"In", "NotIn"})) {
    if (none) {
      errors.required(path / "values",
                      "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
    }
  } else if (!among(op, {"Exists", "DoesNotExist"})) {
    errors.invalid(path / "operator", op, "not a valid selector operator");
  } else if (!none) {
    errors.invalid(path / "values", at(one, "values"),
                   "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector");
  }
}

void check_scope_selector(Errors& errors, const Json& spec) {
  const Path path = Path("spec") / "scopeSelector" / "matchExpressions";
  const Json& selector = at(spec, "scopeSelector");
  std::set<std::string_view> seen;
  bool fits = true;
  for (const Json& one : items(at(selector, "matchExpressions"))) {
    const auto scope = str(one, "scopeName");
    if (!is_scope(scope)) errors.invalid(path / "scopeName", scope, "unsupported scope");
    for (const auto& [name, amount] : at(spec, "hard").items()) fits = fits && scope_fits(scope, name);
    check_scope_operator(errors, path, one);
    seen.insert(scope);
  }
  if (!fits) errors.invalid(path, selector, kNotForResource);
  if (contradict(seen)) errors.invalid(path, at(spec, "scopes"), "conflicting scopes");
}

}  // namespace

void create_limit_range(Errors& errors, const Json& object) {
  std::set<std::string_view> seen;
  std::size_t i = 0;
  for (const Json& item : items(at(object, "spec", "limits"))) {
    const Path here = (Path("spec") / "limits")[i++];
    const auto type = str(item, "type");
    check_limit_type(errors, here / "type", type);
    if (!seen.insert(type).second) errors.duplicate(here / "type", type);
    check_limit_item(errors, here, item);
  }
}

void create_resource_quota(Errors& errors, const Json& object) {
  const Json& spec = at(object, "spec");
  check_quota_amounts(errors, Path("spec") / "hard", at(spec, "hard"));
  check_scopes(errors, spec);
  check_scope_selector(errors, spec);
}

void update_resource_quota(Errors& errors, const Json& object, const Json& old) {
  create_resource_quota(errors, object);
  std::vector<Json> now = items(at(object, "spec", "scopes"));
  std::vector<Json> before = items(at(old, "spec", "scopes"));
  std::sort(now.begin(), now.end());
  std::sort(before.begin(), before.end());
  if (now != before) errors.invalid(Path("spec") / "scopes", at(object, "spec", "scopes"), kImmutable);
}

}  // namespace brume::api::validation
