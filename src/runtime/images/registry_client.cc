#include "runtime/images/registry_client.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "brume/base/crypto.h"
#include "brume/base/log.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "brume/linux/fd.h"
#include "runtime/images/image_store.h"

namespace brume::runtime {

namespace {

using linux_os::Fd;

#if defined(__x86_64__)
constexpr std::string_view kArchitecture = "amd64";
#elif defined(__aarch64__)
constexpr std::string_view kArchitecture = "arm64";
#else
#error "name this architecture as the OCI image spec does"
#endif

constexpr std::string_view kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
constexpr std::string_view kDockerList = "application/vnd.docker.distribution.manifest.list.v2+json";
constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
/// The distribution spec lets registries refuse manifests above 4 MiB; nothing sound is larger.
constexpr std::size_t kMaxManifest = 4U << 20;
constexpr std::size_t kReadChunk = 128 * 1024;
constexpr int kBlobAttempts = 4;

Descriptor descriptor_of(const Json& value) {
  return {std::string(str(value, "mediaType")), std::string(str(value, "digest")), num(value, "size")};
}

bool is_loopback(std::string_view host) {
  const auto name = host.substr(0, host.starts_with('[') ? host.find(']') + 1 : host.rfind(':'));
  return name == "localhost" || name.starts_with("127.") || name == "[::1]";
}

/// Docker Hub's API lives under another name than its images'.
std::string api_host(const std::string& registry) {
  return registry == "docker.io" ? "registry-1.docker.io" : registry;
}

// key="value" pairs of a WWW-Authenticate challenge (RFC 9110, section 11.6.1).
std::map<std::string, std::string> parse_challenge(std::string_view text) {
  std::map<std::string, std::string> out;
  while (!text.empty()) {
    const auto equals = text.find('=');
    if (equals == std::string_view::npos) break;
    const std::string key = to_lower(trim(text.substr(0, equals)));
    text.remove_prefix(equals + 1);
    std::string value;
    if (text.starts_with('"')) {
      std::size_t i = 1;
      for (; i < text.size() && text[i] != '"'; ++i) {
        if (text[i] == '\\' && i + 1 < text.size()) ++i;
        value.push_back(text[i]);
      }
      text.remove_prefix(std::min(i + 1, text.size()));
    } else {
      value = trim(text.substr(0, text.find(',')));
      text.remove_prefix(std::min(text.find(','), text.size()));
    }
    out[key] = value;
    const auto comma = text.find(',');
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
  }
  return out;
}

// What a registry's refusal means, in words that help: "manifest unknown", "unauthorized"...
Error refusal(const std::string& what, int status, std::string_view body) {
  std::string detail;
  if (const auto parsed = parse_json(body)) {
    const Json& errors = at(*parsed, "errors");
    if (errors.is_array() && !errors.empty()) {
      detail = std::string(str(errors[0], "code")) + ": " + std::string(str(errors[0], "message"));
    }
  }
  const std::string text =
      what + ": " + (detail.empty() ? "the registry answered status " + std::to_string(status) : detail);
  if (status == 404) return {Code::kNotFound, detail.empty() ? what + ": not found" : text + " (not found)"};
  if (status == 400) return {Code::kBadRequest, text};
  if (status == 401)
    return {Code::kUnauthorized, text + " (authentication required, or the repository does not exist)"};
  if (status == 403) return {Code::kForbidden, text + " (access denied)"};
  if (status == 429) return {Code::kTooManyRequests, text + " (too many requests)"};
  return {Code::kServiceUnavailable, text};
}

Result<Json> checked_json(const std::string& body, std::string_view digest, const std::string& what) {
  const std::string actual = "sha256:" + sha256_hex(body);
  if (!digest.empty() && digest != actual) {
    return fail(Code::kCorrupt, what + ": digest mismatch: got " + actual + ", wanted " + std::string(digest));
  }
  auto parsed = parse_json(body);
  if (!parsed) return fail(wrap(parsed.error(), what));
  return parsed;
}

// The digest that an index lists for this machine.
Result<std::string> choose_platform(const Json& index, const std::string& what) {
  std::vector<std::string> offered;
  const Json& manifests = at(index, "manifests");
  for (const auto& one : manifests.is_array() ? manifests : Json::array()) {
    const Json& platform = at(one, "platform");
    const auto os = str(platform, "os");
    const auto architecture = str(platform, "architecture");
    if (os == "linux" && architecture == kArchitecture) return std::string(str(one, "digest"));
    offered.push_back(std::string(os) + "/" + std::string(architecture));
  }
  return fail(Code::kNotFound, what + ": no match for platform linux/" + std::string(kArchitecture) +
                                   " in manifest; there is: " + join(offered, ", "));
}

}  // namespace

struct RegistryClient::Endpoint {
  std::string base;  ///< of the API: scheme://host/v2
  std::string host;
  std::string repository;  ///< what it is called there
  std::string ns;          ///< of a mirror: the registry that it stands for
  bool plain_try = false;  ///< http where https did not work and nobody said which
  std::optional<RegistryAuth> auth;
  std::unique_ptr<http::Client> client;
  std::string authorization;
};

RegistryClient::RegistryClient(ImageReference reference, const ImageOptions& options,
                               const std::optional<RegistryAuth>& auth)
    : reference_(std::move(reference)) {
  const auto& [mirrors, hosts] = options.registries;
  const std::string host = api_host(reference_.registry);
  auto mirror = mirrors.find(reference_.registry);
  if (mirror == mirrors.end()) mirror = mirrors.find("*");
  bool plain = false;
  if (mirror != mirrors.end()) {
    for (const auto& base : mirror->second.endpoints) {
      plain = plain || base == "http://" + host + "/v2";
      add_endpoint(options, base, &mirror->second, auth);
    }
  }
  if (plain) return;
  add_endpoint(options, "https://" + host + "/v2", nullptr, auth);
  const auto known = hosts.find(host);
  if (!is_loopback(host) || (known != hosts.end() && known->second.says_tls())) return;
  if (Endpoint* added = add_endpoint(options, "http://" + host + "/v2", nullptr, auth)) added->plain_try = true;
}

RegistryClient::Endpoint* RegistryClient::add_endpoint(const ImageOptions& options, const std::string& base,
                                                       const RegistryMirror* mirror,
                                                       const std::optional<RegistryAuth>& auth) {
  if (std::ranges::any_of(endpoints_, [&](const auto& one) { return one->base == base; })) return nullptr;
  const auto from = base.find("://") + 3;
  const std::string host = base.substr(from, base.find('/', from) - from);
  const bool own = host == api_host(reference_.registry);
  const auto& hosts = options.registries.hosts;
  auto known = hosts.find(host);
  if (known == hosts.end() && own) known = hosts.find(reference_.registry);
  if (known == hosts.end()) known = hosts.find("*");
  auto endpoint = std::make_unique<Endpoint>();
  endpoint->base = base;
  endpoint->host = host;
  endpoint->repository = reference_.repository;
  if (mirror != nullptr) {
    auto renamed = rewrite_repository(*mirror, reference_.repository);
    if (!renamed) {
      log::warn("a mirror's rewrite", {{"endpoint", base}, {"error", renamed.error().message}});
      return nullptr;
    }
    endpoint->repository = *std::move(renamed);
    if (!own) endpoint->ns = reference_.registry;
  }
  // Credentials are for the host that they were given for.
  if (own) endpoint->auth = auth;
  http::ClientOptions client_options;
  client_options.max_redirects = 5;
  client_options.max_body = kMaxManifest;
  client_options.stream_timeout = options.stall_timeout;
  client_options.proxies = options.proxies;
  if (known != hosts.end()) {
    const RegistryHost& config = known->second;
    if (!endpoint->auth) endpoint->auth = config.auth;
    client_options.tls.system_cas = true;
    client_options.tls.ca_pem = config.ca_pem;
    client_options.tls.certificate_pem = config.certificate_pem;
    client_options.tls.private_key_pem = config.private_key_pem;
    client_options.tls.insecure = config.insecure_tls;
  }
  auto client = http::Client::create(std::move(client_options));
  if (!client) {
    log::warn("registry client", {{"endpoint", base}, {"error", client.error().message}});
    return nullptr;
  }
  endpoint->client = std::move(*client);
  if (const auto& given = endpoint->auth; given && !given->token.empty()) {
    endpoint->authorization = "Bearer " + given->token;
  }
  endpoints_.push_back(std::move(endpoint));
  return endpoints_.back().get();
}

RegistryClient::~RegistryClient() = default;

// Requests --------------------------------------------------------------------------------------------------------

Task<Status> RegistryClient::authenticate(Endpoint& endpoint, std::string challenge) {
  const auto space = challenge.find(' ');
  const std::string scheme = to_lower(challenge.substr(0, space));
  std::string basic;
  if (const auto& auth = endpoint.auth; auth && !auth->username.empty()) {
    basic = "Basic " + base64_encode(auth->username + ":" + auth->password);
  }
  if (scheme == "basic") {
    if (basic.empty())
      co_return fail(Code::kUnauthorized, "the registry asks for a user name and password (imagePullSecrets)");
    endpoint.authorization = basic;
    co_return Status();
  }
  if (scheme != "bearer")
    co_return fail(Code::kUnauthorized, "the registry asks for unknown authentication \"" + scheme + "\"");
  const auto parameters =
      parse_challenge(space == std::string::npos ? "" : std::string_view(challenge).substr(space + 1));
  const auto realm = parameters.find("realm");
  if (realm == parameters.end()) co_return fail(Code::kUnauthorized, "the registry's challenge names no realm");
  http::Query query;
  if (const auto it = parameters.find("service"); it != parameters.end()) query.add("service", it->second);
  query.add("scope", "repository:" + endpoint.repository + ":pull");
  http::ClientRequest request;
  request.url = realm->second + (realm->second.find('?') == std::string::npos ? "?" : "&") + query.encode();
  if (!basic.empty()) request.headers.add("Authorization", basic);
  auto answer = co_await endpoint.client->fetch(std::move(request));
  if (!answer) co_return fail(wrap(answer.error(), "fetching a registry token"));
  if (answer->status != 200) co_return fail(refusal("fetching a registry token", answer->status, answer->body));
  const auto body = parse_json(answer->body);
  if (!body) co_return fail(Code::kUnauthorized, "the token server's answer is not JSON");
  std::string token(str(*body, "token"));
  if (token.empty()) token = str(*body, "access_token");
  if (token.empty()) co_return fail(Code::kUnauthorized, "the token server gave no token");
  endpoint.authorization = "Bearer " + token;
  co_return Status();
}

Task<Result<std::unique_ptr<http::ResponseStream>>> RegistryClient::open(Endpoint& endpoint, std::string path,
                                                                         http::Headers headers) {
  for (int attempt = 0;; ++attempt) {
    http::ClientRequest request;
    request.url = endpoint.base + "/" + endpoint.repository + path;
    if (!endpoint.ns.empty()) request.url += "?ns=" + endpoint.ns;
    request.headers = headers;
    if (!endpoint.authorization.empty()) request.headers.set("Authorization", endpoint.authorization);
    auto answer = co_await endpoint.client->open(std::move(request));
    if (!answer || (*answer)->status() != 401 || attempt == 1) co_return answer;
    const std::string challenge((*answer)->headers().get("WWW-Authenticate"));
    if (challenge.empty()) co_return answer;
    answer->reset();
    auto authenticated = co_await authenticate(endpoint, challenge);
    if (!authenticated) co_return fail(authenticated.error());
  }
}

namespace {

Task<Result<std::string>> read_all(http::ResponseStream& stream, std::size_t limit) {
  std::string body;
  std::vector<char> buffer(kReadChunk);
  while (true) {
    auto got = co_await stream.read(buffer);
    if (!got) co_return fail(got.error());
    if (*got == 0) co_return body;
    body.append(buffer.data(), *got);
    if (body.size() > limit)
      co_return fail(Code::kCorrupt, "the answer is longer than " + std::to_string(limit) + " bytes");
  }
}

}  // namespace

Task<Result<http::Response>> RegistryClient::get_manifest(Endpoint& endpoint, std::string what) {
  http::Headers headers;
  headers.add("Accept", std::string(kOciManifest) + ", " + std::string(kOciIndex) + ", " +
                            std::string(kDockerManifest) + ", " + std::string(kDockerList));
  auto stream = co_await open(endpoint, "/manifests/" + what, std::move(headers));
  if (!stream) co_return fail(stream.error());
  auto body = co_await read_all(**stream, kMaxManifest);
  if (!body) co_return fail(body.error());
  if ((*stream)->status() != 200) co_return fail(refusal(reference_.name(), (*stream)->status(), *body));
  co_return http::Response{(*stream)->status(), (*stream)->headers(), std::move(*body)};
}

Task<Result<Manifest>> RegistryClient::manifest_from(Endpoint& endpoint) {
  const std::string name = reference_.name();
  const std::string wanted = reference_.digest.empty() ? reference_.tag : reference_.digest;
  auto answer = co_await get_manifest(endpoint, wanted);
  if (!answer) co_return fail(answer.error());
  auto document = checked_json(answer->body, reference_.digest, name);
  if (!document) co_return fail(document.error());
  Manifest out;
  out.digest = "sha256:" + sha256_hex(answer->body);
  if (at(*document, "manifests").is_array()) {
    out.index_digest = out.digest;
    auto chosen = choose_platform(*document, name);
    if (!chosen) co_return fail(chosen.error());
    out.digest = *chosen;
    answer = co_await get_manifest(endpoint, out.digest);
    if (!answer) co_return fail(answer.error());
    document = checked_json(answer->body, out.digest, name);
    if (!document) co_return fail(document.error());
  }
  if (num(*document, "schemaVersion") != 2 || !at(*document, "layers").is_array()) {
    co_return fail(Code::kInvalid,
                   name + ": the registry has a manifest of an unsupported kind (schema 1, or no image)");
  }
  out.config = descriptor_of(at(*document, "config"));
  for (const auto& layer : at(*document, "layers")) out.layers.push_back(descriptor_of(layer));
  co_return out;
}

Task<Result<Manifest>> RegistryClient::manifest() {
  std::vector<Error> failures;  // one for each host
  const Endpoint* failed = nullptr;
  for (auto& endpoint : endpoints_) {
    auto found = co_await manifest_from(*endpoint);
    if (found) {
      if (!failures.empty()) log::info("a mirror was passed over", {{"reason", failures.back().message}});
      chosen_ = endpoint.get();
      co_return found;
    }
    log::debug("registry endpoint", {{"endpoint", endpoint->base}, {"error", found.error().message}});
    // A loopback registry is tried over https, then http: 400 is what a TLS server says to that, and then what counts
    // is why https failed.
    if (endpoint->plain_try && found.error().code == Code::kBadRequest) continue;
    if (failed != nullptr && failed->host == endpoint->host) failures.pop_back();
    failures.push_back(found.error());
    failed = endpoint.get();
  }
  if (failures.empty()) co_return fail(Code::kServiceUnavailable, reference_.name() + ": no registry endpoint");
  // The registry's own word first, then what its mirrors said.
  Error error = std::move(failures.back());
  failures.pop_back();
  for (const Error& earlier : failures) error.message += "; a mirror before it: " + earlier.message;
  co_return fail(std::move(error));
}

// Blobs -----------------------------------------------------------------------------------------------------------

// Whoever gave the manifest is asked first. A mirror may have that and lack the blobs; the digest says that it is them.
std::vector<RegistryClient::Endpoint*> RegistryClient::blob_endpoints() const {
  std::vector<Endpoint*> out{chosen_};
  for (const auto& other : endpoints_) {
    if (other->host != chosen_->host) out.push_back(other.get());
  }
  return out;
}

Task<Result<std::string>> RegistryClient::small_blob(Descriptor blob) {
  Result<std::string> first = fail(Code::kInternal, "no endpoint");
  for (Endpoint* endpoint : blob_endpoints()) {
    auto found = co_await small_blob_from(*endpoint, blob);
    if (found) co_return found;
    if (endpoint == chosen_) first = std::move(found);
  }
  co_return first;
}

Task<Status> RegistryClient::blob(Descriptor blob, std::string path) {
  Status first;
  for (Endpoint* endpoint : blob_endpoints()) {
    auto found = co_await blob_from(*endpoint, blob, path);
    if (found) co_return found;
    if (endpoint == chosen_) first = std::move(found);
  }
  co_return first;
}

Task<Result<std::string>> RegistryClient::small_blob_from(Endpoint& endpoint, Descriptor blob) {
  auto stream = co_await open(endpoint, "/blobs/" + blob.digest, {});
  if (!stream) co_return fail(stream.error());
  auto body = co_await read_all(**stream, kMaxManifest);
  if (!body) co_return fail(body.error());
  if ((*stream)->status() != 200) co_return fail(refusal("blob " + blob.digest, (*stream)->status(), *body));
  if ("sha256:" + sha256_hex(*body) != blob.digest) {
    co_return fail(Code::kCorrupt, "blob " + blob.digest + ": digest mismatch: got sha256:" + sha256_hex(*body));
  }
  co_return body;
}

namespace {

// SHA-256 of what a cut-off fetch left, and its length.
Result<std::pair<Sha256, std::int64_t>> hash_partial(const std::string& path) {
  Sha256 hash;
  std::int64_t length = 0;
  const auto fd = linux_os::open_fd(path, O_RDONLY | O_NOFOLLOW);
  if (!fd) return std::pair(std::move(hash), length);
  std::vector<char> buffer(kReadChunk);
  while (true) {
    const ssize_t got = ::read(fd->get(), buffer.data(), buffer.size());
    if (got < 0) return fail_errno(errno, path);
    if (got == 0) return std::pair(std::move(hash), length);
    hash.update({buffer.data(), static_cast<std::size_t>(got)});
    length += got;
  }
}

Status write_all(const Fd& fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno(errno, "writing a layer");
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

}  // namespace

Task<Status> RegistryClient::blob_from(Endpoint& endpoint, Descriptor blob, std::string path) {
  const std::string partial = path + ".partial";
  Status last;
  for (int attempt = 0; attempt < kBlobAttempts; ++attempt) {
    auto had = co_await run_blocking([&] { return hash_partial(partial); });
    if (!had) co_return fail(had.error());
    auto& [hash, length] = *had;
    http::Headers headers;
    if (length > 0) headers.add("Range", "bytes=" + std::to_string(length) + "-");
    auto stream = co_await open(endpoint, "/blobs/" + blob.digest, std::move(headers));
    if (!stream) {
      last = fail(stream.error());
      continue;
    }
    const int status = (*stream)->status();
    const bool complete = status == 416 && length == blob.size;  // nothing was left to fetch
    if (status == 200 && length > 0) {                           // the registry sends all of it again
      hash = Sha256();
      length = 0;
    } else if (status != 200 && status != 206 && !complete) {
      auto body = co_await read_all(**stream, kMaxManifest);
      if (status == 416) ::unlink(partial.c_str());
      last = fail(refusal("blob " + blob.digest, status, body ? *body : ""));
      if (status != 416 && status < 500) co_return last;
      continue;
    }
    if (!complete) {
      auto fd = linux_os::open_fd(partial, O_WRONLY | O_CREAT | O_NOFOLLOW | (length > 0 ? O_APPEND : O_TRUNC), 0600);
      if (!fd) co_return fail(fd.error());
      last = Status();
      std::vector<char> buffer(kReadChunk);
      while (true) {
        auto got = co_await (*stream)->read(buffer);
        if (!got) last = fail(got.error());
        if (!got || *got == 0) break;
        const std::string_view bytes(buffer.data(), *got);
        hash.update(bytes);
        length += static_cast<std::int64_t>(*got);
        // To the page cache: a short copy, no waiting for the disk.
        auto written = write_all(*fd, bytes);
        if (!written) co_return written;
        if (blob.size > 0 && length > blob.size) break;
      }
      if (!last) continue;
    }
    if ("sha256:" + hash.hex() == blob.digest) {
      if (::rename(partial.c_str(), path.c_str()) != 0) co_return fail_errno(errno, path);
      co_return Status();
    }
    ::unlink(partial.c_str());
    last = fail(Code::kCorrupt, "blob " + blob.digest + ": digest mismatch: got sha256:" + hash.hex());
  }
  co_return last;
}

}  // namespace brume::runtime
