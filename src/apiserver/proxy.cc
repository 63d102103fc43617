// pods/proxy, services/proxy, nodes/proxy: requests passed on to servers within the cluster, whatever their method.
#include <algorithm>
#include <array>

#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "errors.h"
#include "proxy_links.h"
#include "proxy_target.h"
#include "server_impl.h"

namespace brume::apiserver {

using Impl = ApiServer::Impl;

namespace {

constexpr std::size_t kCopyBuffer = 32 * 1024;
/// HTML pages above this pass with their links as they are.
constexpr std::size_t kMaxRewritten = 4U << 20;

/// Fields about one connection, not the message (RFC 9110 section 7.6.1), and those whose content ends here.
constexpr auto kNotPassedOn = std::to_array<std::string_view>(
    {"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer",
     "Transfer-Encoding", "Upgrade", "Content-Length"});
/// Of a request also: what the client proved itself by, and what would hide a page's links from this server.
constexpr auto kRequestOnly = std::to_array<std::string_view>({"Authorization", "Expect", "Accept-Encoding"});
constexpr std::string_view kImpersonate = "impersonate-";

template <std::size_t N>
bool is_one_of(const std::array<std::string_view, N>& known, std::string_view name) {
  return std::any_of(known.begin(), known.end(), [&](std::string_view one) { return iequals(one, name); });
}

http::Headers end_to_end(const http::Headers& all) {
  http::Headers out;
  for (const auto& [name, value] : all) {
    if (!is_one_of(kNotPassedOn, name) && !all.has_token("Connection", name)) out.add(name, value);
  }
  return out;
}

// The decoded path behind the prefix, percent-encoded where RFC 3986 section 3.3 asks for it.
std::string encode_path(std::string_view path) {
  constexpr std::string_view kPlain = "/!$&'()*+,;=:@";
  std::string out;
  for (const char c : path) out += kPlain.find(c) != std::string_view::npos ? std::string(1, c) : url_encode({&c, 1});
  return out;
}

// What follows ".../proxy" in the request's path: "" or a path.
std::string_view path_behind(const Call& call) {
  const std::string_view path = call.request.path;
  const std::size_t slash = path.ends_with('/') ? 1 : 0;
  const std::size_t rest = call.info.rest.empty() ? 0 : call.info.rest.size() + 1;
  return path.substr(path.size() - rest - slash);
}

std::string_view query_of(const http::Request& request) {
  const auto mark = request.target.find('?');
  return mark == std::string::npos ? std::string_view() : std::string_view(request.target).substr(mark);
}

http::Headers request_headers(const http::Request& request) {
  http::Headers out;
  for (const auto& [name, value] : end_to_end(request.headers)) {
    if (!is_one_of(kRequestOnly, name) && !to_lower(name).starts_with(kImpersonate)) out.add(name, value);
  }
  const std::string_view before = request.headers.get("X-Forwarded-For");
  out.set("X-Forwarded-For", std::string(before) + (before.empty() ? "" : ", ") + request.peer_address);
  out.set("X-Forwarded-Uri", encode_path(request.path));
  return out;
}

bool is_page(const http::ResponseStream& answer) {
  const auto type = answer.headers().get("Content-Type");
  return iequals(trim(type.substr(0, type.find(';'))), "text/html") && !answer.headers().has("Content-Encoding");
}

// Up to a little more than `limit` bytes.
Task<Result<std::string>> read_up_to(http::ResponseStream& source, std::size_t limit) {
  std::string out;
  std::string buffer(kCopyBuffer, '\0');
  while (out.size() <= limit) {
    BRUME_CO_TRY(const std::size_t count, co_await source.read(buffer));
    if (count == 0) break;
    out.append(buffer, 0, count);
  }
  co_return out;
}

Error unreachable(const Error& error) {
  return {Code::kServiceUnavailable, "error trying to reach service: " + error.message};
}

}  // namespace

Result<ProxyTarget> Impl::proxy_target(const Call& call) const {
  const RequestInfo& info = call.info;
  const auto asked = ProxyName::parse(info.name);
  if (!asked) {
    return fail(Code::kBadRequest, "invalid " + to_lower(call.resource->kind) + " request " + go_quote(info.name));
  }
  if (info.resource == "services") return service_target(*asked, info.ns, registry.objects());
  BRUME_TRY(const api::ObjectPtr object, registry.get(*call.resource, info.ns, asked->name));
  const Json parsed = object->parse();
  return info.resource == "pods" ? pod_target(*asked, parsed) : node_target(*asked, parsed);
}

Task<Result<Answer>> Impl::serve_proxy(Call& call) {
  BRUME_CO_TRY(const ProxyTarget target, proxy_target(call));
  BRUME_CO_CHECK(co_await admit_connect(call));
  const http::Request& asked = call.request;
  const std::string_view behind = path_behind(call);
  http::ClientRequest request{.method = asked.method,
                              .url = target.origin + encode_path(behind.empty() ? "/" : behind),
                              .headers = request_headers(asked),
                              .body = {}};
  request.url += query_of(asked);
  const auto client = target.is_agent ? node_client.load() : proxy_client;
  if (asked.headers.has_token("Connection", "upgrade") && asked.headers.has("Upgrade")) {
    request.headers.set("Connection", "Upgrade");
    request.headers.set("Upgrade", std::string(asked.headers.get("Upgrade")));
    co_return co_await pass_upgrade(call, client, std::move(request));
  }
  const bool reads = asked.method == "GET" || asked.method == "HEAD";
  if (behind.empty() && reads) {  // relative links of the page would lead beside the proxy
    http::Response answer = make_response(301, "");
    answer.headers = {{"Location", encode_path(asked.path) + "/" + std::string(query_of(asked))}};
    co_return answer;
  }
  BRUME_CO_TRY(request.body, co_await call.exchange.read_body(options.max_body));
  auto answer = co_await client->open(std::move(request));
  if (!answer) co_return fail(unreachable(answer.error()));
  const ProxyLinks links{.prefix = std::string_view(asked.path).substr(0, asked.path.size() - behind.size()),
                         .backend_host = std::string_view(target.origin).substr(target.origin.find("//") + 2),
                         .request_host = asked.headers.get("Host")};
  co_return co_await pass_answer(call, **answer, links);
}

Task<Result<Answer>> Impl::pass_answer(Call& call, http::ResponseStream& source, ProxyLinks links) {
  http::Headers headers = end_to_end(source.headers());
  if (headers.has("Location")) headers.set("Location", links.rewrite(headers.get("Location")));
  const int status = source.status();
  if (call.request.method == "HEAD" || status == 204 || status == 304) {
    http::Response answer{.status = status, .headers = std::move(headers), .body = {}};
    if (source.headers().has("Content-Length")) {
      answer.headers.set("Content-Length", std::string(source.headers().get("Content-Length")));
    }
    co_return answer;
  }
  std::string start;
  if (is_page(source)) {
    auto page = co_await read_up_to(source, kMaxRewritten);
    if (!page) co_return fail(unreachable(page.error()));
    start = page->size() > kMaxRewritten ? std::move(*page) : links.rewrite_html(*page);
  }
  add_common_headers(call, headers);
  BRUME_CO_TRY(const std::unique_ptr<http::BodyWriter> writer,
               co_await call.exchange.respond_stream(status, std::move(headers)));
  record(call, status, clock.steady());
  if (co_await writer->write(start)) co_await copy_body(source, *writer);
  co_return Answer{};
}

}  // namespace brume::apiserver
