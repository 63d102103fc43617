// Reading a plugin's arguments: checked, with errors that name the field.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "brume/base/json.h"
#include "brume/base/result.h"

namespace brume::scheduler {

/// kInvalid "PATH: unknown field "x"" unless all members of the object are among `fields`. Null is an empty object.
Status only_fields(const Json& object, const std::string& path, std::initializer_list<std::string_view> fields);
/// The member as an integer within bounds, or `fallback` when it is absent.
Result<std::int64_t> integer(const Json& object, const std::string& path, std::string_view field, std::int64_t fallback,
                             std::int64_t least, std::int64_t most);
/// The member as a list, null when it is absent.
Result<const Json*> list(const Json& object, const std::string& path, std::string_view field);

[[nodiscard]] std::unexpected<Error> invalid(const std::string& path, const std::string& why);

}  // namespace brume::scheduler
