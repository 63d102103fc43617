#include "brume/http/client.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

#include "catch.h"
#include "support.h"

using namespace brume;
using namespace brume::http;
using namespace brume::http::test;
using namespace std::chrono_literals;

namespace {

struct Seen {
  int requests = 0;
  std::string authorization;
};

Handler routes(Seen* seen) {
  return [seen](Exchange& exchange) -> Task<void> {
    ++seen->requests;
    const auto& request = exchange.request();
    const auto& path = request.path;
    seen->authorization = std::string(request.headers.get("Authorization"));
    if (path == "/redirect") {
      (void)co_await exchange.respond({302, {{"Location", "/end"}}, ""});
    } else if (path == "/away") {
      (void)co_await exchange.respond({302, {{"Location", std::string(request.query.get("to"))}}, ""});
    } else if (path == "/loop") {
      (void)co_await exchange.respond({302, {{"Location", "/loop"}}, ""});
    } else if (path == "/slow") {
      co_await sleep_for(10s);
    } else if (path == "/stream") {
      auto writer = co_await exchange.respond_stream(200, {});
      if (!writer) co_return;
      for (int i = 0; i < 3; ++i) (void)co_await (*writer)->write("part");
      if (request.query.has("cut")) co_return;
      (void)co_await (*writer)->finish();
    } else if (path == "/tunnel") {
      auto stream = co_await exchange.upgrade({{"Connection", "Upgrade"}, {"Upgrade", "SPDY/3.1"}});
      if (!stream) co_return;
      std::array<char, 100> buffer{};
      while (true) {
        auto count = co_await (*stream)->read(buffer);
        if (!count || *count == 0) co_return;
        (void)co_await (*stream)->write({buffer.data(), *count});
      }
    } else {
      auto body = co_await exchange.read_body(64 << 20);
      (void)co_await exchange.respond({200, {}, body ? *body : body.error().message});
    }
  };
}

ClientRequest request_to(std::string url, std::string method = "GET", std::string body = {}) {
  ClientRequest request;
  request.method = std::move(method);
  request.url = std::move(url);
  request.body = std::move(body);
  return request;
}

}  // namespace

TEST_CASE("fetch keeps connections, sends bodies, follows redirects when asked") {
  on_test_loop([]() -> Task<void> {
    Seen seen;
    const Executor here = co_await boost::asio::this_coro::executor;
    auto server = serve(routes(&seen), here);
    auto other = serve(routes(&seen), here);
    auto client = std::move(*Client::create({.max_redirects = 5}));
    const std::string big(3 << 20, 'b');
    for (int i = 0; i < 3; ++i) {
      auto answer = co_await client->fetch(request_to(url_of(*server, "/x"), "POST", big));
      REQUIRE(answer);
      CHECK(answer->body == big);
    }
    auto answer = co_await client->fetch(request_to(url_of(*server, "/redirect")));
    REQUIRE(answer);
    CHECK(answer->status == 200);
    auto request = request_to(url_of(*server, "/redirect"));
    request.headers.add("Authorization", "secret");
    CO_CHECK(co_await client->fetch(request));
    CHECK(seen.authorization == "secret");
    request.url = url_of(*server, "/away?to=" + url_of(*other, "/end"));
    CO_CHECK(co_await client->fetch(request));
    CHECK(seen.authorization.empty());
    CO_CHECK_FALSE(co_await client->fetch(request_to(url_of(*server, "/loop"))));
    CO_CHECK_FALSE(co_await client->fetch(request_to(url_of(*server, "/away?to=unix:///etc/passwd"))));
    auto plain = std::move(*Client::create({}));
    CO_CHECK((co_await plain->fetch(request_to(url_of(*server, "/redirect"))))->status == 302);
    co_await server->stop();
    co_await other->stop();
  });
}

TEST_CASE("a kept connection that the server closed is replaced") {
  on_test_loop([]() -> Task<void> {
    Seen seen;
    const Executor here = co_await boost::asio::this_coro::executor;
    auto client = std::move(*Client::create({}));
    auto server = serve(routes(&seen), here);
    const auto port = server->port();
    CO_CHECK(co_await client->fetch(request_to(url_of(*server, "/"))));
    co_await server->stop();
    server = serve(routes(&seen), here, {.port = port});
    CO_CHECK(co_await client->fetch(request_to(url_of(*server, "/"), "POST", "x")));
    CHECK(seen.requests == 2);
    co_await server->stop();
  });
}

