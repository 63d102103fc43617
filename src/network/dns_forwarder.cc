#include "dns_forwarder.h"

#include <arpa/inet.h>
#include <ifaddrs.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <cstring>

#include "brume/base/clock.h"
#include "brume/base/random.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"

namespace brume::network::dns {
namespace {

namespace asio = boost::asio;
constexpr auto kDone = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kMostServers = 3;  // MAXNS of resolv.conf(5)
constexpr std::size_t kMostInFlight = 256;
constexpr int kRounds = 2;
constexpr auto kUdpTimeout = std::chrono::milliseconds(1'500);  // stub resolvers give up after 5 s by default
constexpr auto kTcpTimeout = std::chrono::milliseconds(3'000);

/// Closes a socket when the time is up. The socket is shared with the timer's handler, which may run late.
template <typename Socket>
class Deadline {
 public:
  Deadline(std::shared_ptr<Socket> socket, std::chrono::milliseconds after) : timer_(socket->get_executor(), after) {
    timer_.async_wait([weak = std::weak_ptr<Socket>(socket)](boost::system::error_code error) {
      boost::system::error_code ignored;
      if (auto alive = weak.lock(); alive && !error) alive->close(ignored);
    });
  }

 private:
  asio::steady_timer timer_;
};

asio::ip::address asio_address(const net::IpAddress& address) {
  return asio::ip::make_address(address.str());  // text of our own making: cannot throw
}

bool answers(const ResponseInfo& info, const Query& query, std::uint16_t id) {
  return info.id == id && info.type == query.type && info.klass == query.klass &&
         info.name.lower() == query.name.lower();
}

Task<Result<std::string>> ask_udp(Upstream upstream, Query query) {
  auto socket = std::make_shared<asio::ip::udp::socket>(co_await asio::this_coro::executor);
  asio::ip::udp::endpoint server(asio_address(upstream.address), upstream.port);
  boost::system::error_code error;
  socket->open(server.protocol(), error);
  if (!error) socket->connect(server, error);
  if (error) co_return fail(Code::kIo, "asking " + upstream.address.str() + ": " + error.message());
  Deadline deadline(socket, kUdpTimeout);
  auto id = static_cast<std::uint16_t>(random_u64());
  std::string bytes = write_query(query, id);
  auto [sent, count] = co_await socket->async_send(asio::buffer(bytes), kDone);
  if (sent) co_return fail(Code::kIo, "asking " + upstream.address.str() + ": " + sent.message());
  std::string buffer(kMostUdpSize + 1'024, '\0');
  for (;;) {
    auto [received, length] = co_await socket->async_receive(asio::buffer(buffer), kDone);
    if (received) co_return fail(Code::kTimeout, upstream.address.str() + " does not answer");
    auto info = parse_response(std::string_view(buffer).substr(0, length));
    if (!info || !answers(*info, query, id)) continue;  // forged or late: go on waiting for the true one
    buffer.resize(length);
    co_return std::move(buffer);
  }
}

Task<Result<std::string>> ask_tcp(Upstream upstream, Query query) {
  auto socket = std::make_shared<asio::ip::tcp::socket>(co_await asio::this_coro::executor);
  Deadline deadline(socket, kTcpTimeout);
  auto id = static_cast<std::uint16_t>(random_u64());
  std::string bytes = write_query(query, id);
  std::string framed{static_cast<char>(bytes.size() >> 8), static_cast<char>(bytes.size() & 0xff)};
  framed += bytes;
  asio::ip::tcp::endpoint server(asio_address(upstream.address), upstream.port);
  auto [connected] = co_await socket->async_connect(server, kDone);
  if (connected) co_return fail(Code::kIo, "connecting to " + upstream.address.str() + ": " + connected.message());
  auto [sent, count] = co_await asio::async_write(*socket, asio::buffer(framed), kDone);
  if (sent) co_return fail(Code::kIo, "asking " + upstream.address.str() + ": " + sent.message());
  unsigned char head[2] = {};
  auto [headed, n] = co_await asio::async_read(*socket, asio::buffer(head), kDone);
  if (headed) co_return fail(Code::kTimeout, upstream.address.str() + " does not answer");
  std::string buffer((std::size_t{head[0]} << 8) | head[1], '\0');
  auto [received, length] = co_await asio::async_read(*socket, asio::buffer(buffer), kDone);
  if (received) co_return fail(Code::kTimeout, upstream.address.str() + " does not answer");
  auto info = parse_response(buffer);
  if (!info || !answers(*info, query, id)) co_return fail(Code::kCorrupt, upstream.address.str() + " answers nonsense");
  co_return std::move(buffer);
}

struct InFlight {
  explicit InFlight(std::size_t& count) : count_(count) { ++count_; }
  ~InFlight() { --count_; }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;
  std::size_t& count_;
};

}  // namespace

std::optional<Upstream> parse_upstream(std::string_view text) {
  if (auto address = net::IpAddress::parse(text)) return Upstream{*address};
  std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  auto address = net::IpAddress::parse(text.substr(0, colon));
  auto port = parse_int(text.substr(colon + 1));
  if (!address || !port || *port < 1 || *port > 65'535) return std::nullopt;
  return Upstream{*address, static_cast<std::uint16_t>(*port)};
}

std::vector<Upstream> read_resolv_conf(std::string_view text) {
  std::vector<Upstream> servers;
  for (std::string_view line : split(text, '\n')) {
    constexpr std::string_view kKey = "nameserver";
    line = trim(line);
    if (!line.starts_with(kKey) || line.size() == kKey.size() ||
        (line[kKey.size()] != ' ' && line[kKey.size()] != '\t'))
      continue;
    std::string_view value = trim(line.substr(kKey.size()));
    auto address = net::IpAddress::parse(value.substr(0, value.find_first_of(" \t#;")));
    if (address && servers.size() < kMostServers) servers.push_back({*address});
  }
  return servers;
}

std::vector<net::IpAddress> own_addresses() {
  std::vector<net::IpAddress> own;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return own;
  for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr) continue;
    std::string_view octets;
    if (one->ifa_addr->sa_family == AF_INET) {
      octets = {reinterpret_cast<const char*>(&reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr), 4};
    } else if (one->ifa_addr->sa_family == AF_INET6) {
      octets = {reinterpret_cast<const char*>(&reinterpret_cast<const sockaddr_in6*>(one->ifa_addr)->sin6_addr), 16};
    }
    if (auto address = net::IpAddress::from_octets(octets)) own.push_back(*address);
  }
  freeifaddrs(list);
  return own;
}

Task<Result<std::string>> DnsForwarder::ask(Query query, bool tcp, std::function<bool(const net::IpAddress&)> skip) {
  if (auto kept = cache_.find(query, clock_.steady()); kept && (tcp || kept->size() <= query.udp_size))
    co_return std::move(*kept);
  if (in_flight_ >= kMostInFlight) co_return fail(Code::kServiceUnavailable, "too many questions are being forwarded");
  InFlight counted(in_flight_);
  Error last{Code::kServiceUnavailable, "no name server to forward to"};
  for (int round = 0; round < kRounds; ++round) {
    for (const Upstream upstream : upstreams_) {
      if (skip(upstream.address)) continue;
      Result<std::string> response = fail(last);
      if (tcp) {
        response = co_await ask_tcp(upstream, query);
      } else {
        response = co_await ask_udp(upstream, query);
      }
      if (!response.has_value()) {
        last = std::move(response).error();
        continue;
      }
      if (auto info = parse_response(*response)) cache_.put(query, *response, *info, clock_.steady());
      (*response)[0] = static_cast<char>(query.id >> 8);
      (*response)[1] = static_cast<char>(query.id & 0xff);
      response->replace(kHeaderSize, query.name.wire().size(), query.name.wire());
      co_return std::move(*response);
    }
  }
  co_return fail(std::move(last));
}

}  // namespace brume::network::dns
