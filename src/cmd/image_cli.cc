// brume image: asks the running server, over its API port, with the admin's certificate.
#include <cstdio>
#include <filesystem>
#include <optional>

#include "brume/base/json.h"
#include "brume/base/task.h"
#include "brume/http/client.h"
#include "cmd/commands.h"
#include "cmd/image_api.h"
#include "cmd/kubeconfig.h"

namespace brume::cmd {

namespace {

constexpr const char* kHelp =
    "brume image: the images on this node.\n\n"
    "  brume image list                 name, id, size\n"
    "  brume image import FILE...       docker or OCI archives (tar, gzip, zstd); garbage collection leaves them "
    "alone\n"
    "  brume image pull NAME...         from a registry\n"
    "  brume image remove NAME...       by name or id\n\n"
    "  --kubeconfig FILE                the server to ask (KUBECONFIG, else /etc/brume/brume.yaml)";

// A pull or an import takes as long as it takes.
constexpr auto kPatience = std::chrono::hours(6);

Result<Json> call(const Cluster& cluster, std::string method, std::string path, http::Query query) {
  Result<Json> answer = Json();
  Loop loop("image");
  loop.start();
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): the loop keeps it until it ended
  loop.run_and_wait([&]() -> Task<void> {
    http::ClientOptions options;
    options.tls = cluster.tls;
    options.response_timeout = kPatience;
    auto client = http::Client::create(std::move(options));
    if (!client) {
      answer = fail(client.error());
      co_return;
    }
    http::ClientRequest request;
    request.method = std::move(method);
    request.url = cluster.server + path + "?" + query.encode();
    if (!cluster.token.empty()) request.headers.add("Authorization", "Bearer " + cluster.token);
    auto response = co_await (*client)->fetch(std::move(request));
    if (!response) {
      answer = fail(wrap(response.error(), "asking " + cluster.server));
      co_return;
    }
    auto body = parse_json(response->body);
    if (response->status >= 300) {
      answer = fail(Code::kInternal, body ? std::string(str(*body, "message"))
                                          : "the server answered " + std::to_string(response->status));
    } else {
      answer = std::move(body);
    }
  });
  loop.stop();
  return answer;
}

std::string human(std::int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1024.0 * 1024.0));
  return text;
}

void print_images(const Json& images) {
  for (const auto& image : images) {
    const Json& names = at(image, "names");
    const std::string id(str(image, "id").substr(0, 19));
    const std::string size = human(num(image, "size"));
    if (names.empty()) std::printf("%-60s %s  %s\n", "<none>", id.c_str(), size.c_str());
    for (const auto& name : names)
      std::printf("%-60s %s  %s\n", std::string(str(name)).c_str(), id.c_str(), size.c_str());
  }
}

Status run_one(const Cluster& cluster, const std::string& verb, const std::string& operand) {
  http::Query query;
  std::string method = "POST";
  if (verb == "import") {
    std::error_code ec;
    query.add("path", std::filesystem::absolute(operand, ec));
  } else {
    query.add("name", operand);
    if (verb == "remove") method = "DELETE";
  }
  auto images = call(cluster, method, std::string(kImagePath) + (verb == "remove" ? "" : "/" + verb), std::move(query));
  if (!images) return fail(wrap(images.error(), verb + " " + operand));
  print_images(*images);
  return {};
}

}  // namespace

int run_image(const std::vector<std::string>& arguments) {
  if (wants_help(arguments) || arguments.empty()) {
    std::puts(kHelp);
    return arguments.empty() ? 2 : 0;
  }
  std::string kubeconfig;
  std::vector<std::string> words;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--kubeconfig" && i + 1 < arguments.size()) {
      kubeconfig = arguments[++i];
    } else if (arguments[i].starts_with("-")) {
      return report({Code::kInvalid, "unknown flag " + arguments[i] + "; see brume image --help"});
    } else {
      words.push_back(arguments[i]);
    }
  }
  const std::string verb = words.empty() ? "" : words.front();
  const bool known = verb == "list" || verb == "import" || verb == "pull" || verb == "remove";
  if (!known) return report({Code::kInvalid, "image takes list, import, pull or remove; see brume image --help"});
  if (verb != "list" && words.size() < 2)
    return report({Code::kInvalid, "image " + verb + " takes a name; see brume image --help"});
  const auto cluster = read_kubeconfig(kubeconfig);
  if (!cluster) return report(cluster.error());
  if (verb == "list") {
    const auto images = call(*cluster, "GET", std::string(kImagePath), {});
    if (!images) return report(images.error());
    print_images(*images);
    return 0;
  }
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (const auto done = run_one(*cluster, verb, words[i]); !done) return report(done.error());
  }
  return 0;
}

}  // namespace brume::cmd
