#include "cmd/node_address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <fstream>
#include <sstream>

namespace brume::cmd {

namespace {

// The interface of the default route with the lowest metric, from /proc/net/route (proc_pid_net(5)); "" without one.
std::string default_interface() {
  std::ifstream routes("/proc/net/route");
  std::string line;
  std::getline(routes, line);  // column names
  std::string best;
  unsigned long best_metric = ~0UL;
  while (std::getline(routes, line)) {
    std::istringstream fields(line);
    std::string interface, destination, gateway, flags, references, use;
    unsigned long metric = 0;
    if (!(fields >> interface >> destination >> gateway >> flags >> references >> use >> metric)) continue;
    if (destination == "00000000" && metric < best_metric) {
      best = interface;
      best_metric = metric;
    }
  }
  return best;
}

}  // namespace

std::string detect_node_address(std::string_view own_bridge) {
  const std::string wanted = default_interface();
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return {};
  std::string first;
  std::string found;
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET) continue;
    if ((one->ifa_flags & IFF_UP) == 0 || (one->ifa_flags & IFF_LOOPBACK) != 0 || own_bridge == one->ifa_name) continue;
    char text[INET_ADDRSTRLEN] = {};
    const auto* address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
    ::inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
    if (std::string_view(text).starts_with("169.254.")) continue;  // link-local: not reachable by name or route
    if (first.empty()) first = text;
    if (found.empty() && wanted == one->ifa_name) found = text;
  }
  ::freeifaddrs(all);
  return found.empty() ? first : found;
}

}  // namespace brume::cmd
