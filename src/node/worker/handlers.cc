#include "worker/handlers.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <map>

#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "brume/http/client.h"
#include "brume/http/grpc_health.h"
#include "pod/pod.h"

namespace brume::node {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kMaxTold = 1024;           // bytes of an answer's body in an event
constexpr std::size_t kOutputLimit = 10 * 1024;  // of a handler's output that is kept (pkg/probe)
constexpr int kMaxRedirects = 10;
constexpr std::chrono::seconds kRedialDelay{1};                          // grpc-go's first back-off
constexpr std::chrono::milliseconds kNoTimeout = std::chrono::hours(1);  // hooks are bounded by the pod's grace

std::string host_text(const std::string& host) {
  return host.find(':') != std::string::npos && !host.starts_with('[') ? "[" + host + "]" : host;
}

class Runner final : public HandlerRunner {
 public:
  Runner(runtime::Runtime& runtime, Clock& clock, const Executor& executor)
      : runtime_(runtime), clock_(clock), group_(executor) {}

  Task<HandlerResult> run(HandlerRequest request) override {
    if (request.handler.contains("exec")) co_return co_await run_exec(std::move(request));
    if (request.handler.contains("httpGet")) co_return co_await run_http(std::move(request));
    if (request.handler.contains("tcpSocket")) co_return co_await run_tcp(std::move(request));
    if (request.handler.contains("grpc")) co_return co_await run_grpc(std::move(request));
    if (request.handler.contains("sleep")) {
      co_await clock_.sleep(std::chrono::seconds(num(at(request.handler, "sleep"), "seconds")));
      co_return HandlerResult{true, ""};
    }
    co_return HandlerResult{false, "this kind of handler is not supported yet: " + dump_json(request.handler)};
  }

  Task<void> stop() override { co_await group_.stop(); }

 private:
  struct Deadline {
    bool done = false;
    bool hit = false;
  };

  static Task<void> cut(Clock& clock, std::chrono::milliseconds timeout, std::shared_ptr<Deadline> deadline,
                        std::function<void()> end) {
    co_await clock.sleep(timeout);
    if (deadline->done) co_return;
    deadline->hit = true;
    end();
  }

  Task<HandlerResult> run_exec(HandlerRequest request) {
    runtime::ExecSpec spec;
    spec.sandbox_id = request.sandbox_id;
    spec.container_id = request.container_id;
    for (const Json& word : at(request.handler, "exec", "command")) spec.argv.emplace_back(str(word));
    auto opened = co_await runtime_.exec(std::move(spec));
    if (!opened) co_return HandlerResult{false, opened.error().message};
    std::shared_ptr<runtime::Session> session = std::move(*opened);
    auto deadline = std::make_shared<Deadline>();
    if (request.timeout.count() > 0) {
      group_.spawn("handler timeout", cut(clock_, request.timeout, deadline, [session] { session->close(); }));
    }
    HandlerResult result;
    while (true) {
      auto chunk = co_await session->read();
      if (!chunk || chunk->ended) {
        deadline->done = true;
        if (deadline->hit) {
          result.output = "command timed out: timed out after " +
                          duration_text(std::chrono::duration_cast<std::chrono::seconds>(request.timeout));
        } else if (!chunk) {
          result.output = chunk.error().message;
        } else {
          result.ok = chunk->exit_code == 0;
          if (!result.ok && result.output.empty())
            result.output = "command exited with " + std::to_string(chunk->exit_code);
        }
        if (deadline->hit) result.ok = false;
        co_return result;
      }
      if (result.output.size() < kOutputLimit)
        result.output.append(chunk->data, 0, kOutputLimit - result.output.size());
    }
  }

  Result<http::Client*> client_for(std::chrono::milliseconds timeout) {
    auto& slot = clients_[timeout];
    if (!slot) {
      http::ClientOptions options;
      options.tls.insecure = true;  // probes do not verify certificates, as on Kubernetes
      options.connect_timeout = timeout;
      options.response_timeout = timeout;
      auto made = http::Client::create(options);
      if (!made) return fail(std::move(made).error());
      slot = std::move(*made);
    }
    return slot.get();
  }

  Task<HandlerResult> run_http(HandlerRequest request) {
    const Json get = at(request.handler, "httpGet");
    const int port = resolve_port(at(get, "port"), request.container);
    if (port == 0) co_return HandlerResult{false, "invalid port: " + dump_json(at(get, "port"))};
    auto client = client_for(request.timeout.count() > 0 ? request.timeout : kNoTimeout);
    if (!client) co_return HandlerResult{false, client.error().message};
    std::string host(str(get, "host"));
    if (host.empty()) host = request.pod_ip;
    const std::string scheme = str(get, "scheme") == "HTTPS" ? "https" : "http";
    const std::string origin = scheme + "://" + host_text(host) + ":" + std::to_string(port);
    std::string path(str(get, "path"));
    if (!path.starts_with('/')) path.insert(0, "/");
    std::string url = origin + path;
    for (int hop = 0; hop <= kMaxRedirects; ++hop) {
      http::ClientRequest call;
      call.url = url;
      call.headers = {{"User-Agent", "kube-probe/1.36"}, {"Accept", "*/*"}, {"Connection", "close"}};
      for (const Json& header : at(get, "httpHeaders"))
        call.headers.set(str(header, "name"), std::string(str(header, "value")));
      auto answer = co_await (*client)->open(std::move(call));
      if (!answer) co_return HandlerResult{false, "Get \"" + url + "\": " + answer.error().message};
      const int status = (*answer)->status();
      const std::string location((*answer)->headers().get("Location"));
      // Only redirects that stay on the host are followed; another host's word says nothing of this container.
      const bool inside = location.starts_with('/') || location.starts_with(origin + "/");
      if (status >= 300 && status < 400 && inside) {
        url = location.starts_with('/') ? origin + location : location;
        continue;
      }
      if (request.probe && status >= 300 && status < 400) {
        std::string body(kMaxTold, '\0');
        const auto got = co_await (*answer)->read(body);
        body.resize(got.value_or(0));
        co_return HandlerResult{true, "Probe terminated redirects, Response body: " + body, true};
      }
      if (!request.probe || (status >= 200 && status < 400)) co_return HandlerResult{true, ""};
      co_return HandlerResult{false, "HTTP probe failed with statuscode: " + std::to_string(status)};
    }
    co_return HandlerResult{false, "stopped after 10 redirects"};
  }

