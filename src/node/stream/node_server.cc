#include "stream/node_server.h"

#include <algorithm>

#include "brume/base/strings.h"
#include "pod/pod.h"
#include "stream/port_forward.h"
#include "worker/pod_worker.h"

namespace brume::node {

namespace {

Task<void> answer(http::Exchange& exchange, int status, std::string text,
                  std::string type = "text/plain; charset=utf-8") {
  http::Response response;
  response.status = status;
  response.headers.add("Content-Type", std::move(type));
  response.body = std::move(text);
  (void)co_await exchange.respond(std::move(response));
}

Task<void> answer_error(http::Exchange& exchange, Error error) {
  co_await answer(exchange, http_status_of(error.code), error.message + "\n");
}

std::vector<std::string> path_parts(const std::string& path) {
  std::vector<std::string> out;
  for (const std::string_view part : split(path, '/')) {
    if (!part.empty()) out.emplace_back(part);
  }
  return out;
}

std::vector<std::string> offered_protocols(const http::Headers& headers) {
  std::vector<std::string> out;
  for (const std::string_view value : headers.get_all("X-Stream-Protocol-Version")) {
    for (const std::string_view part : split(value, ',')) out.emplace_back(trim(part));
  }
  return out;
}

bool wants_spdy(const http::Request& request) {
  return request.headers.has_token("Connection", "upgrade") &&
         iequals(trim(request.headers.get("Upgrade")), "SPDY/3.1");
}

}  // namespace

/// What a path names: a pod here and one of its containers.
struct NodeServer::Target {
  PodWorker* worker = nullptr;
  const ContainerRun* run = nullptr;
};

NodeServer::NodeServer(const NodeOptions& options, runtime::Runtime& runtime, Clock& clock, PodDirectory& pods,
                       const Executor& executor)
    : options_(options), runtime_(runtime), clock_(clock), pods_(pods), executor_(executor) {}

NodeServer::~NodeServer() = default;

Status NodeServer::listen() {
  http::ServerOptions options;
  options.address = options_.listen_address;
  options.port = options_.port;
  options.tls = http::TlsServerConfig{options_.certificate_pem, options_.private_key_pem, options_.client_ca_pem};
  auto server = http::Server::listen(std::move(options), {executor_},
                                     [this](http::Exchange& exchange) { return handle(exchange); });
  if (!server) return fail(wrap(server.error(), "the node's HTTPS endpoint"));
  server_ = *std::move(server);
  return {};
}

Task<void> NodeServer::stop() {
  if (server_) co_await server_->stop();
}

std::uint16_t NodeServer::port() const { return server_ ? server_->port() : 0; }

Status NodeServer::set_tls(std::string certificate_pem, std::string private_key_pem, std::string client_ca_pem) {
  if (!server_) return {};
  return server_->set_tls({std::move(certificate_pem), std::move(private_key_pem), std::move(client_ca_pem)});
}

// 0: welcome; else the status to answer.
int NodeServer::refused(const http::Request& request) const {
  if (!request.peer_certificate) return 401;
  const auto& peer = *request.peer_certificate;
  const auto& names = options_.allowed_clients;
  if (std::find(names.begin(), names.end(), peer.common_name) != names.end()) return 0;
  const auto& groups = peer.organizations;
  return std::find(groups.begin(), groups.end(), "system:masters") != groups.end() ? 0 : 403;
}

Task<void> NodeServer::handle(http::Exchange& exchange) {
  if (exchange.request().path == "/healthz") {
    co_await answer(exchange, 200, "ok");
    co_return;
  }
  if (const int status = refused(exchange.request()); status != 0) {
    co_await answer(exchange, status, status == 401 ? "Unauthorized\n" : "Forbidden\n");
    co_return;
  }
  co_await route(exchange);
}

Task<void> NodeServer::route(http::Exchange& exchange) {
  auto parts = path_parts(exchange.request().path);
  const std::string first = parts.empty() ? "" : parts.front();
  if (!parts.empty()) parts.erase(parts.begin());
  if (first == "containerLogs") {
    co_await logs(exchange, std::move(parts));
  } else if (first == "exec" || first == "attach") {
    co_await command(exchange, std::move(parts), first == "exec");
  } else if (first == "portForward") {
    co_await forward(exchange, std::move(parts));
  } else if (first == "pods") {
    Json list = {{"kind", "PodList"}, {"apiVersion", "v1"}, {"metadata", Json::object()}, {"items", pods_.all_pods()}};
    co_await answer(exchange, 200, dump_json(list), "application/json");
  } else if (first == "metrics") {
    co_await metrics(exchange, std::move(parts));
  } else if (first == "stats") {
    co_await stats(exchange, std::move(parts));
  } else {
    co_await answer(exchange, 404, "404 page not found\n");
  }
}

Task<void> NodeServer::metrics(http::Exchange& exchange, std::vector<std::string> parts) {
  constexpr const char* kText = "text/plain; version=0.0.4; charset=utf-8";
  if (parts.empty()) {
    const auto count = pods_.workers().size();
    std::string text = "# HELP kubelet_running_pods Number of pods on the node.\n# TYPE kubelet_running_pods gauge\n";
    co_await answer(exchange, 200, text + "kubelet_running_pods " + std::to_string(count) + "\n", kText);
  } else if (parts.size() == 1 && parts.front() == "resource") {
    co_await answer(exchange, 200, resource_metrics(co_await read_stats()), kText);
  } else {
    co_await answer(exchange, 404, "404 page not found\n");
  }
}

Task<void> NodeServer::stats(http::Exchange& exchange, std::vector<std::string> parts) {
  if (parts.size() != 1 || parts.front() != "summary") {
    co_await answer(exchange, 404, "404 page not found\n");
    co_return;
  }
  const NodeStats now = co_await read_stats();
  co_await answer(exchange, 200, dump_json(summary(now, history_)), "application/json");
}

// Nothing is sampled but when somebody asks. A pod that goes meanwhile is left out.
Task<NodeStats> NodeServer::read_stats() {
  NodeStats out{.node_name = options_.node_name, .machine = {}, .pods = {}};
  for (const PodWorker* worker : pods_.workers()) {
    const Json& metadata = at(worker->pod(), "metadata");
    const auto started = str(at(worker->pod(), "status"), "startTime");
    PodStats pod{.ns = std::string(str(metadata, "namespace")),
                 .name = std::string(str(metadata, "name")),
                 .uid = worker->uid(),
                 .started = std::string(started.empty() ? str(metadata, "creationTimestamp") : started),
                 .use = {},
                 .containers = {}};
    for (const ContainerRun& run : worker->runs()) {
      if (run.state != ContainerRun::State::kRunning) continue;
      pod.containers.push_back({.name = run.name, .id = run.id, .started = run.started_at, .use = {}});
    }
    if (!pod.containers.empty()) out.pods.push_back(std::move(pod));
  }
  for (PodStats& pod : out.pods) {
    const auto used = co_await runtime_.use(pod.uid);
    if (used) pod.use = used->pod;
    std::erase_if(pod.containers, [&](ContainerStats& container) {
      if (!used || !used->containers.contains(container.id)) return true;
      container.use = used->containers.at(container.id);
      return false;
    });
  }
  std::erase_if(out.pods, [](const PodStats& pod) { return pod.containers.empty(); });
  out.machine = co_await run_blocking([] { return read_machine_use(); });
  co_return out;
}

// {ns}/{pod}/{container} or {ns}/{pod}/{uid}/{container}.
Result<NodeServer::Target> NodeServer::target(const std::vector<std::string>& parts) {
  if (parts.size() != 3 && parts.size() != 4) return fail(Code::kNotFound, "404 page not found");
  Target out;
  out.worker = pods_.find(parts[0], parts[1]);
  if (out.worker == nullptr || (parts.size() == 4 && out.worker->uid() != parts[2])) {
    return fail(Code::kNotFound, "pod \"" + parts[1] + "\" not found");
  }
  out.run = out.worker->find_run(parts.back());
  if (out.run == nullptr)
    return fail(Code::kBadRequest, "container " + parts.back() + " is not valid for pod " + parts[1]);
  return out;
}

Task<void> NodeServer::logs(http::Exchange& exchange, std::vector<std::string> parts) {
  auto found = target(parts);
  if (!found) {
    co_await answer_error(exchange, found.error());
    co_return;
  }
  auto options = log_options(exchange.request().query, clock_.now());
  if (!options) {
    co_await answer_error(exchange, options.error());
    co_return;
  }
  const bool previous = exchange.request().query.is_true("previous");
  const ContainerRun& run = *found->run;
  if (previous && run.attempt < 1) {
    co_await answer(exchange, 400,
                    "previous terminated container \"" + run.name + "\" in pod \"" + parts[1] + "\" not found\n");
    co_return;
  }
  if (run.attempt < 0) {
    const std::string why = run.wait_reason.empty() ? "ContainerCreating" : run.wait_reason;
    co_await answer(exchange, 400,
                    "container \"" + run.name + "\" in pod \"" + parts[1] + "\" is waiting to start: " + why + "\n");
    co_return;
  }
  const std::string path = found->worker->log_path(run, previous ? run.attempt - 1 : run.attempt);
  // No reference into the worker is kept: it may go while the log is read.
  auto running = [&runtime = runtime_, sandbox = found->worker->uid(), id = run.id, previous] {
    if (previous) return false;
    for (const auto& status : runtime.containers(sandbox)) {
      if (status.id == id) return status.state == runtime::ContainerStatus::State::kRunning;
    }
    return false;
  };
  auto body = co_await exchange.respond_stream(200, {{"Content-Type", "text/plain"}});
  if (!body) co_return;
  std::shared_ptr<http::BodyWriter> writer = std::move(*body);
  LogSink sink = [writer](std::string_view text) { return writer->write(text); };
  auto done = co_await read_log(path, *options, std::move(running), std::move(sink), followers_);
  if (!done && done.error().code != Code::kNotFound) {
    auto told = co_await writer->write("failed to read the log: " + done.error().message + "\n");
    if (!told) co_return;
  }
  (void)co_await writer->finish();
}

Task<void> NodeServer::command(http::Exchange& exchange, std::vector<std::string> parts, bool exec) {
  auto found = target(parts);
  if (!found) {
    co_await answer_error(exchange, found.error());
    co_return;
  }
  const ContainerRun& run = *found->run;
  if (run.state != ContainerRun::State::kRunning) {
    co_await answer(exchange, 400, "container not found (\"" + run.name + "\")\n");
    co_return;
  }
  const http::Query& query = exchange.request().query;
  const StreamOptions options = stream_options(query);
  runtime::ExecSpec spec;
  spec.sandbox_id = found->worker->uid();
  spec.container_id = run.id;
  for (const std::string_view word : query.get_all("command")) spec.argv.emplace_back(word);
  spec.tty = options.tty;
  spec.stdin = options.stdin;
  if (spec.tty) spec.env.emplace_back("TERM=xterm");
  if (!options.stdin && !options.stdout && !options.stderr) {
    co_await answer(exchange, 400, "you must specify at least 1 of stdin, stdout, stderr\n");
    co_return;
  }
  if (exec && spec.argv.empty()) {
    co_await answer(exchange, 400, "you must specify at least 1 command\n");
    co_return;
  }
  OpenSession open = [&runtime = runtime_, spec, exec] {
    return exec ? runtime.exec(spec) : runtime.attach(spec.sandbox_id, spec.container_id);
  };
  if (exchange.wants_websocket()) {
    const std::string protocol = choose_websocket_protocol(exchange.websocket_protocols());
    if (protocol.empty()) {
      co_await answer(exchange, 400, "no WebSocket sub-protocol of channel.k8s.io was offered\n");
      co_return;
    }
    auto socket = co_await exchange.accept_websocket(protocol);
    if (!socket) co_return;
    co_await serve_websocket(std::move(*socket), options, std::move(open));
    co_return;
  }
  if (!wants_spdy(exchange.request())) {
    co_await answer(exchange, 400, "unable to upgrade: missing upgrade headers in request\n");
    co_return;
  }
  const auto offered = offered_protocols(exchange.request().headers);
  const std::string protocol = choose_spdy_protocol(offered);
  if (protocol.empty() && !offered.empty()) {
    co_await answer(exchange, 403, "unable to upgrade: unable to negotiate protocol\n");
    co_return;
  }
  http::Headers headers{{"Connection", "Upgrade"}, {"Upgrade", "SPDY/3.1"}};
  if (!protocol.empty()) headers.add("X-Stream-Protocol-Version", protocol);
  auto stream = co_await exchange.upgrade(std::move(headers));
  if (!stream) co_return;
  std::shared_ptr<http::SpdySession> spdy = http::SpdySession::serve(std::move(*stream), executor_);
  co_await serve_spdy(std::move(spdy), protocol, options, clock_, std::move(open));
}

Task<void> NodeServer::forward(http::Exchange& exchange, std::vector<std::string> parts) {
  PodWorker* worker = parts.size() == 2 || parts.size() == 3 ? pods_.find(parts[0], parts[1]) : nullptr;
  if (worker == nullptr) {
    co_await answer(exchange, 404, "pod not found\n");
    co_return;
  }
  const auto offered = offered_protocols(exchange.request().headers);
  const bool known =
      offered.empty() || std::find(offered.begin(), offered.end(), kPortForwardProtocol) != offered.end();
  if (!wants_spdy(exchange.request()) || !known) {
    co_await answer(exchange, 400, "port-forward needs an upgrade to SPDY/3.1 with portforward.k8s.io\n");
    co_return;
  }
  const std::string netns = worker->netns_path();
  http::Headers headers{
      {"Connection", "Upgrade"}, {"Upgrade", "SPDY/3.1"}, {"X-Stream-Protocol-Version", kPortForwardProtocol}};
  auto stream = co_await exchange.upgrade(std::move(headers));
  if (!stream) co_return;
  std::shared_ptr<http::SpdySession> spdy = http::SpdySession::serve(std::move(*stream), executor_);
  co_await serve_port_forward(std::move(spdy), netns);
}

Result<LogOptions> log_options(const http::Query& query, WallTime now) {
  LogOptions out;
  out.follow = query.is_true("follow");
  out.timestamps = query.is_true("timestamps");
  out.stream = query.get("stream");
  const auto number = [&](std::string_view name, std::optional<std::int64_t>& into) -> Status {
    const auto text = query.get(name);
    if (text.empty()) return {};
    const auto value = parse_int(text);
    if (!value || *value < 0) return fail(Code::kBadRequest, std::string(name) + " must be a number not below 0");
    into = *value;
    return {};
  };
  BRUME_CHECK(number("tailLines", out.tail_lines));
  BRUME_CHECK(number("limitBytes", out.limit_bytes));
  std::optional<std::int64_t> seconds;
  BRUME_CHECK(number("sinceSeconds", seconds));
  if (seconds) out.since = now - std::chrono::seconds(*seconds);
  if (const auto text = query.get("sinceTime"); !text.empty()) {
    out.since = parse_rfc3339(text);
    if (!out.since) return fail(Code::kBadRequest, "sinceTime must be an RFC 3339 time");
  }
  return out;
}

StreamOptions stream_options(const http::Query& query) {
  StreamOptions out;
  out.stdin = query.is_true("input") || query.is_true("stdin");
  out.stdout = query.is_true("output") || query.is_true("stdout");
  out.stderr = query.is_true("error") || query.is_true("stderr");
  out.tty = query.is_true("tty");
  if (out.tty) out.stderr = false;  // a terminal has one output
  return out;
}

}  // namespace brume::node
