// Resource names and amounts.
#include <algorithm>
#include <array>
#include <set>

#include "api/validation/pod.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

bool any_of(std::string_view name, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

bool is_hugepages(std::string_view name) { return name.starts_with("hugepages-"); }

// Those that a container can ask for by a plain name.
bool is_container_resource(std::string_view name) {
  return any_of(name, {"cpu", "memory", "ephemeral-storage"}) || is_hugepages(name);
}

// Those that may stand without a domain anywhere: nodes, quotas, claims.
bool is_standard_resource(std::string_view name) {
  return is_container_resource(name) || name.starts_with("requests.hugepages-") ||
         any_of(name, {"requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu", "limits.memory",
                       "limits.ephemeral-storage", "pods", "resourcequotas", "services", "replicationcontrollers",
                       "secrets", "configmaps", "persistentvolumeclaims", "storage", "requests.storage",
                       "services.nodeports", "services.loadbalancers"});
}

// Extended resources and huge pages are never handed out twice.
bool may_overcommit(std::string_view name) { return is_native_resource(name) && !is_hugepages(name); }

void check_pod_level_name(Errors& errors, const Path& path, std::string_view name) {
  const std::size_t before = errors.size();
  check_resource_name(errors, path, name);
  if (errors.size() != before) return;
  if (!any_of(name, {"cpu", "memory"}) && !is_hugepages(name)) {
    errors.not_supported(path, name, {"cpu", "hugepages-*", "memory"});
  }
}

void check_huge_pages(Errors& errors, const Path& path, std::string_view name, const Quantity& amount) {
  if (!is_hugepages(name)) return;
  const auto page = Quantity::parse(name.substr(std::string_view("hugepages-").size()));
  if (!page || page->sign() <= 0) return;
  if (amount.value() % page->value() != 0) {
    errors.invalid(path, amount.to_string(),
                   amount.to_string() + " is not positive integer multiple of " + std::string(name));
  }
}

void check_request(Errors& errors, const Path& path, std::string_view name, const Quantity& request,
                   const Json& limits) {
  const Json& limit_value = at(limits, name);
  if (limit_value.is_null()) {
    if (!may_overcommit(name)) errors.required(path / "limits", "Limit must be set for non overcommitable resources");
    return;
  }
  const Quantity limit = quantity_of(limit_value);
  const std::string tail = std::string(name) + " limit of " + limit.to_string();
  if (request != limit && !may_overcommit(name)) {
    errors.invalid(path / "requests", request.to_string(), "must be equal to " + tail);
  } else if (request > limit) {
    errors.invalid(path / "requests", request.to_string(), "must be less than or equal to " + tail);
  }
}

}  // namespace

Quantity quantity_of(const Json& value) {
  if (value.is_string()) return quantity_or_zero(str(value));
  return value.is_number() ? quantity_or_zero(value.dump()) : Quantity();
}

bool is_native_resource(std::string_view name) {
  return name.find('/') == std::string_view::npos || name.find("kubernetes.io/") != std::string_view::npos;
}

bool is_extended_resource(std::string_view name) {
  return !is_native_resource(name) && !name.starts_with("requests.") &&
         qualified_name("requests." + std::string(name)).empty();
}

void check_resource_name(Errors& errors, const Path& path, std::string_view name) {
  const auto faults = qualified_name(name);
  errors.invalid_each(path, name, faults);
  if (faults.empty() && name.find('/') == std::string_view::npos && !is_standard_resource(name)) {
    errors.invalid(path, name, "must be a standard resource type or fully qualified");
  }
}

void check_container_resource_name(Errors& errors, const Path& path, std::string_view name) {
  check_resource_name(errors, path, name);
  if (name.find('/') == std::string_view::npos) {
    if (!is_container_resource(name)) errors.invalid(path, name, "must be a standard resource for containers");
  } else if (!is_native_resource(name) && !is_extended_resource(name)) {
    errors.invalid(path, name, "doesn't follow extended resource name standard");
  }
}

void check_resource_amount(Errors& errors, const Path& path, std::string_view resource, const Json& amount) {
  const Quantity quantity = quantity_of(amount);
  if (quantity.sign() < 0) errors.invalid(path, quantity.to_string(), kNotNegative);
  const bool counts =
      any_of(resource, {"pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps",
                        "persistentvolumeclaims", "services.nodeports", "services.loadbalancers"}) ||
      is_extended_resource(resource);
  if (counts && quantity.nano_value() % 1'000'000'000 != 0) {
    errors.invalid(path, quantity.to_string(), "must be an integer");
  }
}

void check_resources(Errors& errors, const Path& path, const Json& resources, bool pod_level) {
  const auto check_name = pod_level ? check_pod_level_name : check_container_resource_name;
  const Json& limits = at(resources, "limits");
  bool cpu_or_memory = false;
  bool huge = false;
  for (const char* list : {"limits", "requests"}) {
    const Json& amounts = at(resources, list);
    if (!amounts.is_object()) continue;
    for (const auto& [name, amount] : amounts.items()) {
      const Path here = (path / list).key(name);
      const Quantity quantity = quantity_of(amount);
      check_name(errors, here, name);
      check_resource_amount(errors, here, name, amount);
      if (std::string_view(list) == "requests") check_request(errors, path, name, quantity, limits);
      check_huge_pages(errors, here, name, quantity);
      huge |= is_hugepages(name);
      cpu_or_memory |= name == "cpu" || name == "memory";
    }
  }
  if (huge && !cpu_or_memory) errors.forbidden(path, "HugePages require cpu or memory");
}

}  // namespace brume::api::validation
