// Files of environment variables that containers write for those after them: env's fileKeyRef (KEP-3721).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"

namespace brume::node {

/// What a container's env names, by volume and path; nullopt: there is no such file.
using EnvFiles = std::map<std::pair<std::string, std::string>, std::optional<std::string>>;

/// The files that the container's env names, none read yet.
[[nodiscard]] EnvFiles named_env_files(const Json& container);

/// The value of `key`; nullopt when the file has no such key, or an empty one. Lines are KEY='value', the value as it
/// stands between the quotes and over as many lines as it takes; blank lines and comments are left out, and so is a
/// value apart from its '='. kInvalid for anything else before the key.
[[nodiscard]] Result<std::optional<std::string>> env_file_value(std::string_view text, std::string_view key);

}  // namespace brume::node
