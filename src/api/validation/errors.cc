#include "api/validation/errors.h"

#include <algorithm>
#include <cstdio>

#include "brume/base/strings.h"

namespace brume::api::validation {

std::string Path::to_string() const {
  std::string out;
  for (std::uint32_t i = 0; i < depth_; ++i) {
    const Segment& segment = segments_[i];
    if (segment.index == kName) {
      if (!out.empty()) out += '.';
      out += segment.text;
    } else {
      out += '[';
      out += segment.index == kKey ? std::string(segment.text) : std::to_string(segment.index);
      out += ']';
    }
  }
  return out;
}

std::string quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\t': out += "\\t"; break;
      case '\r': out += "\\r"; break;
      case '\a': out += "\\a"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      case '\v': out += "\\v"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          char buffer[8];
          std::snprintf(buffer, sizeof buffer, "\\x%02x", static_cast<unsigned char>(c));
          out += buffer;
        } else {
          out += c;
        }
    }
  }
  return out += '"';
}

std::string shown(const Json& value) { return value.is_string() ? quote(str(value)) : dump_json(value); }

void Errors::add(std::string_view reason, std::string_view words, const Path& path, std::string_view detail) {
  std::string message(words);
  if (!detail.empty()) message.append(": ").append(detail);
  causes_.push_back({std::string(reason), std::move(message), path.to_string()});
}

void Errors::invalid(const Path& path, std::string_view value, std::string_view detail) {
  add("FieldValueInvalid", "Invalid value: " + quote(value), path, detail);
}
void Errors::invalid(const Path& path, std::int64_t value, std::string_view detail) {
  add("FieldValueInvalid", "Invalid value: " + std::to_string(value), path, detail);
}
void Errors::invalid(const Path& path, const Json& value, std::string_view detail) {
  add("FieldValueInvalid", "Invalid value: " + shown(value), path, detail);
}

void Errors::not_supported(const Path& path, std::string_view value, std::span<const std::string_view> supported) {
  std::string detail;
  for (const auto word : supported) detail += (detail.empty() ? "supported values: " : ", ") + quote(word);
  add("FieldValueNotSupported", "Unsupported value: " + quote(value), path, detail);
}

void Errors::duplicate(const Path& path, std::string_view value) {
  add("FieldValueDuplicate", "Duplicate value: " + quote(value), path, {});
}
void Errors::duplicate(const Path& path, const Json& value) {
  add("FieldValueDuplicate", "Duplicate value: " + shown(value), path, {});
}
void Errors::not_found(const Path& path, std::string_view value) {
  add("FieldValueNotFound", "Not found: " + quote(value), path, {});
}

void Errors::too_long(const Path& path, std::size_t limit) {
  add("FieldValueTooLong", "Too long", path,
      "may not be more than " + std::to_string(limit) + (limit == 1 ? " byte" : " bytes"));
}
void Errors::too_many(const Path& path, std::size_t actual, std::size_t limit) {
  add("FieldValueTooMany", "Too many: " + std::to_string(actual), path,
      "must have at most " + std::to_string(limit) + (limit == 1 ? " item" : " items"));
}

bool blank(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return true;
    case Json::value_t::string: return str(value).empty();
    case Json::value_t::array:
    case Json::value_t::object: return value.empty();
    default: return false;
  }
}

Json pruned(const Json& value) {
  if (value.is_object()) {
    Json out = Json::object();
    for (const auto& [key, member] : value.items()) {
      Json kept = pruned(member);
      if (!blank(kept)) out[key] = std::move(kept);
    }
    return out;
  }
  if (value.is_array()) {
    Json out = Json::array();
    for (const Json& item : value) out.push_back(pruned(item));
    return out;
  }
  return value;
}

bool same(const Json& a, const Json& b) {
  if (a == b || (blank(a) && blank(b))) return true;
  if (a.is_object() && b.is_object()) {
    return std::all_of(a.items().begin(), a.items().end(),
                       [&](const auto& item) { return same(item.value(), at(b, item.key())); }) &&
           std::all_of(b.items().begin(), b.items().end(),
                       [&](const auto& item) { return has(a, item.key()) || same(item.value(), Json()); });
  }
  if (a.is_object() || b.is_object()) {  // {x: ""} against nothing
    const Json& full = a.is_object() ? a : b;
    return blank(a.is_object() ? b : a) && blank(pruned(full));
  }
  if (a.is_array() && b.is_array()) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), same);
  }
  return false;
}

const Json::array_t& items(const Json& value) {
  static const Json::array_t kNone;
  return value.is_array() ? value.get_ref<const Json::array_t&>() : kNone;
}

bool has(const Json& value, std::string_view key) { return !at(value, key).is_null(); }

void check_not_negative(Errors& errors, const Path& path, const Json& value) {
  if (value.is_number() && value.get<std::int64_t>() < 0) errors.invalid(path, value, kNotNegative);
}

void check_immutable(Errors& errors, const Path& path, const Json& next, const Json& old) {
  if (!same(next, old)) errors.invalid(path, next, kImmutable);
}

void check_enum(Errors& errors, const Path& path, std::string_view value,
                std::initializer_list<std::string_view> supported) {
  if (std::find(supported.begin(), supported.end(), value) == supported.end()) {
    errors.not_supported(path, value, supported);
  }
}

}  // namespace brume::api::validation
