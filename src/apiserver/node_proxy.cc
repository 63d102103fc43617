// Logs, exec, attach and port-forward: passed on to the HTTPS endpoint of the pod's node. And what its pods use.
#include <array>

#include "authn.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "errors.h"
#include "server_impl.h"

namespace brume::apiserver {

using Impl = ApiServer::Impl;

namespace {

constexpr std::size_t kCopyBuffer = 32 * 1024;
constexpr std::size_t kMaxNodeError = 64 * 1024;

/// Headers of an upgrade that go through to the node, and of its 101 that come back. All others stay here: credentials
/// above all.
constexpr std::array<std::string_view, 7> kUpgradeRequest = {"Connection",
                                                             "Upgrade",
                                                             "Sec-WebSocket-Key",
                                                             "Sec-WebSocket-Version",
                                                             "Sec-WebSocket-Protocol",
                                                             "X-Stream-Protocol-Version",
                                                             "Origin"};
constexpr std::array<std::string_view, 6> kUpgradeAnswer = {"Connection",
                                                            "Upgrade",
                                                            "Sec-WebSocket-Accept",
                                                            "Sec-WebSocket-Extensions",
                                                            "Sec-WebSocket-Protocol",
                                                            "X-Stream-Protocol-Version"};

std::string join_names(const Json& pod) {
  std::string names;
  for (const char* list : {"initContainers", "containers", "ephemeralContainers"}) {
    for (const Json& container : at(pod, "spec", list)) {
      names += (names.empty() ? "" : " ") + std::string(str(container, "name"));
    }
  }
  return "[" + names + "]";
}

// The container that the request means; Kubernetes' words when it does not say.
Result<std::string> container_of(const Json& pod, std::string_view asked) {
  const std::string pod_name(str(at(pod, "metadata"), "name"));
  const Json& containers = at(pod, "spec", "containers");
  if (asked.empty()) {
    if (containers.size() == 1) return std::string(str(containers[0], "name"));
    std::string why = "a container name must be specified for pod " + pod_name;
    if (containers.size() > 1) why += ", choose one of: " + join_names(pod);
    return fail(Code::kBadRequest, std::move(why));
  }
  for (const char* list : {"containers", "initContainers", "ephemeralContainers"}) {
    for (const Json& container : at(pod, "spec", list)) {
      if (str(container, "name") == asked) return std::string(asked);
    }
  }
  return fail(Code::kBadRequest, "container " + std::string(asked) + " is not valid for pod " + pod_name);
}

http::Query copy_parameters(const http::Query& query, std::initializer_list<std::string_view> names) {
  http::Query out;
  for (const auto& [name, value] : query) {
    if (std::find(names.begin(), names.end(), name) != names.end()) out.add(name, value);
  }
  return out;
}

// exec and attach: the node takes the streams as input, output, error.
http::Query stream_parameters(const http::Query& query) {
  http::Query out;
  for (const auto& [from, to] : {std::pair("stdin", "input"), std::pair("stdout", "output"),
                                 std::pair("stderr", "error"), std::pair("tty", "tty")}) {
    if (truthy(query, from)) out.add(to, "1");
  }
  for (const auto command : query.get_all("command")) out.add("command", std::string(command));
  return out;
}

std::string with_query(std::string url, const http::Query& query) {
  const std::string text = query.encode();
  return text.empty() ? url : url + "?" + text;
}

// What a node's refusal means for the client.
Error node_error(int status, std::string text) {
  text = trim(text);
  if (status == 400) return {Code::kBadRequest, std::move(text)};
  if (status == 404) return {Code::kNotFound, "the server could not find the requested resource: " + text};
  if (status == 403) return {Code::kForbidden, std::move(text)};
  return {Code::kInternal, "Internal error occurred: " + text};
}

Task<std::string> read_some(http::ResponseStream& stream, std::size_t limit) {
  std::string out;
  std::array<char, 4096> buffer{};
  while (out.size() < limit) {
    const auto count = co_await stream.read(buffer);
    if (!count || *count == 0) break;
    out.append(buffer.data(), *count);
  }
  co_return out;
}

}  // namespace

bool Impl::connects(const Call& call) {
  if (!call.resource->group.empty() || call.resource->plural != "pods") return false;
  const std::string& sub = call.info.subresource;
  if (sub == "log") return call.info.verb == "get";
  const bool stream = sub == "exec" || sub == "attach" || sub == "portforward";
  return stream && (call.info.verb == "get" || call.info.verb == "create");
}

// Only an address that the Node object holds is ever dialled, and by number, so that no name is resolved.
Result<std::string> Impl::node_url(std::string name) const {
  const api::ObjectPtr object = registry.objects().find(api::res("nodes"), "", name);
  if (!object) return fail(not_found(api::res("nodes"), name));
  const Json node = object->parse();
  const auto port = num(at(node, "status", "daemonEndpoints", "kubeletEndpoint"), "Port");
  std::string address;
  for (const char* type : {"InternalIP", "ExternalIP"}) {
    for (const Json& entry : at(node, "status", "addresses")) {
      if (address.empty() && str(entry, "type") == type) address = str(entry, "address");
    }
  }
  if (address.empty() || port <= 0 || port > 65535) {
    return fail(Code::kServiceUnavailable, "node " + name + " has no address to reach it at");
  }
  if (address.find(':') != std::string::npos) address = "[" + address + "]";
  return "https://" + address + ":" + std::to_string(port);
}

Task<Status> Impl::admit_connect(Call& call) const {
  if (admission == nullptr) co_return Status();
  Json connect_options = Json::object();
  const AdmissionRequest gate{.operation = AdmissionRequest::Operation::kConnect,
                              .resource = call.resource,
                              .subresource = call.info.subresource,
                              .ns = call.info.ns,
                              .name = call.info.name,
                              .object = &connect_options,
                              .user = &call.user,
                              .warnings = &call.warnings};
  co_return co_await admission->validate(gate);
}

Task<Result<Answer>> Impl::serve_node(Call& call) {
  const RequestInfo& info = call.info;
  BRUME_CO_TRY(const api::ObjectPtr object, registry.get(*call.resource, info.ns, info.name));
  Json pod = object->parse();
  if (info.subresource == "log") co_return co_await stream_logs(call, pod);
  BRUME_CO_CHECK(co_await admit_connect(call));
  const http::Query& query = call.request.query;
  std::string path = "/" + info.ns + "/" + info.name;
  http::Query parameters;
  if (info.subresource == "portforward") {
    path = "/portForward" + path;
    parameters = copy_parameters(query, {"ports"});
    http::Query ports;  // the node calls the parameter port
    for (const auto value : parameters.get_all("ports")) ports.add("port", std::string(value));
    parameters = std::move(ports);
  } else {
    BRUME_CO_TRY(const std::string container, container_of(pod, query.get("container")));
    path = "/" + info.subresource + path + "/" + url_encode(container);
    parameters = stream_parameters(query);
  }
  if (str(at(pod, "spec"), "nodeName").empty()) {
    co_return fail(Code::kBadRequest, "pod " + info.name + " does not have a host assigned");
  }
  BRUME_CO_TRY(const std::string base, node_url(std::string(str(at(pod, "spec"), "nodeName"))));
  co_return co_await upgrade_at_node(call, with_query(base + path, parameters));
}

Task<Result<Answer>> Impl::upgrade_at_node(Call& call, std::string url) {
  const http::Headers& asked = call.request.headers;
  if (!asked.has_token("Connection", "upgrade") || asked.get("Upgrade").empty()) {
    co_return fail(Code::kBadRequest, "Upgrade request required");
  }
  const std::string_view protocol = asked.get("Upgrade");
  if (!iequals(protocol, "websocket") && !iequals(protocol, "SPDY/3.1")) {
    co_return fail(Code::kBadRequest, "unable to upgrade: unsupported protocol");
  }
  http::ClientRequest request;
  request.method = call.request.method;
  request.url = std::move(url);
  for (const auto& [name, value] : asked) {
    const auto known = [&name](std::string_view allowed) { return iequals(allowed, name); };
    if (std::any_of(kUpgradeRequest.begin(), kUpgradeRequest.end(), known)) request.headers.add(name, value);
  }
  const auto node = node_client.load();
  co_return co_await pass_upgrade(call, node, std::move(request));
}

Task<Result<Answer>> Impl::pass_upgrade(Call& call, std::shared_ptr<http::Client> client, http::ClientRequest request) {
  auto upgraded = co_await client->upgrade(std::move(request));
  if (!upgraded) co_return fail(Code::kInternal, "error dialing backend: " + upgraded.error().message);
  // Bytes flow between the two only after the other side has agreed (CVE-2018-1002105).
  if (upgraded->head.status != 101 || !upgraded->stream) {
    co_return fail(node_error(upgraded->head.status, upgraded->head.body));
  }
  http::Headers back;
  for (const auto& [name, value] : upgraded->head.headers) {
    const auto known = [&name](std::string_view allowed) { return iequals(allowed, name); };
    if (std::any_of(kUpgradeAnswer.begin(), kUpgradeAnswer.end(), known)) back.add(name, value);
  }
  auto stream = co_await call.exchange.upgrade(std::move(back));
  if (!stream) co_return Answer{};
  record(call, 101, clock.steady());
  metrics::Gauge& running = long_running.with({call.info.subresource, call.info.resource});
  running.add(1);
  const std::unique_ptr<http::Stream> from = std::move(*stream);
  co_await http::splice(*from, *upgraded->stream);
  running.add(-1);
  co_return Answer{};
}

Task<Result<Answer>> Impl::stream_logs(Call& call, const Json& pod) {
  const http::Query& query = call.request.query;
  BRUME_CO_TRY(const std::string container, container_of(pod, query.get("container")));
  if (str(at(pod, "spec"), "nodeName").empty()) co_return make_response(200, "", "text/plain");  // nothing has run yet
  BRUME_CO_TRY(const std::string base, node_url(std::string(str(at(pod, "spec"), "nodeName"))));
  const http::Query parameters = copy_parameters(
      query, {"follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"});
  http::ClientRequest request;
  request.url = with_query(base + "/containerLogs/" + call.info.ns + "/" + call.info.name + "/" + url_encode(container),
                           parameters);
  const auto node = node_client.load();
  auto source = co_await node->open(std::move(request));
  if (!source) {
    co_return fail(Code::kInternal, "Internal error occurred: error dialing backend: " + source.error().message);
  }
  if ((*source)->status() != 200) {
    co_return fail(node_error((*source)->status(), co_await read_some(**source, kMaxNodeError)));
  }
  BRUME_CO_TRY(const std::unique_ptr<http::BodyWriter> writer, co_await start_logs(call));
  record(call, call.exchange.wants_websocket() ? 101 : 200, clock.steady());
  co_await copy_body(**source, *writer);
  co_return Answer{};
}

Task<Result<std::unique_ptr<http::BodyWriter>>> Impl::start_logs(Call& call) {
  if (!call.exchange.wants_websocket()) {
    http::Headers headers{{"Content-Type", "text/plain"}};
    add_common_headers(call, headers);
    co_return co_await call.exchange.respond_stream(200, std::move(headers));
  }
  const auto offered = without_token(call.exchange.websocket_protocols());
  const auto known = std::ranges::find_if(
      offered, [](const auto& one) { return one == "binary.k8s.io" || one == "base64.binary.k8s.io"; });
  if (known == offered.end() && !offered.empty()) {
    co_return fail(Code::kBadRequest,
                   "the WebSocket sub-protocols of logs are binary.k8s.io and base64.binary.k8s.io, or none");
  }
  const std::string protocol = offered.empty() ? "" : *known;
  const auto how = protocol.starts_with("base64") ? http::SocketBody::kBase64 : http::SocketBody::kBinary;
  BRUME_CO_TRY(std::unique_ptr<http::BodyWriter> writer, co_await call.exchange.respond_websocket(protocol, how));
  BRUME_CO_CHECK(co_await writer->write(""));  // tells that the stream is open, as Kubernetes' server does
  co_return writer;
}

Task<Result<Json>> Impl::node_summary(std::string node) {
  BRUME_CO_TRY(const std::string base, node_url(std::move(node)));
  http::ClientRequest request;
  request.url = base + "/stats/summary?only_cpu_and_memory=true";
  const auto client = node_client.load();
  BRUME_CO_TRY(const http::Response answer, co_await client->fetch(std::move(request)));
  if (answer.status != 200) co_return fail(node_error(answer.status, answer.body));
  co_return parse_json(answer.body);
}

Task<void> Impl::copy_body(http::ResponseStream& source, http::BodyWriter& writer) {
  std::string buffer(kCopyBuffer, '\0');
  for (;;) {
    const auto count = co_await source.read(buffer);
    if (!count) co_return;  // cut: the client must see that the answer is not whole
    if (*count == 0) break;
    if (!co_await writer.write(std::string_view(buffer).substr(0, *count))) co_return;
  }
  (void)co_await writer.finish();
}

}  // namespace brume::apiserver
