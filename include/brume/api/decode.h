// Request bodies to JSON values, checked against the schema as Go's decoder would check them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "brume/api/schema.h"
#include "brume/base/json.h"
#include "brume/base/result.h"

namespace brume::api {

enum class MediaType { kJson, kYaml };

/// Caps that are checked before or while parsing (CVE-2019-11253, CVE-2019-11254).
struct DecodeOptions {
  std::size_t max_bytes = 3 * 1024 * 1024;  ///< of the body: kRequestEntityTooLarge above it
  std::size_t max_depth = 512;              ///< nesting of JSON objects and arrays
  std::size_t max_yaml_depth = 100;         ///< nesting of YAML collections
  std::size_t max_yaml_nodes = 1'000'000;   ///< after aliases are expanded
};

struct Decoded {
  Json value;
  /// Repeated keys as strict decoding words them, each once, at most a hundred: `duplicate field "spec.replicas"`. Last
  /// one wins.
  std::vector<std::string> duplicate_fields;
};

/// Parses one document. kBadRequest for bad syntax, bad UTF-8 or too deep nesting. YAML is read as sigs.k8s.io/yaml
/// does (YAML 1.1 booleans and integers; quoted scalars are strings; more than one document is refused).
[[nodiscard]] Result<Decoded> decode(std::string_view body, MediaType media, const DecodeOptions& options = {});

/// A YAML stream of several documents (manifest folders); empty documents are left out.
[[nodiscard]] Result<std::vector<Json>> decode_yaml_documents(std::string_view body, const DecodeOptions& options = {});

/// Fields that the type does not have, as strict decoding words them, at most a hundred: `unknown field "spec.foo"`.
[[nodiscard]] std::vector<std::string> unknown_fields(const Type& type, const Json& value);

/// Makes `value` what Go's decoder and encoder would have made of it: each value must have the schema's JSON type
/// (kBadRequest, "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
/// unknown fields and nulls go, field names of other case are not matched, quantities and times take their canonical
/// form, bytes must be base64. Fields that Go always writes are put in.
[[nodiscard]] Status coerce(const Type& type, Json& value);

}  // namespace brume::api
