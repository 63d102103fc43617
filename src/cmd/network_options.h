// The network's settings as they follow from the server's.
#pragma once

#include <string_view>

#include "brume/network/pod_links.h"
#include "brume/network/service_proxy.h"
#include "cmd/options.h"

namespace brume::cmd {

inline constexpr std::string_view kBridge = "brume0";

network::PodLinksOptions pod_links_options(const ServerOptions& options);
network::ServiceProxyOptions service_proxy_options(const ServerOptions& options);

}  // namespace brume::cmd
