// The file that says where images come from: k3s' registries.yaml.
#pragma once

#include <string>

#include "brume/base/result.h"
#include "brume/runtime/images.h"

namespace brume::cmd {

inline constexpr const char* kRegistriesFile = "/etc/brume/registries.yaml";

/// Reads `mirrors` and `configs` of https://docs.k3s.io/installation/private-registry. A file that is not there is an
/// empty one unless it `must_exist`. Errors are one line: the file, the place in it, and what is wrong.
Result<runtime::Registries> load_registries(const std::string& path, bool must_exist);

}  // namespace brume::cmd
