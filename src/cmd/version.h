// Versions that brume tells of itself.
#pragma once

#include <string_view>

namespace brume::cmd {

inline constexpr std::string_view kVersion = BRUME_VERSION;  ///< from meson.build
/// The Kubernetes API that is served, as clients read it in /version.
inline constexpr std::string_view kKubernetesVersion = "v1.36.0+brume";

}  // namespace brume::cmd
