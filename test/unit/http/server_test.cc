#include "brume/http/server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/system/system_error.hpp>

#include "brume/http/client.h"
#include "catch.h"
#include "support.h"

using namespace brume;
using namespace brume::http;
using namespace brume::http::test;
using namespace std::chrono_literals;

namespace {

// Echoes method, path and body; the request of every test that only needs an answer.
Task<void> echo(Exchange& exchange) {
  auto body = co_await exchange.read_body(1 << 20);
  if (!body) {
    const int status = http_status_of(body.error().code);
    (void)co_await exchange.respond({status, {}, body.error().message});
    co_return;
  }
  const auto& request = exchange.request();
  (void)co_await exchange.respond(
      {200, {{"Content-Type", "text/plain"}}, request.method + " " + request.path + " " + *body});
}

Task<std::string> raw(std::uint16_t port, std::string bytes, std::string until = {}) {
  co_return co_await run_blocking([=] { return raw_exchange(port, bytes, until); });
}

bool begins(const std::string& text, std::string_view start) { return text.starts_with(start); }

}  // namespace

TEST_CASE("requests are answered, kept alive and pipelined") {
  on_test_loop([]() -> Task<void> {
    auto server = serve(echo, co_await boost::asio::this_coro::executor);
    const auto port = server->port();
    auto text =
        co_await raw(port,
                     "\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz"
                     "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n"
                     "GET /d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    CHECK(text.find("GET /a ") != std::string::npos);
    CHECK(text.find("POST /b xyz") != std::string::npos);
    CHECK(text.find("POST /c hi!") != std::string::npos);
    CHECK(text.find("GET /d ") != std::string::npos);
    CHECK(text.find("Connection: close") != std::string::npos);
    text = co_await raw(port, "HEAD /h HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    CHECK(text.find("Content-Length: 8") != std::string::npos);
    CHECK(text.ends_with("\r\n\r\n"));
    text = co_await raw(port, "GET /old HTTP/1.0\r\n\r\n");
    CHECK(text.find("GET /old") != std::string::npos);
    text =
        co_await raw(port, "POST /e HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok", "ok");
    CHECK(begins(text, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"));
    co_await server->stop();
  });
}

TEST_CASE("bad, big and slow requests are refused") {
  on_test_loop([]() -> Task<void> {
    ServerOptions options;
    options.max_header_bytes = 4096;
    options.header_timeout = 1s;
    options.body_timeout = 1s;
    auto server = serve(echo, co_await boost::asio::this_coro::executor, std::move(options));
    const auto port = server->port();
    CO_CHECK(begins(co_await raw(port, "nonsense\r\n\r\n"), "HTTP/1.1 400"));
    CO_CHECK(begins(co_await raw(port, "GET / HTTP/1.1\r\nHost: x\r\nA: " + std::string(8000, 'a') + "\r\n\r\n"),
                    "HTTP/1.1 431"));
    CO_CHECK(
        begins(co_await raw(port, "GET /" + std::string(8000, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 431"));
    CO_CHECK(begins(
        co_await raw(port, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        "HTTP/1.1 400"));
    CO_CHECK(begins(co_await raw(port, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
                    "HTTP/1.1 400"));
    CO_CHECK(
        begins(co_await raw(port, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n"), "HTTP/1.1 413"));
    CO_CHECK(co_await raw(port, "GET / HTTP/1.1\r\nHost:") == "");
    CO_CHECK(begins(co_await raw(port, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"), "HTTP/1.1 504"));
    auto twice =
        Server::listen({.address = "127.0.0.1", .port = port}, {co_await boost::asio::this_coro::executor}, echo);
    CHECK(twice.error().code == Code::kAlreadyExists);
    CHECK(twice.error().message.find(std::to_string(port)) != std::string::npos);
    co_await server->stop();
  });
}

TEST_CASE("an unread body is drained, a huge one ends the connection; a silent handler gives 500") {
  on_test_loop([]() -> Task<void> {
    auto ignore = [](Exchange& exchange) -> Task<void> {
      if (exchange.request().path == "/silent") co_return;
      (void)co_await exchange.respond({200, {{"X", "a\r\nY: b"}}, "ok"});
    };
    auto server = serve(ignore, co_await boost::asio::this_coro::executor);
    const auto port = server->port();
    auto text = co_await raw(port,
                             "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /silent HTTP/1.1\r\n"
                             "Host: x\r\nConnection: close\r\n\r\n");
    CHECK(text.find("HTTP/1.1 500") != std::string::npos);
    CHECK(text.find("\r\nY: b") == std::string::npos);
    text =
        co_await raw(port, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + std::string(300000, 'a'));
    CHECK(begins(text, "HTTP/1.1 200"));
    CHECK(text.find("Connection: close") != std::string::npos);
    // A peer that sends megabytes nobody wants still reads the answer, and meets no reset.
    text = co_await raw(port,
                        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n" + std::string(8'000'000, 'a'));
    CHECK(begins(text, "HTTP/1.1 200"));
    co_await server->stop();
  });
}

namespace {

struct StreamLog {
  int cancelled = 0;
  int finished = 0;
};

// Streams a line every few milliseconds for as long as it is let.
Handler endless(StreamLog* log) {
  return [log](Exchange& exchange) -> Task<void> {
    struct AtEnd {
      StreamLog* log;
      bool finished = false;
      ~AtEnd() { ++(finished ? log->finished : log->cancelled); }
    } at_end{log};
    const bool endless = exchange.request().path == "/endless";
    const bool quiet = exchange.request().path == "/quiet";
    auto writer = co_await exchange.respond_stream(200, {{"Content-Type", "text/plain"}});
    if (!writer) co_return;
    for (int i = 0; endless || quiet || i < 3; ++i) {
      if (!quiet || i == 0) (void)co_await (*writer)->write("line\n");
      co_await sleep_for(quiet ? 1h : 5ms);
    }
    at_end.finished = (co_await (*writer)->finish()).has_value();
  };
}

}  // namespace

TEST_CASE("streams are chunked, and a peer that vanishes cancels the handler") {
  on_test_loop([]() -> Task<void> {
    StreamLog log;
    auto server = serve(endless(&log), co_await boost::asio::this_coro::executor);
    const auto port = server->port();
    const auto text = co_await raw(port,
                                   "GET /three HTTP/1.1\r\nHost: x\r\n\r\nGET /three HTTP/1.1\r\nHost: x\r\n"
                                   "Connection: close\r\n\r\n");
    CHECK(log.finished == 2);
    CHECK(text.ends_with("5\r\nline\n\r\n0\r\n\r\n"));
    (void)co_await raw(port, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n", "line");
    (void)co_await raw(port, "GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n", "line");
    CO_CHECK(co_await eventually([&] { return log.cancelled == 2; }));
    // A reset instead of an orderly end.
    const int fd = co_await run_blocking([=] { return raw_connect(port); });
    const std::string get = "GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n";
    (void)!::send(fd, get.data(), get.size(), MSG_NOSIGNAL);
    co_await sleep_for(50ms);
    const linger reset{1, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    ::close(fd);
    CO_CHECK(co_await eventually([&] { return log.cancelled == 3; }));
    // stop() cancels what still streams.
    const int open = co_await run_blocking([=] { return raw_connect(port); });
    (void)!::send(open, get.data(), get.size(), MSG_NOSIGNAL);
    co_await sleep_for(50ms);
    co_await server->stop();
    CHECK(log.cancelled == 4);
    ::close(open);
  });
}

namespace {

Task<void> who(Exchange& exchange) {
  const auto& peer = exchange.request().peer_certificate;
  std::string text = "anonymous";
  if (peer) {
    text = peer->common_name;
    for (const auto& organization : peer->organizations) text += "," + organization;
    text += "," + peer->uid;
  }
  (void)co_await exchange.respond({200, {}, text});
}

Task<Result<Response>> get(ClientOptions options, std::string url) {
  auto client = Client::create(std::move(options));
  if (!client) co_return fail(client.error());
  ClientRequest request;
  request.url = std::move(url);
  co_return co_await (*client)->fetch(std::move(request));
}

}  // namespace

TEST_CASE("TLS: identity of clients, refusal of what does not verify") {
  const auto ca = make_certificate({.common_name = "ca", .is_ca = true}, nullptr);
  const auto other_ca = make_certificate({.common_name = "other", .is_ca = true}, nullptr);
  const auto server_pair = make_certificate({.common_name = "s", .alt_names = "DNS:localhost,IP:127.0.0.1"}, &ca);
  const auto expired = make_certificate({.common_name = "s", .alt_names = "IP:127.0.0.1", .valid_seconds = -60}, &ca);
  const auto admin = make_certificate({.common_name = "admin", .organizations = {"a", "b"}, .uid = "42"}, &ca);
  const auto stranger = make_certificate({.common_name = "admin"}, &other_ca);
  on_test_loop([&]() -> Task<void> {
    ServerOptions options;
    options.tls = TlsServerConfig{server_pair.certificate_pem, server_pair.key_pem, ca.certificate_pem};
    auto server = serve(who, co_await boost::asio::this_coro::executor, std::move(options));
    const auto url = url_of(*server, "/", "https");
    ClientOptions trusting;
    trusting.tls.ca_pem = ca.certificate_pem;
    auto answer = co_await get(trusting, url);
    REQUIRE(answer);
    CHECK(answer->body == "anonymous");
    auto as_admin = trusting;
    as_admin.tls.certificate_pem = admin.certificate_pem;
    as_admin.tls.private_key_pem = admin.key_pem;
    answer = co_await get(as_admin, url);
    REQUIRE(answer);
    CHECK(answer->body == "admin,a,b,42");
    answer = co_await get(as_admin, "https://localhost:" + std::to_string(server->port()) + "/");
    CHECK(answer.has_value());
    auto as_stranger = trusting;
    as_stranger.tls.certificate_pem = stranger.certificate_pem;
    as_stranger.tls.private_key_pem = stranger.key_pem;
    CO_CHECK_FALSE(co_await get(as_stranger, url));
    auto distrusting = trusting;
    distrusting.tls.ca_pem = other_ca.certificate_pem;
    answer = co_await get(distrusting, url);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().message.find("TLS: ") != std::string::npos);
    auto misnamed = trusting;
    misnamed.tls.server_name = "example.org";
    answer = co_await get(misnamed, url);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().message.find("ostname mismatch") != std::string::npos);
    misnamed.tls.insecure = true;
    CO_CHECK(co_await get(misnamed, url));
    CHECK(server->set_tls({expired.certificate_pem, expired.key_pem, ca.certificate_pem}));
    answer = co_await get(trusting, url);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().message.find("certificate has expired") != std::string::npos);
    CHECK_FALSE(server->set_tls({server_pair.certificate_pem, admin.key_pem, ""}));
    CHECK_FALSE(server->set_tls({"rubbish", admin.key_pem, ""}));
    const auto plain = co_await raw(server->port(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(begins(plain, "HTTP/1.0 400 Bad Request"));
    CHECK(plain.find("Client sent an HTTP request to an HTTPS server.") != std::string::npos);
    co_await server->stop();
  });
}

TEST_CASE("an answer in pieces arrives whole, plain and under TLS") {
  const auto ca = make_certificate({.common_name = "ca", .is_ca = true}, nullptr);
  const auto pair = make_certificate({.common_name = "s", .alt_names = "IP:127.0.0.1"}, &ca);
  // Around the sizes of a TLS record, of what is held back, and of a part with a timeout of its own.
  const std::vector<std::vector<std::size_t>> shapes = {{},
                                                        {0, 0, 1},
                                                        {16384, 1},
                                                        {1, 16383, 16384, 16385},
                                                        {65536, 65537, 3},
                                                        std::vector<std::size_t>(5000, 701),
                                                        {3 << 20, 1, 2 << 20},
                                                        std::vector<std::size_t>(200, 1)};
  const auto texts = [&] {
    std::vector<std::shared_ptr<const std::string>> out;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      std::string text;
      for (const std::size_t size : shapes[i]) {
        for (std::size_t at = 0; at < size; ++at) text.push_back(static_cast<char>('a' + (text.size() * 31 + at) % 26));
      }
      out.push_back(std::make_shared<const std::string>(std::move(text)));
    }
    return out;
  }();
  const Handler handler = [&](Exchange& exchange) -> Task<void> {
    const auto which = static_cast<std::size_t>(std::stoi(exchange.request().path.substr(1)));
    Response answer{200, {}, "head "};
    std::string_view rest = *texts[which];
    for (const std::size_t size : shapes[which]) {
      answer.more.push_back(rest.substr(0, size));
      rest.remove_prefix(size);
    }
    answer.more_owner = texts[which];
    (void)co_await exchange.respond(std::move(answer));
  };
  on_test_loop([&]() -> Task<void> {
    for (const bool tls : {false, true}) {
      ServerOptions options;
      if (tls) options.tls = TlsServerConfig{pair.certificate_pem, pair.key_pem, ""};
      auto server = serve(handler, co_await boost::asio::this_coro::executor, std::move(options));
      ClientOptions trusting;
      trusting.tls.ca_pem = ca.certificate_pem;
      for (std::size_t i = 0; i < shapes.size(); ++i) {
        const auto url = url_of(*server, "/" + std::to_string(i), tls ? "https" : "http");
        const auto answer = co_await get(trusting, url);
        INFO(url << " of shape " << i);
        REQUIRE(answer);
        CHECK(answer->body.size() == 5 + texts[i]->size());
        CHECK((answer->body == "head " + *texts[i]));
      }
      co_await server->stop();
    }
  });
}

TEST_CASE("the server takes many connections over several loops") {
  Loop second("second");
  second.start();
  on_test_loop([&]() -> Task<void> {
    const Executor here = co_await boost::asio::this_coro::executor;
    auto server =
        std::move(*Server::listen({.address = "127.0.0.1", .max_connections = 8}, {here, second.executor()}, echo));
    for (int round = 0; round < 30; ++round) {
      auto text = co_await raw(server->port(), "GET /n HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
      CHECK(begins(text, "HTTP/1.1 200"));
    }
    co_await server->stop();
  });
  second.stop();
}
