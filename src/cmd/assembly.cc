#include "cmd/assembly.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <thread>
#include <vector>

#include "apiserver/access.h"
#include "brume/api/resources.h"
#include "brume/apiserver/pki.h"
#include "brume/apiserver/registry.h"
#include "brume/apiserver/security.h"
#include "brume/apiserver/server.h"
#include "brume/base/clock.h"
#include "brume/base/json.h"
#include "brume/base/log.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "brume/client/informer.h"
#include "brume/controller/controllers.h"
#include "brume/http/server.h"
#include "brume/linux/fd.h"
#include "brume/network/pod_links.h"
#include "brume/network/service_proxy.h"
#include "brume/node/agent.h"
#include "brume/runtime/images.h"
#include "brume/runtime/runtime.h"
#include "brume/scheduler/scheduler.h"
#include "brume/store/store.h"
#include "cmd/addons.h"
#include "cmd/bootstrap.h"
#include "cmd/data_dir.h"
#include "cmd/image_api.h"
#include "cmd/local_client.h"
#include "cmd/network_options.h"
#include "cmd/node_address.h"
#include "cmd/own_image.h"
#include "cmd/pod_network.h"
#include "cmd/registries.h"
#include "cmd/version.h"

namespace brume::cmd {

namespace {

using apiserver::Leaf;

/// How often certificates are looked at for renewal.
constexpr auto kRenewInterval = std::chrono::hours(12);
/// How often the node's firewall is looked at: Docker or ufw may load theirs while pods run.
constexpr auto kFirewallInterval = std::chrono::seconds(10);
/// A change of network comes as several: the old address goes, a new one and its routes come.
constexpr auto kAddressSettles = std::chrono::seconds(1);
constexpr std::size_t kEarlierAddresses = 8;

/// A client of a part of this process: admission sees `name`, nothing is refused.
std::unique_ptr<client::Client> client_of(apiserver::Registry& registry, std::string name, std::string group) {
  LocalClientOptions options;
  options.user.name = std::move(name);
  options.user.groups = {std::move(group), "system:authenticated"};
  return make_local_client(registry, std::move(options));
}

}  // namespace

/// Members stand in the order in which they come up; destruction goes the other way.
struct Assembly::Parts {
  ServerOptions options;
  Clock& clock = system_clock();
  std::vector<std::unique_ptr<Loop>> api_loops;
  Loop control{"control"};
  Loop node{"node"};

  bool follow_node_ip = false;                 ///< nobody said which: it is the one that the node has
  bool advertise_node_ip = false;              ///< and the server is reached by it
  std::vector<std::string> earlier_addresses;  ///< that it had since the start; its certificates name them still
  runtime::Registries registries;
  linux_os::Fd data_lock;
  std::unique_ptr<apiserver::Pki> pki;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<apiserver::Registry> registry;
  std::unique_ptr<apiserver::Security> security;
  std::unique_ptr<apiserver::ApiServer> api;
  std::unique_ptr<runtime::Images> images;
  std::unique_ptr<http::Server> listener;
  std::unique_ptr<TaskGroup> api_tasks;  ///< on api_loops[0]

  std::unique_ptr<client::Client> admin, controller_client, node_client;
  std::unique_ptr<TaskGroup> control_tasks;
  std::unique_ptr<client::InformerFactory> control_informers;
  std::unique_ptr<controller::Controllers> controllers;
  std::unique_ptr<scheduler::Scheduler> scheduler;
  std::unique_ptr<network::ServiceProxy> proxy;

  std::unique_ptr<runtime::Runtime> runtime;
  std::unique_ptr<network::PodLinks> links;
  std::unique_ptr<LinkedPodNetwork> pod_network;
  std::unique_ptr<TaskGroup> node_tasks;
  std::unique_ptr<node::NodeAgent> agent;

  explicit Parts(ServerOptions o) : options(std::move(o)) {}

  Status start();
  void stop();