  Task<HandlerResult> run_tcp(HandlerRequest request) {
    const Json socket_json = at(request.handler, "tcpSocket");
    const int port = resolve_port(at(socket_json, "port"), request.container);
    if (port == 0) co_return HandlerResult{false, "invalid port: " + dump_json(at(socket_json, "port"))};
    std::string host(str(socket_json, "host"));
    if (host.empty()) host = request.pod_ip;
    boost::system::error_code ec;
    const auto address = asio::ip::make_address(host, ec);
    if (ec) co_return HandlerResult{false, "tcpSocket host \"" + host + "\" is not an address"};
    auto socket = std::make_shared<asio::ip::tcp::socket>(group_.executor());
    auto deadline = std::make_shared<Deadline>();
    if (request.timeout.count() > 0) {
      group_.spawn("handler timeout", cut(clock_, request.timeout, deadline, [socket] {
                     boost::system::error_code ignored;
                     (void)socket->close(ignored);
                   }));
    }
    co_await socket->async_connect({address, static_cast<std::uint16_t>(port)},
                                   asio::redirect_error(asio::use_awaitable, ec));
    deadline->done = true;
    boost::system::error_code ignored;
    (void)socket->close(ignored);
    if (!ec) co_return HandlerResult{true, ""};
    co_return HandlerResult{false,
                            "dial tcp " + host_text(host) + ":" + std::to_string(port) + ": " +
                                (deadline->hit ? std::string("i/o timeout") : "connect: " + to_lower(ec.message()))};
  }

  // As grpc-go does for the kubelet, tries again after a failed connection while the timeout leaves the time for it.
  Task<Result<http::GrpcHealth>> check_grpc(std::string host, int port, std::string service,
                                            std::chrono::milliseconds timeout) {
    const auto end = clock_.steady() + timeout;
    while (true) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - clock_.steady());
      auto answer = co_await http::check_grpc_health(host, static_cast<std::uint16_t>(port), service, left);
      const bool unconnected =
          !answer && (answer.error().code == Code::kIo || answer.error().code == Code::kServiceUnavailable);
      if (!unconnected || clock_.steady() + kRedialDelay >= end) co_return answer;
      co_await clock_.sleep(kRedialDelay);
    }
  }

  Task<HandlerResult> run_grpc(HandlerRequest request) {
    const Json grpc = at(request.handler, "grpc");
    const int port = resolve_port(at(grpc, "port"), Json());
    if (port == 0) co_return HandlerResult{false, "invalid port: " + dump_json(at(grpc, "port"))};
    const std::string address = host_text(request.pod_ip) + ":" + std::to_string(port);
    const auto timeout = request.timeout.count() > 0 ? request.timeout : kNoTimeout;
    const std::string timeout_text = duration_text_ms(timeout);
    const auto answer = co_await check_grpc(request.pod_ip, port, std::string(str(grpc, "service")), timeout);
    if (!answer && answer.error().code == Code::kTimeout) {
      co_return HandlerResult{false, "timeout: failed to connect service \"" + address + "\" within " + timeout_text +
                                         ": context deadline exceeded"};
    }
    if (!answer) {
      co_return HandlerResult{false,
                              "error: failed to connect service at \"" + address + "\": " + answer.error().message};
    }
    co_return judge(*answer, timeout_text);
  }

  static HandlerResult judge(const http::GrpcHealth& health, const std::string& timeout_text) {
    if (health.grpc_status == http::GrpcHealth::kUnimplemented) {
      return {false, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): " +
                         health.grpc_message};
    }
    if (health.grpc_status == http::GrpcHealth::kDeadlineExceeded)
      return {false, "timeout: health rpc did not complete within " + timeout_text};
    if (!health.serving_status) {
      return {false, "error: health rpc probe failed: rpc error: code = " + http::grpc_code_name(health.grpc_status) +
                         " desc = " + health.grpc_message};
    }
    if (*health.serving_status == http::GrpcHealth::kServing) return {true, "service healthy"};
    return {false,
            "service unhealthy (responded with \"" + http::grpc_serving_status_name(*health.serving_status) + "\")"};
  }

  runtime::Runtime& runtime_;
  Clock& clock_;
  TaskGroup group_;
  std::map<std::chrono::milliseconds, std::unique_ptr<http::Client>> clients_;
};

}  // namespace

int resolve_port(const Json& port, const Json& container) {
  if (port.is_number()) {
    const auto number = port.get<std::int64_t>();
    return number > 0 && number < 65536 ? static_cast<int>(number) : 0;
  }
  for (const Json& candidate : at(container, "ports")) {
    if (!str(port).empty() && str(candidate, "name") == str(port))
      return static_cast<int>(num(candidate, "containerPort"));
  }
  const auto number = parse_int(str(port));
  return number && *number > 0 && *number < 65536 ? static_cast<int>(*number) : 0;
}

std::unique_ptr<HandlerRunner> make_handler_runner(runtime::Runtime& runtime, Clock& clock, const Executor& executor) {
  return std::make_unique<Runner>(runtime, clock, executor);
}

}  // namespace brume::node
