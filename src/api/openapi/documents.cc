// The documents themselves.
#include <cstdint>
#include <map>

#include "api/openapi/builder.h"
#include "api/tables.h"
#include "brume/base/strings.h"

namespace brume::api {

namespace {

// Changes when documents made from the same tables come to read differently.
constexpr std::string_view kForm = "1";

std::uint64_t fnv1a(std::string_view text, std::uint64_t hash = 14695981039346656037U) {
  for (char c : text) hash = (hash ^ static_cast<std::uint8_t>(c)) * 1099511628211U;
  return hash;
}

std::string hex(std::uint64_t value) {
  std::string out;
  for (int shift = 60; shift >= 0; shift -= 4) out += "0123456789ABCDEF"[value >> shift & 15];
  return out;
}

Json info() { return {{"title", "Kubernetes"}, {"version", openapi::kKubernetesVersion}}; }

std::string group_path(const Resource& resource) {
  return (resource.group.empty() ? "api/" : "apis/") + resource.api_version();
}

}  // namespace

std::string openapi_hash(std::string_view document) {
  return hex(fnv1a(document)) + hex(fnv1a(document, document.size() * 0x9E3779B97F4A7C15U));
}

std::string openapi_v3_paths(std::span<const CustomResource> custom) {
  // A hash stands for the schema's sources, so that the index is cheap: the tables, and the custom schemas of the
  // group.
  std::map<std::string, std::string> sources;
  for (const Resource& resource : builtin_resources()) {
    sources.try_emplace(group_path(resource), std::string(kForm) + std::string(tables::kFingerprint));
  }
  for (const CustomResource& item : custom) {
    auto& source = sources[group_path(*item.resource)];
    source += item.resource->plural;
    if (item.schema != nullptr) source += dump_json(*item.schema);
  }
  Json paths = Json::object();
  for (const auto& [path, source] : sources) {
    paths[path] = {{"serverRelativeURL", "/openapi/v3/" + path + "?hash=" + openapi_hash(path + source)}};
  }
  return dump_json({{"paths", std::move(paths)}});
}

std::string openapi_v3(std::string_view group, std::string_view version, std::span<const CustomResource> custom) {
  using openapi::Version;
  openapi::Schemas schemas(Version::kV3);
  Json paths = Json::object();
  for (const Resource& resource : builtin_resources()) {
    if (resource.group == group && resource.version == version) {
      openapi::add_paths(Version::kV3, resource, nullptr, schemas, paths);
    }
  }
  for (const CustomResource& item : custom) {
    if (item.resource->group == group && item.resource->version == version) {
      openapi::add_paths(Version::kV3, *item.resource, &item, schemas, paths);
    }
  }
  if (paths.empty()) return {};
  Json components = {{"schemas", schemas.take()}};
  return dump_json(
      {{"openapi", "3.0.0"}, {"info", info()}, {"paths", std::move(paths)}, {"components", std::move(components)}});
}

namespace openapi {

Json v2_document(std::span<const CustomResource> custom) {
  Schemas schemas(Version::kV2);
  Json paths = Json::object();
  for (const Resource& resource : builtin_resources()) add_paths(Version::kV2, resource, nullptr, schemas, paths);
  for (const CustomResource& item : custom) add_paths(Version::kV2, *item.resource, &item, schemas, paths);
  return {{"swagger", "2.0"}, {"info", info()}, {"paths", std::move(paths)}, {"definitions", schemas.take()}};
}

}  // namespace openapi

std::string openapi_v2_json(std::span<const CustomResource> custom) { return dump_json(openapi::v2_document(custom)); }

}  // namespace brume::api
