// Assembles the node agent: the order in which its parts start and stop, and the pods' workers.
#include "brume/node/agent.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <limits>
#include <map>
#include <set>

#include "agent/admission.h"
#include "agent/evictor.h"
#include "agent/image_gc.h"
#include "agent/log_keeper.h"
#include "agent/node_reporter.h"
#include "agent/storage_keeper.h"
#include "brume/base/log.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "brume/client/informer.h"
#include "brume/linux/fd.h"
#include "pod/pod.h"
#include "spec/host_ports.h"
#include "spec/pod_files.h"
#include "stream/node_server.h"
#include "volumes/volumes.h"
#include "worker/pod_worker.h"

namespace brume::node {

namespace {

constexpr std::chrono::seconds kStopPodsLimit{30};

/// Folders of pods, containers and logs that earlier processes left.
struct Folders {
  std::vector<std::filesystem::path> pods, containers, logs;
};

std::vector<std::filesystem::path> entries_of(const std::string& dir) {
  std::vector<std::filesystem::path> out;
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(dir, ec)) out.push_back(entry.path());
  return out;
}

class Agent final : public NodeAgent, private PodDirectory {
 public:
  Agent(NodeOptions options, NodeParts parts, const Executor& executor)
      : options_(complete(std::move(options))),
        parts_(parts),
        executor_(executor),
        group_(executor),
        worker_left_(executor),
        collected_(executor),
        events_(parts.client, executor, parts.clock, "kubelet", options_.node_name),
        objects_(parts.client, executor, parts.clock),
        puller_(parts.images, events_, parts.clock),
        handlers_(make_handler_runner(parts.runtime, parts.clock, executor)),
        reporter_(options_, parts, events_, executor),
        evictor_(evictor_parts(), executor),
        storage_(options_, parts.client, parts.clock, executor),
        pods_(parts.client, api::res("pods"), executor, parts.clock, pod_selection()),
        services_(parts.client, api::res("services"), executor, parts.clock),
        node_(parts.client, api::res("nodes"), executor, parts.clock, own_node()),
        taints_(node_,
                [](const api::Object& node) { return client::decode_taints(at(node.parse(), "spec", "taints")); }),
        server_(options_, parts.runtime, parts.clock, *this, executor),
        context_{.options = options_,
                 .client = parts.client,
                 .runtime = parts.runtime,
                 .images = parts.images,
                 .network = parts.network,
                 .clock = parts.clock,
                 .executor = executor,
                 .events = events_,
                 .objects = objects_,
                 .puller = puller_,
                 .handlers = *handlers_,
                 .service_env = [this](const std::string& ns, bool links) { return service_variables(ns, links); },
                 .usage_changed =
                     [this] {
                       reporter_.changed();
                       decide_resizes();
                     },
                 .resize_asked = [this] { decide_resizes(); },
                 .read_resolv_conf = &read_host_resolv_conf,
                 .user_files = {}} {}

  Task<Status> start() override;
  Task<void> stop() override;
  Status set_serving_tls(std::string certificate_pem, std::string private_key_pem, std::string client_ca_pem) override {
    return server_.set_tls(std::move(certificate_pem), std::move(private_key_pem), std::move(client_ca_pem));
  }
  std::uint16_t port() const override { return server_.port(); }
  void set_stop_pods(bool stop_pods) override { options_.stop_pods = stop_pods; }
  void set_node_ips(std::vector<std::string> node_ips) override {
    options_.node_ips = std::move(node_ips);
    reporter_.changed();
    for (auto& [uid, worker] : workers_) worker->node_changed();
  }

 private:
  static NodeOptions complete(NodeOptions options) {
    if (options.hostname.empty()) options.hostname = options.node_name;
    if (options.seccomp_dir.empty()) options.seccomp_dir = options.data_dir + "/seccomp";
    return options;
  }
  client::InformerOptions pod_selection() const {
    client::InformerOptions selection;
    selection.field_selector = "spec.nodeName=" + options_.node_name;
    return selection;
  }
  client::InformerOptions own_node() const {
    client::InformerOptions selection;
    selection.field_selector = "metadata.name=" + options_.node_name;
    return selection;
  }

