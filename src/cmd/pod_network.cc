#include "cmd/pod_network.h"

#include <netinet/in.h>

#include "brume/base/task.h"

namespace brume::cmd {

namespace {

Result<network::PodHostPort> convert(const node::HostPort& port) {
  network::PodHostPort out;
  out.protocol = port.protocol == "UDP" ? IPPROTO_UDP : port.protocol == "SCTP" ? IPPROTO_SCTP : IPPROTO_TCP;
  out.host_port = port.host_port;
  out.pod_port = port.container_port;
  if (!port.host_ip.empty()) {
    const auto address = net::IpAddress::parse(port.host_ip);
    if (!address) return fail(Code::kInvalid, "hostIP " + port.host_ip + " is no address");
    if (!address->is_unspecified()) out.host_ip = *address;
  }
  return out;
}

}  // namespace

Task<Result<std::vector<std::string>>> LinkedPodNetwork::attach(node::PodAttachment attachment) {
  std::vector<network::PodHostPort> ports;
  for (const auto& port : attachment.host_ports) {
    auto converted = convert(port);
    if (!converted) co_return fail(converted.error());
    ports.push_back(*converted);
  }
  auto addresses = co_await run_blocking([&] { return links_.attach(attachment.uid, attachment.netns_path, ports); });
  if (!addresses) co_return fail(addresses.error());
  std::vector<std::string> out;
  for (const auto& address : *addresses) out.push_back(address.str());
  co_return out;
}

Task<Status> LinkedPodNetwork::detach(std::string uid) {
  co_return co_await run_blocking([&] { return links_.detach(uid); });
}

Task<std::set<std::string>> LinkedPodNetwork::attached_pods() {
  co_return co_await run_blocking([&] { return links_.attached(); });
}

}  // namespace brume::cmd
