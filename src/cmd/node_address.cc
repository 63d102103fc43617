#include "cmd/node_address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
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
    std::string interface, destination, gateway, flags, references, use, mask;
    unsigned long metric = 0;
    if (!(fields >> interface >> destination >> gateway >> flags >> references >> use >> metric >> mask)) continue;
    // The mask tells it from 0.0.0.0/1, half of what a VPN lays over it.
    if (destination == "00000000" && mask == "00000000" && metric < best_metric) {
      best = interface;
      best_metric = metric;
    }
  }
  return best;
}

bool is_bridge(const char* interface) {
  return ::access((std::string("/sys/class/net/") + interface + "/bridge").c_str(), F_OK) == 0;
}

}  // namespace

NodeAddress detect_node_address(std::string_view own_bridge) {
  const std::string wanted = default_interface();
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return {};
  NodeAddress best;
  int best_rank = 0;
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET) continue;
    if ((one->ifa_flags & IFF_UP) == 0 || (one->ifa_flags & IFF_LOOPBACK) != 0 || own_bridge == one->ifa_name) continue;
    char text[INET_ADDRSTRLEN] = {};
    const auto* address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
    ::inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
    if (std::string_view(text).starts_with("169.254.")) continue;  // link-local: not reachable by name or route
    const bool carrier = (one->ifa_flags & IFF_RUNNING) != 0;
    const bool uplink = carrier && (wanted == one->ifa_name || !is_bridge(one->ifa_name));
    const int rank = wanted == one->ifa_name && carrier ? 3 : uplink ? 2 : 1;
    if (rank <= best_rank) continue;
    best = {text, uplink};
    best_rank = rank;
  }
  ::freeifaddrs(all);
  return best;
}

Result<AddressWatch> AddressWatch::open(const Executor& executor) {
  linux_os::Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (socket.get() < 0) return fail_errno(errno, "netlink socket");
  sockaddr_nl groups{};
  groups.nl_family = AF_NETLINK;
  groups.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE;
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&groups), sizeof groups) != 0) {
    return fail_errno(errno, "netlink groups");
  }
  return AddressWatch(boost::asio::posix::stream_descriptor(executor, socket.release()));
}

Task<Status> AddressWatch::changed() {
  bool any = false;
  while (true) {
    // What changed does not matter: who was told looks at everything anew.
    std::array<char, 8192> message{};
    const ssize_t got = ::recv(socket_.native_handle(), message.data(), message.size(), MSG_DONTWAIT);
    any = any || got > 0 || (got < 0 && errno == ENOBUFS);  // it lost some
    if (got > 0 || (got < 0 && (errno == EINTR || errno == ENOBUFS))) continue;
    if (got == 0 || errno != EAGAIN) co_return fail_errno(errno, "reading from netlink");
    if (any) co_return Status();
    boost::system::error_code ec;
    co_await socket_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                                boost::asio::redirect_error(boost::asio::use_awaitable, ec));
    if (ec == boost::asio::error::operation_aborted) throw boost::system::system_error(ec);  // the task is cancelled
    if (ec) co_return fail(Code::kIo, "waiting for netlink: " + ec.message());
  }
}

}  // namespace brume::cmd
