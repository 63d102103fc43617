// brume dns: what the DNS pods run.
#include <pthread.h>
#include <signal.h>

#include <cstdio>

#include "brume/base/clock.h"
#include "brume/base/log.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "brume/client/http_client.h"
#include "brume/network/dns.h"
#include "cmd/allocator.h"
#include "cmd/commands.h"
#include "cmd/kubeconfig.h"

namespace brume::cmd {

namespace {

/// One loop does all the work.
constexpr std::size_t kThreadCaches = 512U << 10;

constexpr const char* kHelp =
    "brume dns [flags]: answers DNS for the cluster's services and pods, and forwards the rest.\n\n"
    "  --cluster-domain NAME the cluster's domain (cluster.local)\n"
    "  --port PORT          UDP and TCP (53)\n"
    "  --address IP         to listen on (0.0.0.0)\n"
    "  --health-port PORT   GET /health (8080; 0: none)\n"
    "  --ready-port PORT    GET /ready (8181; 0: none)\n"
    "  --upstream ADDRESS   forward there instead of to resolv.conf's servers; may be given often\n"
    "  --kubeconfig FILE    the API server to ask, when not in a pod\n"
    "  --log-queries        one line for each question";

struct Options {
  network::DnsOptions dns;
  std::string kubeconfig;
};

Status set_port(const std::string& flag, const std::string& value, std::uint16_t& out) {
  const auto number = parse_int(value);
  if (!number || *number < 0 || *number > 65535) return fail(Code::kInvalid, flag + ": \"" + value + "\" is no port");
  out = static_cast<std::uint16_t>(*number);
  return {};
}

Result<Options> parse(const std::vector<std::string>& arguments) {
  Options options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string flag = arguments[i];
    if (flag == "--log-queries") {
      options.dns.log_queries = true;
      continue;
    }
    std::string value;
    if (const auto equals = flag.find('='); equals != std::string::npos) {
      value = flag.substr(equals + 1);
      flag.resize(equals);
    } else if (i + 1 < arguments.size()) {
      value = arguments[++i];
    }
    if (flag == "--cluster-domain") {
      options.dns.domain = value;
    } else if (flag == "--address") {
      options.dns.listen_address = value;
    } else if (flag == "--upstream") {
      options.dns.upstreams.push_back(value);
    } else if (flag == "--kubeconfig") {
      options.kubeconfig = value;
    } else if (flag == "--port") {
      BRUME_CHECK(set_port(flag, value, options.dns.port));
    } else if (flag == "--health-port") {
      BRUME_CHECK(set_port(flag, value, options.dns.health_port));
    } else if (flag == "--ready-port") {
      BRUME_CHECK(set_port(flag, value, options.dns.ready_port));
    } else {
      return fail(Code::kInvalid, "unknown flag " + flag + "; see brume dns --help");
    }
  }
  return options;
}

Result<client::HttpClientOptions> server_options(const std::string& kubeconfig) {
  if (kubeconfig.empty()) return client::in_cluster_options();
  BRUME_TRY(const auto cluster, read_kubeconfig(kubeconfig));
  client::HttpClientOptions options;
  options.server = cluster.server;
  options.tls = cluster.tls;
  options.token = cluster.token;
  return options;
}

}  // namespace

int run_dns(const std::vector<std::string>& arguments) {
  if (wants_help(arguments)) {
    std::puts(kHelp);
    return 0;
  }
  const auto options = parse(arguments);
  if (!options) return report(options.error());
  auto server = server_options(options->kubeconfig);
  if (!server) return report(server.error());
  server->user_agent = "brume-dns";
  bound_thread_caches(kThreadCaches);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  auto client = client::make_http_client(std::move(*server));
  if (!client) return report(client.error());

  Loop loop("dns");
  loop.start();
  std::unique_ptr<network::DnsServer> dns;
  Status started;
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): the loop keeps it until it ended
  loop.run_and_wait([&]() -> Task<void> {
    auto result = co_await network::DnsServer::start(options->dns, **client, system_clock());
    if (result) {
      dns = std::move(*result);
    } else {
      started = fail(result.error());
    }
  });
  if (!started) {
    loop.stop();
    return report(started.error());
  }
  release_free_memory();
  log::info("dns serves", {{"domain", options->dns.domain}, {"port", std::to_string(dns->port())}});
  int signal = 0;
  ::sigwait(&signals, &signal);
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): the loop keeps it until it ended
  loop.run_and_wait([&]() -> Task<void> {
    co_await dns->stop();
    dns.reset();
  });
  loop.stop();
  return 0;
}

}  // namespace brume::cmd
