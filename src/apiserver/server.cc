#include "brume/apiserver/server.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <set>

#include "brume/base/random.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "errors.h"
#include "server_impl.h"

namespace brume::apiserver {

using Impl = ApiServer::Impl;

namespace {

/// Answers below this are sent as they are (Kubernetes' threshold).
constexpr std::size_t kGzipFrom = 128 * 1024;
constexpr auto kDocumentIdle = std::chrono::seconds(60);
/// How long a server behind a proxy may think before its answer begins.
constexpr auto kProxiedAnswer = std::chrono::minutes(10);

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else {
      out.push_back(c);
    }
  }
  return out;
}

// What the user may not do, in Kubernetes' words.
std::string forbidden_text(const Call& call) {
  const RequestInfo& info = call.info;
  const std::string user = "User " + go_quote(call.user.name) + " cannot " + info.verb;
  if (!info.is_resource) return user + " path " + go_quote(info.path);
  const std::string what = info.resource + (info.subresource.empty() ? "" : "/" + info.subresource);
  return user + " resource " + go_quote(what) + " in API group " + go_quote(info.group) +
         (info.ns.empty() ? std::string(" at the cluster scope") : " in the namespace " + go_quote(info.ns));
}

bool is_loopback(std::string_view address) { return address.starts_with("127.") || address == "::1"; }

// The whole body in gzip's format (RFC 1952); nullopt when memory lacks.
std::optional<std::string> gzip(const http::Response& response) {
  z_stream stream{};
  constexpr int kGzipWindow = 15 + 16;
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) != Z_OK) return std::nullopt;
  std::string out;
  int state = Z_OK;
  const auto feed = [&](std::string_view bytes, int flush) {
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(bytes.size());
    do {
      std::array<char, 16 * 1024> part;  // NOLINT(*-member-init): filled up to what is used
      stream.next_out = reinterpret_cast<Bytef*>(part.data());
      stream.avail_out = static_cast<uInt>(part.size());
      state = deflate(&stream, flush);
      out.append(part.data(), part.size() - stream.avail_out);
    } while (stream.avail_out == 0);
  };
  feed(response.body, Z_NO_FLUSH);
  for (const auto piece : response.more) feed(piece, Z_NO_FLUSH);
  feed({}, Z_FINISH);
  deflateEnd(&stream);
  return state == Z_STREAM_END ? std::optional(std::move(out)) : std::nullopt;
}

// Puts another text in the place of the whole body.
void replace_body(http::Response& response, std::string body) {
  response.body = std::move(body);
  response.more.clear();
  response.more_owner.reset();
}

// Indentation for people: on ?pretty, and for curl, wget and browsers as Kubernetes does.
bool wants_pretty(const http::Request& request) {
  if (request.query.has("pretty")) return truthy(request.query, "pretty");
  const auto agent = request.headers.get("User-Agent");
  return agent.starts_with("curl") || agent.starts_with("Wget") || agent.starts_with("Mozilla/5.0");
}

void finish_response(const Call& call, http::Response& response) {
  const bool json = response.headers.get("Content-Type") == "application/json";
  if (json && wants_pretty(call.request)) {
    std::string whole = response.body;
    for (const auto piece : response.more) whole += piece;
    if (const auto value = parse_json(whole)) {
      replace_body(response, value->dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    }
  }
  // Between processes of one machine compression only costs.
  if (response.body_size() >= kGzipFrom && !is_loopback(call.request.peer_address) &&
      call.request.headers.has_token("Accept-Encoding", "gzip")) {
    if (auto packed = gzip(response)) {
      replace_body(response, std::move(*packed));
      response.headers.set("Content-Encoding", "gzip");
      response.headers.set("Vary", "Accept-Encoding");
    }
  }
  add_common_headers(call, response.headers);
}

}  // namespace

http::Response make_response(int status, std::string body, std::string content_type) {
  http::Response response;
  response.status = status;
  response.headers.set("Content-Type", std::move(content_type));
  response.body = std::move(body);
  return response;
}

http::Response make_failure(const Call& call, const Error& error) {
  StatusDetails details;
  const Code code = error.code;
  const bool named = code == Code::kNotFound || code == Code::kAlreadyExists || code == Code::kConflict ||
                     code == Code::kInvalid || code == Code::kForbidden || code == Code::kServerTimeout;
  if (named && call.resource != nullptr) details = call.details;
  if (code == Code::kInvalid && call.resource != nullptr) details.kind = call.resource->kind;
  http::Response response = make_response(http_status_of(code), status_failure(error, details));
  response.headers.set("X-Content-Type-Options", "nosniff");
  if (error.retry_after_seconds > 0) response.headers.set("Retry-After", std::to_string(error.retry_after_seconds));
  return response;
}

