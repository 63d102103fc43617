// exec over WebSocket and SPDY with scripted processes, and the endpoint's gate.
#include <deque>

#include "brume/base/json.h"
#include "catch.h"
#include "fake_clock.h"
#include "fakes.h"
#include "run.h"
#include "stream/node_server.h"
#include "stream/remote_command.h"

using namespace brume;
using namespace brume::node;
using namespace brume::test;

namespace {

class FakeSocket : public http::WebSocket {
 public:
  FakeSocket(const Executor& executor, std::string protocol)
      : changed(executor), pong(executor), protocol_(std::move(protocol)) {}
  const std::string& protocol() const override { return protocol_; }
  Task<Result<Message>> read() override {
    while (incoming.empty()) co_await changed.wait();
    Message message = incoming.front();
    if (!message.closed) incoming.pop_front();
    co_return message;
  }
  Task<Status> write(std::string_view data, bool) override {
    outgoing.emplace_back(data);
    co_return Status();
  }
  Task<Status> ping(std::chrono::steady_clock::duration) override {
    while (!answers_pings) co_await pong.wait();
    co_return Status();
  }
  Task<Status> close(std::uint16_t, std::string_view) override {
    closed = true;
    co_return Status();
  }
  void abort() override { closed = true; }
  void push(std::string data) {
    incoming.push_back({std::move(data), false, false});
    changed.notify();
  }
  void hang_up() {
    incoming.push_back({"", false, true});
    changed.notify();
  }
  Event changed;
  Event pong;
  std::deque<Message> incoming;
  std::vector<std::string> outgoing;
  bool answers_pings = true;
  bool closed = false;

 private:
  std::string protocol_;
};

std::string frame(char channel, const std::string& data) { return std::string(1, channel) + data; }

OpenSession opens(std::shared_ptr<FakeSession::Shared> shared) {
  return [shared]() -> Task<Result<std::unique_ptr<runtime::Session>>> {
    ++shared->opened;
    co_return std::make_unique<FakeSession>(shared);
  };
}

struct FakeExchange : http::Exchange {
  http::Request req;
  std::optional<http::Response> response;
  const http::Request& request() const override { return req; }
  Task<Result<std::string>> read_body(std::size_t) override { co_return std::string(); }
  Task<Status> respond(http::Response r) override {
    response = std::move(r);
    co_return Status();
  }
  Task<Result<std::unique_ptr<http::BodyWriter>>> respond_stream(int, http::Headers) override {
    co_return fail(Code::kInternal, "");
  }
  bool wants_websocket() const override { return false; }
  std::vector<std::string> websocket_protocols() const override { return {}; }
  Task<Result<std::unique_ptr<http::WebSocket>>> accept_websocket(std::string) override {
    co_return fail(Code::kInternal, "");
  }
  Task<Result<std::unique_ptr<http::BodyWriter>>> respond_websocket(std::string, http::SocketBody) override {
    co_return fail(Code::kInternal, "none");
  }
  Task<Result<std::unique_ptr<http::Stream>>> upgrade(http::Headers) override { co_return fail(Code::kInternal, ""); }
};

struct NoPods : PodDirectory {
  PodWorker* find(std::string_view, std::string_view) override { return nullptr; }
  std::vector<Json> all_pods() override { return {}; }
  std::vector<PodWorker*> workers() override { return {}; }
};

}  // namespace

TEST_CASE("the status that ends a session") {
  CHECK(exit_status(0)["status"] == "Success");
  const Json failed = exit_status(3);
  CHECK(failed["reason"] == "NonZeroExitCode");
  CHECK(failed["details"]["causes"][0]["reason"] == "ExitCode");
  CHECK(failed["details"]["causes"][0]["message"] == "3");
}

TEST_CASE("protocols are chosen in the client's order") {
  CHECK(choose_websocket_protocol({"v9", "v4.channel.k8s.io", "v5.channel.k8s.io"}) == "v4.channel.k8s.io");
  CHECK(choose_websocket_protocol({"x"}).empty());
  CHECK(choose_spdy_protocol({"v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"}) == "v4.channel.k8s.io");
}

