#include "stream/port_forward.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/write.hpp>
#include <map>
#include <thread>

#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "brume/linux/fd.h"
#include "stream/beside.h"

namespace brume::node {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

constexpr std::size_t kBlock = 32 << 10;

// A socket of that network namespace. A socket stays in the namespace it was made in, so a thread of its own goes
// there, makes it and ends: no thread that others use ever changes its namespace.
Result<int> socket_in(const std::string& netns_path, int family) {
  Result<int> made = fail(Code::kInternal, "");
  std::thread([&] {
    if (!netns_path.empty()) {
      auto ns = linux_os::open_fd(netns_path, O_RDONLY);
      if (!ns) {
        made = fail(ns.error());
        return;
      }
      if (::setns(ns->get(), CLONE_NEWNET) != 0) {
        made = fail_errno(errno, "setns " + netns_path);
        return;
      }
    }
    const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    made = fd < 0 ? Result<int>(fail_errno(errno, "socket")) : Result<int>(fd);
  }).join();
  return made;
}

Task<Result<std::shared_ptr<tcp::socket>>> dial(std::string netns_path, std::uint16_t port) {
  const Executor executor = co_await asio::this_coro::executor;
  std::string why;
  for (const bool v6 : {false, true}) {
    auto fd = co_await run_blocking([netns_path, v6] { return socket_in(netns_path, v6 ? AF_INET6 : AF_INET); });
    if (!fd) co_return fail(std::move(fd).error());
    auto socket = std::make_shared<tcp::socket>(executor);
    boost::system::error_code ec;
    (void)socket->assign(v6 ? tcp::v6() : tcp::v4(), *fd, ec);
    if (ec) co_return fail(Code::kIo, ec.message());
    const asio::ip::address host =
        v6 ? asio::ip::address(asio::ip::address_v6::loopback()) : asio::ip::address(asio::ip::address_v4::loopback());
    co_await socket->async_connect({host, port}, asio::redirect_error(asio::use_awaitable, ec));
    if (!ec) co_return socket;
    if (why.empty()) why = to_lower(ec.message());
  }
  co_return fail(Code::kServiceUnavailable,
                 "failed to connect to localhost:" + std::to_string(port) + " inside the pod: " + why);
}

Task<void> to_pod(std::shared_ptr<http::SpdyStream> data, std::shared_ptr<tcp::socket> socket) {
  std::string buffer(kBlock, '\0');
  boost::system::error_code ec;
  while (!ec) {
    auto n = co_await data->read(std::span(buffer.data(), buffer.size()));
    if (!n || *n == 0) break;
    co_await asio::async_write(*socket, asio::buffer(buffer.data(), *n), asio::redirect_error(asio::use_awaitable, ec));
  }
  boost::system::error_code ignored;
  (void)socket->shutdown(tcp::socket::shutdown_send, ignored);
}

Task<void> from_pod(std::shared_ptr<http::SpdyStream> data, std::shared_ptr<tcp::socket> socket) {
  std::string buffer(kBlock, '\0');
  boost::system::error_code ec;
  while (true) {
    const std::size_t n =
        co_await socket->async_read_some(asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, ec));
    if (ec || n == 0) break;
    auto sent = co_await data->write(std::string_view(buffer).substr(0, n));
    if (!sent) break;
  }
  (void)co_await data->close_write();
  // The pod's side is done; what the client still sends goes nowhere.
  boost::system::error_code ignored;
  (void)socket->close(ignored);
}

Task<void> connection(std::shared_ptr<http::SpdyStream> data, std::shared_ptr<http::SpdyStream> error,
                      std::string netns_path, std::uint16_t port) {
  auto socket = co_await dial(std::move(netns_path), port);
  if (!socket) {
    (void)co_await error->write(socket.error().message);
    (void)co_await error->close_write();
    data->close();
    co_return;
  }
  TaskGroup group(co_await asio::this_coro::executor);
  group.spawn("forward to pod", to_pod(data, *socket));
  co_await with_helpers(group, from_pod(data, *socket));
  (void)co_await error->close_write();
}

Task<void> accept_streams(std::shared_ptr<http::SpdySession> spdy, std::string netns_path, TaskGroup& group) {
  struct Pair {
    std::shared_ptr<http::SpdyStream> data, error;
  };
  std::map<std::string, Pair> pairs;  // by requestID; older clients send none and use one connection a port
  while (true) {
    auto stream = co_await spdy->accept();
    if (!stream) co_return;
    const http::Headers& headers = (*stream)->headers();
    const std::string type = to_lower(headers.get("streamtype"));
    const auto port = parse_int(headers.get("port"));
    if ((type != "data" && type != "error") || !port || *port < 1 || *port > 65535) {
      (*stream)->close();
      continue;
    }
    std::string id(headers.get("requestID"));
    if (id.empty()) id = "port " + std::to_string(*port);
    Pair& pair = pairs[id];
    (type == "data" ? pair.data : pair.error) = *stream;
    if (!pair.data || !pair.error) continue;
    group.spawn("port-forward", connection(pair.data, pair.error, netns_path, static_cast<std::uint16_t>(*port)));
    pairs.erase(id);
  }
}

}  // namespace

Task<void> serve_port_forward(std::shared_ptr<http::SpdySession> spdy, std::string netns_path) {
  TaskGroup group(co_await asio::this_coro::executor);
  co_await with_helpers(group, accept_streams(spdy, std::move(netns_path), group));
  co_await spdy->stop();
}

}  // namespace brume::node
