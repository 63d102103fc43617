#include "brume/api/schema.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "api/tables.h"
#include "brume/api/resources.h"

namespace brume::api {

const Field* find_field(const Type& type, std::string_view name) {
  auto it = std::lower_bound(type.fields.begin(), type.fields.end(), name,
                             [](const Field& field, std::string_view key) { return field.name < key; });
  return it != type.fields.end() && it->name == name ? &*it : nullptr;
}

std::span<const Type> builtin_types() { return tables::kAllTypes; }

const Type* find_type(std::string_view name) {
  auto all = tables::kAllTypes;
  auto it = std::lower_bound(all.begin(), all.end(), name,
                             [](const Type& type, std::string_view key) { return type.name < key; });
  return it != all.end() && it->name == name ? &*it : nullptr;
}

namespace {

constexpr std::string_view kMetaPrefix = "io.k8s.apimachinery.pkg.apis.meta.v1.";

bool is_api_version(std::string_view api_version, std::string_view group, std::string_view version) {
  if (group.empty()) return api_version == version;
  return api_version.size() == group.size() + 1 + version.size() && api_version.starts_with(group) &&
         api_version[group.size()] == '/' && api_version.ends_with(version);
}

}  // namespace

const Type* find_type(std::string_view api_version, std::string_view kind) {
  if (kind.empty()) return nullptr;
  for (const Type& type : tables::kAllTypes) {
    if (type.kind != kind) continue;
    if (is_api_version(api_version, type.group, type.version) || type.name.starts_with(kMetaPrefix)) return &type;
  }
  return nullptr;
}

std::string Resource::api_version() const {
  std::string text(group);
  if (!text.empty()) text += '/';
  return text += version;
}

std::string Resource::group_resource() const {
  std::string text(plural);
  if (!group.empty()) (text += '.') += group;
  return text;
}

const Subresource* Resource::subresource(std::string_view name) const {
  for (const Subresource& sub : subresources) {
    if (sub.name == name) return &sub;
  }
  return nullptr;
}

bool Resource::has_verb(std::string_view verb) const {
  return std::find(verbs.begin(), verbs.end(), verb) != verbs.end();
}

std::span<const Resource> builtin_resources() { return tables::kAllResources; }

const Resource* find_resource(std::string_view group, std::string_view version, std::string_view plural) {
  for (const Resource& resource : tables::kAllResources) {
    if (resource.plural == plural && resource.group == group && resource.version == version) return &resource;
  }
  return nullptr;
}

const Resource* find_kind(std::string_view api_version, std::string_view kind) {
  for (const Resource& resource : tables::kAllResources) {
    if (resource.kind == kind && is_api_version(api_version, resource.group, resource.version)) return &resource;
  }
  return nullptr;
}

const Resource& res(std::string_view group_resource) {
  auto dot = group_resource.find('.');
  auto plural = group_resource.substr(0, dot);
  auto group = dot == std::string_view::npos ? std::string_view() : group_resource.substr(dot + 1);
  for (const Resource& resource : tables::kAllResources) {
    if (resource.plural == plural && resource.group == group) return resource;
  }
  std::fprintf(stderr, "no built-in resource %.*s\n", static_cast<int>(group_resource.size()), group_resource.data());
  std::abort();
}

}  // namespace brume::api
