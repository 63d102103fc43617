// Ports of the node that a pod takes.
#pragma once

#include <vector>

#include "brume/base/json_fwd.h"
#include "brume/node/pod_network.h"

namespace brume::node {

/// Of its containers and sidecars; those of a pod in the node's network too.
[[nodiscard]] std::vector<HostPort> host_ports(const Json& pod);
/// Both cannot be had at once: the same port, on the same address or one of them on all.
[[nodiscard]] bool ports_conflict(const HostPort& a, const HostPort& b);

}  // namespace brume::node
