// Signal names of images and pods as numbers.
#pragma once

#include <optional>
#include <string_view>

namespace brume::node {

/// "SIGTERM", "TERM", "15", "SIGRTMIN+3"; nullopt for anything else, the empty text too.
[[nodiscard]] std::optional<int> signal_number(std::string_view name);

}  // namespace brume::node
