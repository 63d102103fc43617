#include "brume/client/http_client.h"

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <mutex>

#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"

namespace brume::client {

namespace {

constexpr std::string_view kServiceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long a token that was read from a file is used: the kubelet replaces it long before it expires.
constexpr auto kTokenReread = std::chrono::minutes(1);
constexpr std::size_t kWatchBuffer = 32 * 1024;
/// A watch event longer than this is no API object's (the server takes bodies of 3 MiB).
constexpr std::size_t kMaxEvent = 16U << 20;

Result<std::string> read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail_errno(errno, path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The Error that a Status body stands for.
Error error_of(int status, std::string_view body) {
  Error error{Code::kInternal, "the server answered " + std::to_string(status)};
  const auto parsed = parse_json(body);
  const std::string_view reason = parsed ? str(*parsed, "reason") : "";
  if (parsed && !str(*parsed, "message").empty()) error.message = str(*parsed, "message");
  bool known = false;
  for (int i = 0; i <= static_cast<int>(Code::kServiceUnavailable); ++i) {
    const auto code = static_cast<Code>(i);
    if (reason.empty() ? http_status_of(code) == status : reason_of(code) == reason) {
      error.code = code;
      known = true;
      break;
    }
  }
  if (!known && status == 410) error.code = Code::kExpired;
  if (parsed) error.retry_after_seconds = static_cast<int>(num(at(*parsed, "details"), "retryAfterSeconds"));
  return error;
}

std::string path_of(const Resource& resource, const std::string& ns, const std::string& name = {},
                    const std::string& sub = {}) {
  std::string path = resource.group.empty() ? "/api/" : "/apis/" + std::string(resource.group) + "/";
  path += resource.version;
  if (!ns.empty()) path += "/namespaces/" + url_encode(ns);
  path += "/" + std::string(resource.plural);
  if (!name.empty()) path += "/" + url_encode(name);
  if (!sub.empty()) path += "/" + sub;
  return path;
}

void add_selectors(http::Query& query, const std::string& labels, const std::string& fields) {
  if (!labels.empty()) query.add("labelSelector", labels);
  if (!fields.empty()) query.add("fieldSelector", fields);
}

std::int64_t revision_of(const Json& object) {
  return parse_int(str(at(object, "metadata"), "resourceVersion")).value_or(0);
}

/// A watch: newline-separated JSON events off a chunked answer.
class HttpWatch final : public Watch {
 public:
  explicit HttpWatch(std::unique_ptr<http::ResponseStream> stream)
      : stream_(std::move(stream)), buffer_(kWatchBuffer, '\0') {}

  Task<Result<std::vector<WatchEvent>>> next() override {
    std::vector<WatchEvent> events;
    while (events.empty()) {
      for (auto end = pending_.find('\n'); end != std::string::npos; end = pending_.find('\n')) {
        auto event = parse(std::string_view(pending_).substr(0, end));
        pending_.erase(0, end + 1);
        if (!event) co_return fail(event.error());
        events.push_back(std::move(*event));
      }
      if (!events.empty()) break;
      auto got = co_await stream_->read(buffer_);
      if (!got) co_return fail(got.error());
      if (*got == 0) co_return fail(Code::kServiceUnavailable, "the server ended the watch");
      pending_.append(buffer_.data(), *got);
      if (pending_.size() > kMaxEvent) co_return fail(Code::kCorrupt, "a watch event is too long");
    }
    co_return events;
  }

 private:
  static Result<WatchEvent> parse(std::string_view line) {
    BRUME_TRY(const auto json, parse_json(line));
    const auto type = str(json, "type");
    const Json& object = at(json, "object");
    if (type == "ERROR") return fail(error_of(static_cast<int>(num(object, "code", 500)), dump_json(object)));
    WatchEvent event;
    event.resource_version = revision_of(object);
    if (type == "BOOKMARK") {
      event.type = WatchEvent::Type::kBookmark;
      return event;
    }
    event.type = type == "ADDED"     ? WatchEvent::Type::kAdded
                 : type == "DELETED" ? WatchEvent::Type::kDeleted
                                     : WatchEvent::Type::kModified;
    BRUME_TRY(event.object, api::Object::from_json(object));
    return event;
  }

  std::unique_ptr<http::ResponseStream> stream_;
  std::string buffer_;
  std::string pending_;
};

class HttpClient final : public Client {
 public:
  HttpClient(HttpClientOptions options, std::unique_ptr<http::Client> http)
      : options_(std::move(options)), http_(std::move(http)) {}

  Task<Result<ObjectPtr>> get(const Resource& resource, std::string ns, std::string name) override {
    co_return object(co_await call("GET", path_of(resource, ns, name), {}, {}, {}));
  }

  Task<Result<Json>> get_subresource(const Resource& resource, std::string ns, std::string name,
                                     std::string subresource) override {
    return call("GET", path_of(resource, ns, name, subresource), {}, {}, {});
  }
  Task<Result<Json>> get_raw(std::string path) override { return call("GET", std::move(path), {}, {}, {}); }
  Task<Result<List>> list(const Resource& resource, ListOptions options) override;
  Task<Result<std::unique_ptr<Watch>>> watch(const Resource& resource, WatchOptions options) override;

  Task<Result<ObjectPtr>> create(const Resource& resource, std::string ns, Json body, WriteOptions options) override {
    name_kind(resource, body);
    co_return object(co_await call("POST", path_of(resource, ns), write_query(options), dump_json(body), {}));
  }
  Task<Result<Json>> create_subresource(const Resource& resource, std::string ns, std::string name,
                                        std::string subresource, Json body) override {
    return call("POST", path_of(resource, ns, name, subresource), {}, dump_json(body), {});
  }
  Task<Result<ObjectPtr>> update(const Resource& resource, std::string ns, std::string name, Json body,
                                 WriteOptions options) override {
    if (options.subresource != "scale") name_kind(resource, body);  // a Scale has names of its own
    co_return object(co_await call("PUT", path_of(resource, ns, name, options.subresource), write_query(options),
                                   dump_json(body), {}));
  }
  Task<Result<ObjectPtr>> patch(const Resource& resource, std::string ns, std::string name, PatchType type, Json patch,
                                WriteOptions options) override {
    const std::string_view media = type == PatchType::kJson        ? "application/json-patch+json"
                                   : type == PatchType::kMerge     ? "application/merge-patch+json"
                                   : type == PatchType::kStrategic ? "application/strategic-merge-patch+json"
                                                                   : "application/apply-patch+yaml";
    auto query = write_query(options);
    if (options.force) query.add("force", "true");
    co_return object(co_await call("PATCH", path_of(resource, ns, name, options.subresource), std::move(query),
                                   dump_json(patch), std::string(media)));
  }
  Task<Status> remove(const Resource& resource, std::string ns, std::string name, DeleteOptions options) override {
    auto answer = co_await call("DELETE", path_of(resource, ns, name), {}, dump_json(delete_body(options)), {});
    if (!answer) co_return fail(answer.error());
    co_return Status();
  }
  Task<Status> remove_collection(const Resource& resource, ListOptions which, DeleteOptions options) override {
    http::Query query;
    add_selectors(query, which.label_selector, which.field_selector);
    auto answer =
        co_await call("DELETE", path_of(resource, which.ns), std::move(query), dump_json(delete_body(options)), {});
    if (!answer) co_return fail(answer.error());
    co_return Status();
  }

 private:
  static void name_kind(const Resource& resource, Json& body) {
    body["apiVersion"] = resource.api_version();
    body["kind"] = resource.kind;
  }
  static http::Query write_query(const WriteOptions& options) {
    http::Query query;
    if (!options.field_manager.empty()) query.add("fieldManager", options.field_manager);
    if (options.dry_run) query.add("dryRun", "All");
    return query;
  }
  static Json delete_body(const DeleteOptions& options) {
    Json body{{"apiVersion", "v1"}, {"kind", "DeleteOptions"}};
    if (options.grace_period_seconds) body["gracePeriodSeconds"] = *options.grace_period_seconds;
    if (!options.propagation_policy.empty()) body["propagationPolicy"] = options.propagation_policy;
    if (!options.uid.empty()) body["preconditions"]["uid"] = options.uid;
    if (!options.resource_version.empty()) body["preconditions"]["resourceVersion"] = options.resource_version;
    return body;
  }
  static Result<ObjectPtr> object(Result<Json> answer) {
    if (!answer) return fail(answer.error());
    return api::Object::from_json(*answer);
  }

  std::string token();
  http::ClientRequest request(std::string method, std::string path, http::Query query);
  Task<Result<Json>> call(std::string method, std::string path, http::Query query, std::string body, std::string media);

  HttpClientOptions options_;
  std::unique_ptr<http::Client> http_;
  std::mutex token_mutex_;
  std::string token_;
  std::chrono::steady_clock::time_point token_read_{};
};

std::string HttpClient::token() {
  if (options_.token_file.empty()) return options_.token;
  const std::lock_guard lock(token_mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (token_.empty() || now - token_read_ > kTokenReread) {
    // A file that is gone for a moment leaves the last token in use.
    if (auto text = read_text(options_.token_file)) token_ = trim(*text);
    token_read_ = now;
  }
  return token_;
}

http::ClientRequest HttpClient::request(std::string method, std::string path, http::Query query) {
  http::ClientRequest out;
  out.method = std::move(method);
  const std::string encoded = query.encode();
  out.url = options_.server + path + (encoded.empty() ? "" : "?" + encoded);
  out.headers.add("Accept", "application/json");
  out.headers.add("User-Agent", options_.user_agent);
  if (const auto bearer = token(); !bearer.empty()) out.headers.add("Authorization", "Bearer " + bearer);
  return out;
}

Task<Result<Json>> HttpClient::call(std::string method, std::string path, http::Query query, std::string body,
                                    std::string media) {
  auto out = request(std::move(method), std::move(path), std::move(query));
  if (!body.empty()) {
    out.headers.add("Content-Type", media.empty() ? "application/json" : media);
    out.body = std::move(body);
  }
  auto answer = co_await http_->fetch(std::move(out));
  if (!answer) co_return fail(answer.error());
  if (answer->status >= 300) co_return fail(error_of(answer->status, answer->body));
  co_return parse_json(answer->body);
}

Task<Result<List>> HttpClient::list(const Resource& resource, ListOptions options) {
  http::Query query;
  add_selectors(query, options.label_selector, options.field_selector);
  if (options.limit > 0) query.add("limit", std::to_string(options.limit));
  if (!options.continue_token.empty()) query.add("continue", options.continue_token);
  auto answer = co_await call("GET", path_of(resource, options.ns), std::move(query), {}, {});
  if (!answer) co_return fail(answer.error());
  List out;
  out.resource_version = revision_of(*answer);
  out.continue_token = str(at(*answer, "metadata"), "continue");
  Json& items = (*answer)["items"];
  for (auto& item : items.is_array() ? items : Json::array()) {
    // Items of a list carry neither apiVersion nor kind.
    item["apiVersion"] = resource.api_version();
    item["kind"] = resource.kind;
    auto one = api::Object::from_json(item);
    if (!one) co_return fail(one.error());
    out.items.push_back(std::move(*one));
  }
  co_return out;
}

Task<Result<std::unique_ptr<Watch>>> HttpClient::watch(const Resource& resource, WatchOptions options) {
  http::Query query;
  query.add("watch", "true");
  query.add("allowWatchBookmarks", "true");
  query.add("resourceVersion", std::to_string(options.resource_version));
  add_selectors(query, options.label_selector, options.field_selector);
  auto stream = co_await http_->open(request("GET", path_of(resource, options.ns), std::move(query)));
  if (!stream) co_return fail(stream.error());
  if ((*stream)->status() != 200) {
    std::string body(kWatchBuffer, '\0');
    auto got = co_await (*stream)->read(body);
    body.resize(got ? *got : 0);
    co_return fail(error_of((*stream)->status(), body));
  }
  co_return std::make_unique<HttpWatch>(std::move(*stream));
}

}  // namespace

Result<std::unique_ptr<Client>> make_http_client(HttpClientOptions options) {
  http::ClientOptions http_options;
  http_options.tls = options.tls;
  BRUME_TRY(auto http, http::Client::create(std::move(http_options)));
  return std::make_unique<HttpClient>(std::move(options), std::move(http));
}

Result<HttpClientOptions> in_cluster_options() {
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || port == nullptr) {
    return fail(Code::kNotFound, "not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
  }
  HttpClientOptions options;
  const std::string address(host);
  options.server = "https://" + (address.find(':') == std::string::npos ? address : "[" + address + "]") + ":" + port;
  options.token_file = std::string(kServiceAccountDir) + "/token";
  BRUME_TRY(options.tls.ca_pem, read_text(std::string(kServiceAccountDir) + "/ca.crt"));
  return options;
}

}  // namespace brume::client
