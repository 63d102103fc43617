// From a Service and its EndpointSlices to the rule engine's model.
#pragma once

#include <vector>

#include "api_views.h"
#include "brume/network/service_proxy.h"
#include "service_rules.h"

namespace brume::network {

/// The ports of one Service that this node serves; none for headless, ExternalName and foreign ones.
[[nodiscard]] ServicePorts service_ports(const ServiceView& service, const std::vector<const SliceView*>& slices,
                                         const ServiceProxyOptions& options);

}  // namespace brume::network
