#include "brume/http/server.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <cerrno>
#include <cstring>
#include <unordered_map>

#include "brume/base/log.h"
#include "connection.h"

namespace brume::http {

namespace asio = boost::asio;

namespace {

using namespace std::chrono_literals;

constexpr int kBacklog = 1024;

/// A socket on its way to another loop; closed if it never gets there.
struct Fd {
  explicit Fd(int f) : fd(f) {}
  Fd(Fd&& other) noexcept : fd(std::exchange(other.fd, -1)) {}
  Fd& operator=(Fd&&) = delete;
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
  int release() { return std::exchange(fd, -1); }
  int fd;
};

/// The connections of one loop. A connection that ended is deleted by the reaper, once its tasks are gone.
class LoopConnections {
 public:
  LoopConnections(ServerShared& shared, Executor executor)
      : shared_(shared), executor_(std::move(executor)), tasks_(executor_), ended_(executor_), reaped_(executor_) {}

  [[nodiscard]] const Executor& executor() const { return executor_; }

  void add(Fd fd, std::string peer) {
    if (stopping_) return;
    if (!reaping_) {
      reaping_ = true;
      tasks_.spawn("http reaper", reap());
    }
    auto connection = std::make_unique<Connection>(shared_, executor_, fd.release(), std::move(peer),
                                                   [this](Connection* gone) { on_end(gone); });
    auto* raw = connection.get();
    live_.emplace(raw, std::move(connection));
    raw->start();
  }

  Task<void> stop() {
    stopping_ = true;
    while (!live_.empty() || unreaped_ > 0) {
      for (auto& [raw, connection] : live_) raw->tasks().cancel();
      co_await reaped_.wait_for(50ms);
    }
    co_await tasks_.stop();
  }

 private:
  void on_end(Connection* gone) {
    auto it = live_.find(gone);
    dead_.push_back(std::move(it->second));
    live_.erase(it);
    ++unreaped_;
    ended_.notify();
  }

  Task<void> reap() {
    while (true) {
      co_await ended_.wait();
      auto dead = std::exchange(dead_, {});
      for (auto& connection : dead) {
        co_await drain(connection->tasks());
        connection.reset();
        --unreaped_;
      }
      reaped_.notify();
    }
  }

  ServerShared& shared_;
  Executor executor_;
  TaskGroup tasks_;
  std::unordered_map<Connection*, std::unique_ptr<Connection>> live_;
  std::vector<std::unique_ptr<Connection>> dead_;
  std::size_t unreaped_ = 0;
  Event ended_;
  Event reaped_;
  bool reaping_ = false;
  bool stopping_ = false;
};

struct Address {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_storage);
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

Result<Address> parse_address(const std::string& text, std::uint16_t port) {
  Address out;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
  if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    out.size = sizeof(sockaddr_in);
  } else if (::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    out.size = sizeof(sockaddr_in6);
  } else {
    return fail(Code::kInvalid, "not an IP address to listen on: " + text);
  }
  return out;
}

std::uint16_t port_of(const Address& address) {
  const auto family = address.storage.ss_family;
  return ntohs(family == AF_INET ? reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_port
                                 : reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_port);
}

// An IPv4 client of a dual-stack socket is shown as IPv4.
std::string text_of(const Address& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.storage.ss_family == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_addr, text.data(), text.size());
  } else {
    const auto& v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&v6)) {
      ::inet_ntop(AF_INET, v6.s6_addr + 12, text.data(), text.size());
    } else {
      ::inet_ntop(AF_INET6, &v6, text.data(), text.size());
    }
  }
  return text.data();
}

