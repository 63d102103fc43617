#include "brume/http/websocket.h"

#include "brume/http/websocket_client.h"
#include "catch.h"
#include "support.h"
#include "websocket_frames.h"

using namespace brume;
using namespace brume::http;
using namespace brume::http::test;
using namespace std::chrono_literals;

namespace {

Task<void> echo_messages(Exchange& exchange) {
  const auto offered = exchange.websocket_protocols();
  auto socket = co_await exchange.accept_websocket(offered.empty() ? "" : offered.back());
  if (!socket) co_return;
  while (true) {
    auto message = co_await (*socket)->read();
    if (!message || message->closed) co_return;
    if (message->data == "bye") {
      (void)co_await (*socket)->close(1000, "done");
      co_return;
    }
    (void)co_await (*socket)->write(message->data, message->text);
  }
}

std::string frame(int first, std::string payload) {
  std::string out{static_cast<char>(first), static_cast<char>(0x80 | payload.size())};
  return out + std::string(4, '\0') + payload;  // a mask of zeros
}

}  // namespace

TEST_CASE("the accept key of RFC 6455") {
  CHECK(websocket_accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST_CASE("WebSocket messages go both ways, in every length form") {
  on_test_loop([]() -> Task<void> {
    auto server = serve(echo_messages, co_await boost::asio::this_coro::executor);
    auto client = std::move(*Client::create({}));
    ClientRequest request;
    request.url = url_of(*server, "/");
    auto socket = co_await open_websocket(*client, request, {"v5.channel.k8s.io", "v4.channel.k8s.io"});
    REQUIRE(socket);
    CHECK((*socket)->protocol() == "v4.channel.k8s.io");
    for (const std::size_t size : {0, 1, 125, 126, 65535, 65536, 4 << 20}) {
      const std::string data(size, 'd');
      CO_CHECK((co_await (*socket)->write(data, size % 2 == 1)).has_value());
      auto message = co_await (*socket)->read();
      REQUIRE(message);
      CHECK(message->data == data);
      CHECK(message->text == (size % 2 == 1));
    }
    (void)co_await (*socket)->write("bye", true);
    auto last = co_await (*socket)->read();
    REQUIRE(last);
    CHECK(last->closed);
    co_await server->stop();
  });
}

TEST_CASE("an answer is streamed over a WebSocket, until the peer goes") {
  on_test_loop([]() -> Task<void> {
    const Executor executor = co_await boost::asio::this_coro::executor;
    bool cut = false;
    const auto handler = [&cut](Exchange& exchange) -> Task<void> {
      const std::string path = exchange.request().path;
      const auto how = path == "/lines"    ? SocketBody::kLines
                       : path == "/base64" ? SocketBody::kBase64
                                           : SocketBody::kBinary;
      auto writer = co_await exchange.respond_websocket(exchange.websocket_protocols().front(), how);
      if (!writer) co_return;
      (void)co_await (*writer)->write("one\ntwo\n");
      if (path != "/endless") {
        (void)co_await (*writer)->finish();
        co_return;
      }
      struct Mark {
        bool& set;
        ~Mark() { set = true; }
      } mark{cut};
      co_await sleep_for(1h);
    };
    auto server = serve(handler, executor);
    auto client = std::move(*Client::create({}));
    const auto open = [&](std::string path) {
      ClientRequest request;
      request.url = url_of(*server, path);
      return open_websocket(*client, request, {"p"});
    };
    const std::vector<std::pair<std::string, std::vector<std::string>>> expected = {
        {"/lines", {"one", "two"}}, {"/binary", {"one\ntwo\n"}}, {"/base64", {"b25lCnR3bwo="}}};
    for (const auto& [path, messages] : expected) {
      auto socket = co_await open(path);
      REQUIRE(socket);
      for (const auto& wanted : messages) {
        auto message = co_await (*socket)->read();
        REQUIRE(message);
        CHECK(message->data == wanted);
        CHECK(message->text == (path != "/binary"));
      }
      auto last = co_await (*socket)->read();
      REQUIRE(last);
      CHECK(last->closed);
    }
    auto socket = co_await open("/endless");
    REQUIRE(socket);
    CO_CHECK((co_await (*socket)->read())->data == "one\ntwo\n");
    CHECK_FALSE(cut);
    (void)co_await (*socket)->close(1000, "");
    CO_CHECK(co_await eventually([&] { return cut; }));
    co_await server->stop();
  });
}

TEST_CASE("a WebSocket's peer that takes nothing, or sends much, is cut") {
  on_test_loop([]() -> Task<void> {
    const Executor executor = co_await boost::asio::this_coro::executor;
    bool ended = false;
    const auto handler = [&ended](Exchange& exchange) -> Task<void> {
      struct Mark {
        bool& set;
        ~Mark() { set = true; }
      } mark{ended};
      auto writer = co_await exchange.respond_websocket("p", SocketBody::kBinary);
      if (!writer) co_return;
      if (exchange.request().path == "/idle") co_await sleep_for(1h);
      const std::string piece(1 << 20, 'x');
      while (co_await (*writer)->write(piece)) {
      }
    };
    ServerOptions options;
    options.body_timeout = 1s;
    auto server = serve(handler, executor, options);
    auto client = std::move(*Client::create({}));
    for (const char* path : {"/much", "/idle"}) {
      ended = false;
      ClientRequest request;
      request.url = url_of(*server, path);
      auto socket = co_await open_websocket(*client, request, {"p"});
      REQUIRE(socket);
      co_await sleep_for(50ms);
      CHECK_FALSE(ended);
      if (std::string_view(path) == "/idle") (void)co_await (*socket)->write(std::string(100'000, 'x'), false);
      CO_CHECK(co_await eventually([&] { return ended; }));
    }
    co_await server->stop();
  });
}

TEST_CASE("WebSocket frames: fragments, pings, violations") {
  on_test_loop([]() -> Task<void> {
    const Executor executor = co_await boost::asio::this_coro::executor;
    const auto first_read = [executor](std::string bytes) -> Task<Result<WebSocket::Message>> {
      auto [near, far] = stream_pair(executor);
      auto socket = make_websocket(std::move(near), executor, WebSocketRole::kServer, "");
      (void)co_await far->write(bytes);
      co_return co_await socket->read();
    };
    auto message = co_await first_read(frame(0x01, "a") + frame(0x89, "ping") + frame(0x00, "b") + frame(0x80, "c"));
    REQUIRE(message);
    CHECK(message->data == "abc");
    CO_CHECK_FALSE(co_await first_read(frame(0x80, "c")));                     // continues nothing
    CO_CHECK_FALSE(co_await first_read(frame(0x01, "a") + frame(0x81, "b")));  // interrupts
    CO_CHECK_FALSE(co_await first_read(frame(0xC1, "a")));                     // reserved bit
    CO_CHECK_FALSE(co_await first_read(frame(0x83, "a")));                     // unknown opcode
    CO_CHECK_FALSE(co_await first_read(frame(0x09, "a")));                     // fragmented ping
    CO_CHECK_FALSE(co_await first_read(frame(0x81, "\xff\xfe")));              // not UTF-8
    CO_CHECK_FALSE(co_await first_read(std::string("\x81\x01q", 3)));          // unmasked
    CO_CHECK_FALSE(co_await first_read(std::string("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 10) + "mask"));
    message = co_await first_read(frame(0x88, std::string("\x03\xe8", 2)));
    REQUIRE(message);
    CHECK(message->closed);

    auto [near, far] = stream_pair(executor);
    auto socket = make_websocket(std::move(near), executor, WebSocketRole::kServer, "");
    (void)co_await far->write(frame(0x89, "hey") + frame(0x82, "x"));
    CO_CHECK((co_await socket->read())->data == "x");
    std::array<char, 100> buffer{};
    auto count = co_await far->read(buffer);
    REQUIRE(count);
    CHECK(std::string(buffer.data(), *count) == "\x8a\x03hey");
  });
}

namespace {

/// The server's end of a socket with a task that reads it, as an exec session has.
struct ReadSocket {
  std::unique_ptr<Stream> far;
  std::shared_ptr<WebSocket> socket;
  std::vector<std::string> messages;
  bool pause_after_message = false;
  bool ended = false;

  static std::shared_ptr<ReadSocket> make(const Executor& executor, Farewell farewell = {}) {
    auto out = std::make_shared<ReadSocket>();
    auto [near, far] = stream_pair(executor);
    out->far = std::move(far);
    out->socket = make_websocket(std::move(near), executor, WebSocketRole::kServer, "", farewell);
    return out;
  }
  static Task<void> read_all(std::shared_ptr<ReadSocket> self) {
    while (true) {
      auto message = co_await self->socket->read();
      if (!message || message->closed) break;
      self->messages.push_back(message->data);
      while (self->pause_after_message) co_await sleep_for(1ms);
    }
    self->ended = true;
  }
  static Task<void> close(std::shared_ptr<ReadSocket> self, std::shared_ptr<bool> done) {
    (void)co_await self->socket->close(1000, "");
    *done = true;
  }
};

}  // namespace

TEST_CASE("a WebSocket ping waits for the pong or for whatever else comes") {
  on_test_loop([]() -> Task<void> {
    const Executor executor = co_await boost::asio::this_coro::executor;
    TaskGroup group(executor);
    auto peer = ReadSocket::make(executor);
    group.spawn("read", ReadSocket::read_all(peer));
    auto silent = co_await peer->socket->ping(20ms);
    REQUIRE_FALSE(silent);
    CHECK(silent.error().code == Code::kTimeout);
    std::array<char, 100> buffer{};
    auto count = co_await peer->far->read(buffer);
    REQUIRE(count);
    CHECK(std::string(buffer.data(), *count) == std::string("\x89\0", 2));
    (void)co_await peer->far->write(frame(0x8A, ""));
    CO_CHECK(co_await peer->socket->ping(10s));
    (void)co_await peer->far->write(frame(0x82, "x"));
    CO_CHECK(co_await peer->socket->ping(10s));
    (void)co_await peer->far->close_write();
    CO_CHECK(co_await peer->socket->ping(10s));  // not worth waiting on
    co_await group.stop();
  });
}

TEST_CASE("a WebSocket close beside a reader waits for the peer and takes what it still sends") {
  on_test_loop([]() -> Task<void> {
    const Executor executor = co_await boost::asio::this_coro::executor;
    for (const bool paused : {false, true}) {  // the reader waits in read(), or is busy and comes back to it
      TaskGroup group(executor);
      auto peer = ReadSocket::make(executor);
      peer->pause_after_message = paused;
      group.spawn("read", ReadSocket::read_all(peer));
      (void)co_await peer->far->write(frame(0x82, "x"));
      while (peer->messages.empty()) co_await yield_now();
      auto done = std::make_shared<bool>(false);
      group.spawn("close", ReadSocket::close(peer, done));
      for (int i = 0; i < 100; ++i) co_await yield_now();
      peer->pause_after_message = false;
      CHECK_FALSE(*done);
      for (int i = 0; i < 10000; ++i) CO_CHECK(co_await peer->far->write(frame(0x82, std::string(100, 'y'))));
      CHECK_FALSE(*done);
      (void)co_await peer->far->write(frame(0x88, std::string("\x03\xe8", 2)));
      CO_CHECK(co_await eventually([&] { return *done && peer->ended; }));
      CHECK(peer->messages.size() <= 2);
      co_await group.stop();
    }
  });
}

TEST_CASE("a WebSocket close drops messages in pieces, begun before it or after") {
  on_test_loop([]() -> Task<void> {
    const Executor executor = co_await boost::asio::this_coro::executor;
    for (const bool begun : {false, true}) {
      TaskGroup group(executor);
      auto peer = ReadSocket::make(executor);
      group.spawn("read", ReadSocket::read_all(peer));
      if (begun) (void)co_await peer->far->write(frame(0x01, "a") + frame(0x89, ""));
      co_await sleep_for(1ms);
      auto done = std::make_shared<bool>(false);
      group.spawn("close", ReadSocket::close(peer, done));
      co_await sleep_for(1ms);
      if (!begun) (void)co_await peer->far->write(frame(0x01, "a"));
      // A character of two bytes lies across the pieces.
      (void)co_await peer->far->write(frame(0x89, "") + frame(0x00, "b\xc3") +
                                      frame(0x80,
                                            "\xa4"
                                            "c") +
                                      frame(0x82, "d"));
      co_await sleep_for(1ms);
      CHECK_FALSE(*done);
      std::string sent(1024, 0);
      auto count = co_await peer->far->read(sent);
      REQUIRE(count);
      sent.resize(*count);
      CHECK(sent.ends_with(std::string("\x88\x02\x03\xe8", 4)));
      (void)co_await peer->far->write(frame(0x88, std::string("\x03\xe8", 2)));
      CO_CHECK(co_await eventually([&] { return *done; }));
      co_await group.stop();
    }
  });
}

TEST_CASE("a WebSocket close gives a peer up that is silent, that never ends, or that does not read") {
  on_test_loop([]() -> Task<void> {
    const Executor executor = co_await boost::asio::this_coro::executor;
    enum class Is : std::uint8_t { kSilent, kEndless, kNotReading };
    for (const Is peer_is : {Is::kSilent, Is::kEndless, Is::kNotReading}) {
      const auto silence = peer_is == Is::kEndless ? 10s : 30ms;
      auto peer = ReadSocket::make(executor, {.silence = silence, .whole = peer_is == Is::kEndless ? 100ms : 600s});
      if (peer_is == Is::kNotReading) {
        TaskGroup group(executor);
        const auto fill = [](std::shared_ptr<ReadSocket> to) -> Task<void> {
          (void)co_await to->socket->write(std::string(1 << 20, 'x'), false);
        };
        group.spawn("write", fill(peer));
        auto done = std::make_shared<bool>(false);
        co_await sleep_for(1ms);
        co_await ReadSocket::close(peer, done);
        CHECK(*done);
        co_await group.stop();
        continue;
      }
      TaskGroup group(executor);
      const auto chatter = [](std::shared_ptr<ReadSocket> to) -> Task<void> {
        while (co_await to->far->write(frame(0x89, ""))) co_await sleep_for(5ms);
      };
      if (peer_is == Is::kEndless) group.spawn("chatter", chatter(peer));
      auto done = std::make_shared<bool>(false);
      co_await ReadSocket::close(peer, done);
      CHECK(*done);
      co_await group.stop();
    }
  });
}

TEST_CASE("a WebSocket handshake that is none is refused") {
  on_test_loop([]() -> Task<void> {
    auto server = serve(echo_messages, co_await boost::asio::this_coro::executor);
    const auto port = server->port();
    const auto ask = [port](std::string fields) -> Task<std::string> {
      const auto text = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n" + fields + "\r\n";
      co_return co_await run_blocking([=] { return raw_exchange(port, text, "\r\n\r\n"); });
    };
    CO_CHECK((co_await ask("Upgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: "
                           "dGhlIHNhbXBsZSBub25jZQ==\r\n"))
                 .starts_with("HTTP/1.1 426"));
    CO_CHECK((co_await ask("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n"))
                 .starts_with("HTTP/1.1 400"));
    CO_CHECK((co_await ask("Upgrade: h2c\r\n")).starts_with("HTTP/1.1 400"));
    co_await server->stop();
  });
}
