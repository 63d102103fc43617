#include "netns.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>

#include "brume/linux/link.h"
#include "catch.h"

namespace brume::test {
namespace {

void must(bool ok, const std::string& what) {
  if (!ok) throw std::runtime_error(what + ": " + std::strerror(errno));
}

void must(const Status& status) {
  if (!status.has_value()) throw std::runtime_error(status.error().message);
}

void on_thread(const std::function<void()>& body) {
  std::exception_ptr failure;
  std::thread([&] {
    try {
      body();
    } catch (...) {
      failure = std::current_exception();
    }
  }).join();
  if (failure) std::rethrow_exception(failure);
}

void enter(const Netns* netns) {
  if (netns != nullptr) must(setns(netns->fd(), CLONE_NEWNET) == 0, "setns");
}

void set_up_lo() {
  auto socket = netlink::Socket::open(NETLINK_ROUTE);
  must(socket.has_value(), "netlink");
  netlink::Messages messages;
  netlink::set_link(messages, "lo", true);
  must(socket->transact(messages));
}

sockaddr_in address_of(const std::string& text, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  must(inet_pton(AF_INET, text.c_str(), &address.sin_addr) == 1, "address " + text);
  return address;
}

std::string error_word(int error) {
  if (error == ECONNREFUSED) return "refused";
  if (error == EHOSTUNREACH || error == ENETUNREACH) return "unreachable";
  if (error == EAGAIN || error == EINPROGRESS || error == ETIMEDOUT) return "timeout";
  return std::strerror(error);
}

std::string ask_here(Protocol protocol, const std::string& to, std::uint16_t port, int timeout_ms,
                     std::uint16_t source_port) {
  int fd = socket(AF_INET, (protocol == Protocol::kTcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  must(fd >= 0, "socket");
  std::string answer;
  sockaddr_in address = address_of(to, port);
  int error = 0;
  if (source_port != 0) {
    sockaddr_in from{};
    from.sin_family = AF_INET;
    from.sin_port = htons(source_port);
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    must(bind(fd, reinterpret_cast<sockaddr*>(&from), sizeof from) == 0, "bind");
  }
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 && errno != EINPROGRESS) error = errno;
  if (error == 0 && protocol == Protocol::kUdp && send(fd, "?", 1, 0) < 0) error = errno;
  std::array<char, 256> buffer{};
  if (error == 0) {
    pollfd wait{fd, POLLIN, 0};
    if (poll(&wait, 1, timeout_ms) == 0) {
      error = ETIMEDOUT;
    } else {
      ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
      if (got < 0) error = errno;
      if (got > 0) answer.assign(buffer.data(), static_cast<std::size_t>(got));
    }
  }
  close(fd);
  return error != 0 ? error_word(error) : answer;
}

}  // namespace

bool can_make_netns() {
  bool can = false;
  on_thread([&] { can = unshare(CLONE_NEWNET) == 0; });
  return can;
}

void in_new_netns(const std::function<void()>& body) {
  if (!can_make_netns()) {
    WARN("no privilege to make a network namespace: not tested");
    return;
  }
  on_thread([&] {
    must(unshare(CLONE_NEWNET) == 0, "unshare");
    set_up_lo();
    body();
  });
}

Netns::Netns() {
  on_thread([&] {
    must(unshare(CLONE_NEWNET) == 0, "unshare");
    fd_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    must(fd_ >= 0, "opening a namespace");
  });
}

Netns::~Netns() { close(fd_); }

std::string Netns::path() const { return "/proc/self/fd/" + std::to_string(fd_); }

void Netns::run(const std::function<void()>& body) const {
  on_thread([&] {
    enter(this);
    body();
  });
}

Responder::Responder(const Netns* netns, std::string name, Protocol protocol, std::uint16_t port, std::string address) {
  on_thread([&] {
    enter(netns);
    fd_ = socket(AF_INET, (protocol == Protocol::kTcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
    must(fd_ >= 0, "socket");
    int on = 1;
    setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in own = address_of(address, port);
    must(bind(fd_, reinterpret_cast<sockaddr*>(&own), sizeof own) == 0, "bind");
    if (protocol == Protocol::kTcp) must(listen(fd_, 64) == 0, "listen");
  });
  thread_ = std::thread([this, name = std::move(name), protocol] {
    while (!stop_) {
      pollfd wait{fd_, POLLIN, 0};
      if (poll(&wait, 1, 20) <= 0) continue;
      sockaddr_in client{};
      socklen_t length = sizeof client;
      char byte = 0;
      int connection = -1;
      if (protocol == Protocol::kTcp) {
        connection = accept(fd_, reinterpret_cast<sockaddr*>(&client), &length);
        if (connection < 0) continue;
      } else if (recvfrom(fd_, &byte, 1, 0, reinterpret_cast<sockaddr*>(&client), &length) < 0) {
        continue;
      }
      std::array<char, INET_ADDRSTRLEN> text{};
      inet_ntop(AF_INET, &client.sin_addr, text.data(), text.size());
      std::string answer = name + " " + text.data();
      if (protocol == Protocol::kTcp) {
        (void)send(connection, answer.data(), answer.size(), MSG_NOSIGNAL);
        close(connection);
      } else {
        (void)sendto(fd_, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&client), length);
      }
    }
  });
}

Responder::~Responder() {
  stop_ = true;
  thread_.join();
  close(fd_);
}

std::string ask(const Netns* netns, Protocol protocol, const std::string& address, std::uint16_t port, int timeout_ms,
                std::uint16_t source_port) {
  if (netns == nullptr) return ask_here(protocol, address, port, timeout_ms, source_port);
  std::string answer;
  netns->run([&] { answer = ask_here(protocol, address, port, timeout_ms, source_port); });
  return answer;
}

std::string who(const Netns* netns, Protocol protocol, const std::string& address, std::uint16_t port, int timeout_ms) {
  std::string answer = ask(netns, protocol, address, port, timeout_ms);
  return answer.substr(0, answer.find(' '));
}

void join(const Netns* a, const std::string& a_address, const Netns* b, const std::string& b_address,
          bool b_routes_via_a) {
  auto configure = [](netlink::Socket& socket, const std::string& name, const std::string& address,
                      const std::string& gateway) {
    auto link = netlink::find_link(socket, name);
    must(link.has_value() && link->has_value(), "link " + name);
    netlink::Messages messages;
    netlink::set_link(messages, name, true);
    netlink::add_address(messages, (*link)->index, *net::IpAddress::parse(address), 24);
    if (!gateway.empty()) {
      netlink::Route route;
      route.to = *net::Cidr::parse("0.0.0.0/0");
      route.link_index = (*link)->index;
      route.gateway = *net::IpAddress::parse(gateway);
      netlink::set_route(messages, route);
    }
    must(socket.transact(messages));
  };
  auto make = [&] {
    auto here = netlink::Socket::open(NETLINK_ROUTE);
    must(here.has_value(), "netlink");
    netlink::VethOptions veth;
    veth.name = "out0";
    veth.peer_name = "out0";
    veth.peer_netns_fd = b->fd();
    netlink::Messages messages;
    netlink::add_veth(messages, veth);
    must(here->transact(messages));
    auto there = netlink::Socket::open_in(b->fd(), NETLINK_ROUTE);
    must(there.has_value(), "netlink");
    configure(*here, "out0", a_address, "");
    configure(*there, "out0", b_address, b_routes_via_a ? a_address : "");
    must(netlink::await_operational(*here, "out0"));
    must(netlink::await_operational(*there, "out0"));
  };
  if (a != nullptr) {
    a->run(make);
  } else {
    make();
  }
}

std::string output_of(const std::string& command) {
  std::string output;
  FILE* pipe = popen(command.c_str(), "r");
  must(pipe != nullptr, "popen");
  std::array<char, 4096> buffer{};
  while (std::size_t got = fread(buffer.data(), 1, buffer.size(), pipe)) output.append(buffer.data(), got);
  pclose(pipe);
  return output;
}

}  // namespace brume::test
