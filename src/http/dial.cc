#include "dial.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace brume::http {

namespace {

struct Target {
  sockaddr_storage address{};
  socklen_t size = 0;
  std::string text;  // for messages: 127.0.0.1:80
};

Target from_sockaddr(const sockaddr* address, socklen_t size, std::uint16_t port) {
  Target out;
  std::memcpy(&out.address, address, size);
  out.size = size;
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address->sa_family == AF_INET) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out.address);
    v4->sin_port = htons(port);
    ::inet_ntop(AF_INET, &v4->sin_addr, text.data(), text.size());
    out.text = std::string(text.data()) + ":" + std::to_string(port);
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.address);
    v6->sin6_port = htons(port);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, text.data(), text.size());
    out.text = "[" + std::string(text.data()) + "]:" + std::to_string(port);
  }
  return out;
}

std::optional<Target> numeric(const std::string& text, std::uint16_t port) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  if (::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
    return from_sockaddr(reinterpret_cast<const sockaddr*>(&v4), sizeof v4, port);
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  if (::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1) {
    return from_sockaddr(reinterpret_cast<const sockaddr*>(&v6), sizeof v6, port);
  }
  return std::nullopt;
}

Result<std::vector<Target>> look_up(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* list = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
  if (failed != 0) {
    return fail(Code::kServiceUnavailable, "name resolution of " + host + " failed: " + ::gai_strerror(failed));
  }
  std::vector<Target> out;
  for (const addrinfo* it = list; it != nullptr; it = it->ai_next) {
    out.push_back(from_sockaddr(it->ai_addr, it->ai_addrlen, port));
  }
  ::freeaddrinfo(list);
  return out;
}

Result<Target> unix_target(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail(Code::kInvalid, "the socket path is too long: " + path);
  std::memcpy(address.sun_path, path.data(), path.size());
  Target out;
  out.size = sizeof address;
  std::memcpy(&out.address, &address, sizeof address);
  out.text = path;
  return out;
}

Task<Result<std::vector<Target>>> targets_of(const Url& url, const std::string& dial_address) {
  if (url.scheme == "unix") {
    BRUME_CO_TRY(auto target, unix_target(url.socket_path));
    co_return std::vector{std::move(target)};
  }
  const auto& host = dial_address.empty() ? url.host : dial_address;
  if (auto target = numeric(host, url.port)) co_return std::vector{std::move(*target)};
  if (!dial_address.empty()) co_return fail(Code::kInvalid, "dial_address is not an IP address: " + dial_address);
  if (host == "localhost") {  // RFC 6761: always the loopback, whatever a resolver would say
    std::vector<Target> both;
    for (const auto* address : {"127.0.0.1", "::1"}) {
      if (auto target = numeric(address, url.port)) both.push_back(std::move(*target));
    }
    co_return both;
  }
  co_return co_await run_blocking([host, port = url.port] { return look_up(host, port); });
}

Task<Result<std::unique_ptr<SocketStream>>> connect_one(const Target& target, std::unique_ptr<SocketStream>& current) {
  const Executor executor = co_await boost::asio::this_coro::executor;
  const std::string what = "connect to " + target.text;
  const int fd = ::socket(target.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) co_return fail_errno(errno, what);
  current = std::make_unique<SocketStream>(executor, fd);
  if (target.address.ss_family != AF_UNIX) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&target.address), target.size) != 0) {
    if (errno != EINPROGRESS) co_return fail_errno(errno, what);
    BRUME_CO_CHECK(co_await current->wait_writable());
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) co_return fail(Code::kIo, what + ": " + std::strerror(error));
  }
  co_return std::move(current);
}

}  // namespace

Task<Result<std::unique_ptr<SocketStream>>> dial(Url url, std::string dial_address, std::chrono::milliseconds timeout) {
  const Executor executor = co_await boost::asio::this_coro::executor;
  const auto begun = std::chrono::steady_clock::now();
  BRUME_CO_TRY(const auto targets, co_await targets_of(url, dial_address));
  std::unique_ptr<SocketStream> current;
  Deadline deadline(executor, [&current] {
    if (current) current->cancel();
  });
  deadline.set_after(timeout - (std::chrono::steady_clock::now() - begun));
  Error last{Code::kServiceUnavailable, "no address for " + url.host};
  for (const auto& target : targets) {
    auto connected = co_await connect_one(target, current);
    if (connected) co_return connected;
    if (deadline.expired()) co_return fail(Code::kTimeout, "connect to " + target.text + ": timed out");
    last = connected.error();
  }
  co_return fail(std::move(last));
}

}  // namespace brume::http