  // PodDirectory
  PodWorker* find(std::string_view ns, std::string_view name) override;
  std::vector<Json> all_pods() override;
  std::vector<PodWorker*> workers() override;

  void start_pods(std::vector<runtime::SandboxInfo> sandboxes, Folders folders);
  void add_pod(const api::ObjectPtr& pod, const api::ObjectPtr& asked_node = nullptr);
  Task<void> admit_again(api::ObjectPtr pod);
  void update_pod(const api::ObjectPtr& old, const api::ObjectPtr& now);
  Task<void> remove_orphans(std::vector<std::string> sandboxes, Folders folders);
  Task<void> reap(std::string uid);
  Task<Result<std::vector<runtime::SandboxInfo>>> take_over();
  Task<void> stop_pods();
  EnvList service_variables(const std::string& ns, bool links);
  void tick(const Pressure& pressure);
  Task<void> keep_logs();
  Task<void> collect_images(std::int64_t bytes);
  EvictorParts evictor_parts();
  PodRequest used(const PodWorker* without = nullptr) const;
  AdmissionInputs admission_inputs(const PodWorker* without = nullptr) const;
  void decide_resizes();

  NodeOptions options_;
  NodeParts parts_;
  Executor executor_;
  TaskGroup group_;
  Event worker_left_;
  Event collected_;  ///< a collection of images has ended
  client::EventRecorder events_;
  ObjectCache objects_;
  ImagePuller puller_;
  std::unique_ptr<HandlerRunner> handlers_;
  NodeReporter reporter_;
  Evictor evictor_;
  StorageKeeper storage_;
  client::Informer pods_;
  client::Informer services_;
  client::Informer node_;  ///< its own
  client::Projection<std::vector<client::Taint>> taints_;
  NodeServer server_;
  WorkerContext context_;
  Machine machine_;
  std::map<std::string, std::unique_ptr<PodWorker>> workers_;  ///< by uid
  std::map<std::string, runtime::SandboxInfo> adopted_;        ///< sandboxes no worker has taken over yet
  std::set<std::string> ended_;                                ///< those of them that have ended meanwhile
  bool rotating_ = false;
  bool collecting_ = false;
  bool stopping_ = false;
};

Task<Status> Agent::start() {
  const std::string data_dir = options_.data_dir;
  const std::string log_dir = options_.log_dir;
  auto made = co_await run_blocking([data_dir, log_dir]() -> Status {
    BRUME_CHECK(linux_os::make_dirs(data_dir + "/pods", 0750));
    BRUME_CHECK(linux_os::make_dirs(data_dir + "/containers", 0710));
    return linux_os::make_dirs(log_dir, 0755);
  });
  if (!made) co_return made;
  machine_ = co_await run_blocking([data_dir] { return read_machine(data_dir); });
  context_.memory_bytes = machine_.memory_bytes;
  context_.milli_cpu = machine_.cpus * 1000;
  context_.ephemeral_bytes = machine_.disk_bytes;
  parts_.runtime.on_exit([this](const runtime::ContainerStatus& status) {
    const auto it = workers_.find(status.sandbox_id);
    if (it != workers_.end()) it->second->container_exited(status);
    server_.container_ended();
  });
  parts_.runtime.on_sandbox_end([this](const std::string& uid) {
    const auto it = workers_.find(uid);
    if (it != workers_.end()) {
      it->second->sandbox_ended();
    } else {
      ended_.insert(uid);
    }
  });
  parts_.images.set_in_use([this](std::string_view id) {
    return std::any_of(workers_.begin(), workers_.end(), [&](const auto& item) { return item.second->uses_image(id); });
  });
  objects_.on_change([this](const std::string& uid) {
    const auto it = workers_.find(uid);
    if (it != workers_.end()) it->second->objects_changed();
  });
  // Listed before any pod starts: what of these has no owner later belongs to nobody.
  Folders folders = co_await run_blocking([data_dir, log_dir] {
    return Folders{entries_of(data_dir + "/pods"), entries_of(data_dir + "/containers"), entries_of(log_dir)};
  });
  auto sandboxes = co_await take_over();
  if (!sandboxes) co_return fail(wrap(sandboxes.error(), "cannot take over running pods"));
  if (options_.serve) {
    auto served = server_.listen();
    if (!served) co_return served;
  }
  reporter_.set_machine(machine_);
  reporter_.set_port(server_.port() != 0 ? server_.port() : options_.port);
  auto registered = co_await reporter_.register_node();
  if (!registered) co_return registered;
  node_.add_handler({.added = [this](const api::ObjectPtr& node) { reporter_.heard(*node); },
                     .updated = [this](const api::ObjectPtr&, const api::ObjectPtr& now) { reporter_.heard(*now); },
                     .deleted = nullptr});
  services_.start();
  node_.start();
  pods_.start();
  co_await services_.wait_synced();
  co_await node_.wait_synced();
  co_await pods_.wait_synced();
  start_pods(*std::move(sandboxes), std::move(folders));
  storage_.start();
  reporter_.start([this](const Pressure& pressure) { tick(pressure); });
  co_return Status();
}

// Sandboxes of an earlier process. One without any container may have been left half made (no address, no files):
// nothing has run in it, so it goes, and its pod gets another. The pod's volumes stay: containers of an earlier sandbox
// may have written them.
Task<Result<std::vector<runtime::SandboxInfo>>> Agent::take_over() {
  auto found = co_await parts_.runtime.adopt();
  if (!found) co_return found;
  std::vector<runtime::SandboxInfo> kept;
  for (auto& sandbox : *found) {
    if (!parts_.runtime.containers(sandbox.id).empty()) {
      kept.push_back(std::move(sandbox));
      continue;
    }
    auto gone = co_await parts_.runtime.remove_sandbox(sandbox.id);
    if (gone) gone = co_await parts_.network.detach(sandbox.id);
    if (!gone) log::warn("cannot remove a half-made sandbox", {{"pod", sandbox.id}, {"error", gone.error().message}});
  }
  co_return kept;
}

void Agent::start_pods(std::vector<runtime::SandboxInfo> sandboxes, Folders folders) {
  std::set<std::string> known;
  for (const auto& pod : pods_.list()) known.insert(pod->uid());
  std::vector<std::string> orphans;
  for (auto& sandbox : sandboxes) {
    if (!known.contains(sandbox.id)) orphans.push_back(sandbox.id);
    adopted_.emplace(sandbox.id, std::move(sandbox));
  }
  // A handler added late is told of what is there: oldest first does not matter for pods that were admitted before.
  pods_.add_handler({.added = [this](const api::ObjectPtr& pod) { add_pod(pod); },
                     .updated = [this](const api::ObjectPtr& old, const api::ObjectPtr& now) { update_pod(old, now); },
                     .deleted =
                         [this](const api::ObjectPtr& last) {
                           const auto it = workers_.find(last->uid());
                           if (it == workers_.end()) return;
                           it->second->update(last);
                           it->second->removed();
                         }});
  group_.spawn("orphans", remove_orphans(std::move(orphans), std::move(folders)));
}

// With `asked_node` what the API said of the node just now; without, what the informer last heard of it.
void Agent::add_pod(const api::ObjectPtr& pod, const api::ObjectPtr& asked_node) {
  if (stopping_ || workers_.contains(pod->uid())) return;
  auto worker = std::make_unique<PodWorker>(context_, pod,
                                            [this](const std::string& uid) { group_.spawn("pod end", reap(uid)); });
  const auto adopted = adopted_.find(pod->uid());
  const bool fresh = adopted == adopted_.end() && !pod->deleting() &&
                     std::all_of(worker->runs().begin(), worker->runs().end(),
                                 [](const ContainerRun& run) { return run.attempt < 0; }) &&
                     !is_terminal_phase(str(at(worker->pod(), "status"), "phase"));
  if (adopted != adopted_.end()) {
    worker->adopt(adopted->second);
    adopted_.erase(adopted);
    if (ended_.erase(pod->uid()) > 0) worker->sandbox_ended();
  } else if (fresh) {
    auto inputs = admission_inputs();
    for (const auto& [uid, other] : workers_) {
      if (other->occupies()) std::ranges::move(host_ports(other->pod()), std::back_inserter(inputs.ports));
    }
    inputs.node = asked_node ? asked_node : node_.get("", options_.node_name);
    std::vector<client::Taint> taints;
    if (inputs.node) taints = asked_node ? taints_.decode(*asked_node) : taints_.of(inputs.node);
    inputs.taints = taints;
    if (auto refusal = admit_pod(worker->pod(), inputs)) {
      if (refusal->by_node && !asked_node) return group_.spawn("pod admission", admit_again(pod));
      worker->reject(refusal->reason, refusal->message);
    }
  }
  PodWorker* raw = worker.get();
  workers_.emplace(pod->uid(), std::move(worker));
  raw->start();
}

// The watch of pods may be ahead of the node's: of the label for which the scheduler chose the node, say.
Task<void> Agent::admit_again(api::ObjectPtr pod) {
  // Without an answer, what was heard last decides.
  auto node = co_await parts_.client.get(api::res("nodes"), "", options_.node_name);
  const auto now = pods_.get(pod->ns(), pod->name());
  if (!now || now->uid() != pod->uid()) co_return;
  add_pod(now, node ? *node : node_.get("", options_.node_name));
}

void Agent::update_pod(const api::ObjectPtr& old, const api::ObjectPtr& now) {
  if (old->uid() != now->uid()) {
    // Deleted and made again under the same name while the watch was away.
    if (const auto it = workers_.find(old->uid()); it != workers_.end()) it->second->removed();
    add_pod(now);
    return;
  }
  if (const auto it = workers_.find(now->uid()); it != workers_.end()) it->second->update(now);
}

AdmissionInputs Agent::admission_inputs(const PodWorker* without) const {
  AdmissionInputs inputs;
  inputs.milli_cpu = machine_.cpus * 1000;
  inputs.memory = machine_.memory_bytes;
  inputs.ephemeral_storage = machine_.disk_bytes / 100 * 95;
  inputs.max_pods = options_.max_pods;
  inputs.used = used(without);
  inputs.allowed_unsafe_sysctls = options_.allowed_unsafe_sysctls;
  inputs.memory_pressure = reporter_.pressure().memory;
  inputs.disk_pressure = reporter_.pressure().disk;
  inputs.pid_pressure = reporter_.pressure().pid;
  inputs.pods = std::count_if(workers_.begin(), workers_.end(), [&](const auto& item) {
    return item.second->occupies() && item.second.get() != without;
  });
  return inputs;
}

// Pods that wait for other resources, in the kubelet's order: those that ask for no more than they have, then by
// priority, by quality of service, and by how long they have waited.
void Agent::decide_resizes() {
  std::vector<std::pair<ResizeWish, PodWorker*>> waiting;
  for (const auto& [uid, worker] : workers_) {
    if (worker->resize_asked()) waiting.emplace_back(worker->resize_wish(), worker.get());
  }
  const auto before = [](const ResizeWish& a, const ResizeWish& b) {
    if (a.grows != b.grows) return !a.grows;
    if (a.priority != b.priority) return a.priority > b.priority;
    if (a.guaranteed != b.guaranteed) return a.guaranteed;
    if (a.since.empty() != b.since.empty()) return !a.since.empty();
    return a.since < b.since;
  };
  std::ranges::sort(waiting, [&](const auto& a, const auto& b) { return before(a.first, b.first); });
  for (const auto& [wish, worker] : waiting) {
    const auto refusal = check_room(wish.request, admission_inputs(worker));
    worker->decide_resize(refusal ? std::optional(refusal->message) : std::nullopt);
  }
}

PodRequest Agent::used(const PodWorker* without) const {
  PodRequest sum;
  for (const auto& [uid, worker] : workers_) {
    if (!worker->occupies() || worker.get() == without) continue;
    sum += pod_request(worker->pod());
  }
  return sum;
}

Task<void> Agent::reap(std::string uid) {
  const auto it = workers_.find(uid);
  if (it == workers_.end()) co_return;
  PodWorker* worker = it->second.get();
  co_await worker->stop();
  workers_.erase(uid);
  worker_left_.notify();
  reporter_.changed();
}

// Pods that were deleted while brume was down, and folders that no pod owns.
Task<void> Agent::remove_orphans(std::vector<std::string> sandboxes, Folders folders) {
  for (const std::string& id : sandboxes) {
    adopted_.erase(id);
    auto gone = co_await parts_.runtime.remove_sandbox(id);
    if (gone) gone = co_await parts_.network.detach(id);
    if (!gone)
      log::warn("cannot remove a pod that the API no longer has", {{"pod", id}, {"error", gone.error().message}});
  }
  // A kill between the sandbox's end and the address's leaves the address alone. What is attached from here on has a
  // worker.
  for (const std::string& uid : co_await parts_.network.attached_pods()) {
    if (workers_.contains(uid)) continue;
    if (auto gone = co_await parts_.network.detach(uid); !gone)
      log::warn("cannot release the address of a pod that is gone", {{"pod", uid}, {"error", gone.error().message}});
  }
  std::set<std::string> pods;
  std::set<std::string> containers;
  std::set<std::string> logs;
  for (const auto& [uid, worker] : workers_) {
    pods.insert(uid);
    const Json& meta = at(worker->pod(), "metadata");
    logs.insert(pod_log_dir(options_.log_dir, str(meta, "namespace"), str(meta, "name"), uid));
    for (const auto& status : parts_.runtime.containers(uid)) containers.insert(status.id);
    for (const ContainerRun& run : worker->runs()) containers.insert(run.id);
  }
  auto removed = co_await run_blocking([folders = std::move(folders), pods, containers, logs]() -> Status {
    for (const auto& path : folders.pods) {
      if (!pods.contains(path.filename().string())) BRUME_CHECK(remove_with_mounts(path.string()));
    }
    for (const auto& path : folders.containers) {
      if (!containers.contains(path.filename().string())) BRUME_CHECK(linux_os::remove_tree(path.string()));
    }
    for (const auto& path : folders.logs) {
      if (!logs.contains(path.string())) BRUME_CHECK(linux_os::remove_tree(path.string()));
    }
    return {};
  });
  if (!removed) log::warn("cannot remove left-over folders", {{"error", removed.error().message}});
}

EnvList Agent::service_variables(const std::string& ns, bool links) {
  std::vector<Json> seen;
  if (auto kubernetes = services_.get("default", "kubernetes")) seen.push_back(kubernetes->parse());
  if (links) {
    for (const auto& service : services_.list(ns)) {
      if (service->ns() == "default" && service->name() == "kubernetes") continue;
      seen.push_back(service->parse());
    }
  }
  return service_env(seen);
}

PodWorker* Agent::find(std::string_view ns, std::string_view name) {
  PodWorker* found = nullptr;
  for (const auto& [uid, worker] : workers_) {
    if (worker->object()->ns() == ns && worker->object()->name() == name) found = worker.get();
    if (found != nullptr && !found->torn_down()) break;
  }
  return found;
}

std::vector<Json> Agent::all_pods() {
  std::vector<Json> out;
  for (const auto& [uid, worker] : workers_) out.push_back(worker->pod());
  return out;
}

std::vector<PodWorker*> Agent::workers() {
  std::vector<PodWorker*> out;
  for (const auto& [uid, worker] : workers_) out.push_back(worker.get());
  return out;
}

void Agent::tick(const Pressure& pressure) {
  if (!rotating_ && !workers_.empty()) {
    rotating_ = true;
    group_.spawn("log rotation", keep_logs());
  }
  // A node that is short of disk lets go of all images that it can: see evictor_.
  if (!collecting_ && !pressure.disk_short && pressure.disk_used_percent >= options_.image_gc_high_percent) {
    const int percent = pressure.disk_used_percent - options_.image_gc_low_percent;
    group_.spawn("image collection", collect_images(machine_.disk_bytes / 100 * percent));
  }
  evictor_.check(pressure);
}

EvictorParts Agent::evictor_parts() {
  return {.runtime = parts_.runtime,
          .clock = parts_.clock,
          .events = events_,
          .node = {"v1", "Node", "", options_.node_name, "", "", ""},
          .pods = [this] { return workers(); },
          .remove_images = [this] { return collect_images(std::numeric_limits<std::int64_t>::max()); },
          .read_pressure = [data_dir = options_.data_dir,
                            limits = options_.eviction_hard] { return node::read_pressure(data_dir, limits); }};
}

Task<void> Agent::keep_logs() {
  std::vector<LogFile> files;
  for (const auto& [uid, worker] : workers_) {
    for (const ContainerRun& run : worker->runs()) {
      if (run.state == ContainerRun::State::kRunning)
        files.push_back({uid, run.id, worker->log_path(run, run.attempt)});
    }
  }
  const auto limit = options_.log_max_bytes;
  const int keep = options_.log_max_files;
  const auto large = co_await run_blocking([files, limit] { return logs_over(files, limit); });
  for (const LogFile& file : large) {
    const bool shifted = co_await run_blocking([path = file.path, keep] { return shift_logs(path, keep); });
    if (!shifted) continue;
    auto reopened = co_await parts_.runtime.reopen_log(file.sandbox_id, file.container_id);
    if (!reopened)
      log::warn("cannot open a container's log anew",
                {{"container", file.container_id}, {"error", reopened.error().message}});
  }
  rotating_ = false;
}

Task<void> Agent::collect_images(std::int64_t bytes) {
  while (collecting_) co_await collected_.wait();
  collecting_ = true;
  const auto in_use = [this](std::string_view id) {
    return std::any_of(workers_.begin(), workers_.end(), [&](const auto& item) { return item.second->uses_image(id); });
  };
  for (const std::string& id : images_to_remove(parts_.images.list(), in_use, bytes)) {
    auto removed = co_await parts_.images.remove(id);
    if (!removed) log::warn("cannot remove an unused image", {{"image", id}, {"error", removed.error().message}});
  }
  collecting_ = false;
  collected_.notify();
  reporter_.changed();
}

Task<void> Agent::stop_pods() {
  for (const auto& [uid, worker] : workers_) worker->shut_down(kStopPodsLimit);
  const auto until = parts_.clock.steady() + kStopPodsLimit + std::chrono::seconds(5);
  while (!workers_.empty() && parts_.clock.steady() < until) {
    const auto pending =
        std::count_if(workers_.begin(), workers_.end(), [](const auto& item) { return !item.second->torn_down(); });
    if (pending == 0) break;
    (void)co_await worker_left_.wait_for(std::chrono::milliseconds(50));
  }
}

Task<void> Agent::stop() {
  stopping_ = true;
  co_await server_.stop();
  if (options_.stop_pods) co_await stop_pods();
  co_await reporter_.stop();
  co_await evictor_.stop();
  co_await storage_.stop();
  co_await pods_.stop();
  co_await services_.stop();
  co_await node_.stop();
  // First the tasks that may take workers away, then the workers.
  co_await group_.stop();
  for (const auto& [uid, worker] : workers_) co_await worker->stop();
  workers_.clear();
  co_await objects_.stop();
  co_await handlers_->stop();
  co_await events_.stop();
}

}  // namespace

std::unique_ptr<NodeAgent> NodeAgent::create(NodeOptions options, NodeParts parts, const Executor& executor) {
  return std::make_unique<Agent>(std::move(options), parts, executor);
}

}  // namespace brume::node
