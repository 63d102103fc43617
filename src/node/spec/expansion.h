// $(VAR) expansion in command, args and env, as Kubernetes defines it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace brume::node {

/// Value of a variable, or nullopt when there is none (then the reference is left as it is written).
using VariableLookup = std::function<std::optional<std::string>(std::string_view name)>;

/// Replaces $(NAME); "$$" is an escaped "$", so "$$(NAME)" yields "$(NAME)". An unclosed "$(" stays.
[[nodiscard]] std::string expand(std::string_view text, const VariableLookup& lookup);

}  // namespace brume::node