Result<Fd> open_listener(const ServerOptions& options, std::uint16_t& port) {
  BRUME_TRY(Address address, parse_address(options.address, options.port));
  const std::string where = "listen on " + options.address + " port " + std::to_string(options.port);
  Fd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd.fd < 0) return fail_errno(errno, where);
  const int on = 1;
  const int off = 0;
  ::setsockopt(fd.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.storage.ss_family == AF_INET6) ::setsockopt(fd.fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  // Accepted sockets inherit these on Linux: no system calls for each. Peers that vanished are found as Go's servers
  // find them (net.KeepAliveConfig's defaults).
  const int keep_alive_seconds = 15;
  ::setsockopt(fd.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd.fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd.fd, IPPROTO_TCP, TCP_KEEPIDLE, &keep_alive_seconds, sizeof keep_alive_seconds);
  ::setsockopt(fd.fd, IPPROTO_TCP, TCP_KEEPINTVL, &keep_alive_seconds, sizeof keep_alive_seconds);
  if (::bind(fd.fd, address.get(), address.size) != 0 || ::listen(fd.fd, kBacklog) != 0) {
    if (errno == EADDRINUSE) return fail(Code::kAlreadyExists, where + ": the port is taken by another process");
    return fail_errno(errno, where);
  }
  Address bound;
  if (::getsockname(fd.fd, bound.get(), &bound.size) != 0) return fail_errno(errno, where);
  port = port_of(bound);
  return fd;
}

class SocketServer final : public Server {
 public:
  SocketServer(ServerOptions options, const std::vector<Executor>& loops, Handler handler, Fd listener,
               std::uint16_t port)
      : listener_(loops.front()), tasks_(loops.front()), port_(port) {
    shared_.options = std::move(options);
    shared_.handler = std::move(handler);
    for (const auto& loop : loops) loops_.push_back(std::make_shared<LoopConnections>(shared_, loop));
    listener_.assign(listener.release());
  }

  // Groups belong to their loop, so the first task is started there.
  void start() {
    asio::post(tasks_.executor(), [this] { tasks_.spawn("http accept", accept_connections()); });
  }

  [[nodiscard]] std::uint16_t port() const override { return port_; }

  Status set_tls(TlsServerConfig config) override {
    BRUME_TRY(auto context, TlsContext::for_server(config));
    shared_.tls.store(std::move(context));
    return {};
  }

  Task<void> stop() override {
    co_await tasks_.stop();
    boost::system::error_code ec;
    listener_.close(ec);
    for (auto& loop : loops_) {
      co_await on_loop<void>(loop->executor(), [loop] { return loop->stop(); });
    }
  }

 private:
  Task<void> accept_connections() {
    auto pause = 5ms;
    while (true) {
      boost::system::error_code ec;
      co_await listener_.async_wait(asio::posix::stream_descriptor::wait_read,
                                    asio::redirect_error(asio::use_awaitable, ec));
      if (ec == asio::error::operation_aborted) co_return;
      while (true) {
        Address peer;
        Fd fd(::accept4(listener_.native_handle(), peer.get(), &peer.size, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (fd.fd < 0) {
          if (errno == EINTR || errno == ECONNABORTED) continue;
          if (errno == EAGAIN) break;
          // EMFILE and the like leave the connection in the queue: trying at once would spin.
          log::warn("accept failed", {{"error", std::strerror(errno)}});
          co_await sleep_for(pause);
          pause = std::min(pause * 2, std::chrono::milliseconds(1000));
          continue;
        }
        pause = 5ms;
        place(std::move(fd), text_of(peer));
      }
    }
  }

  void place(Fd fd, std::string peer) {
    // Refused at once: a client that waits in a full queue learns less than one that is cut.
    if (shared_.connections >= shared_.options.max_connections) {
      log::warn("too many connections, one refused", {{"peer", peer}});
      return;
    }
    auto loop = loops_[next_++ % loops_.size()];
    asio::post(loop->executor(), [loop, fd = std::move(fd), peer = std::move(peer)]() mutable {
      loop->add(std::move(fd), std::move(peer));
    });
  }

  ServerShared shared_;
  asio::posix::stream_descriptor listener_;
  TaskGroup tasks_;
  std::vector<std::shared_ptr<LoopConnections>> loops_;
  std::size_t next_ = 0;
  std::uint16_t port_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::listen(ServerOptions options, std::vector<Executor> loops, Handler handler) {
  if (loops.empty()) return fail(Code::kInternal, "a server needs a loop");
  std::uint16_t port = 0;
  BRUME_TRY(Fd listener, open_listener(options, port));
  auto tls = options.tls;
  auto server =
      std::make_unique<SocketServer>(std::move(options), loops, std::move(handler), std::move(listener), port);
  if (tls) BRUME_CHECK(server->set_tls(std::move(*tls)));
  server->start();
  return server;
}

}  // namespace brume::http
