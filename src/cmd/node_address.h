// Which address this node has, when nobody says.
#pragma once

#include <string>
#include <string_view>

namespace brume::cmd {

/// The IPv4 address of the interface that the default route leaves by; without a default route the first global address
/// of an interface that is up and not brume's own; "" when there is none.
std::string detect_node_address(std::string_view own_bridge);

}  // namespace brume::cmd
