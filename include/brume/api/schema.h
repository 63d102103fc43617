// The schema: every API type as constant data. Everything generic (decoding, patches, apply, OpenAPI, protobuf) walks
// it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace brume::api {

/// What a field, a list item or a map value holds.
enum class Kind : std::uint8_t {
  kString,
  kInt32,
  kInt64,
  kDouble,
  kBool,
  kBytes,        ///< base64 in JSON
  kTime,         ///< metav1.Time: RFC 3339, whole seconds
  kMicroTime,    ///< metav1.MicroTime: RFC 3339 with six digits
  kDuration,     ///< metav1.Duration: Go's "1h2m3s"
  kQuantity,     ///< resource.Quantity
  kIntOrString,  ///< intstr.IntOrString
  kObject,       ///< `type` says of what shape
  kList,         ///< `item` says of what
  kMap,          ///< string keys; `item` says to what
  kAny,          ///< any JSON, kept as it is (raw extensions, JSON schemas, managed fields)
};

/// x-kubernetes-list-type.
enum class ListType : std::uint8_t { kAtomic, kSet, kMap };
/// x-kubernetes-map-type.
enum class MapType : std::uint8_t { kGranular, kAtomic };

struct Type;

/// The rarer facts of a field. All strings are static or owned by whoever built the type.
struct FieldExtra {
  std::string_view default_json;               ///< JSON literal that fills the absent field, "" for none
  std::string_view merge_key;                  ///< x-kubernetes-patch-merge-key
  std::span<const std::string_view> map_keys;  ///< x-kubernetes-list-map-keys
  std::string_view help;                       ///< one short line, may be empty
};

/// One field of a type, or (nameless) the item of a list or map.
struct Field {
  std::string_view name;
  const Type* type = nullptr;         ///< for kObject
  const Field* item = nullptr;        ///< for kList and kMap
  const FieldExtra* extra = nullptr;  ///< null when there is nothing rare to say
  std::uint16_t proto = 0;            ///< protobuf field number; 0: the field has none (apiVersion, kind)
  /// Numbers of the embedded messages, outermost first, that hold the field in protobuf where Go inlines a struct; 0:
  /// none.
  std::uint8_t proto_outer[2] = {0, 0};
  Kind kind = Kind::kString;
  bool required : 1 = false;
  bool always : 1 = false;       ///< Go writes it even when empty: an empty object, list or zero stands for absence
  bool patch_merge : 1 = false;  ///< x-kubernetes-patch-strategy has "merge"
  bool retain_keys : 1 = false;  ///< x-kubernetes-patch-strategy has "retainKeys"
  bool zero_unset : 1 = false;   ///< 0, "" and [] count as absent when the default is filled in
  ListType list_type = ListType::kAtomic;
  MapType map_type = MapType::kGranular;

  [[nodiscard]] std::string_view default_json() const { return extra ? extra->default_json : std::string_view(); }
  [[nodiscard]] std::string_view merge_key() const { return extra ? extra->merge_key : std::string_view(); }
  [[nodiscard]] std::span<const std::string_view> map_keys() const {
    return extra ? extra->map_keys : std::span<const std::string_view>();
  }
  [[nodiscard]] std::string_view help() const { return extra ? extra->help : std::string_view(); }
};

/// One object type. Built-in ones are constant data; a CRD's are built at run time in the same form.
struct Type {
  std::string_view name;                  ///< io.k8s.api.core.v1.PodSpec
  std::string_view short_name;            ///< PodSpec
  std::span<const Field> fields;          ///< sorted by name
  std::string_view group, version, kind;  ///< kind is empty unless the type is a kind of its own
  std::string_view help;
  MapType map_type = MapType::kGranular;  ///< kAtomic: server-side apply owns the whole object
  bool preserve_unknown = false;          ///< unknown fields are kept (CRDs only)
};

/// The field of that name, or null. Binary search.
[[nodiscard]] const Field* find_field(const Type& type, std::string_view name);
/// A built-in type by full name (io.k8s.api.core.v1.PodSpec), or null.
[[nodiscard]] const Type* find_type(std::string_view name);
/// A built-in kind's type, e.g. ("v1", "PodList") or ("meta.k8s.io/v1", "Status"), or null. Kinds that are not stored
/// (Scale, Eviction, TokenRequest, lists, options) are here too; DeleteOptions and the like answer to any group.
[[nodiscard]] const Type* find_type(std::string_view api_version, std::string_view kind);
/// Every built-in type, sorted by name.
[[nodiscard]] std::span<const Type> builtin_types();

}  // namespace brume::api