bool truthy(const http::Query& query, std::string_view name) {
  if (!query.has(name)) return false;
  const auto value = query.get(name);
  return value != "false" && value != "0";
}

// Each once, and no more than clients take: as Kubernetes, whole while they have 4096 bytes together, else 256 each.
void add_warnings(const std::vector<std::string>& warnings, http::Headers& headers) {
  constexpr std::size_t kMost = 4096;
  constexpr std::size_t kMostOfOne = 256;
  std::set<std::string_view> seen;
  std::size_t total = 0;
  for (const std::string& warning : warnings) total += seen.insert(warning).second ? warning.size() : 0;
  const std::size_t length = total > kMost ? kMostOfOne : kMost;
  std::size_t sent = 0;
  for (const std::string& warning : warnings) {
    if (seen.erase(warning) == 0) continue;
    std::size_t end = std::min(warning.size(), length);
    while (end > 0 && end < warning.size() && (static_cast<unsigned char>(warning[end]) & 0xC0) == 0x80) --end;
    const std::string cut = warning.substr(0, end);  // between two characters
    sent += cut.size();
    if (sent > kMost) return;
    headers.add("Warning", "299 - " + go_quote(cut));
  }
}

void add_common_headers(const Call& call, http::Headers& headers) {
  headers.set("Audit-Id", call.audit_id);
  if (!headers.has("Cache-Control")) headers.set("Cache-Control", "no-cache, private");
  add_warnings(call.warnings, headers);
}

Impl::Impl(Registry& registry_in, Authenticator& authenticator_in, Authorizer& authorizer_in, Admission* admission_in,
           ApiServerOptions options_in)
    : registry(registry_in),
      authenticator(authenticator_in),
      authorizer(authorizer_in),
      admission(admission_in),
      options(std::move(options_in)),
      clock(registry_in.clock()),
      discovery(options.server_address),
      resource_metrics(registry_in.objects(), clock,
                       [this](std::string node) { return node_summary(std::move(node)); }),
      requests(metrics::registry().counters("apiserver_request_total", "Requests by verb, resource and answer.",
                                            {"verb", "group", "resource", "subresource", "code"})),
      durations(metrics::registry().histograms("apiserver_request_duration_seconds",
                                               "Time from a request's head to its answer, without watches and streams.",
                                               {"verb", "resource"})),
      long_running(metrics::registry().gauges("apiserver_longrunning_requests", "Watches, logs, exec and the like.",
                                              {"verb", "resource"})) {}

Result<std::unique_ptr<ApiServer>> ApiServer::create(Registry& registry, Authenticator& authenticator,
                                                     Authorizer& authorizer, Admission* admission,
                                                     ApiServerOptions options) {
  auto impl = std::make_unique<Impl>(registry, authenticator, authorizer, admission, std::move(options));
  http::TlsClientConfig tls = std::move(impl->options.node_tls);
  std::unique_ptr<ApiServer> server(new ApiServer(std::move(impl)));
  BRUME_CHECK(server->set_node_tls(std::move(tls)));
  http::ClientOptions to_pods{.tls = {.insecure = true}, .response_timeout = kProxiedAnswer};
  BRUME_TRY(server->impl_->proxy_client, http::Client::create(std::move(to_pods)));
  registry.set_computed(&server->impl_->resource_metrics);
  return server;
}

ApiServer::ApiServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ApiServer::~ApiServer() { impl_->registry.set_computed(nullptr); }

Status ApiServer::set_node_tls(http::TlsClientConfig tls) {
  http::ClientOptions options;
  options.tls = std::move(tls);
  BRUME_TRY(std::shared_ptr<http::Client> client, http::Client::create(std::move(options)));
  impl_->node_client.store(std::move(client));
  return {};
}

void ApiServer::set_ready(bool ready) { impl_->ready.store(ready); }

http::Handler ApiServer::handler() {
  return [impl = impl_.get()](http::Exchange& exchange) { return impl->handle(exchange); };
}

