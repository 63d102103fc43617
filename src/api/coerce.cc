// Checks and canonicalises a value against the schema, as a round trip through Go's typed decoder and encoder would.
#include <limits>
#include <optional>
#include <utility>

#include "api/strict_faults.h"
#include "brume/api/decode.h"
#include "brume/api/quantity.h"
#include "brume/base/strings.h"
#include "brume/base/time.h"

namespace brume::api {

namespace {

// Where a value stands: a chain of field names up to the root, on the stack.
struct Place {
  const Place* parent = nullptr;
  std::string_view name;
  const Type* type = nullptr;  // the struct that has the field
};

std::string field_path(const Place* place) {
  if (place == nullptr) return {};
  auto path = field_path(place->parent);
  if (!path.empty()) path += '.';
  return path += place->name;
}

std::string_view go_name(const Json& value) {
  switch (value.type()) {
    case Json::value_t::object: return "object";
    case Json::value_t::array: return "array";
    case Json::value_t::string: return "string";
    case Json::value_t::boolean: return "bool";
    default: return "number";
  }
}

// "v1.PodSpec": the Go package is named after the API version.
std::string go_type(const Type& type) {
  auto name = type.name;
  auto dot = name.rfind('.');
  auto before = dot == std::string_view::npos ? dot : name.rfind('.', dot - 1);
  return std::string(before == std::string_view::npos ? name : name.substr(before + 1));
}

std::string go_type(const Field& field) {
  switch (field.kind) {
    case Kind::kInt32: return "int32";
    case Kind::kInt64: return "int64";
    case Kind::kDouble: return "float64";
    case Kind::kBool: return "bool";
    case Kind::kBytes: return "[]uint8";
    case Kind::kObject: return go_type(*field.type);
    case Kind::kList: return "[]" + go_type(*field.item);
    case Kind::kMap:
      if (field.item->kind == Kind::kQuantity) return "v1.ResourceList";
      return "map[string]" + go_type(*field.item);
    case Kind::kQuantity: return "resource.Quantity";
    default: return "string";
  }
}

std::unexpected<Error> mismatch(const Json& value, const Field& field, const Place* place, bool with_text = false) {
  std::string message = "json: cannot unmarshal ";
  message += go_name(value);
  if (with_text) message += ' ' + dump_json(value);
  message += place == nullptr
                 ? " into Go value"
                 : " into Go struct field " + std::string(place->type->short_name) + '.' + field_path(place);
  return fail(Code::kBadRequest, message + " of type " + go_type(field));
}

std::unexpected<Error> mismatch_value(const Json& value, std::string_view type) {
  bool number = value.is_number() && type != "string";
  return fail(Code::kBadRequest, "json: cannot unmarshal " + std::string(go_name(value)) +
                                     (number ? ' ' + dump_json(value) : std::string()) + " into Go value of type " +
                                     std::string(type));
}

bool fits_int(const Json& value, std::int64_t low, std::int64_t high) {
  if (value.is_number_unsigned()) return value.get<std::uint64_t>() <= static_cast<std::uint64_t>(high);
  if (!value.is_number_integer()) return false;
  auto number = value.get<std::int64_t>();
  return number >= low && number <= high;
}

template <typename T>
bool fits(const Json& value) {
  return fits_int(value, std::numeric_limits<T>::min(), std::numeric_limits<T>::max());
}

Status coerce_time(Json& value, bool micro) {
  if (!value.is_string()) return mismatch_value(value, "string");
  auto time = parse_moment(str(value));
  if (!time) {
    return fail(Code::kBadRequest, "parsing time " + dump_json(value) +
                                       " as \"2006-01-02T15:04:05Z07:00\": cannot parse " + dump_json(value) +
                                       " as \"2006\"");
  }
  value = format_moment(*time, micro);
  return {};
}

Status coerce_quantity(Json& value) {
  auto text = value.is_string() ? value.get<std::string>() : dump_json(value);
  auto trimmed = trim(text);
  // 1000.0 is how a JSON float prints; Kubernetes reads the number itself.
  BRUME_TRY(auto quantity, Quantity::parse(trimmed));
  value = quantity.to_string();
  return {};
}

Status coerce_bytes(Json& value, const Field& field, const Place* place) {
  if (!value.is_string()) return mismatch(value, field, place);
  auto bytes = base64_decode(str(value));
  if (bytes) {
    value = base64_encode(*bytes);
    return {};
  }
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  auto wrong = str(value).find_first_not_of(kAlphabet);
  if (wrong == std::string_view::npos) wrong = str(value).size();
  return fail(Code::kBadRequest, "illegal base64 data at input byte " + std::to_string(wrong));
}

Json zero_of(const Field& field) {
  switch (field.kind) {
    case Kind::kInt32:
    case Kind::kInt64:
    case Kind::kIntOrString: return 0;
    case Kind::kDouble: return 0.0;
    case Kind::kBool: return false;
    case Kind::kObject:
    case Kind::kMap: return Json::object();
    case Kind::kList: return Json::array();
    case Kind::kQuantity: return "0";
    case Kind::kDuration: return "0s";
    case Kind::kTime:
    case Kind::kMicroTime:
    case Kind::kAny: return {};
    default: return "";
  }
}

Status coerce_object(const Type& type, Json& value, const Place* parent);

Status coerce_value(const Field& field, Json& value, const Place* place) {
  switch (field.kind) {
    case Kind::kAny: return {};
    case Kind::kString:
    case Kind::kDuration: return value.is_string() ? Status() : mismatch(value, field, place);
    case Kind::kBool: return value.is_boolean() ? Status() : mismatch(value, field, place);
    case Kind::kDouble: return value.is_number() ? Status() : mismatch(value, field, place);
    case Kind::kInt32: return fits<std::int32_t>(value) ? Status() : mismatch(value, field, place, value.is_number());
    case Kind::kInt64: return fits<std::int64_t>(value) ? Status() : mismatch(value, field, place, value.is_number());
    case Kind::kIntOrString:
      return value.is_string() || fits<std::int32_t>(value) ? Status() : mismatch_value(value, "int32");
    case Kind::kBytes: return coerce_bytes(value, field, place);
    case Kind::kTime: return coerce_time(value, false);
    case Kind::kMicroTime: return coerce_time(value, true);
    case Kind::kQuantity: return coerce_quantity(value);
    case Kind::kObject:
      if (!value.is_object()) return mismatch(value, field, place);
      return coerce_object(*field.type, value, place);
    case Kind::kList:
      if (!value.is_array()) return mismatch(value, field, place);
      break;
    case Kind::kMap:
      if (!value.is_object()) return mismatch(value, field, place);
      break;
  }
  for (Json& item : value) {
    if (item.is_null()) item = zero_of(*field.item);
    if (!item.is_null()) BRUME_CHECK(coerce_value(*field.item, item, place));
  }
  return {};
}

Status fill_always(const Type& type, Json& value, const Place* parent) {
  for (const Field& field : type.fields) {
    if (!field.always || value.contains(field.name)) continue;
    Json zero = zero_of(field);
    if (zero.is_null()) continue;
    if (field.kind == Kind::kObject) {
      Place place{parent, field.name, &type};
      BRUME_CHECK(coerce_object(*field.type, zero, &place));
    }
    value.emplace(field.name, std::move(zero));
  }
  return {};
}

Status coerce_object(const Type& type, Json& value, const Place* parent) {
  for (auto it = value.begin(); it != value.end();) {
    const Field* field = find_field(type, it.key());
    bool drop = field == nullptr ? !type.preserve_unknown : it->is_null();
    if (drop) {
      it = value.erase(it);
      continue;
    }
    if (field != nullptr) {
      Place place{parent, field->name, &type};
      BRUME_CHECK(coerce_value(*field, *it, &place));
    }
    ++it;
  }
  return fill_always(type, value, parent);
}

// Where a member or an item stands, down from the root, on the stack: its path is written only if it is told.
struct Step {
  const Step* parent = nullptr;
  std::string_view name;
  std::size_t index = 0;  // of an item, which has no name
};

std::string step_path(const Step* step) {
  if (step == nullptr) return {};
  auto path = step_path(step->parent);
  if (step->name.data() == nullptr) return path += '[' + std::to_string(step->index) + ']';
  if (!path.empty()) path += '.';
  return path += step->name;
}

void collect_unknown(const Type& type, const Json& value, const Step* parent, StrictFaults& out);

void collect_unknown_in(const Field& field, const Json& value, const Step& here, StrictFaults& out) {
  if (field.kind == Kind::kObject && value.is_object()) {
    collect_unknown(*field.type, value, &here, out);
  } else if (field.kind == Kind::kList && value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      collect_unknown_in(*field.item, value[i], {.parent = &here, .name = {}, .index = i}, out);
    }
  } else if (field.kind == Kind::kMap && value.is_object() && field.item->kind >= Kind::kObject) {
    for (const auto& [key, item] : value.get_ref<const Json::object_t&>()) {
      collect_unknown_in(*field.item, item, {.parent = &here, .name = key}, out);
    }
  }
}

void collect_unknown(const Type& type, const Json& value, const Step* parent, StrictFaults& out) {
  for (const auto& [key, item] : value.get_ref<const Json::object_t&>()) {
    if (out.full()) return;
    const Step here{.parent = parent, .name = key};
    if (const Field* field = find_field(type, key)) {
      collect_unknown_in(*field, item, here, out);
    } else if (!type.preserve_unknown) {
      out.add("unknown field \"" + step_path(&here) + '"');
    }
  }
}

}  // namespace

std::vector<std::string> unknown_fields(const Type& type, const Json& value) {
  StrictFaults out;
  if (value.is_object()) collect_unknown(type, value, nullptr, out);
  return out.take();
}

Status coerce(const Type& type, Json& value) {
  if (!value.is_object()) return mismatch_value(value, go_type(type));
  return coerce_object(type, value, nullptr);
}

}  // namespace brume::api
