#include "brume/api/defaults.h"

#include "api/defaults/defaults_impl.h"
#include "brume/api/quantity.h"
#include "brume/api/schema.h"
#include "brume/base/json.h"

namespace brume::api {

namespace defaults {

Json* object_in(Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  auto it = object.find(key);
  return it != object.end() && it->is_object() ? &*it : nullptr;
}

Json* array_in(Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  auto it = object.find(key);
  return it != object.end() && it->is_array() ? &*it : nullptr;
}

bool is_zero(const Json& value) {
  if (value.is_string()) return str(value).empty();
  if (value.is_number()) return value == 0;
  return value.is_null() || (value.is_structured() && value.empty());
}

bool is_empty(const Json& object, std::string_view key) { return is_zero(at(object, key)); }

void set_absent(Json& object, std::string_view key, Json value) {
  if (object.is_object() && at(object, key).is_null()) object[key] = std::move(value);
}

void set_empty(Json& object, std::string_view key, Json value) {
  if (object.is_object() && is_empty(object, key)) object[key] = std::move(value);
}

}  // namespace defaults

namespace {

// Kubernetes keeps resource lists at a scale of thousandths.
void round_to_milli(Json& list) {
  for (Json& value : list) {
    if (!value.is_string()) continue;
    auto quantity = Quantity::parse(str(value));
    if (!quantity || quantity->nano_value() % 1'000'000 == 0) continue;
    value = Quantity::from_milli(quantity->milli_value(), quantity->format()).to_string();
  }
}

// A default as the tables have it: nearly always a plain word, which needs no parser.
Json literal_value(std::string_view literal) {
  const bool quoted = literal.size() >= 2 && literal.front() == '"' && literal.back() == '"';
  if (quoted && literal.find('\\') == std::string_view::npos) return literal.substr(1, literal.size() - 2);
  return parse_json(literal).value_or(Json());
}

void fill_field(const Field& field, Json& value) {
  if (field.kind == Kind::kObject) {
    apply_literal_defaults(*field.type, value);
  } else if (field.kind == Kind::kMap && field.item->kind == Kind::kQuantity && value.is_object()) {
    round_to_milli(value);
  } else if ((field.kind == Kind::kList || field.kind == Kind::kMap) && value.is_structured() &&
             field.item->kind >= Kind::kObject && field.item->kind != Kind::kAny) {
    for (Json& item : value) fill_field(*field.item, item);
  }
}

}  // namespace

void apply_literal_defaults(const Type& type, Json& object) {
  if (!object.is_object()) return;
  for (const Field& field : type.fields) {
    const auto literal = field.default_json();
    if (literal.empty()) continue;
    const Json& value = at(object, field.name);
    if (value.is_null() || (field.zero_unset && defaults::is_zero(value))) object[field.name] = literal_value(literal);
  }
  // An object has fewer members than its type has fields.
  for (auto& [name, value] : object.get_ref<Json::object_t&>()) {
    if (!value.is_structured()) continue;
    if (const Field* field = find_field(type, name)) fill_field(*field, value);
  }
}

void apply_pod_spec_defaults(Json& spec) {
  static const Type& type = *find_type("io.k8s.api.core.v1.PodSpec");
  apply_literal_defaults(type, spec);
  defaults::pod_spec(spec);
}

void apply_defaults(const Resource& resource, Json& object) {
  if (resource.type == nullptr || !object.is_object()) return;
  apply_literal_defaults(*resource.type, object);
  if (resource.group.empty()) {
    defaults::core(resource.kind, object);
  } else if (resource.group == "apps") {
    defaults::apps(resource.kind, object);
  } else if (resource.group == "batch") {
    defaults::batch(resource.kind, object);
  } else if (resource.group == "autoscaling") {
    defaults::autoscaling(resource.version, object);
  } else if (resource.group == "networking.k8s.io") {
    defaults::networking(resource.kind, object);
  } else if (resource.group == "rbac.authorization.k8s.io") {
    defaults::rbac(resource.kind, object);
  } else if (resource.group == "resource.k8s.io") {
    defaults::device_requests(object);
  } else if (resource.kind == "CustomResourceDefinition") {
    defaults::custom_resource_definition(object);
  }
}

}  // namespace brume::api
