// Swagger 2.0 as a gnostic openapi.v2.Document message. Field numbers: gnostic-models' openapiv2/OpenAPIv2.proto.
#include <cstdint>

#include "api/openapi/builder.h"

namespace brume::api {

namespace {

// One protobuf message being written. Messages are built inside out, as strings.
class Message {
 public:
  void text(std::uint32_t field, std::string_view value) {
    if (value.empty()) return;
    bytes(field, value);
  }
  void member(std::uint32_t field, const Json& object, std::string_view key) { text(field, str(object, key)); }
  void boolean(std::uint32_t field, bool value) {
    if (!value) return;
    varint(field << 3);
    varint(1);
  }
  void message(std::uint32_t field, const Message& value) { bytes(field, value.out_); }
  void texts(std::uint32_t field, const Json& list) {
    if (!list.is_array()) return;
    for (const Json& item : list) bytes(field, str(item));
  }
  std::string take() { return std::move(out_); }

 private:
  void bytes(std::uint32_t field, std::string_view value) {
    varint(field << 3 | 2);
    varint(value.size());
    out_ += value;
  }
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_ += static_cast<char>(value | 0x80);
    out_ += static_cast<char>(value);
  }
  std::string out_;
};

Message any(const Json& value) {
  Message out;
  out.text(2, dump_json(value) + '\n');  // JSON is YAML
  return out;
}

Message named(std::string_view name, const Message& value) {
  Message out;
  out.text(1, name);
  out.message(2, value);
  return out;
}

void extensions(Message& out, std::uint32_t field, const Json& object) {
  for (const auto& [key, value] : object.items()) {
    if (key.starts_with("x-")) out.message(field, named(key, any(value)));
  }
}

Message schema(const Json& json);

void schema_children(Message& out, const Json& json) {
  const Json& additional = at(json, "additionalProperties");
  if (additional.is_object()) {
    Message item;
    item.message(1, schema(additional));
    out.message(21, item);
  } else if (additional.is_boolean()) {
    Message item;
    item.boolean(2, additional.get<bool>());
    out.message(21, item);
  }
  const Json& type = at(json, "type");
  if (type.is_string()) {
    Message item;
    item.text(1, str(type));
    out.message(22, item);
  }
  if (at(json, "items").is_object()) {
    Message item;
    item.message(1, schema(at(json, "items")));
    out.message(23, item);
  }
  const Json& properties = at(json, "properties");
  if (!properties.is_object() || properties.empty()) return;
  Message list;
  for (const auto& [name, property] : properties.items()) list.message(1, named(name, schema(property)));
  out.message(25, list);
}

Message schema(const Json& json) {
  Message out;
  out.member(1, json, "$ref");
  out.member(2, json, "format");
  out.member(4, json, "description");
  if (json.contains("default")) out.message(5, any(json["default"]));
  out.member(13, json, "pattern");
  out.texts(19, at(json, "required"));
  const Json& choices = at(json, "enum");
  if (choices.is_array()) {
    for (const Json& choice : choices) out.message(20, any(choice));
  }
  schema_children(out, json);
  extensions(out, 31, json);
  return out;
}

Message body_parameter(const Json& json) {
  Message out;
  out.member(2, json, "name");
  out.member(3, json, "in");
  out.boolean(4, flag(json, "required"));
  out.message(5, schema(at(json, "schema")));
  return out;
}

Message simple_parameter(const Json& json, bool in_path) {
  Message out;
  out.boolean(1, flag(json, "required"));
  out.member(2, json, "in");
  out.member(4, json, "name");
  out.member(in_path ? 5 : 6, json, "type");
  return out;
}

// ParametersItem > Parameter > BodyParameter or NonBodyParameter > the sub-schema of its place.
Message parameter(const Json& json) {
  auto in = str(json, "in");
  Message choice;
  if (in == "body") {
    choice.message(1, body_parameter(json));
  } else {
    Message place;
    place.message(in == "path" ? 4 : 3, simple_parameter(json, in == "path"));
    choice.message(2, place);
  }
  Message out;
  out.message(1, choice);
  return out;
}

void parameters(Message& out, std::uint32_t field, const Json& list) {
  if (!list.is_array()) return;
  for (const Json& item : list) out.message(field, parameter(item));
}

Message responses(const Json& json) {
  Message out;
  for (const auto& [code, answer] : json.items()) {
    Message response;
    response.member(1, answer, "description");
    if (answer.contains("schema")) {
      Message item;
      item.message(1, schema(answer["schema"]));
      response.message(2, item);
    }
    Message value;
    value.message(1, response);
    out.message(1, named(code, value));
  }
  return out;
}

Message operation(const Json& json) {
  Message out;
  out.texts(1, at(json, "tags"));
  out.member(5, json, "operationId");
  out.texts(6, at(json, "produces"));
  out.texts(7, at(json, "consumes"));
  parameters(out, 8, at(json, "parameters"));
  out.message(9, responses(at(json, "responses")));
  extensions(out, 13, json);
  return out;
}

Message path_item(const Json& json) {
  constexpr std::pair<const char*, std::uint32_t> kMethods[] = {
      {"get", 2}, {"put", 3}, {"post", 4}, {"delete", 5}, {"patch", 8}};
  Message out;
  for (const auto& [method, field] : kMethods) {
    if (json.contains(method)) out.message(field, operation(json[method]));
  }
  parameters(out, 9, at(json, "parameters"));
  return out;
}

}  // namespace

std::string openapi_v2_protobuf(std::span<const CustomResource> custom) {
  const Json document = openapi::v2_document(custom);
  Message info;
  info.member(1, at(document, "info"), "title");
  info.member(2, at(document, "info"), "version");
  Message paths;
  for (const auto& [path, item] : at(document, "paths").items()) paths.message(2, named(path, path_item(item)));
  Message definitions;
  for (const auto& [name, item] : at(document, "definitions").items())
    definitions.message(1, named(name, schema(item)));
  Message out;
  out.text(1, "2.0");
  out.message(2, info);
  out.message(8, paths);
  out.message(9, definitions);
  return out.take();
}

}  // namespace brume::api
