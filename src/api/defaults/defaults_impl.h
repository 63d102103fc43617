// Helpers and the per-group functions behind apply_defaults.
#pragma once

#include <string_view>

#include "brume/base/json.h"

namespace brume::api::defaults {

/// The member `key` when `object` is an object and the member is of the wanted JSON type; null otherwise.
[[nodiscard]] Json* object_in(Json& object, std::string_view key);
[[nodiscard]] Json* array_in(Json& object, std::string_view key);
/// Absent, null, "", 0, [] or {}.
[[nodiscard]] bool is_zero(const Json& value);
bool is_empty(const Json& object, std::string_view key);
/// Sets the member if it is absent or null; if_empty: if is_empty().
void set_absent(Json& object, std::string_view key, Json value);
void set_empty(Json& object, std::string_view key, Json value);

/// Always for the tag latest (or none), else IfNotPresent.
[[nodiscard]] std::string_view pull_policy_of(std::string_view image);

void pod_spec(Json& spec);  ///< any PodSpec
void pod(Json& object);     ///< what holds for pods but not for templates

void core(std::string_view kind, Json& object);
void apps(std::string_view kind, Json& object);
void batch(std::string_view kind, Json& object);
void autoscaling(std::string_view version, Json& object);
void networking(std::string_view kind, Json& object);
void rbac(std::string_view kind, Json& object);
void device_requests(Json& value);  ///< resource.k8s.io: at any depth
void custom_resource_definition(Json& object);

}  // namespace brume::api::defaults