Task<void> ApiServer::maintain() {
  for (;;) {
    co_await impl_->clock.sleep(kDocumentIdle);
    impl_->drop_documents(impl_->clock.steady() - kDocumentIdle);
  }
}

Task<void> Impl::handle(http::Exchange& exchange) {
  const auto start = clock.steady();
  Call call{.exchange = exchange,
            .request = exchange.request(),
            .info = request_info(exchange.request()),
            .user = {},
            .details = {},
            .warnings = {},
            .audit_id = new_uid()};
  auto answer = co_await serve(call);
  http::Response response;
  if (!answer) {
    response = make_failure(call, answer.error());
    const auto format = negotiate(call.request.headers.get("Accept"));
    call.yaml = format && format->yaml;
  } else {
    Answer& served = *answer;
    if (!served) co_return;  // it went out already, as a stream
    response = std::move(*served);
  }
  // The emitter is slow, and a list may be long: not on a loop that serves others.
  if (call.yaml) co_await run_blocking([&] { write_as_yaml(response); });
  finish_response(call, response);
  record(call, response.status, start);
  (void)co_await exchange.respond(std::move(response));  // a peer that went away needs no answer
}

void Impl::record(const Call& call, int code, std::chrono::steady_clock::time_point start) {
  const std::string_view resource = call.resource ? call.resource->plural : std::string_view();
  const std::string_view group = call.resource ? call.resource->group : std::string_view();
  // Only what the tables name becomes a label.
  const std::string_view sub =
      call.resource && call.resource->subresource(call.info.subresource) ? std::string_view(call.info.subresource) : "";
  const std::string_view verb = call.resource ? std::string_view(call.info.verb) : std::string_view("path");
  requests.with({verb, group, resource, sub, std::to_string(code)}).add();
  durations.with({verb, resource}).observe(std::chrono::duration<double>(clock.steady() - start).count());
}

Status Impl::authorize(const Call& call) const {
  const RequestInfo& info = call.info;
  Attributes attributes{.user = call.user,
                        .verb = info.verb,
                        .is_resource = info.is_resource,
                        .group = info.group,
                        .version = info.version,
                        .resource = info.resource,
                        .subresource = info.subresource,
                        .ns = info.ns,
                        .name = info.name,
                        .path = info.path,
                        .field_selector = {}};
  if (info.verb == "list" || info.verb == "watch" || info.verb == "deletecollection") {
    attributes.field_selector = std::string(call.request.query.get("fieldSelector"));
    attributes.label_selector = std::string(call.request.query.get("labelSelector"));
  }
  const auto refuse = [&](const Decision& decision, std::string text) -> Status {
    std::string what = info.is_resource ? info.resource + (info.group.empty() ? "" : "." + info.group) : std::string();
    if (info.is_resource && !info.name.empty()) what += " " + go_quote(info.name);
    std::string message = (what.empty() ? "forbidden: " : what + " is forbidden: ") + escape_html(text);
    if (!decision.reason.empty()) message += ": " + decision.reason;
    return fail(Code::kForbidden, std::move(message));
  };
  if (const Decision decision = authorizer.authorize(attributes); !decision.allowed) {
    return refuse(decision, forbidden_text(call));
  }
  // A WebSocket upgrade is a GET: running commands in pods needs the right to create all the same (KEP-4006).
  const bool interactive =
      info.subresource == "exec" || info.subresource == "attach" || info.subresource == "portforward";
  if (info.resource == "pods" && info.group.empty() && interactive && info.verb == "get") {
    attributes.verb = "create";
    if (const Decision decision = authorizer.authorize(attributes); !decision.allowed) {
      Call as_create{call};
      as_create.info.verb = "create";
      return refuse(decision, forbidden_text(as_create));
    }
  }
  return {};
}

Task<Result<Answer>> Impl::serve(Call& call) {
  auto user = co_await authenticator.authenticate(call.request);
  if (!user) {
    Error error = std::move(user).error();
    if (error.code == Code::kUnauthorized) error.message = "Unauthorized";
    co_return fail(std::move(error));
  }
  call.user = std::move(*user);
  if (call.info.is_resource) {
    call.resource = api::find_resource(call.info.group, call.info.version, call.info.resource);
    call.details = {call.info.name, call.info.group, call.info.resource, {}};
  }
  BRUME_CO_CHECK(authorize(call));
  if (call.info.is_resource) co_return co_await serve_resource(call);
  co_return co_await serve_path(call);
}

}  // namespace brume::apiserver
