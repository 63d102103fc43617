// Pulls from a registry that misbehaves as registries and networks do.
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "brume/base/crypto.h"
#include "brume/base/random.h"
#include "brume/http/server.h"
#include "brume/runtime/images.h"
#include "catch.h"
#include "support/run.h"

using namespace brume;
using namespace brume::runtime;
namespace fs = std::filesystem;

namespace {

/// Answers as a registry of the OCI distribution specification does, on 127.0.0.1.
struct Registry {
  std::string dir = fs::temp_directory_path() / ("brume-pull-" + random_suffix(8));
  std::map<std::string, std::string> manifests;  // by "repository:tag"
  std::map<std::string, std::string> blobs;      // by digest
  std::string layer;                             // the digest of the layer that all images share
  int layer_requests = 0;
  bool lost = false;               // no manifest is found
  int cut_first = 0;               // this many answers with the layer end in its middle
  int stall_first = 0;             // and this many stop there, with the connection open
  std::vector<std::string> asked;  // for manifests: path and query
  std::vector<std::string> ranges;
  std::string token;                 // asked for when not empty
  std::string user;                  // base64 of user:password, asked for when not empty
  Registries registries;             // what the puller is told
  std::optional<RegistryAuth> auth;  // and given
  std::string named;                 // images' registry, when it is not this one itself
  std::unique_ptr<http::Server> server;

  explicit Registry(const Executor& loop) {
    fs::create_directory(dir);
    if (std::system(
            ("head -c 300000 /dev/urandom > " + dir + "/data && tar -C " + dir + " -cf " + dir + "/layer.tar data")
                .c_str()) != 0) {
      std::abort();
    }
    std::ifstream file(dir + "/layer.tar", std::ios::binary);
    layer = add_blob({std::istreambuf_iterator<char>(file), {}});
    http::ServerOptions options;
    options.address = "127.0.0.1";
    auto listening =
        http::Server::listen(std::move(options), {loop}, [this](http::Exchange& exchange) { return answer(exchange); });
    if (!listening) std::abort();
    server = std::move(*listening);
  }
  ~Registry() { fs::remove_all(dir); }

  [[nodiscard]] std::string host() const { return "127.0.0.1:" + std::to_string(server->port()); }

  std::string add_blob(std::string bytes) {
    const std::string digest = "sha256:" + sha256_hex(bytes);
    blobs[digest] = std::move(bytes);
    return digest;
  }

