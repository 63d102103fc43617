#include "brume/http/proxy.h"

#include <poll.h>

#include <map>

#include "catch.h"
#include "support.h"
#include "support/scripted_server.h"

using namespace brume;
using namespace brume::http;
using namespace brume::http::test;
using brume::test::ScriptedServer;

namespace {

using Variables = std::map<std::string, std::string>;

Result<Proxies> proxies_of(const Variables& variables) {
  return Proxies::from([&](const std::string& name) -> std::optional<std::string> {
    const auto it = variables.find(name);
    return it == variables.end() ? std::nullopt : std::optional(it->second);
  });
}

bool is_direct(const Proxies& proxies, std::string_view host, std::uint16_t port = 443) {
  return proxies.find(true, host, port) == nullptr;
}

std::string read_head(int fd) {
  std::string head;
  char byte = 0;
  while (!head.ends_with("\r\n\r\n") && ::recv(fd, &byte, 1, 0) == 1) head += byte;
  return head;
}

// What goes in at the one comes out at the other, until one of them ends.
void splice(int a, int b) {
  pollfd both[] = {{a, POLLIN, 0}, {b, POLLIN, 0}};
  while (::poll(both, 2, 10'000) > 0) {
    for (int i = 0; i < 2; ++i) {
      if (both[i].revents == 0) continue;
      char buffer[4096];
      const auto count = ::recv(both[i].fd, buffer, sizeof buffer, 0);
      if (count <= 0 || ::send(both[1 - i].fd, buffer, static_cast<std::size_t>(count), MSG_NOSIGNAL) < 0) return;
    }
  }
}

}  // namespace

TEST_CASE("proxies are read as curl and Go read them") {
  const auto none = proxies_of({{"NO_PROXY", "*"}});
  CHECK(none->find(false, "example.org", 80) == nullptr);
  const auto both = proxies_of({{"http_proxy", "proxy.lan"}, {"HTTPS_PROXY", "http://ann:p%40ss@proxy.lan:3128/"}});
  REQUIRE(both);
  CHECK(both->find(false, "example.org", 80)->host == "proxy.lan");
  CHECK(both->find(false, "example.org", 80)->port == 80);
  CHECK(both->find(false, "example.org", 80)->authorization.empty());
  CHECK(both->find(true, "example.org", 443)->port == 3128);
  CHECK(both->find(true, "example.org", 443)->authorization == "Basic YW5uOnBAc3M=");
  for (const char* host : {"localhost", "127.0.0.1", "127.8.8.8", "::1"}) CHECK(is_direct(*both, host));
  for (const char* wrong : {"socks5://a:1", "https://a", "http://a:x", "http://a:%zz@b"}) {
    const auto refused = proxies_of({{"HTTPS_PROXY", wrong}});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message.starts_with("HTTPS_PROXY is no proxy such as http://proxy.example:3128: "));
  }
}

TEST_CASE("what NO_PROXY names is called directly") {
  const auto proxies = proxies_of({{"HTTPS_PROXY", "proxy.lan:1"},
                                   {"NO_PROXY",
                                    "example.org, .below.org,*.star.org,10.0.0.0/8,192.0.2.7,[2001:db8::1],"
                                    "2001:db8:1::/48,port.org:5000,198.51.100.1:8443"}});
  REQUIRE(proxies);
  for (const char* host : {"example.org", "Registry.EXAMPLE.org", "a.below.org", "a.star.org", "10.9.8.7", "192.0.2.7",
                           "2001:db8::1", "2001:db8:1::7"}) {
    INFO(host);
    CHECK(is_direct(*proxies, host));
  }
  for (const char* host :
       {"notexample.org", "below.org", "star.org", "11.0.0.1", "192.0.2.8", "2001:db8::2", "port.org"}) {
    INFO(host);
    CHECK_FALSE(is_direct(*proxies, host));
  }
  CHECK(is_direct(*proxies, "port.org", 5000));
  CHECK(is_direct(*proxies, "a.port.org", 5000));
  CHECK(is_direct(*proxies, "198.51.100.1", 8443));
  CHECK_FALSE(is_direct(*proxies, "198.51.100.1", 443));
}