  Status open_files();
  Task<Status> start_api();
  Task<Status> start_control();
  Task<Status> start_node();
  Task<void> stop_api();
  Task<void> stop_control();
  Task<void> stop_node();
  Task<void> deploy_addons();
  Task<void> deploy_addon(std::string name, std::string manifest, std::map<std::string, std::string> values);
  Task<void> renew_certificates();
  Task<void> renew_now();
  Task<void> follow_addresses();
  [[nodiscard]] std::vector<std::string> certificate_addresses() const;
  Task<void> watch_firewalls();
  Status write_kubeconfig() const;
  [[nodiscard]] http::TlsServerConfig serving_tls() const;
  [[nodiscard]] http::TlsClientConfig node_tls() const;
  Status run(Loop& loop, Task<Status> (Parts::*body)());
  void run(Loop& loop, Task<void> (Parts::*body)());
};

Assembly::Assembly(ServerOptions options) : parts_(std::make_unique<Parts>(std::move(options))) {}
Assembly::~Assembly() = default;
Status Assembly::start() { return parts_->start(); }
void Assembly::stop() { parts_->stop(); }

// Order -----------------------------------------------------------------------------------------------------------

Status Assembly::Parts::run(Loop& loop, Task<Status> (Parts::*body)()) {
  Status status;
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): the loop keeps it until it ended
  loop.run_and_wait([&]() -> Task<void> { status = co_await (this->*body)(); });
  return status;
}

void Assembly::Parts::run(Loop& loop, Task<void> (Parts::*body)()) {
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): the loop keeps it until it ended
  loop.run_and_wait([&]() -> Task<void> { co_await (this->*body)(); });
}

Status Assembly::Parts::start() {
  BRUME_CHECK(open_files());
  const unsigned count = std::clamp(std::thread::hardware_concurrency(), 2U, 8U);
  for (unsigned i = 0; i < count; ++i) {
    api_loops.push_back(std::make_unique<Loop>("api-" + std::to_string(i)));
    api_loops.back()->start();
  }
  control.start();
  node.start();
  auto status = run(*api_loops.front(), &Parts::start_api);
  if (status) status = run(control, &Parts::start_control);
  if (status && !options.disable_agent) status = run(node, &Parts::start_node);
  if (!status) {
    stop();
    return status;
  }
  api->set_ready(true);
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): the loop keeps it until it ended
  control.run_and_wait([this]() -> Task<void> {
    control_tasks->spawn("add-ons", deploy_addons());
    control_tasks->spawn("certificates", renew_certificates());
    if (follow_node_ip) control_tasks->spawn("addresses", follow_addresses());
    co_return;
  });
  return {};
}

void Assembly::Parts::stop() {
  if (api_loops.empty()) return;
  if (api) api->set_ready(false);
  run(node, &Parts::stop_node);
  run(control, &Parts::stop_control);
  run(*api_loops.front(), &Parts::stop_api);
  node.stop();
  control.stop();
  for (auto& loop : api_loops) loop->stop();
}

// Files and certificates ------------------------------------------------------------------------------------------

Status Assembly::Parts::open_files() {
  const bool told = !options.private_registry.empty();
  BRUME_TRY(registries, load_registries(told ? options.private_registry : kRegistriesFile, told));
  BRUME_TRY(data_lock, lock_data_dir(options.data_dir));
  for (const auto* part : {"/server", "/server/tls", "/images", "/network"}) {
    BRUME_CHECK(linux_os::make_dirs(options.data_dir + part, 0700));
  }
  BRUME_CHECK(linux_os::make_dirs(options.state_dir, 0711));
  BRUME_CHECK(linux_os::make_dirs(options.log_dir, 0755));
  follow_node_ip = options.node_ip.empty();
  if (follow_node_ip) {
    options.node_ip = detect_node_address(kBridge).address;
    // A machine without any network still runs pods: they reach the node by the bridge's own address.
    if (options.node_ip.empty()) options.node_ip = nth_address(options.cluster_cidr, 1);
  }
  advertise_node_ip = options.advertise_address.empty();
  if (advertise_node_ip) options.advertise_address = options.node_ip;
  apiserver::PkiOptions names;
  names.directory = options.data_dir + "/server/tls";
  names.node_name = options.node_name;
  names.node_ips = certificate_addresses();
  names.service_ips = {nth_address(options.service_cidr, 1)};
  names.cluster_domain = options.cluster_domain;
  names.extra_sans = options.tls_san;
  BRUME_TRY(pki, apiserver::Pki::open(std::move(names), clock.now()));
  return write_kubeconfig();
}

