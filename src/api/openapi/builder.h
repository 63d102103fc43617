// Builds the parts of an OpenAPI document, version 2 or 3, from the tables.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "brume/api/openapi.h"
#include "brume/api/schema.h"
#include "brume/base/json.h"

namespace brume::api::openapi {

enum class Version { kV2, kV3 };

/// The version of Kubernetes whose API this is.
inline constexpr std::string_view kKubernetesVersion = "v1.36.0";

/// Collects the schemas of types and of what they refer to.
class Schemas {
 public:
  explicit Schemas(Version version) : version_(version) {}

  /// A reference to the type; its schema (and all that it needs) will be in take().
  Json ref(const Type& type);
  Json ref(std::string_view full_name);
  /// A custom resource's schema with the fields that every object has; answers with references to it and to its list.
  Json ref_custom(const CustomResource& custom);
  Json ref_custom_list(const CustomResource& custom);
  Json take();

 private:
  Json link(std::string_view name) const;
  Json type_schema(const Type& type);
  Json field_schema(const Field& field);
  Json value_schema(const Field& field);
  Json named_scalar(Kind kind);

  Version version_;
  Json schemas_ = Json::object();
  std::set<std::string, std::less<>> known_;
  std::vector<const Type*> pending_;
};

/// All path items of a resource (custom ones give `custom`), put into `paths`.
void add_paths(Version version, const Resource& resource, const CustomResource* custom, Schemas& schemas, Json& paths);

/// The definition's name of a custom resource: com.example.v1.Kind.
[[nodiscard]] std::string custom_name(const Resource& resource);
/// The whole Swagger 2.0 document.
[[nodiscard]] Json v2_document(std::span<const CustomResource> custom);

}  // namespace brume::api::openapi