TEST_CASE("a proxy forwards http, and is told who asks") {
  std::vector<std::string> heads;
  ScriptedServer proxy([&](int fd) {
    for (int i = 0; i < 2; ++i) {
      heads.push_back(read_head(fd));
      (void)ScriptedServer::send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
  });
  on_test_loop([&]() -> Task<void> {
    const auto proxies = proxies_of({{"HTTP_PROXY", "http://ann:x@127.0.0.1:" + std::to_string(proxy.port())}});
    auto client = Client::create({.proxies = *proxies});
    for (const char* path : {"/v2/", "/v2/a?b=c"}) {
      auto answer = co_await (*client)->fetch({.url = "http://registry.example:5000" + std::string(path)});
      REQUIRE(answer.has_value());
      CHECK(answer->body == "ok");
    }
  });
  REQUIRE(heads.size() == 2);  // on one connection
  CHECK(heads[0].starts_with("GET http://registry.example:5000/v2/ HTTP/1.1\r\n"));
  CHECK(heads[1].starts_with("GET http://registry.example:5000/v2/a?b=c HTTP/1.1\r\n"));
  CHECK(heads[0].find("Proxy-Authorization: Basic YW5uOng=\r\n") != std::string::npos);
  CHECK(heads[0].find("Host: registry.example:5000\r\n") != std::string::npos);
}

TEST_CASE("https goes through a proxy as it is") {
  std::string asked;
  on_test_loop([&]() -> Task<void> {
    const Executor loop = co_await boost::asio::this_coro::executor;
    const auto pair =
        make_certificate({.common_name = "registry.example", .alt_names = "DNS:registry.example"}, nullptr);
    ServerOptions options;
    options.tls = TlsServerConfig{.certificate_pem = pair.certificate_pem, .private_key_pem = pair.key_pem};
    std::string seen;
    auto server = serve(
        [&](Exchange& exchange) -> Task<void> {
          seen = std::string(exchange.request().headers.get("Proxy-Authorization"));
          (void)co_await exchange.respond({200, {}, "secret"});
        },
        loop, std::move(options));
    ScriptedServer proxy([&, port = server->port()](int fd) {
      asked = read_head(fd);
      const int there = raw_connect(port);
      (void)ScriptedServer::send(fd, "HTTP/1.1 200 Connection established\r\n\r\n");
      splice(fd, there);
      ::close(there);
    });
    const auto proxies = proxies_of({{"HTTPS_PROXY", "ann:x@127.0.0.1:" + std::to_string(proxy.port())}});
    {
      auto client = Client::create({.tls = {.ca_pem = pair.certificate_pem}, .proxies = *proxies});
      auto answer = co_await (*client)->fetch({.url = "https://registry.example/v2/"});
      INFO((answer ? "" : answer.error().message));
      REQUIRE(answer.has_value());
      CHECK(answer->body == "secret");
    }
    CHECK(seen.empty());
    co_await server->stop();
  });
  CHECK(asked.starts_with("CONNECT registry.example:443 HTTP/1.1\r\n"));
  CHECK(asked.find("Host: registry.example:443\r\n") != std::string::npos);
  CHECK(asked.find("Proxy-Authorization: Basic YW5uOng=\r\n") != std::string::npos);
}

TEST_CASE("a proxy that refuses says why") {
  const auto message = [](const std::string& answer) {
    ScriptedServer proxy([&](int fd) {
      (void)read_head(fd);
      (void)ScriptedServer::send(fd, answer);
    });
    std::string out;
    on_test_loop([&]() -> Task<void> {
      const auto proxies = proxies_of({{"HTTPS_PROXY", "127.0.0.1:" + std::to_string(proxy.port())}});
      auto client = Client::create({.proxies = *proxies});
      auto refused = co_await (*client)->fetch({.url = "https://registry.example/"});
      out = refused ? "" : refused.error().message;
    });
    return out;
  };
  CHECK(message("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            .find("asks for a user name and password (407)") != std::string::npos);
  CHECK(message("HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!!")
            .find("refuses to connect to registry.example:443 (403)") != std::string::npos);
  CHECK(message("HTTP/1.1 200 OK\r\n\r\nsurprise").find("sent bytes before the connection began") != std::string::npos);
  CHECK(message("").find("the proxy 127.0.0.1:") != std::string::npos);
}
