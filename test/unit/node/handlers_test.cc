// Probe handlers against servers that say what the test wants.
#include "worker/handlers.h"

#include <atomic>

#include "brume/base/json.h"
#include "catch.h"
#include "fakes.h"
#include "run.h"
#include "support/http2_frames.h"
#include "support/scripted_server.h"

using namespace brume;
using namespace brume::node;
using namespace brume::test;
using namespace std::chrono_literals;

namespace {

HandlerResult probe(const Json& handler, std::chrono::milliseconds timeout) {
  HandlerResult out;
  run([&]() -> Task<void> {
    const Executor executor = co_await boost::asio::this_coro::executor;
    FakeRuntime runtime(executor, system_clock());
    const auto runner = make_handler_runner(runtime, system_clock(), executor);
    HandlerRequest request;
    request.handler = handler;
    request.pod_ip = "127.0.0.1";
    request.timeout = timeout;
    out = co_await runner->run(std::move(request));
    co_await runner->stop();
  });
  return out;
}

// The answer to a gRPC probe of a server; "@" in what is expected stands for its address.
void check_grpc(const std::string& said, bool closes, bool ok, std::string expected) {
  const bool waits = said.empty() || (!closes && !ok);  // without a connection there would be another try
  ScriptedServer server(closes ? ScriptedServer::closing_after(said) : ScriptedServer::saying(said));
  const Json handler = {{"grpc", {{"port", server.port()}, {"service", "a.b"}}}};
  const auto result = probe(handler, waits ? 100ms : 10'000ms);
  if (const auto at = expected.find('@'); at != std::string::npos)
    expected.replace(at, 1, "127.0.0.1:" + std::to_string(server.port()));
  CHECK(result.output == expected);
  CHECK(result.ok == ok);
}

}  // namespace

TEST_CASE("gRPC probes say what Kubernetes says") {
  using namespace brume::test::http2;
  check_grpc(health_answer(1), false, true, "service healthy");
  check_grpc(health_answer(2), true, false, "service unhealthy (responded with \"NOT_SERVING\")");
  check_grpc(health_answer(0), true, false, "service unhealthy (responded with \"UNKNOWN\")");
  const auto failing = [](const std::string& status, const std::string& text) {
    return kSettings + headers(grpc_fields({{"grpc-status", status}, {"grpc-message", text}}), true);
  };
  check_grpc(failing("12", "unknown service grpc.health.v1.Health"), true, false,
             "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service "
             "grpc.health.v1.Health");
  check_grpc(failing("5", "unknown service"), true, false,
             "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service");
  check_grpc(failing("4", "late"), true, false, "timeout: health rpc did not complete within 10s");
  check_grpc(kSettings, false, false, "timeout: health rpc did not complete within 100ms");
  check_grpc("", false, false, "timeout: failed to connect service \"@\" within 100ms: context deadline exceeded");
  check_grpc(
      "", true, false,
      "error: failed to connect service at \"@\": connection error: desc = \"error reading server preface: EOF\"");
}

TEST_CASE("gRPC probes without a server or a port") {
  const auto refused = probe({{"grpc", {{"port", 1}}}}, 1s);
  CHECK_FALSE(refused.ok);
  CHECK(refused.output ==
        "error: failed to connect service at \"127.0.0.1:1\": connect to 127.0.0.1:1: Connection refused");
  CHECK(probe({{"grpc", {{"port", 0}}}}, 1s).output == "invalid port: 0");
  CHECK(probe({{"grpc", {{"port", "web"}}}}, 1s).output == "invalid port: \"web\"");
}

TEST_CASE("gRPC probes try again while there is time") {
  std::atomic<int> connections = 0;
  ScriptedServer server([&](int fd) {
    if (++connections > 1) ScriptedServer::closing_after(brume::test::http2::health_answer(1))(fd);
  });
  CHECK(probe({{"grpc", {{"port", server.port()}}}}, 10s).ok);
  CHECK(connections == 2);
}
