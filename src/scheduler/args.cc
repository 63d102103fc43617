#include "args.h"

#include <algorithm>

namespace brume::scheduler {

std::unexpected<Error> invalid(const std::string& path, const std::string& why) {
  return fail(Code::kInvalid, path + ": " + why);
}

Status only_fields(const Json& object, const std::string& path, std::initializer_list<std::string_view> fields) {
  if (object.is_null()) return {};
  if (!object.is_object()) return invalid(path, "must be a map");
  for (const auto& [key, value] : object.items()) {
    if (std::find(fields.begin(), fields.end(), key) == fields.end()) {
      return invalid(path, "unknown field \"" + key + "\"");
    }
  }
  return {};
}

Result<std::int64_t> integer(const Json& object, const std::string& path, std::string_view field, std::int64_t fallback,
                             std::int64_t least, std::int64_t most) {
  const auto& value = at(object, field);
  if (value.is_null()) return fallback;
  const std::string here = path + "." + std::string(field);
  if (!value.is_number_integer()) return invalid(here, "must be an integer");
  const auto out = value.get<std::int64_t>();
  if (out < least || out > most) {
    return invalid(here, "must be between " + std::to_string(least) + " and " + std::to_string(most) + ", not " +
                             std::to_string(out));
  }
  return out;
}

Result<const Json*> list(const Json& object, const std::string& path, std::string_view field) {
  static const Json kNone;
  const auto& value = at(object, field);
  if (value.is_null()) return &kNone;
  if (!value.is_array()) return invalid(path + "." + std::string(field), "must be a list");
  return &value;
}

}  // namespace brume::scheduler