Status Assembly::Parts::write_kubeconfig() const {
  const std::filesystem::path path(options.write_kubeconfig);
  BRUME_CHECK(linux_os::make_dirs(path.parent_path(), 0755));
  const bool any = options.bind_address == "0.0.0.0" || options.bind_address == "::";
  apiserver::KubeconfigOptions config;
  config.server = "https://" + (any ? std::string("127.0.0.1") : options.bind_address) + ":" +
                  std::to_string(options.https_listen_port);
  config.server_ca_pem = pki->server_ca_pem();
  config.client = pki->leaf(Leaf::kAdmin);
  const std::string text = apiserver::kubeconfig(config);
  struct stat there{};
  const bool same_mode = ::stat(path.c_str(), &there) == 0 && (there.st_mode & 07777) == options.write_kubeconfig_mode;
  const std::string had = linux_os::read_file(path.string()).value_or("");
  if (same_mode && had == text) return {};  // a start that changes nothing writes nothing
  auto written = apiserver::write_file_atomically(path, text, options.write_kubeconfig_mode);
  if (written) return {};
  // One that trusts the same CA is an earlier start's, and good as long as its certificate: a disk that takes no writes
  // keeps no server from starting.
  if (had.find(base64_encode(config.server_ca_pem)) == std::string::npos) {
    return fail(wrap(written.error(), "--write-kubeconfig"));
  }
  // Its mode is another matter: one that others may read must not stay so, and changing it needs no room.
  if (!same_mode && ::chmod(path.c_str(), options.write_kubeconfig_mode) != 0) {
    log::warn("the kubeconfig keeps its earlier mode", {{"error", std::strerror(errno)}});
  }
  log::warn("the kubeconfig is an earlier start's", {{"error", written.error().message}});
  return {};
}

http::TlsServerConfig Assembly::Parts::serving_tls() const {
  const auto serving = pki->leaf(Leaf::kServing);
  return {serving.certificate_pem, serving.private_key_pem, pki->client_ca_pem()};
}

http::TlsClientConfig Assembly::Parts::node_tls() const {
  const auto pair = pki->leaf(Leaf::kKubeletClient);
  http::TlsClientConfig tls;
  tls.ca_pem = pki->server_ca_pem();
  tls.certificate_pem = pair.certificate_pem;
  tls.private_key_pem = pair.private_key_pem;
  return tls;
}

Task<void> Assembly::Parts::renew_certificates() {
  while (true) {
    co_await clock.sleep(kRenewInterval);
    co_await renew_now();
  }
}

Task<void> Assembly::Parts::renew_now() {
  const auto changed = co_await run_blocking([this] { return pki->renew_if_needed(clock.now()); });
  if (!changed) {
    log::error("certificates were not renewed", {{"error", changed.error().message}});
    co_return;
  }
  // Also where nothing changed: the file may have met a full disk before.
  if (auto written = write_kubeconfig(); !written) log::error("kubeconfig", {{"error", written.error().message}});
  if (changed->empty()) co_return;
  log::info("certificates renewed", {{"count", std::to_string(changed->size())}});
  if (auto set = listener->set_tls(serving_tls()); !set)
    log::error("new certificate", {{"error", set.error().message}});
  if (auto set = api->set_node_tls(node_tls()); !set)
    log::error("new client certificate for nodes", {{"error", set.error().message}});
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): a named function outlives the call
  std::function<Task<Status>()> swap = [this]() -> Task<Status> {
    const auto pair = pki->leaf(Leaf::kNodeServing);
    if (!agent) co_return Status();
    co_return agent->set_serving_tls(pair.certificate_pem, pair.private_key_pem, pki->client_ca_pem());
  };
  if (auto set = co_await on_loop<Status>(node.executor(), swap); !set) {
    log::error("new certificate of the node", {{"error", set.error().message}});
  }
}

