#include "errors.h"

#include "brume/base/strings.h"

namespace brume::apiserver {

std::string go_quote(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

namespace {

constexpr std::string_view kSeveralBudgets =
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";

std::string name_of(const api::Resource& resource, std::string_view name) {
  return resource.group_resource() + " " + go_quote(name);
}

}  // namespace

Error not_found(const api::Resource& resource, std::string_view name) {
  return {Code::kNotFound, name_of(resource, name) + " not found"};
}

Error already_exists(const api::Resource& resource, std::string_view name) {
  return {Code::kAlreadyExists, name_of(resource, name) + " already exists"};
}

Error conflict(const api::Resource& resource, std::string_view name, std::string_view why) {
  return {Code::kConflict, "Operation cannot be fulfilled on " + name_of(resource, name) + ": " + std::string(why)};
}

Error modified(const api::Resource& resource, std::string_view name) {
  return conflict(resource, name,
                  "the object has been modified; please apply your changes to the latest version and try again");
}

Error forbidden(const api::Resource& resource, std::string_view name, std::string_view why) {
  const std::string what = name.empty() ? resource.group_resource() : name_of(resource, name);
  return {Code::kForbidden, what + " is forbidden: " + std::string(why)};
}

Error several_budgets() { return {Code::kInternal, std::string(kSeveralBudgets)}; }

bool tells_no_reason(const Error& error) { return error.code == Code::kInternal && error.message == kSeveralBudgets; }

}  // namespace brume::apiserver
