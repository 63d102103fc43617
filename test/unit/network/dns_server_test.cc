#include "brume/network/dns.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "brume/base/json.h"
#include "brume/base/task.h"
#include "brume/http/client.h"
#include "catch.h"
#include "dns_message.h"
#include "support/fake_client.h"
#include "support/fake_clock.h"
#include "support/run.h"

using namespace brume;
using namespace brume::network::dns;
using namespace std::chrono_literals;
using test::eventually;

namespace {

std::string query_bytes(const std::string& name, Type type, bool edns = false) {
  Query q;
  q.name = *Name::parse(name);
  q.type = static_cast<std::uint16_t>(type);
  q.klass = kClassIn;
  q.edns = edns;
  return write_query(q, 0x4242);
}

int dial(int kind, std::uint16_t port) {
  int fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  timeval limit{5, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  REQUIRE(connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  return fd;
}

std::string ask_udp(std::uint16_t port, std::string bytes) {
  int fd = dial(SOCK_DGRAM, port);
  CHECK(send(fd, bytes.data(), bytes.size(), 0) >= 0);
  std::string buffer(4096, '\0');
  ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
  close(fd);
  buffer.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return buffer;
}

std::string ask_tcp(std::uint16_t port, std::string bytes) {
  int fd = dial(SOCK_STREAM, port);
  bytes.insert(0, {static_cast<char>(bytes.size() >> 8), static_cast<char>(bytes.size())});
  // In two pieces: framing must not depend on packets.
  CHECK(send(fd, bytes.data(), 1, 0) == 1);
  CHECK(send(fd, bytes.data() + 1, bytes.size() - 1, 0) > 0);
  unsigned char head[2] = {};
  std::string buffer;
  if (recv(fd, head, 2, MSG_WAITALL) == 2) {
    buffer.resize((std::size_t{head[0]} << 8) | head[1]);
    if (recv(fd, buffer.data(), buffer.size(), MSG_WAITALL) != static_cast<ssize_t>(buffer.size())) buffer.clear();
  }
  close(fd);
  return buffer;
}

/// A name server on a loopback port that answers every A question with 192.0.2.99; with `big`, by UDP only truncated.
class FakeUpstream {
 public:
  explicit FakeUpstream(bool big = false) : big_(big) {
    udp_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    tcp_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in own{};
    own.sin_family = AF_INET;
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(udp_, reinterpret_cast<sockaddr*>(&own), sizeof own) == 0);
    socklen_t length = sizeof own;
    getsockname(udp_, reinterpret_cast<sockaddr*>(&own), &length);
    port = ntohs(own.sin_port);
    REQUIRE(bind(tcp_, reinterpret_cast<sockaddr*>(&own), sizeof own) == 0);
    REQUIRE(listen(tcp_, 8) == 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~FakeUpstream() {
    stop_ = true;
    thread_.join();
    close(udp_);
    close(tcp_);
  }
  std::uint16_t port = 0;
  std::atomic<int> asked{0};

 private:
  std::string answer(const std::string& bytes, bool tcp) {
    ++asked;
    auto q = parse_query(bytes);
    if (!q.has_value()) return {};
    Answer a;
    int count = big_ ? 100 : 1;
    for (int i = 0; i < count && q->type == static_cast<std::uint16_t>(Type::kA); ++i) {
      a.answers.push_back(Record::address(q->name, 300, *net::IpAddress::parse("192.0.2.99")));
    }
    return write_answer(*q, a, tcp ? kMaxMessage : q->udp_size);
  }
  void serve() {
    std::string buffer(4096, '\0');
    while (!stop_) {
      pollfd wait[2] = {{udp_, POLLIN, 0}, {tcp_, POLLIN, 0}};
      if (poll(wait, 2, 20) <= 0) continue;
      if (wait[0].revents != 0) {
        sockaddr_in from{};
        socklen_t length = sizeof from;
        ssize_t got = recvfrom(udp_, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
        std::string reply = answer(buffer.substr(0, static_cast<std::size_t>(got)), false);
        // First a forged answer with another id: it must not be taken.
        std::string forged = reply;
        forged[0] = static_cast<char>(~forged[0]);
        forged[forged.size() - 1] = 66;
        (void)sendto(udp_, forged.data(), forged.size(), 0, reinterpret_cast<sockaddr*>(&from), length);
        (void)sendto(udp_, reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from), length);
      }
      if (wait[1].revents != 0) {
        int fd = accept(tcp_, nullptr, nullptr);
        ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
        if (got > 2) {
          std::string reply = answer(buffer.substr(2, static_cast<std::size_t>(got) - 2), true);
          reply.insert(0, {static_cast<char>(reply.size() >> 8), static_cast<char>(reply.size())});
          (void)send(fd, reply.data(), reply.size(), MSG_NOSIGNAL);
        }
        close(fd);
      }
    }
  }
  bool big_;
  int udp_ = -1, tcp_ = -1;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

std::string address_in(const std::string& response) {
  auto records = read_answers(response);
  if (records.empty() || records.back().type != Type::kA) return "none";
  return net::IpAddress::from_octets(records.back().data)->str();
}

int rcode_of(const std::string& response) {
  auto info = parse_response(response);
  return info ? info->rcode : -1;
}

Json service(const std::string& name, Json spec) {
  return {{"metadata", {{"namespace", "default"}, {"name", name}}}, {"spec", std::move(spec)}};
}

Task<int> fetch_status(std::string url) {
  auto client = http::Client::create({});
  if (!client.has_value()) co_return -1;
  http::ClientRequest request;
  request.url = std::move(url);
  auto response = co_await (*client)->fetch(std::move(request));
  co_return response.has_value() ? response->status : -1;
}

/// A server on a loop of its own, over an API in memory.
struct Bench {
  test::FakeClient api;
  Loop loop{"dns"};
  network::DnsOptions options;
  std::unique_ptr<network::DnsServer> server;

  Bench() {
    options.listen_address = "127.0.0.1";
    options.port = 0;
    options.resolv_conf = "/nonexistent";
    options.health_port = options.ready_port = 0;
    api.seed("namespaces", {{"metadata", {{"name", "default"}}}});
    api.seed("services", service("web", {{"clusterIP", "10.43.0.80"},
                                         {"clusterIPs", {"10.43.0.80"}},
                                         {"ports", {{{"name", "http"}, {"port", 80}}}}}));
    api.seed("services", service("outside", {{"type", "ExternalName"}, {"externalName", "www.example.com"}}));
    api.seed("services",
             service("inside", {{"type", "ExternalName"}, {"externalName", "web.default.svc.cluster.local"}}));
    api.seed("services",
             service("loop", {{"type", "ExternalName"}, {"externalName", "loop.default.svc.cluster.local"}}));
    loop.start();
  }
  void start(bool await_ready = true) {
    loop.run_and_wait([this, await_ready]() -> Task<void> {
      auto started = co_await network::DnsServer::start(options, api, system_clock());
      if (!started.has_value()) FAIL(started.error().message);
      server = std::move(*started);
      bool ready = !await_ready || co_await eventually([this] { return server->ready(); });
      CHECK(ready);
    });
  }
  ~Bench() {
    loop.run_and_wait([this]() -> Task<void> {
      if (server) co_await server->stop();
      server.reset();
    });
    loop.stop();
  }
  std::string udp(const std::string& name, Type type, bool edns = false) {
    return ask_udp(server->port(), query_bytes(name, type, edns));
  }
  std::string tcp(const std::string& name, Type type) { return ask_tcp(server->port(), query_bytes(name, type)); }
};

}  // namespace

TEST_CASE("the DNS server answers by UDP and TCP and follows the API") {
  Bench b;
  b.start();
  CHECK(address_in(b.udp("web.default.svc.cluster.local", Type::kA)) == "10.43.0.80");
  CHECK(address_in(b.tcp("web.default.svc.cluster.local", Type::kA)) == "10.43.0.80");
  CHECK(rcode_of(b.udp("late.default.svc.cluster.local", Type::kA)) == 3);
  b.api.seed("services", service("late", {{"clusterIP", "10.43.0.81"}, {"clusterIPs", {"10.43.0.81"}}}));
  CHECK(test::eventually_in_thread(
      [&] { return address_in(b.udp("late.default.svc.cluster.local", Type::kA)) == "10.43.0.81"; }));
  SECTION("messages that are no queries") {
    CHECK(rcode_of(b.udp("example.com", Type::kA)) == 2);  // nobody to forward to: an error at once
    std::string broken = query_bytes("web.default.svc.cluster.local", Type::kA).substr(0, 20);
    std::string reply = ask_udp(b.server->port(), broken);
    REQUIRE(reply.size() == kHeaderSize);
    CHECK((reply[3] & 0xf) == 1);
    CHECK(ask_tcp(b.server->port(), std::string(3, 'x')).empty());
    std::string update = query_bytes("web.default.svc.cluster.local", Type::kA);
    update[2] = static_cast<char>(5 << 3);
    CHECK(rcode_of(ask_udp(b.server->port(), update)) == 4);
    CHECK(address_in(b.udp("web.default.svc.cluster.local", Type::kA)) == "10.43.0.80");
  }
  SECTION("aliases") {
    CHECK(address_in(b.udp("inside.default.svc.cluster.local", Type::kA)) == "10.43.0.80");
    CHECK(rcode_of(b.udp("outside.default.svc.cluster.local", Type::kA)) == 2);
    CHECK(read_answers(b.udp("outside.default.svc.cluster.local", Type::kCname)).size() == 1);
    CHECK(read_answers(b.udp("loop.default.svc.cluster.local", Type::kA)).size() <= 10);
  }
}

TEST_CASE("names outside the cluster are forwarded, checked and kept") {
  Bench b;
  FakeUpstream upstream;
  b.options.upstreams = {"127.0.0.1:" + std::to_string(upstream.port)};
  b.start();
  CHECK(address_in(b.udp("www.example.com", Type::kA)) == "192.0.2.99");
  CHECK(upstream.asked == 1);
  CHECK(address_in(b.udp("WWW.example.com", Type::kA)) == "192.0.2.99");
  CHECK(upstream.asked == 1);
  CHECK(address_in(b.tcp("tcp.example.com", Type::kA)) == "192.0.2.99");
  std::string chased = b.udp("outside.default.svc.cluster.local", Type::kA);
  CHECK(read_answers(chased).size() == 2);
  CHECK(address_in(chased) == "192.0.2.99");
  int before = upstream.asked;
  CHECK(rcode_of(b.udp("none.default.svc.cluster.local", Type::kA)) == 3);
  CHECK(upstream.asked == before);  // the cluster's names never leave
}

TEST_CASE("an answer that is too large comes truncated by UDP and whole by TCP") {
  Bench b;
  FakeUpstream upstream(true);
  b.options.upstreams = {"127.0.0.1:" + std::to_string(upstream.port)};
  b.start();
  auto info = parse_response(b.udp("big.example.com", Type::kA));
  REQUIRE(info.has_value());
  CHECK(info->truncated);
  CHECK(read_answers(b.tcp("big.example.com", Type::kA)).size() == 100);
}

TEST_CASE("the first name server is dead: the next one is asked") {
  Bench b;
  FakeUpstream upstream;
  int dead = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in own{};
  own.sin_family = AF_INET;
  own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(bind(dead, reinterpret_cast<sockaddr*>(&own), sizeof own) == 0);
  socklen_t length = sizeof own;
  getsockname(dead, reinterpret_cast<sockaddr*>(&own), &length);
  close(dead);  // asking there is refused at once
  b.options.upstreams = {"127.0.0.1:" + std::to_string(ntohs(own.sin_port)),
                         "127.0.0.1:" + std::to_string(upstream.port)};
  b.start();
  CHECK(address_in(b.udp("www.example.com", Type::kA)) == "192.0.2.99");
}

TEST_CASE("before the API was read there is no false 'no such name'") {
  Bench b;
  b.api.react([](const test::FakeClient::Call& call) -> std::optional<Error> {
    if (call.verb == "list") return Error{Code::kServiceUnavailable, "starting"};
    return std::nullopt;
  });
  b.start(false);
  CHECK(!b.server->ready());
  CHECK(rcode_of(b.udp("web.default.svc.cluster.local", Type::kA)) == 2);
}

TEST_CASE("health and readiness are told over HTTP") {
  Bench b;
  auto free_port = [] {
    FakeUpstream once;
    return once.port;
  };
  b.options.health_port = free_port();
  b.options.ready_port = free_port();
  b.api.react([](const test::FakeClient::Call& call) -> std::optional<Error> {
    if (call.verb == "list" && call.resource == "namespaces") return Error{Code::kServiceUnavailable, "starting"};
    return std::nullopt;
  });
  b.start(false);
  auto status = [&](std::uint16_t port, const std::string& path) {
    return test::value_of<int>(
        [url = "http://127.0.0.1:" + std::to_string(port) + path]() -> Task<int> { return fetch_status(url); });
  };
  CHECK(status(b.options.health_port, "/health") == 200);
  CHECK(status(b.options.health_port, "/other") == 404);
  CHECK(status(b.options.ready_port, "/ready") == 503);
  b.api.clear_reactors();
  CHECK(test::eventually_in_thread([&] { return status(b.options.ready_port, "/ready") == 200; }));
}

TEST_CASE("wrong options are errors that say why") {
  Bench b;
  b.start();
  auto start = [&](network::DnsOptions options) {
    return test::value_of<Result<std::unique_ptr<network::DnsServer>>>(
        [&, options]() { return network::DnsServer::start(options, b.api, system_clock()); });
  };
  auto taken = b.options;
  taken.port = b.server->port();
  CHECK(start(taken).error().code == Code::kAlreadyExists);
  auto wrong = b.options;
  wrong.domain = "a..b";
  CHECK(start(wrong).error().code == Code::kInvalid);
  wrong = b.options;
  wrong.upstreams = {"dns.example"};
  CHECK(start(wrong).error().code == Code::kInvalid);
}
