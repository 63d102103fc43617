// JSON values (nlohmann::json) and the accessors that brume's code uses instead of exceptions.
#pragma once

#include <cassert>
#include <cstdint>
#include <string_view>

/// nlohmann::json asserts that its pointers are set in each constructor, copy and move: a fiftieth of what a created
/// pod costs. Those alone are left out. The other assertions stay, for without them a key that is missing is undefined
/// behaviour.
#define JSON_ASSERT(condition)                                                         \
  do {                                                                                 \
    if constexpr (std::string_view(__func__) != "assert_invariant") assert(condition); \
  } while (false)

#include <nlohmann/json.hpp>
#include <string>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"

namespace brume {

/// Limits on what parse_json accepts, checked while parsing.
struct JsonLimits {
  std::size_t max_depth = 512;  ///< nesting of objects and arrays
};

/// Parses one JSON document; kBadRequest with the byte offset otherwise. Refuses bad UTF-8 and nesting above the limit;
/// of duplicate keys the last wins (api::decode reports them).
[[nodiscard]] Result<Json> parse_json(std::string_view text, JsonLimits limits = {});
/// Canonical bytes: keys sorted, no white space.
[[nodiscard]] std::string dump_json(const Json& value);

/// The member `key` of object `value`, or a shared null.
[[nodiscard]] const Json& at(const Json& value, std::string_view key);
/// A path such as at(pod, "spec", "nodeName").
template <typename... Keys>
[[nodiscard]] const Json& at(const Json& value, std::string_view key, Keys... rest) {
  return at(at(value, key), rest...);
}
/// The member as string / number / bool, or the fallback when it is absent or of another type.
[[nodiscard]] std::string_view str(const Json& value, std::string_view key);
[[nodiscard]] std::string_view str(const Json& value);
[[nodiscard]] std::int64_t num(const Json& value, std::string_view key, std::int64_t fallback = 0);
[[nodiscard]] bool flag(const Json& value, std::string_view key, bool fallback = false);

}  // namespace brume