  ImageReference add_image(const std::string& repository) {
    const Json config{{"architecture", "amd64"},
                      {"os", "linux"},
                      {"config", {{"Cmd", {"/" + repository}}}},
                      {"rootfs", {{"type", "layers"}, {"diff_ids", {layer}}}}};
    const std::string text = config.dump();
    const Json manifest{{"schemaVersion", 2},
                        {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                        {"config",
                         {{"mediaType", "application/vnd.oci.image.config.v1+json"},
                          {"digest", add_blob(text)},
                          {"size", text.size()}}},
                        {"layers", Json::array({{{"mediaType", "application/vnd.oci.image.layer.v1.tar"},
                                                 {"digest", layer},
                                                 {"size", blobs[layer].size()}}})}};
    manifests[repository + ":1"] = manifest.dump();
    auto reference = ImageReference::parse((named.empty() ? host() : named) + "/" + repository + ":1");
    if (!reference) std::abort();
    return *reference;
  }

  Task<void> answer(http::Exchange& exchange) {
    const std::string path = exchange.request().path;
    if (path == "/token") {
      (void)co_await exchange.respond({200, {{"Content-Type", "application/json"}}, Json{{"token", token}}.dump()});
      co_return;
    }
    if (!token.empty() && exchange.request().headers.get("Authorization") != "Bearer " + token) {
      const std::string challenge =
          "Bearer realm=\"http://" + host() + "/token\",service=\"test\",scope=\"repository:a:pull\"";
      (void)co_await exchange.respond({401, {{"WWW-Authenticate", challenge}}, "{}"});
      co_return;
    }
    if (!user.empty() && exchange.request().headers.get("Authorization") != "Basic " + user) {
      (void)co_await exchange.respond({401, {{"WWW-Authenticate", "Basic realm=\"test\""}}, "{}"});
      co_return;
    }
    if (const auto at = path.find("/manifests/"); at != std::string::npos) {
      asked.push_back(path + " ns=" + std::string(exchange.request().query.get("ns")) + " " +
                      std::string(exchange.request().headers.get("Authorization")));
      const auto root = path.find('/', 1) + 1;
      const auto found = manifests.find(path.substr(root, at - root) + ":" + path.substr(at + 11));
      if (found == manifests.end() || lost) {
        (void)co_await exchange.respond({404, {}, "{}"});
        co_return;
      }
      (void)co_await exchange.respond(
          {200, {{"Content-Type", "application/vnd.oci.image.manifest.v1+json"}}, found->second});
      co_return;
    }
    const auto at = path.find("/blobs/");
    const bool has = at != std::string::npos && path.starts_with("/v2/");
    const auto found = has ? blobs.find(path.substr(at + 7)) : blobs.end();
    if (found == blobs.end()) {
      (void)co_await exchange.respond({404, {}, "{}"});
      co_return;
    }
    if (found->first == layer) co_return co_await answer_layer(exchange, found->second);
    (void)co_await exchange.respond({200, {}, found->second});
  }

  // In two halves, with time for others between them.
  Task<void> answer_layer(http::Exchange& exchange, std::string bytes) {
    ++layer_requests;
    std::size_t from = 0;
    const std::string range(exchange.request().headers.get("Range"));
    if (!range.empty()) {
      ranges.push_back(range);
      from = std::stoul(range.substr(6));
    }
    http::Headers headers{{"Content-Type", "application/octet-stream"}};
    auto writer = co_await exchange.respond_stream(from == 0 ? 200 : 206, std::move(headers));
    if (!writer) co_return;
    const std::size_t half = from + (bytes.size() - from) / 2;
    (void)co_await (*writer)->write(std::string_view(bytes).substr(from, half - from));
    co_await sleep_for(std::chrono::milliseconds(50));
    if (cut_first > 0) {
      --cut_first;
      co_return;  // without finish(): the connection ends
    }
    if (stall_first > 0) {
      --stall_first;
      co_await sleep_for(std::chrono::seconds(60));  // the client gives up before
      co_return;
    }
    (void)co_await (*writer)->write(std::string_view(bytes).substr(half));
    (void)co_await (*writer)->finish();
  }
};

struct Outcome {
  std::string failures;  // one line each
  std::vector<std::string> asked, ranges;
  int layer_requests = 0;
};

/// Pulls an image from each repository, all at once, from a registry that `prepare` made what it is.
Outcome pull_all(
    const std::vector<std::string>& repositories, const std::function<void(Registry&)>& prepare = [](Registry&) {}) {
  Outcome outcome;
  test::run([&]() -> Task<void> {
    const Executor executor = co_await boost::asio::this_coro::executor;
    Registry registry(executor);
    prepare(registry);
    ImageOptions options{.dir = registry.dir + "/images"};
    options.registries = registry.registries;
    options.stall_timeout = std::chrono::milliseconds(200);
    auto opened = Images::open(std::move(options), executor);
    if (!opened) std::abort();
    auto& images = **opened;
    TaskGroup group(executor);
    std::size_t ended = 0;
    // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): waited for below
    const auto pull = [&](ImageReference reference) -> Task<void> {
      auto image = co_await images.pull(std::move(reference), registry.auth);
      if (!image) outcome.failures += image.error().message + "\n";
      ++ended;
    };
    for (const auto& repository : repositories) group.spawn("pull", pull(registry.add_image(repository)));
    while (ended < repositories.size()) co_await sleep_for(std::chrono::milliseconds(5));
    outcome.asked = registry.asked;
    outcome.ranges = registry.ranges;
    outcome.layer_requests = registry.layer_requests;
    co_await images.stop();
    co_await registry.server->stop();
  });
  return outcome;
}

}  // namespace

TEST_CASE("images that share a layer are pulled at once, and the layer once") {
  const auto outcome = pull_all({"a", "b", "c"});
  CHECK((outcome.failures == ""));
  CHECK(outcome.layer_requests == 1);
}

TEST_CASE("a layer that is cut is resumed where it ended") {
  const auto outcome = pull_all({"a"}, [](Registry& registry) { registry.cut_first = 2; });
  CHECK((outcome.failures == ""));
  REQUIRE(outcome.ranges.size() == 2);
  CHECK(outcome.ranges[0] != "bytes=0-");
  CHECK(outcome.ranges[0] != outcome.ranges[1]);
}

TEST_CASE("a registry that sends to a token server gets the token") {
  const auto outcome = pull_all({"a"}, [](Registry& registry) { registry.token = "sesame"; });
  CHECK((outcome.failures == ""));
}

TEST_CASE("a download that stalls is begun anew where it was") {
  const auto outcome = pull_all({"a"}, [](Registry& registry) { registry.stall_first = 1; });
  CHECK((outcome.failures == ""));
  REQUIRE(outcome.ranges.size() == 1);
  CHECK(outcome.ranges[0] != "bytes=0-");
}

TEST_CASE("a mirror is asked first, by its own name of the image and with its own credentials") {
  const auto outcome = pull_all({"a"}, [](Registry& registry) {
    registry.named = "registry.invalid";
    registry.user = "YW5uOnNlY3JldA==";
    // The first endpoint is not there.
    registry.registries.mirrors["registry.invalid"].endpoints = {"http://127.0.0.1:1/v2",
                                                                 "http://" + registry.host() + "/v2"};
    registry.registries.hosts[registry.host()].auth = RegistryAuth{"ann", "secret", ""};
  });
  CHECK((outcome.failures == ""));
  CHECK(outcome.asked == std::vector<std::string>{"/v2/a/manifests/1 ns=registry.invalid Basic YW5uOnNlY3JldA=="});
}

TEST_CASE("a mirror gets no credentials that were given for the registry") {
  const auto outcome = pull_all({"a"}, [](Registry& registry) {
    registry.named = "registry.invalid";
    registry.registries.mirrors["*"].endpoints = {"http://" + registry.host() + "/v2"};
    registry.auth = RegistryAuth{"", "", "of the pod, for the registry"};
    registry.registries.hosts["registry.invalid"].auth = RegistryAuth{"", "", "of the node, for the registry"};
  });
  CHECK((outcome.failures == ""));
  CHECK(outcome.asked == std::vector<std::string>{"/v2/a/manifests/1 ns=registry.invalid "});
}

TEST_CASE("a registry whose endpoint is its own over http is not asked over https") {
  const auto outcome = pull_all({"gone"}, [](Registry& registry) {
    registry.registries.mirrors[registry.host()].endpoints = {"http://" + registry.host() + "/v2"};
    registry.lost = true;
  });
  CHECK(outcome.asked.size() == 1);
  CHECK(outcome.failures.find("not found") != std::string::npos);
  CHECK(outcome.failures.find("mirror") == std::string::npos);
}

TEST_CASE("when no host has an image, each one's reason is told") {
  const auto outcome = pull_all({"gone"}, [](Registry& registry) {
    registry.named = "127.0.0.1:1";
    registry.registries.mirrors["127.0.0.1:1"].endpoints = {"http://" + registry.host() + "/v2"};
    registry.lost = true;
  });
  const auto refused = outcome.failures.find("127.0.0.1:1: ");
  const auto mirror = outcome.failures.find("; a mirror before it: ");
  CHECK(refused < mirror);
  CHECK(outcome.failures.find("not found", mirror) != std::string::npos);
}

TEST_CASE("blobs that a mirror lacks come from the registry") {
  const auto outcome = pull_all({"a"}, [](Registry& registry) {
    registry.named = registry.host();
    // As another host that has manifests alone.
    const std::string mirror = "localhost:" + std::to_string(registry.server->port());
    registry.registries.mirrors[registry.host()].endpoints = {"http://" + mirror + "/manifests-only"};
  });
  CHECK((outcome.failures == ""));
  REQUIRE(outcome.asked.size() == 1);
  CHECK(outcome.asked[0].starts_with("/manifests-only/a/manifests/1 ns=127.0.0.1:"));
}
