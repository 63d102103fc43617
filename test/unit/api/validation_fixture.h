// Objects to break, and the answers in one line each.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "brume/api/defaults.h"
#include "brume/api/resources.h"
#include "brume/api/validation.h"
#include "brume/base/json.h"
#include "catch.h"

namespace brume::api {

inline Json json_of(std::string_view text) {
  auto value = parse_json(text);
  REQUIRE(value.has_value());
  return std::move(*value);
}

/// `base` with an RFC 7396 merge patch put on it, defaulted.
inline Json made(const Resource& resource, std::string_view base, std::string_view patch) {
  Json object = json_of(base);
  object.merge_patch(json_of(patch));
  apply_defaults(resource, object);
  return object;
}

/// "field: message" of every cause.
inline std::vector<std::string> lines(const std::vector<Cause>& causes) {
  std::vector<std::string> out;
  for (const Cause& cause : causes) out.push_back(cause.field + ": " + cause.message);
  return out;
}

struct Bad {
  const char* patch;
  std::vector<std::string> expected;
};

inline void check_all(std::string_view group_resource, std::string_view base, const std::vector<Bad>& table) {
  const Resource& resource = res(group_resource);
  CHECK(lines(validate_create(resource, made(resource, base, "{}"))) == std::vector<std::string>());
  for (const Bad& bad : table) {
    INFO(bad.patch);
    CHECK(lines(validate_create(resource, made(resource, base, bad.patch))) == bad.expected);
  }
}

struct BadUpdate {
  const char* patch;  ///< of the base, for the new object
  std::vector<std::string> expected;
};

inline void check_updates(std::string_view group_resource, std::string_view base, const std::vector<BadUpdate>& table) {
  const Resource& resource = res(group_resource);
  const Json old = made(resource, base, "{}");
  for (const BadUpdate& bad : table) {
    INFO(bad.patch);
    CHECK(lines(validate_update(resource, made(resource, base, bad.patch), old)) == bad.expected);
  }
}

}  // namespace brume::api
