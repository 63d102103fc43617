// The rules of every kind. Each function adds what is wrong; metadata is checked by the caller.
#pragma once

#include "api/validation/errors.h"
#include "api/validation/formats.h"

namespace brume::api::validation {

/// Rules of one resource. Null members: nothing beyond the metadata.
struct Rules {
  std::string_view group, plural;
  Format name = dns1123_subdomain;
  void (*create)(Errors&, const Json& object) = nullptr;
  /// Everything on update; null: `create` on the new object.
  void (*update)(Errors&, const Json& object, const Json& old) = nullptr;
  void (*status)(Errors&, const Json& object, const Json& old) = nullptr;
};

/// The resource's entry, or a default one.
[[nodiscard]] const Rules& rules_of(std::string_view group, std::string_view plural);

}  // namespace brume::api::validation