TEST_CASE("exec over WebSocket: output, input, resize, close of stdin, exit code") {
  run([]() -> Task<void> {
    Executor executor = co_await boost::asio::this_coro::executor;
    auto socket = std::make_shared<FakeSocket>(executor, "v5.channel.k8s.io");
    auto shared = std::make_shared<FakeSession::Shared>(executor);
    TaskGroup group(executor);
    auto done = std::make_shared<bool>(false);
    auto serve = [](std::shared_ptr<FakeSocket> s, std::shared_ptr<FakeSession::Shared> p,
                    std::shared_ptr<bool> d) -> Task<void> {
      co_await serve_websocket(s, {true, true, true, true}, opens(p));
      *d = true;
    };
    group.spawn("serve", serve(socket, shared, done));
    shared->chunks.push_back({runtime::Session::Channel::kStdout, "out", false, 0});
    shared->chunks.push_back({runtime::Session::Channel::kStderr, "err", false, 0});
    shared->changed.notify();
    socket->push(frame(0, "typed"));
    socket->push(frame(4, R"({"Width":80,"Height":24})"));
    socket->push(std::string("\xff\0", 2));
    bool ok = co_await eventually([&] { return shared->stdin_closed; });
    CHECK(ok);
    CHECK(shared->stdin_bytes == "typed");
    CHECK(shared->size == std::pair<int, int>(80, 24));
    shared->chunks.push_back({runtime::Session::Channel::kStdout, "", true, 5});
    shared->changed.notify();
    ok = co_await eventually([&] { return *done; });
    CHECK(ok);
    REQUIRE(socket->outgoing.size() == 4);
    CHECK(socket->outgoing[0] == frame(1, ""));
    CHECK(socket->outgoing[1] == frame(1, "out"));
    CHECK(socket->outgoing[2] == frame(2, "err"));
    CHECK(socket->outgoing[3].front() == 3);
    const auto status = parse_json(socket->outgoing[3].substr(1));
    REQUIRE(status.has_value());
    CHECK((*status)["details"]["causes"][0]["message"] == "5");
    CHECK(socket->closed);
    co_await group.stop();
  });
}

// client-go up to 1.33 drops what comes before it has made its streams: exit status and all.
TEST_CASE("exec over WebSocket: nothing starts before the client has shown that it reads") {
  run([]() -> Task<void> {
    Executor executor = co_await boost::asio::this_coro::executor;
    auto socket = std::make_shared<FakeSocket>(executor, "v5.channel.k8s.io");
    socket->answers_pings = false;
    auto shared = std::make_shared<FakeSession::Shared>(executor);
    shared->chunks.push_back({runtime::Session::Channel::kStdout, "hi", false, 0});
    shared->chunks.push_back({runtime::Session::Channel::kStdout, "", true, 0});
    TaskGroup group(executor);
    auto serve = [](std::shared_ptr<FakeSocket> s, std::shared_ptr<FakeSession::Shared> p) -> Task<void> {
      co_await serve_websocket(s, {true, true, true, false}, opens(p));
    };
    group.spawn("serve", serve(socket, shared));
    socket->push(frame(0, "typed early"));
    co_await settle(20);
    CHECK(shared->opened == 0);
    CHECK(socket->outgoing.empty());
    socket->answers_pings = true;
    socket->pong.notify();
    const bool ok = co_await eventually([&] { return group.size() == 0; });
    CHECK(ok);
    CHECK(shared->opened == 1);
    REQUIRE(socket->outgoing.size() == 3);
    CHECK(socket->outgoing[1] == frame(1, "hi"));
    co_await group.stop();
  });
}

TEST_CASE("exec over WebSocket: what cannot start says so on the error channel; a client that left starts nothing") {
  run([]() -> Task<void> {
    Executor executor = co_await boost::asio::this_coro::executor;
    auto socket = std::make_shared<FakeSocket>(executor, "v5.channel.k8s.io");
    auto refuse = []() -> Task<Result<std::unique_ptr<runtime::Session>>> {
      co_return fail(Code::kNotFound, "no such program");
    };
    co_await serve_websocket(socket, {true, true, true, false}, refuse);
    REQUIRE(socket->outgoing.size() == 2);
    CHECK(socket->outgoing[1].front() == 3);
    CHECK(socket->outgoing[1].find("no such program") != std::string::npos);
    CHECK(socket->closed);

    auto gone = std::make_shared<FakeSocket>(executor, "v5.channel.k8s.io");
    gone->answers_pings = false;
    auto shared = std::make_shared<FakeSession::Shared>(executor);
    TaskGroup group(executor);
    auto serve = [](std::shared_ptr<FakeSocket> s, std::shared_ptr<FakeSession::Shared> p) -> Task<void> {
      co_await serve_websocket(s, {true, true, true, false}, opens(p));
    };
    group.spawn("serve", serve(gone, shared));
    gone->hang_up();
    co_await settle(20);
    gone->answers_pings = true;
    gone->pong.notify();
    const bool ok = co_await eventually([&] { return group.size() == 0; });
    CHECK(ok);
    CHECK(shared->opened == 0);
    co_await group.stop();
  });
}

TEST_CASE("a client that goes away ends the exec'd process") {
  run([]() -> Task<void> {
    Executor executor = co_await boost::asio::this_coro::executor;
    auto socket = std::make_shared<FakeSocket>(executor, "v4.channel.k8s.io");
    auto shared = std::make_shared<FakeSession::Shared>(executor);
    TaskGroup group(executor);
    auto serve = [](std::shared_ptr<FakeSocket> s, std::shared_ptr<FakeSession::Shared> p) -> Task<void> {
      co_await serve_websocket(s, {true, true, true, false}, opens(p));
    };
    group.spawn("serve", serve(socket, shared));
    co_await settle(20);
    socket->hang_up();
    const bool ok = co_await eventually([&] { return shared->closed && group.size() == 0; });
    CHECK(ok);
    co_await group.stop();
  });
}

