#include "cmd/registries.h"

#include "catch.h"
#include "support/text_file.h"

using namespace brume;
using namespace brume::cmd;

namespace {

std::string error_of(const std::string& text) {
  const test::TextFile file(text);
  const auto loaded = load_registries(file.path, true);
  if (loaded) return "no error";
  const std::string& message = loaded.error().message;
  return message.starts_with(file.path + ": ") ? message.substr(file.path.size() + 2) : "without the path: " + message;
}

std::string rewritten(const char* pattern, const char* replacement, const std::string& repository) {
  runtime::RegistryMirror mirror;
  mirror.rewrites = {{"^never$", "x"}, {pattern, replacement}};
  return rewrite_repository(mirror, repository).value_or("error");
}

}  // namespace

TEST_CASE("registries.yaml says mirrors, credentials and certificates") {
  const test::TextFile file(R"yaml(
mirrors:
  docker.io:
    endpoint: ["https://one.example:5000/v2/", http://two.example]
    rewrite: {"^library/(.*)": "hub/$1"}
  "*": {endpoint: https://all.example/v2/proxy/}
configs:
  one.example:5000:
    auth: {username: ann, password: secret}
    tls: {insecure_skip_verify: true}
  two.example:
    auth: {auth: Ym9iOmE6Yg==}
)yaml");
  const auto loaded = load_registries(file.path, true);
  REQUIRE(loaded);
  const auto& hub = loaded->mirrors.at("docker.io");
  CHECK(hub.endpoints == std::vector<std::string>{"https://one.example:5000/v2", "http://two.example/v2"});
  CHECK(rewrite_repository(hub, "library/busybox").value() == "hub/busybox");
  CHECK(loaded->mirrors.at("*").endpoints == std::vector<std::string>{"https://all.example/v2/proxy"});
  const auto& one = loaded->hosts.at("one.example:5000");
  CHECK(one.auth->username == "ann");
  CHECK(one.auth->password == "secret");
  CHECK(one.insecure_tls);
  CHECK(loaded->hosts.at("two.example").auth->username == "bob");
  CHECK(loaded->hosts.at("two.example").auth->password == "a:b");
}

TEST_CASE("a registries.yaml that is not there is empty, unless it was asked for") {
  const auto absent = load_registries("/nonexistent/registries.yaml", false);
  REQUIRE(absent);
  CHECK(absent->mirrors.empty());
  CHECK(!load_registries("/nonexistent/registries.yaml", true));
  CHECK(!load_registries("/etc", false));
  CHECK(error_of("") == "no error");
  CHECK(error_of("mirrors:\n") == "no error");
}

TEST_CASE("what is wrong in registries.yaml is told with its place") {
  CHECK(error_of("mirror: {}") == "mirror: unknown; there is: mirrors, configs");
  CHECK(error_of("mirrors: [a]") == "mirrors: is not a mapping");
  CHECK(error_of("mirrors: {a: {endpoints: [x]}}") == "mirrors[a].endpoints: unknown; there is: endpoint, rewrite");
  CHECK(error_of("mirrors: {a: {endpoint: [host:5000]}}") ==
        "mirrors[a].endpoint: \"host:5000\" is not a URL such as https://mirror.example:5000");
  CHECK(error_of("mirrors: {a: {endpoint: ['https://']}}") == "mirrors[a].endpoint: the URL names no host");
  CHECK(error_of("mirrors: {a: {endpoint: ['https://u:p@h']}}").ends_with("is not a plain URL"));
  CHECK(error_of("mirrors: {a: {endpoint: 7}}") == "mirrors[a].endpoint: is not a string");
  CHECK(error_of("mirrors: {a: {rewrite: {'(': x}}}").starts_with("mirrors[a].rewrite: \"(\": "));
  CHECK(error_of("configs: {a: {auth: {password: x}}}") == "configs[a].auth: names no user");
  CHECK(error_of("configs: {a: {auth: {auth: '%'}}}") == "configs[a].auth.auth: is not base64 of user:password");
  CHECK(error_of("configs: {a: {auth: {identity_token: x}}}").starts_with("configs[a].auth.identity_token: unknown"));
  CHECK(error_of("configs: {a: {tls: {ca_file: /nonexistent}}}").find("/nonexistent") != std::string::npos);
  CHECK(error_of("configs: {a: {tls: {ca_file: /dev/null}}}") == "configs[a].tls.ca_file: /dev/null is empty");
  CHECK(error_of("configs: {a: {tls: {ca_file: /etc}}}").find("directory") != std::string::npos);
  CHECK(error_of("configs: {a: {tls: {cert_file: /etc/passwd}}}") ==
        "configs[a].tls: cert_file and key_file belong together");
  CHECK(error_of("configs: {'*': {auth: {username: x}}}") == "configs[*].auth: credentials are for one host");
  CHECK(error_of("configs: {a: {tls: {ca_file: /etc/passwd}}}").starts_with("configs[a].tls: "));
  CHECK(error_of("a: [").find("yaml") != std::string::npos);
}

TEST_CASE("a repository is rewritten as the expression says") {
  CHECK(rewritten("^rancher/(.*)", "mirror/rancher-$1", "rancher/k3s") == "mirror/rancher-k3s");
  CHECK(rewritten("^rancher/(.*)", "mirror/$1", "library/k3s") == "library/k3s");
  CHECK(rewritten("([a-z]+)/([a-z]+)", "${2}/$1$$/$0", "a/b") == "b/a$/a/b");
  CHECK(rewritten("/", "-", "a/b/c") == "a-b-c");
  CHECK(rewritten("x*", "-", "ab") == "-a-b-");
  CHECK(rewritten("^", "proxy/", "a/b") == "proxy/a/b");
  CHECK(rewritten("(a)|(b)", "$2$9!", "a") == "!");
}