// A laptop that changes its network, a DHCP server with another mind: what named the old address names the new one.
Task<void> Assembly::Parts::follow_addresses() {
  auto watch = AddressWatch::open(control.executor());
  while (watch) {
    if (auto changed = co_await watch->changed(); !changed) {
      log::error("changes of the node's address go unnoticed", {{"error", changed.error().message}});
      co_return;
    }
    co_await clock.sleep(kAddressSettles);
    const auto found = co_await run_blocking([] { return detect_node_address(kBridge); });
    const std::string& now = found.address;
    if (!found.uplink || now == options.node_ip) continue;  // without a network the last one stays
    log::info("the node's address changed", {{"from", options.node_ip}, {"to", now}});
    // Whoever knew the old one may still reach the server by it: a VPN that came up takes no address away.
    std::erase(earlier_addresses, now);
    earlier_addresses.push_back(options.node_ip);
    if (earlier_addresses.size() > kEarlierAddresses) earlier_addresses.erase(earlier_addresses.begin());
    options.node_ip = now;
    if (advertise_node_ip) options.advertise_address = now;
    pki->set_names(certificate_addresses(), options.tls_san);
    co_await renew_now();
    controllers->set_advertise_address(options.advertise_address);
    // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): a named function outlives the call
    std::function<Task<Status>()> tell = [this, now]() -> Task<Status> {
      if (agent) agent->set_node_ips({now});
      co_return Status();
    };
    (void)co_await on_loop<Status>(node.executor(), tell);
  }
  log::error("changes of the node's address go unnoticed", {{"error", watch.error().message}});
}

std::vector<std::string> Assembly::Parts::certificate_addresses() const {
  std::vector<std::string> addresses{options.node_ip};
  if (options.advertise_address != options.node_ip) addresses.push_back(options.advertise_address);
  addresses.insert(addresses.end(), earlier_addresses.begin(), earlier_addresses.end());
  return addresses;
}

// The API ---------------------------------------------------------------------------------------------------------

Task<Status> Assembly::Parts::start_api() {
  api_tasks = std::make_unique<TaskGroup>(api_loops.front()->executor());
  if (options.datastore == "memory") {
    store = store::open_memory();
  } else {
    BRUME_CO_TRY(store, store::open_sqlite({.path = options.data_dir + "/server/state.db"}));
  }
  apiserver::RegistryOptions registry_options;
  registry_options.service_cidr = options.service_cidr;
  registry_options.node_port_first = options.node_port_first;
  registry_options.node_port_last = options.node_port_last;
  BRUME_CO_TRY(registry, co_await apiserver::Registry::open(*store, registry_options, clock));
  apiserver::SecurityOptions security_options{.token_key = pki->token_key()};
  security_options.issuer = "https://kubernetes.default.svc." + options.cluster_domain;
  security_options.join_token = options.token;
  security = apiserver::Security::create(security_options, registry->objects(), clock);
  registry->set_admission(&security->admission());
  registry->set_reviews(&security->reviews());

  admin = client_of(*registry, "system:apiserver", "system:masters");
  LocalBootstrapTarget target(*admin);
  BRUME_CO_CHECK(co_await apiserver::bootstrap(target));

  apiserver::ApiServerOptions api_options;
  api_options.git_version = kKubernetesVersion;
  api_options.server_address = options.advertise_address + ":" + std::to_string(options.https_listen_port);
  api_options.node_tls = node_tls();
  api_options.jwks = [this] { return security->jwks(); };
  api_options.openid_configuration = [this, server = "https://" + api_options.server_address] {
    return security->openid_configuration(server);
  };
  BRUME_CO_TRY(api, apiserver::ApiServer::create(*registry, security->authenticator(), security->authorizer(),
                                                 &security->admission(), std::move(api_options)));
  runtime::ImageOptions image_options;
  image_options.dir = options.data_dir + "/images";
  image_options.registries = std::move(registries);
  if (auto proxies = http::Proxies::from_environment()) {
    image_options.proxies = *std::move(proxies);
  } else {
    log::warn("images are pulled without a proxy", {{"error", proxies.error().message}});
  }
  BRUME_CO_TRY(images, runtime::Images::open(std::move(image_options), node.executor()));

  http::ServerOptions http_options;
  http_options.address = options.bind_address;
  http_options.port = options.https_listen_port;
  http_options.tls = serving_tls();
  std::vector<Executor> loops;
  for (const auto& loop : api_loops) loops.push_back(loop->executor());
  auto handler = with_image_api(api->handler(), security->authenticator(), *images, node.executor());
  auto listening = http::Server::listen(std::move(http_options), std::move(loops), std::move(handler));
  if (!listening)
    co_return fail(wrap(listening.error(), "--https-listen-port " + std::to_string(options.https_listen_port)));
  listener = std::move(*listening);
  api_tasks->spawn("registry", registry->maintain());
  api_tasks->spawn("api server", api->maintain());
  co_return Status();
}

