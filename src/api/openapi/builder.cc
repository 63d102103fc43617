#include "api/openapi/builder.h"

#include <algorithm>

#include "brume/base/strings.h"

namespace brume::api::openapi {

namespace {

constexpr std::string_view kMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.";

std::string scalar_name(Kind kind) {
  switch (kind) {
    case Kind::kTime: return std::string(kMeta) + "Time";
    case Kind::kMicroTime: return std::string(kMeta) + "MicroTime";
    case Kind::kDuration: return std::string(kMeta) + "Duration";
    case Kind::kQuantity: return "io.k8s.apimachinery.pkg.api.resource.Quantity";
    case Kind::kIntOrString: return "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
    default: return {};
  }
}

Json gvk_list(std::string_view group, std::string_view version, std::string_view kind) {
  return Json::array({{{"group", group}, {"kind", kind}, {"version", version}}});
}

// Swagger 2.0 knows fewer keywords than OpenAPI 3.
void strip_v3_only(Json& schema) {
  if (schema.is_array()) {
    for (Json& item : schema) strip_v3_only(item);
    return;
  }
  if (!schema.is_object()) return;
  for (const char* key : {"nullable", "oneOf", "anyOf", "not", "allOf"}) schema.erase(key);
  if (flag(schema, "x-kubernetes-int-or-string")) schema.erase("type");
  for (auto& [key, value] : schema.items()) strip_v3_only(value);
}

}  // namespace

Json Schemas::link(std::string_view name) const {
  std::string target = version_ == Version::kV3 ? "#/components/schemas/" : "#/definitions/";
  return {{"$ref", target += name}};
}

Json Schemas::ref(const Type& type) {
  if (known_.emplace(type.name).second) pending_.push_back(&type);
  return link(type.name);
}

Json Schemas::ref(std::string_view full_name) {
  const Type* type = find_type(full_name);
  return type == nullptr ? Json::object() : ref(*type);
}

Json Schemas::named_scalar(Kind kind) {
  auto name = scalar_name(kind);
  if (known_.emplace(name).second) {
    Json& schema = schemas_[name] = {{"type", "string"}};
    if (kind == Kind::kTime || kind == Kind::kMicroTime) schema["format"] = "date-time";
    if (kind == Kind::kIntOrString) schema["format"] = "int-or-string";
    // Both may be written as a number, which version 2 cannot say.
    if (version_ == Version::kV3 && (kind == Kind::kIntOrString || kind == Kind::kQuantity)) {
      schema.erase("type");
      const char* number = kind == Kind::kQuantity ? "number" : "integer";
      schema["oneOf"] = Json::array({{{"type", "string"}}, {{"type", number}}});
    }
  }
  return link(name);
}

Json Schemas::value_schema(const Field& field) {
  switch (field.kind) {
    case Kind::kString: return {{"type", "string"}};
    case Kind::kInt32: return {{"type", "integer"}, {"format", "int32"}};
    case Kind::kInt64: return {{"type", "integer"}, {"format", "int64"}};
    case Kind::kDouble: return {{"type", "number"}, {"format", "double"}};
    case Kind::kBool: return {{"type", "boolean"}};
    case Kind::kBytes: return {{"type", "string"}, {"format", "byte"}};
    case Kind::kAny: return Json::object();
    case Kind::kObject: return ref(*field.type);
    case Kind::kList: return {{"type", "array"}, {"items", value_schema(*field.item)}};
    case Kind::kMap: return {{"type", "object"}, {"additionalProperties", value_schema(*field.item)}};
    default: return named_scalar(field.kind);
  }
}

Json Schemas::field_schema(const Field& field) {
  Json schema = value_schema(field);
  bool referred = schema.contains("$ref");
  Json extra = Json::object();
  if (!field.help().empty()) extra["description"] = field.help();
  if (field.kind == Kind::kList) {
    constexpr const char* kNames[] = {"atomic", "set", "map"};
    extra["x-kubernetes-list-type"] = kNames[static_cast<int>(field.list_type)];
    if (field.list_type == ListType::kMap) extra["x-kubernetes-list-map-keys"] = field.map_keys();
  }
  if (field.map_type == MapType::kAtomic) extra["x-kubernetes-map-type"] = "atomic";
  std::string strategy = field.patch_merge ? "merge" : "";
  if (field.retain_keys) strategy += strategy.empty() ? "retainKeys" : ",retainKeys";
  if (!strategy.empty()) extra["x-kubernetes-patch-strategy"] = strategy;
  if (!field.merge_key().empty()) extra["x-kubernetes-patch-merge-key"] = field.merge_key();
  if (version_ == Version::kV3 && !field.default_json().empty()) {
    if (auto value = parse_json(field.default_json())) extra["default"] = std::move(*value);
  }
  // In OpenAPI 3 nothing may stand beside a reference.
  if (referred && version_ == Version::kV3 && !extra.empty()) schema = {{"allOf", Json::array({std::move(schema)})}};
  schema.update(extra);
  return schema;
}

Json Schemas::type_schema(const Type& type) {
  Json properties = Json::object(), required = Json::array();
  for (const Field& field : type.fields) {
    properties[std::string(field.name)] = field_schema(field);
    if (field.required) required.push_back(field.name);
  }
  Json schema = {{"type", "object"}};
  if (!type.help.empty()) schema["description"] = type.help;
  if (!properties.empty()) schema["properties"] = std::move(properties);
  if (!required.empty()) schema["required"] = std::move(required);
  if (!type.kind.empty()) schema["x-kubernetes-group-version-kind"] = gvk_list(type.group, type.version, type.kind);
  if (type.map_type == MapType::kAtomic) schema["x-kubernetes-map-type"] = "atomic";
  return schema;
}

std::string custom_name(const Resource& resource) {
  auto parts = split(resource.group, '.');
  std::reverse(parts.begin(), parts.end());
  std::string name;
  for (auto part : parts) (name += part) += '.';
  return ((name += resource.version) += '.') += resource.kind;
}

Json Schemas::ref_custom(const CustomResource& custom) {
  const Resource& resource = *custom.resource;
  auto name = custom_name(resource);
  if (!known_.insert(name).second) return link(name);
  Json schema = custom.schema != nullptr && custom.schema->is_object() ? *custom.schema : Json::object();
  if (version_ == Version::kV2) strip_v3_only(schema);
  schema["type"] = "object";
  if (!at(schema, "properties").is_object()) schema["properties"] = Json::object();
  Json& properties = schema["properties"];
  properties["apiVersion"] = {{"type", "string"}};
  properties["kind"] = {{"type", "string"}};
  properties["metadata"] = ref(std::string(kMeta) + "ObjectMeta");
  schema["x-kubernetes-group-version-kind"] = gvk_list(resource.group, resource.version, resource.kind);
  schemas_[name] = std::move(schema);
  return link(name);
}

Json Schemas::ref_custom_list(const CustomResource& custom) {
  const Resource& resource = *custom.resource;
  auto name = custom_name(resource) + "List";
  if (!known_.insert(name).second) return link(name);
  Json properties = {{"apiVersion", {{"type", "string"}}}, {"kind", {{"type", "string"}}}};
  properties["metadata"] = ref(std::string(kMeta) + "ListMeta");
  properties["items"] = {{"type", "array"}, {"items", ref_custom(custom)}};
  auto kind = std::string(resource.kind) + "List";
  schemas_[name] = {{"type", "object"},
                    {"properties", std::move(properties)},
                    {"required", Json::array({"items"})},
                    {"x-kubernetes-group-version-kind", gvk_list(resource.group, resource.version, kind)}};
  return link(name);
}

Json Schemas::take() {
  while (!pending_.empty()) {
    const Type& type = *pending_.back();
    pending_.pop_back();
    schemas_[std::string(type.name)] = type_schema(type);
  }
  return std::move(schemas_);
}

}  // namespace brume::api::openapi
