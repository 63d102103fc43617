#include "cmd/network_options.h"

namespace brume::cmd {

namespace {
/// Each node has a /24 of the cluster's block, as Kubernetes' node IPAM gives by default; the first is this node's.
constexpr std::uint8_t kNodePrefix = 24;

net::Cidr cidr(const std::string& option) {
  return *net::Cidr::parse(option);  // NOLINT(bugprone-unchecked-optional-access): checked when options were parsed
}
}  // namespace

network::PodLinksOptions pod_links_options(const ServerOptions& options) {
  network::PodLinksOptions out;
  out.state_dir = options.data_dir + "/network";
  out.cluster_cidr = cidr(options.cluster_cidr);
  out.pod_cidr = {out.cluster_cidr.address, kNodePrefix};
  out.service_cidrs = {cidr(options.service_cidr)};
  out.bridge = kBridge;
  out.api_port = options.https_listen_port;
  return out;
}

network::ServiceProxyOptions service_proxy_options(const ServerOptions& options) {
  network::ServiceProxyOptions out;
  out.node_name = options.node_name;
  out.cluster_cidr = cidr(options.cluster_cidr);
  out.service_cidrs = {cidr(options.service_cidr)};
  return out;
}

}  // namespace brume::cmd