Task<void> Assembly::Parts::stop_api() {
  if (registry) registry->close();
  if (listener) co_await listener->stop();
  if (api_tasks) co_await api_tasks->stop();
  if (store) {
    if (auto closed = co_await store->close(); !closed)
      log::error("closing the store", {{"error", closed.error().message}});
  }
  listener.reset();
  api_tasks.reset();
}

// Controllers and scheduler ---------------------------------------------------------------------------------------

namespace {

Result<scheduler::Options> make_scheduler_options(const ServerOptions& options) {
  scheduler::Options out;
  if (options.scheduler_config.empty()) return out;
  BRUME_TRY(const auto text, linux_os::read_file(options.scheduler_config));
  auto config = scheduler::read_config(text);
  if (!config) return fail(wrap(std::move(config).error(), options.scheduler_config));
  out.config = std::move(*config);
  return out;
}

}  // namespace

Task<Status> Assembly::Parts::start_control() {
  control_tasks = std::make_unique<TaskGroup>(control.executor());
  controller_client = client_of(*registry, "system:kube-controller-manager", "system:masters");
  control_informers = std::make_unique<client::InformerFactory>(*controller_client, control.executor(), clock);
  controller::Options controller_options;
  controller_options.root_ca_pem = pki->server_ca_pem();
  controller_options.client_ca_pem = pki->client_ca_pem();
  controller_options.service_ip = nth_address(options.service_cidr, 1);
  controller_options.service_cidr = options.service_cidr;
  controller_options.advertise_address = options.advertise_address;
  controller_options.secure_port = options.https_listen_port;
  controller_options.horizontal_pod_autoscaler_sync_period = options.horizontal_pod_autoscaler_sync_period;
  controllers = std::make_unique<controller::Controllers>(*control_informers, controller_options);
  BRUME_CO_TRY(auto scheduler_options, make_scheduler_options(options));
  BRUME_CO_TRY(scheduler, scheduler::Scheduler::create(*control_informers, std::move(scheduler_options)));
  if (!options.disable_agent) {
    BRUME_CO_TRY(proxy, network::ServiceProxy::create(service_proxy_options(options), *control_informers));
  }
  controllers->start();
  scheduler->start();
  if (proxy) proxy->start();
  co_return Status();
}

Task<void> Assembly::Parts::stop_control() {
  if (control_tasks) co_await control_tasks->stop();
  if (proxy) co_await proxy->stop();
  if (scheduler) co_await scheduler->stop();
  if (controllers) co_await controllers->stop();
  if (control_informers) co_await control_informers->stop();
  proxy.reset();
  scheduler.reset();
  controllers.reset();
  control_informers.reset();
  control_tasks.reset();
}

Task<void> Assembly::Parts::deploy_addons() {
  const std::map<std::string, std::string> values{{"VERSION", std::string(kVersion)},
                                                  {"CLUSTER_DNS", nth_address(options.service_cidr, 10)},
                                                  {"CLUSTER_DOMAIN", options.cluster_domain}};
  co_await deploy_addon("local-storage", std::string(local_storage_manifest()), values);
  if (!options.disabled("dns") && !options.disable_agent) {
    // Here rather than before the node is ready: nothing but add-ons needs it.
    // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): a named function outlives the call
    std::function<Task<Status>()> import = [this]() -> Task<Status> { co_return co_await import_own_image(*images); };
    if (auto imported = co_await on_loop<Status>(node.executor(), import); !imported) {
      log::error("the built-in image", {{"error", imported.error().message}});
    }
  }
  co_await deploy_addon("dns", std::string(dns_manifest()), values);
}