TEST_CASE("a handler that is cancelled awaits its helpers") {
  run([]() -> Task<void> {
    Executor executor = co_await boost::asio::this_coro::executor;
    auto socket = std::make_shared<FakeSocket>(executor, "v4.channel.k8s.io");
    auto shared = std::make_shared<FakeSession::Shared>(executor);
    TaskGroup group(executor);
    auto serve = [](std::shared_ptr<FakeSocket> s, std::shared_ptr<FakeSession::Shared> p) -> Task<void> {
      co_await serve_websocket(s, {true, true, true, false}, opens(p));
    };
    group.spawn("serve", serve(socket, shared));
    co_await settle(20);
    co_await group.stop();
    CHECK(shared->closed);
  });
}

TEST_CASE("base64 framing") {
  run([]() -> Task<void> {
    Executor executor = co_await boost::asio::this_coro::executor;
    auto socket = std::make_shared<FakeSocket>(executor, "v4.base64.channel.k8s.io");
    auto shared = std::make_shared<FakeSession::Shared>(executor);
    shared->chunks.push_back({runtime::Session::Channel::kStdout, "hi", false, 0});
    shared->chunks.push_back({runtime::Session::Channel::kStdout, "", true, 0});
    co_await serve_websocket(socket, {false, true, false, false}, opens(shared));
    REQUIRE(socket->outgoing.size() == 3);
    CHECK(socket->outgoing[1] == "1aGk=");
  });
}

TEST_CASE("before v4 the error channel has text, and nothing for success") {
  run([]() -> Task<void> {
    Executor executor = co_await boost::asio::this_coro::executor;
    for (const int code : {0, 3}) {
      auto socket = std::make_shared<FakeSocket>(executor, "channel.k8s.io");
      auto shared = std::make_shared<FakeSession::Shared>(executor);
      shared->chunks.push_back({runtime::Session::Channel::kStdout, "", true, code});
      co_await serve_websocket(socket, {false, true, false, false}, opens(shared));
      REQUIRE(socket->outgoing.size() == (code == 0 ? 1 : 2));
      if (code != 0) CHECK(socket->outgoing[1] == "\3command terminated with non-zero exit code: exit status 3");
    }
  });
}

TEST_CASE("the endpoint lets only the API server in") {
  run([]() -> Task<void> {
    Executor executor = co_await boost::asio::this_coro::executor;
    NodeOptions options;
    FakeClock clock;
    FakeRuntime runtime(executor, clock);
    NoPods pods;
    NodeServer server(options, runtime, clock, pods, executor);
    const auto status = [&](std::string path, std::optional<http::PeerCertificate> peer) -> Task<int> {
      FakeExchange exchange;
      exchange.req.path = std::move(path);
      exchange.req.peer_certificate = std::move(peer);
      co_await server.handle(exchange);
      co_return exchange.response ? exchange.response->status : 0;
    };
    int got = co_await status("/pods", std::nullopt);
    CHECK(got == 401);
    got = co_await status("/pods", http::PeerCertificate{"system:node:other", {"system:nodes"}, ""});
    CHECK(got == 403);
    got = co_await status("/pods", http::PeerCertificate{"kube-apiserver", {}, ""});
    CHECK(got == 200);
    got = co_await status("/pods", http::PeerCertificate{"admin", {"system:masters"}, ""});
    CHECK(got == 200);
    got = co_await status("/healthz", std::nullopt);
    CHECK(got == 200);
    got = co_await status("/containerLogs/ns/none/app", http::PeerCertificate{"kube-apiserver", {}, ""});
    CHECK(got == 404);
    got = co_await status("/run/ns/pod/app", http::PeerCertificate{"kube-apiserver", {}, ""});
    CHECK(got == 404);
  });
}

TEST_CASE("options of a log request") {
  const WallTime now(std::chrono::seconds(1000));
  const auto parse = [&](const char* text) { return log_options(*http::Query::parse(text), now); };
  const auto options = parse("follow=true&tailLines=5&sinceSeconds=60&timestamps=true&limitBytes=9");
  REQUIRE(options.has_value());
  CHECK(options->follow);
  CHECK(options->tail_lines == 5);
  CHECK(options->since == WallTime(std::chrono::seconds(940)));
  CHECK_FALSE(parse("tailLines=-1").has_value());
  CHECK_FALSE(parse("tailLines=x").has_value());
  CHECK_FALSE(parse("sinceTime=yesterday").has_value());
}
