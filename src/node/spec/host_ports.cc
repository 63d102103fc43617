#include "spec/host_ports.h"

#include <cstdint>

#include "brume/base/json.h"
#include "pod/pod.h"

namespace brume::node {

std::vector<HostPort> host_ports(const Json& pod) {
  std::vector<HostPort> out;
  for (const ContainerEntry& entry : containers_of(pod)) {
    if (entry.kind == ContainerKind::kEphemeral || (entry.kind == ContainerKind::kInit && !entry.sidecar)) continue;
    for (const Json& port : at(*entry.spec, "ports")) {
      const auto number = num(port, "hostPort");
      if (number <= 0) continue;
      HostPort item;
      item.host_port = static_cast<std::uint16_t>(number);
      item.container_port = static_cast<std::uint16_t>(num(port, "containerPort"));
      item.protocol = str(port, "protocol").empty() ? "TCP" : std::string(str(port, "protocol"));
      item.host_ip = str(port, "hostIP");
      out.push_back(std::move(item));
    }
  }
  return out;
}

bool ports_conflict(const HostPort& a, const HostPort& b) {
  const auto on_all = [](const HostPort& port) { return port.host_ip.empty() || port.host_ip == "0.0.0.0"; };
  return a.host_port == b.host_port && a.protocol == b.protocol && (a.host_ip == b.host_ip || on_all(a) || on_all(b));
}

}  // namespace brume::node