Task<void> Assembly::Parts::deploy_addon(std::string name, std::string manifest,
                                         std::map<std::string, std::string> values) {
  // An earlier start may have deployed what is disabled now.
  const bool wanted = !options.disabled(name);
  auto done = wanted ? co_await apply_manifest(*admin, std::move(manifest), std::move(values))
                     : co_await remove_manifest(*admin, std::move(manifest), std::move(values));
  if (!done) {
    log::error(wanted ? "an add-on was not applied" : "an add-on was not removed",
               {{"add-on", name}, {"error", done.error().message}});
  }
}

// The node --------------------------------------------------------------------------------------------------------

Task<Status> Assembly::Parts::start_node() {
  const auto links_options = pod_links_options(options);
  BRUME_CO_TRY(links, co_await run_blocking([&] { return network::PodLinks::start(links_options); }));
  pod_network = std::make_unique<LinkedPodNetwork>(*links);
  node_tasks = std::make_unique<TaskGroup>(node.executor());
  node_tasks->spawn("firewalls", watch_firewalls());
  BRUME_CO_TRY(runtime, runtime::Runtime::create({.state_dir = options.state_dir}, node.executor()));
  node_client = client_of(*registry, "system:node:" + options.node_name, "system:nodes");
  node::NodeOptions node_options;
  node_options.node_name = options.node_name;
  node_options.node_ips = {options.node_ip};
  node_options.pod_cidr = links_options.pod_cidr.str();
  node_options.cluster_dns = {nth_address(options.service_cidr, 10)};
  node_options.cluster_domain = options.cluster_domain;
  node_options.data_dir = options.data_dir;
  node_options.storage_path = options.data_path + "/storage";
  node_options.log_dir = options.log_dir;
  node_options.kubelet_version = kKubernetesVersion;
  node_options.runtime_version = "brume://" + std::string(kVersion);
  node_options.control_plane = false;
  node_options.stop_pods = options.stop_pods;
  node_options.allowed_unsafe_sysctls = options.allowed_unsafe_sysctls;
  node_options.pod_pids_limit = options.pod_max_pids;
  node_options.eviction_hard = options.eviction_hard;
  const auto serving = pki->leaf(Leaf::kNodeServing);
  node_options.certificate_pem = serving.certificate_pem;
  node_options.private_key_pem = serving.private_key_pem;
  node_options.client_ca_pem = pki->client_ca_pem();
  agent = node::NodeAgent::create(std::move(node_options), {*node_client, *runtime, *images, *pod_network, clock},
                                  node.executor());
  BRUME_CO_CHECK(co_await agent->start());
  // A node may not give itself a role (NodeRestriction), so the server does.
  Json role{{"metadata", {{"labels", {{"node-role.kubernetes.io/control-plane", "true"}}}}}};
  auto labelled =
      co_await admin->patch(api::res("nodes"), "", options.node_name, client::PatchType::kMerge, std::move(role));
  if (labelled) co_return Status();
  auto error = wrap(labelled.error(), "labelling the node");
  if (error.code != Code::kServiceUnavailable) co_return fail(std::move(error));
  log::warn("the node has no role yet", {{"error", error.message}});  // a full disk; the next start tries again
  co_return Status();
}

Task<void> Assembly::Parts::watch_firewalls() {
  while (true) {
    co_await clock.sleep(kFirewallInterval);
    const auto passed = co_await run_blocking([this] { return links->pass_firewalls(); });
    if (!passed) log::warn("a firewall of this node may drop what pods send", {{"error", passed.error().message}});
  }
}

Task<void> Assembly::Parts::stop_node() {
  if (node_tasks) co_await node_tasks->stop();
  if (agent) co_await agent->stop();
  if (runtime) co_await runtime->stop();
  if (images) co_await images->stop();
  agent.reset();
  runtime.reset();
}

}  // namespace brume::cmd
