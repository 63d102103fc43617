// YAML to JSON values. What else touches yaml-cpp is encode_yaml.cc.
#pragma once

#include <string_view>
#include <vector>

#include "brume/api/decode.h"

namespace brume::api {

/// All documents of the stream, empty ones left out. Duplicate keys are noted per document as Go's YAML decoder words
/// them.
[[nodiscard]] Result<std::vector<Decoded>> read_yaml(std::string_view body, const DecodeOptions& options);

/// What an unquoted scalar means in YAML 1.1 as Go's YAML decoder reads it: null, a boolean, a number or a string.
[[nodiscard]] Json resolve_plain_scalar(std::string_view text);

}  // namespace brume::api
