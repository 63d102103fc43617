// JSON values as YAML, for clients that ask for it.
#pragma once

#include <string>

#include "brume/base/json_fwd.h"

namespace brume::api {

/// One YAML document in block style, keys in the value's order. Strings that YAML 1.1 would read as something else
/// ("no", "1e3") are quoted, so that decode() gives the same value back.
[[nodiscard]] std::string encode_yaml(const Json& value);

}  // namespace brume::api
