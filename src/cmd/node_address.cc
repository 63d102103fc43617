#include "cmd/node_address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

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

Result<AddressWatch> AddressWatch::open(const Executor& executor) {
  linux_os::Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (socket.get() < 0) return fail_errno(errno, "netlink socket");
  sockaddr_nl groups{};
  groups.nl_family = AF_NETLINK;
  groups.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE;
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
    if (ec) co_return fail(Code::kIo, "waiting for netlink: " + ec.message());
  }
}

}  // namespace brume::cmd
