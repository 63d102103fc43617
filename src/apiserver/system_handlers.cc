// Paths that are no resources: discovery, OpenAPI, health, version, metrics, OpenID.
#include "brume/api/openapi.h"
#include "brume/base/log.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "server_impl.h"

namespace brume::apiserver {

using Impl = ApiServer::Impl;

namespace {

/// The media type of a protobuf OpenAPI v2 document. Older clients ask with an '@' in it, which no MIME parser takes
/// back, so the answer always has the dot.
constexpr std::string_view kOpenApiV2Protobuf = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
constexpr std::string_view kOpenApiV2ProtobufOld = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

std::string version_json(const ApiServerOptions& options) {
  const auto parts = split(std::string_view(options.git_version).substr(1), '.');
  const std::string minor(parts.size() > 1 ? parts[1] : "0");
#if defined(__aarch64__)
  constexpr std::string_view kPlatform = "linux/arm64";
#else
  constexpr std::string_view kPlatform = "linux/amd64";
#endif
  const Json version{{"major", parts[0]},
                     {"minor", minor},
                     {"emulationMajor", parts[0]},
                     {"emulationMinor", minor},
                     {"minCompatibilityMajor", parts[0]},
                     {"minCompatibilityMinor", minor},
                     {"gitVersion", options.git_version},
                     {"gitCommit", ""},
                     {"gitTreeState", "clean"},
                     {"buildDate", options.build_date},
                     {"goVersion", ""},
                     {"compiler", "clang"},
                     {"platform", kPlatform}};
  return dump_json(version);
}

http::Response with_etag(const Call& call, const std::string& body, const std::string& etag, std::string content_type) {
  http::Response response;
  if (call.request.headers.get("If-None-Match") == etag) {
    response.status = 304;
  } else {
    response = make_response(200, body, std::move(content_type));
  }
  response.headers.set("ETag", etag);
  response.headers.set("Vary", "Accept");
  return response;
}

std::vector<std::string_view> excluded(const http::Query& query) { return query.get_all("exclude"); }

}  // namespace

Task<Result<Answer>> Impl::serve_path(Call& call) {
  const std::string& path = call.info.path;
  if (call.request.method != "GET" && call.request.method != "HEAD") {
    co_return fail(Code::kMethodNotAllowed, "the server does not allow this method on the requested resource");
  }
  for (const std::string_view endpoint : {"livez", "readyz", "healthz"}) {
    const std::string prefix = "/" + std::string(endpoint);
    if (path == prefix || path.starts_with(prefix + "/")) co_return health(call, endpoint);
  }
  if (const Discovery::Document* found = discovery.find(path, call.request.headers.get("Accept"))) {
    if (!found->etag.empty()) co_return with_etag(call, found->body, found->etag, found->content_type);
    co_return make_response(200, found->body, found->content_type);
  }
  if (path == "/version" || path == "/version/") co_return make_response(200, version_json(options));
  if (path.starts_with("/openapi/")) {
    if (auto response = openapi(call)) co_return std::move(*response);
  }
  if (path == "/metrics") {
    metrics::registry()
        .gauge("brume_store_revision", "Newest revision that the watch caches have seen.")
        .set(static_cast<double>(registry.revision()));
    co_return make_response(200, metrics::registry().text(), "text/plain; version=0.0.4; charset=utf-8");
  }
  if (path == "/openid/v1/jwks" && options.jwks) {
    co_return make_response(200, options.jwks(), "application/jwk-set+json");
  }
  if (path == "/.well-known/openid-configuration" && options.openid_configuration) {
    co_return make_response(200, options.openid_configuration());
  }
  if (path == "/") {
    Json paths = Json::array({"/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/healthz", "/livez",
                              "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"});
    co_return make_response(200, dump_json(Json{{"paths", std::move(paths)}}));
  }
  co_return fail(Code::kNotFound, "the server could not find the requested resource");
}

// As Kubernetes prints it: "ok", or with ?verbose (and on failure) one line a check.
http::Response Impl::health(const Call& call, std::string_view endpoint) const {
  struct Line {
    std::string name;
    Status status;
  };
  std::vector<Line> lines{{"ping", {}}};
  const bool live = endpoint == "livez";
  // A store that cannot write still serves reads, and a restart would not mend its disk: not ready, but live.
  if (!live) {
    const store::Health store = registry.store().health();
    lines.push_back({"store", store.writable ? Status{} : Status(fail(Code::kServiceUnavailable, store.reason))});
  }
  for (const HealthCheck& check : options.checks) {
    if (!live || check.live) lines.push_back({check.name, check.run()});
  }
  if (!live) {
    lines.push_back({"started", ready.load() ? Status{} : Status(fail(Code::kServiceUnavailable, "not started yet"))});
  }
  const std::string prefix = "/" + std::string(endpoint) + "/";
  if (call.info.path.starts_with(prefix) && call.info.path.size() > prefix.size()) {
    const std::string wanted = call.info.path.substr(prefix.size());
    std::erase_if(lines, [&](const Line& line) { return line.name != wanted; });
    if (lines.empty()) return make_response(404, "404 page not found\n", "text/plain; charset=utf-8");
  }
  const auto skip = excluded(call.request.query);
  bool healthy = true;
  std::string text;
  for (const Line& line : lines) {
    if (std::find(skip.begin(), skip.end(), line.name) != skip.end()) {
      text += "[+]" + line.name + " excluded: ok\n";
    } else if (line.status) {
      text += "[+]" + line.name + " ok\n";
    } else {
      healthy = false;
      text += "[-]" + line.name + " failed: reason withheld\n";
      log::warn("health check failed", {{"check", line.name}, {"reason", line.status.error().message}});
    }
  }
  constexpr const char* kText = "text/plain; charset=utf-8";
  http::Response response;
  if (!healthy) {
    response = make_response(500, text + std::string(endpoint) + " check failed\n", kText);
  } else if (call.request.query.has("verbose")) {
    response = make_response(200, text + std::string(endpoint) + " check passed\n", kText);
  } else {
    response = make_response(200, "ok", kText);
  }
  response.headers.set("X-Content-Type-Options", "nosniff");
  return response;
}

std::shared_ptr<const std::string> Impl::document(const std::string& key, const std::function<std::string()>& make) {
  const std::lock_guard lock(documents_mutex);
  if (const auto it = documents.find(key); it != documents.end()) {
    it->second.used = clock.steady();
    return it->second.body;
  }
  auto body = std::make_shared<const std::string>(make());
  if (!body->empty()) documents[key] = {body, clock.steady()};  // keys come from clients: only real documents are kept
  return body;
}

void Impl::drop_documents(std::chrono::steady_clock::time_point before) {
  const std::lock_guard lock(documents_mutex);
  std::erase_if(documents, [&](const auto& entry) { return entry.second.used < before; });
}

std::optional<http::Response> Impl::openapi(const Call& call) {
  const std::string& path = call.info.path;
  const auto answer = [&](const std::shared_ptr<const std::string>& body, std::string content_type) {
    if (body->empty()) return make_response(404, "404 page not found\n", "text/plain; charset=utf-8");
    return with_etag(call, *body, "\"" + api::openapi_hash(*body) + "\"", std::move(content_type));
  };
  if (path == "/openapi/v2") {
    const std::string_view accept = call.request.headers.get("Accept");
    const bool protobuf = accept.find(kOpenApiV2Protobuf) != std::string_view::npos ||
                          accept.find(kOpenApiV2ProtobufOld) != std::string_view::npos;
    if (protobuf) {
      return answer(document("v2.pb", [] { return api::openapi_v2_protobuf(); }), std::string(kOpenApiV2Protobuf));
    }
    return answer(document("v2", [] { return api::openapi_v2_json(); }), "application/json");
  }
  if (path == "/openapi/v3" || path == "/openapi/v3/") {
    return answer(document("v3", [] { return api::openapi_v3_paths(); }), "application/json");
  }
  constexpr std::string_view kPrefix = "/openapi/v3/";
  if (!path.starts_with(kPrefix)) return std::nullopt;
  const auto parts = split(std::string_view(path).substr(kPrefix.size()), '/');
  std::string group, version;
  if (parts.size() == 2 && parts[0] == "api") {
    version = parts[1];
  } else if (parts.size() == 3 && parts[0] == "apis") {
    group = parts[1];
    version = parts[2];
  } else {
    return std::nullopt;
  }
  http::Response response = answer(document(path, [&] { return api::openapi_v3(group, version); }), "application/json");
  // With its hash in the URL a document never changes.
  if (call.request.query.has("hash")) response.headers.set("Cache-Control", "public, immutable");
  return response;
}

}  // namespace brume::apiserver
