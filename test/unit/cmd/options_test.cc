#include "cmd/options.h"

#include <filesystem>

#include "brume/base/random.h"
#include "catch.h"
#include "support/text_file.h"

using namespace brume;
using namespace brume::cmd;

namespace {

Result<ServerOptions> parse(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"--node-name", "n1"});
  return parse_server_options(arguments);
}

std::string error_of(std::vector<std::string> arguments) {
  const auto parsed = parse(std::move(arguments));
  return parsed ? "no error" : parsed.error().message;
}

}  // namespace

TEST_CASE("options have k3s' names and forms") {
  const auto options =
      parse({"-d", "/x/", "--https-listen-port=7443", "--tls-san", "a,b", "--tls-san=c", "--stop-pods",
             "--service-node-port-range", "31000-31010", "--write-kubeconfig-mode", "644", "--allowed-unsafe-sysctls",
             "net.core.somaxconn,kernel.msg*", "--pod-max-pids", "200", "--horizontal-pod-autoscaler-sync-period",
             "1.5s", "--eviction-hard", "memory.available<64Mi,imagefs.available<2.5%"});
  REQUIRE(options);
  CHECK(options->data_dir == "/x");
  CHECK(options->https_listen_port == 7443);
  CHECK(options->tls_san == std::vector<std::string>{"a", "b", "c"});
  CHECK(options->stop_pods);
  CHECK(options->allowed_unsafe_sysctls == std::vector<std::string>{"net.core.somaxconn", "kernel.msg*"});
  CHECK(options->pod_max_pids == 200);
  CHECK(options->horizontal_pod_autoscaler_sync_period == std::chrono::milliseconds(1500));
  REQUIRE(options->eviction_hard.size() == 2);
  CHECK(options->eviction_hard[0].least(1 << 30) == 64 << 20);
  CHECK(options->eviction_hard[1].signal == "nodefs.available");
  CHECK(options->eviction_hard[1].least(1000) == 25);
  CHECK(options->node_port_last == 31010);
  CHECK(options->write_kubeconfig_mode == 0644);
  CHECK(nth_address(options->service_cidr, 10) == "10.43.0.10");
}

TEST_CASE("the data directory is known by its own name, and by that of a link") {
  const auto dir = std::filesystem::temp_directory_path() / ("brume-options-" + random_suffix(8));
  std::filesystem::create_directories(dir / "disk");
  std::filesystem::create_directory_symlink(dir / "disk", dir / "link");
  const auto options = parse({"--data-dir", dir / "link"});
  REQUIRE(options);
  CHECK(options->data_dir == std::filesystem::canonical(dir / "disk").string());
  CHECK(options->data_path == (dir / "link").string());
  std::filesystem::remove_all(dir);
}

TEST_CASE("a bad option is told in one line that says what it takes") {
  CHECK(error_of({"--nope"}) == "unknown flag --nope; see brume server --help");
  CHECK(error_of({"stray"}).starts_with("unexpected argument \"stray\""));
  CHECK(error_of({"--data-dir"}) == "--data-dir takes a value: DIR");
  CHECK(error_of({"--data-dir", "relative"}) == "--data-dir: \"relative\" is not an absolute path");
  CHECK(error_of({"--https-listen-port", "0"}).find("is not a port") != std::string::npos);
  CHECK(error_of({"--cluster-cidr", "10.42.0.0"}).find("CIDR") != std::string::npos);
  CHECK(error_of({"--cluster-cidr", "10.42.1.0/16"}).find("did you mean 10.42.0.0/16?") != std::string::npos);
  CHECK(error_of({"--cluster-cidr", "10.43.0.0/16"}).find("overlap") != std::string::npos);
  CHECK(error_of({"--service-node-port-range", "32000-31000"}).find("goes up") != std::string::npos);
  CHECK(error_of({"--disable", "traefik"}).find("there are: dns, local-storage") != std::string::npos);
  CHECK(error_of({"--allowed-unsafe-sysctls", "vm.swappiness"}).find("a pod's own") != std::string::npos);
  CHECK(error_of({"--horizontal-pod-autoscaler-sync-period", "15"}).find("a duration such as 15s") !=
        std::string::npos);
  CHECK(error_of({"--horizontal-pod-autoscaler-sync-period", "1ms"}).find("a duration") != std::string::npos);
  CHECK(error_of({"--eviction-hard", "disk<5%"}).find("--eviction-hard: disk: no such signal") != std::string::npos);
  CHECK(error_of({"--eviction-hard", "memory.available=1"}).find("not SIGNAL<AMOUNT") != std::string::npos);
  CHECK(error_of({"--eviction-hard", "nodefs.available<101%"}).find("from 0% to 100%") != std::string::npos);
  CHECK(error_of({"--eviction-hard", "nodefs.available<much"}).find("not an amount such as") != std::string::npos);
  CHECK(error_of({"--pod-max-pids", "-1"}).find("0 for no limit") != std::string::npos);
  CHECK(error_of({"--node-ip", "300.1.1.1"}).find("not an IP address") != std::string::npos);
  CHECK(error_of({"--config", "/nonexistent/brume.yaml"}).find("/nonexistent/brume.yaml") != std::string::npos);
}

TEST_CASE("the config file has the same names, and flags win over it") {
  const test::TextFile file("https-listen-port: 7000\ntls-san: [x, z]\nlog-format: json\nstop-pods: true\n");
  const auto options = parse({"--config", file.path, "--https-listen-port", "7001"});
  REQUIRE(options);
  CHECK(options->https_listen_port == 7001);
  CHECK(options->tls_san == std::vector<std::string>{"x", "z"});
  CHECK(options->log_format == log::Format::kJson);
  CHECK(options->stop_pods);
  const test::TextFile unknown("no-such-option: 1\n");
  CHECK(error_of({"--config", unknown.path}).find("unknown option \"no-such-option\"") != std::string::npos);
  const test::TextFile list("[1, 2]\n");
  CHECK(error_of({"--config", list.path}).find("not a mapping") != std::string::npos);
}