TEST_CASE("streams, cut streams, tunnels") {
  on_test_loop([]() -> Task<void> {
    Seen seen;
    auto server = serve(routes(&seen), co_await boost::asio::this_coro::executor);
    auto client = std::move(*Client::create({}));
    auto stream = co_await client->open(request_to(url_of(*server, "/stream")));
    REQUIRE(stream);
    std::string text;
    std::array<char, 3> buffer{};
    while (true) {
      auto count = co_await (*stream)->read(buffer);
      REQUIRE(count);
      if (*count == 0) break;
      text.append(buffer.data(), *count);
    }
    CHECK(text == "partpartpart");
    auto cut = co_await client->fetch(request_to(url_of(*server, "/stream?cut")));
    REQUIRE_FALSE(cut);

    auto request = request_to(url_of(*server, "/tunnel"), "POST");
    request.headers.add("Connection", "Upgrade");
    request.headers.add("Upgrade", "SPDY/3.1");
    auto tunnel = co_await client->upgrade(request);
    REQUIRE(tunnel);
    REQUIRE(tunnel->head.status == 101);
    CHECK(tunnel->head.headers.get("Upgrade") == "SPDY/3.1");
    CO_CHECK((co_await tunnel->stream->write("hello")).has_value());
    std::array<char, 10> reply{};
    auto count = co_await tunnel->stream->read(reply);
    REQUIRE(count);
    CHECK(std::string(reply.data(), *count) == "hello");
    tunnel->stream->close();
    auto refused = co_await client->upgrade(request_to(url_of(*server, "/x")));
    REQUIRE(refused);
    CHECK(refused->head.status == 200);
    CHECK_FALSE(refused->stream);
    co_await server->stop();
  });
}

TEST_CASE("failures say what failed") {
  on_test_loop([]() -> Task<void> {
    Seen seen;
    auto server = serve(routes(&seen), co_await boost::asio::this_coro::executor);
    ClientOptions options;
    options.response_timeout = 100ms;
    options.max_body = 1000;
    auto client = std::move(*Client::create(options));
    auto answer = co_await client->fetch(request_to(url_of(*server, "/slow")));
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == Code::kTimeout);
    answer = co_await client->fetch(request_to(url_of(*server, "/"), "POST", std::string(2000, 'x')));
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == Code::kRequestEntityTooLarge);
    answer = co_await client->fetch(request_to("http://127.0.0.1:1/"));
    REQUIRE_FALSE(answer);
    CHECK(answer.error().message.find("127.0.0.1:1: Connection refused") != std::string::npos);
    answer = co_await client->fetch(request_to(url_of(*server, "/", "https")));
    REQUIRE_FALSE(answer);
    CHECK(answer.error().message.find("TLS: ") != std::string::npos);
    answer = co_await client->fetch(request_to("unix:///nowhere/at.all|/"));
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == Code::kNotFound);
    options.dial_address = "127.0.0.1";
    auto dialing = std::move(*Client::create(options));
    answer = co_await dialing->fetch(request_to("http://no.such.name:" + std::to_string(server->port()) + "/y"));
    REQUIRE(answer);
    CHECK(answer->status == 200);
    co_await server->stop();
  });
}

TEST_CASE("requests over a unix socket; answers whose lines end with LF alone") {
  for (const std::string answer : {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil\nthe end",
                                   "HTTP/1.1 100 Continue\n\nHTTP/1.0 200 OK\r\nA: b\n\nuntil\nthe end"}) {
    const std::string path = "/tmp/brume-http-test." + std::to_string(::getpid());
    ::unlink(path.c_str());
    const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listener, 1) == 0);
    std::string got;
    std::thread peer([&] {
      const int fd = ::accept(listener, nullptr, nullptr);
      std::array<char, 1000> buffer{};
      const auto n = ::recv(fd, buffer.data(), buffer.size(), 0);
      got.assign(buffer.data(), static_cast<std::size_t>(n));
      (void)!::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
      ::close(fd);
    });
    on_test_loop([&]() -> Task<void> {
      auto client = std::move(*Client::create({}));
      auto got_back = co_await client->fetch(request_to("unix://" + path + "|/v1?x"));
      REQUIRE(got_back);
      CHECK(got_back->body == "until\nthe end");
    });
    peer.join();
    ::close(listener);
    ::unlink(path.c_str());
    CHECK(got.starts_with("GET /v1?x HTTP/1.1\r\nHost: localhost\r\n"));
  }
}
