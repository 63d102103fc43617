// What a pod needs before its first container: sandbox and network on one path, volumes on another, both at once.
#include <fstream>

#include "brume/base/log.h"
#include "brume/linux/fd.h"
#include "pod/pod.h"
#include "spec/host_ports.h"
#include "spec/pod_files.h"
#include "spec/resources.h"
#include "volumes/volumes.h"
#include "worker/pod_worker.h"

namespace brume::node {

namespace {

constexpr std::int64_t kShmBytes = 64 << 20;  // what container runtimes give /dev/shm
constexpr std::chrono::seconds kFirstRetry{1};
constexpr std::chrono::seconds kLongestRetry{120};

Status write_plain(const std::string& path, const std::string& text) {
  return linux_os::replace_file(path, text, 0644);
}

// hosts(5) must keep its inode: containers have it bind-mounted.
Status write_in_place(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.flush();
  if (!out) return fail(Code::kIo, "cannot write " + path);
  return {};
}

std::string mount_failure(const std::string& volume, const std::string& why) {
  return "MountVolume.SetUp failed for volume \"" + volume + "\" : " + why;
}

Error set_up_failure(const VolumePlan& plan, const Error& error) {
  // A local volume's path is looked at before anything is set up.
  if (plan.kind == VolumePlan::Kind::kLocal && error.code == Code::kNotFound) {
    return {error.code,
            "MountVolume.NewMounter initialization failed for volume \"" + plan.shown + "\" : " + error.message};
  }
  return {error.code, mount_failure(plan.shown, error.message)};
}

}  // namespace

void PodWorker::begin_setup() {
  if (setup_retry_ && *setup_retry_ > context_.clock.steady()) {
    wake_at(*setup_retry_);
    return;
  }
  // The containers of one that has ended are waited for: what is done next depends on how they ended.
  if ((sandbox_ == Stage::kNone && all_ended()) || sandbox_ == Stage::kFailed) {
    if (sandbox_ == Stage::kNone) {
      // A new sandbox starts over: init containers of an earlier one run again.
      for (ContainerRun& run : runs_) {
        if (run.kind != ContainerKind::kInit || run.state != ContainerRun::State::kExited) continue;
        run.last_terminated = Json();
        run.state = ContainerRun::State::kWaiting;
        initialized_ = false;
      }
    }
    sandbox_ = Stage::kBusy;
    group_.spawn("pod sandbox", set_up_sandbox());
  }
  if (volumes_ == Stage::kNone || volumes_ == Stage::kFailed) {
    volumes_ = Stage::kBusy;
    group_.spawn("pod volumes", set_up_volumes());
  }
}

void PodWorker::setup_failed(Stage& stage, std::string_view reason, std::string message) {
  stage = Stage::kFailed;
  setup_back_off_ = setup_back_off_.count() == 0 ? kFirstRetry : std::min(setup_back_off_ * 2, kLongestRetry);
  setup_retry_ = context_.clock.steady() + setup_back_off_;
  event(true, reason, std::move(message));
}

PodPaths PodWorker::disk_paths() const {
  PodPaths out;
  const std::string logs = pod_log_dir(context_.options.log_dir, ns_, name_, uid_);
  for (const ContainerRun& run : runs_) {
    if (!run.id.empty()) out.containers[run.name] = {context_.container_dir(run.id), logs + "/" + run.name};
  }
  for (const Json& volume : at(pod_, "spec", "volumes")) {
    auto plan = plan_volume(pod_, volume, context_.pod_dir(uid_), claims_);
    if (plan && plan->kind == VolumePlan::Kind::kDirectory) out.empty_dirs[plan->name] = plan->path;
  }
  return out;
}

Task<void> PodWorker::set_up_sandbox() {
  auto made = co_await make_sandbox();
  if (made && sandbox_lost_) made = fail(Code::kIo, "the sandbox ended while it was set up");
  if (made) {
    sandbox_ = Stage::kReady;
    setup_back_off_ = {};
  } else {
    setup_failed(sandbox_, "FailedCreatePodSandBox", "Failed to create pod sandbox: " + made.error().message);
  }
  wake();
}

void PodWorker::sandbox_ended() {
  sandbox_lost_ = true;
  if (sandbox_ != Stage::kReady || tearing_ || torn_down_) return;
  sandbox_ = Stage::kNone;
  if (!terminating_ && !finished_) {
    event(false, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
  }
  wake();
}

Task<Status> PodWorker::make_sandbox() {
  if (sandbox_made_) {
    // The one before was not made whole, or has ended.
    BRUME_CO_CHECK(co_await context_.runtime.remove_sandbox(uid_));
    BRUME_CO_CHECK(co_await context_.network.detach(uid_));
    sandbox_made_ = false;
  }
  sandbox_lost_ = false;
  auto host = make_hostname(pod_, context_.options.hostname, context_.options.cluster_domain);
  if (!host) co_return fail(std::move(host).error());
  hostname_ = host->hostname;
  const Json& spec = at(pod_, "spec");
  if (!flag(spec, "hostUsers", true)) {
    // Pod security asks less of such pods: they must not run as root of the host.
    co_return fail(Code::kInvalid, "can't set `spec.hostUsers: false`, runtime does not support user namespaces");
  }
  runtime::SandboxSpec sandbox;
  sandbox.id = uid_;
  sandbox.hostname = hostname_;
  sandbox.host_network = flag(spec, "hostNetwork");
  sandbox.host_pid = flag(spec, "hostPID");
  sandbox.host_ipc = flag(spec, "hostIPC");
  sandbox.share_pid = flag(spec, "shareProcessNamespace");
  sandbox.cgroup_parent = pod_cgroup(context_.options.cgroup_root, pod_);
  sandbox.cgroup_resources = pod_cgroup_ = pod_resources(pod_, context_.options.pod_pids_limit);
  for (const Json& sysctl : at(spec, "securityContext", "sysctls")) {
    sandbox.sysctls.emplace_back(str(sysctl, "name"), str(sysctl, "value"));
  }
  sandbox.labels = {{"io.kubernetes.pod.namespace", ns_},
                    {"io.kubernetes.pod.name", name_},
                    {"io.kubernetes.pod.uid", uid_},
                    {"brume/hostname", hostname_}};
  sandbox_made_ = true;
  auto info = co_await context_.runtime.create_sandbox(std::move(sandbox));
  if (!info) co_return fail(std::move(info).error());
  netns_path_ = info->netns_path;
  if (host_network()) {
    pod_ips_ = context_.options.node_ips;
  } else {
    PodAttachment attachment{uid_, ns_, name_, netns_path_, host_ports(pod_)};
    auto ips = co_await context_.network.attach(std::move(attachment));
    if (!ips) {
      co_return fail(wrap(ips.error(), "failed to set up pod \"" + name_ + "_" + ns_ + "\" network"));
    }
    pod_ips_ = *std::move(ips);
  }
  // The containers' /etc/hosts can only now be written: it holds the address.
  const std::string dir = context_.pod_dir(uid_);
  const bool host_net = host_network();
  const Json pod = pod_;
  const HostName names = *host;
  const auto ips = pod_ips_;
  auto written = co_await run_blocking([dir, host_net, pod, names, ips]() -> Status {
    BRUME_CHECK(linux_os::make_dirs(dir, 0750));
    const std::string host_hosts = host_net ? linux_os::read_file("/etc/hosts").value_or("") : std::string();
    return write_in_place(dir + "/etc-hosts", make_hosts(pod, ips, names.short_name, names.domain, host_hosts));
  });
  co_return written;
}

Task<void> PodWorker::set_up_volumes() {
  auto made = co_await make_volumes();
  if (made) {
    volumes_ = Stage::kReady;
  } else {
    objects_stale_ = false;
    if (made.error().code == Code::kServiceUnavailable) {
      wait_for_claims(made.error().message);
    } else {
      setup_failed(volumes_, "FailedMount", made.error().message);
    }
  }
  wake();
}

Task<Status> PodWorker::fetch_objects() {
  const ObjectNames names = named_objects(pod_);
  PodObjects fetched;
  for (const std::string& name : names.config_maps) {
    auto object = co_await context_.objects.use(uid_, ObjectCache::Kind::kConfigMap, ns_, name);
    if (object) {
      fetched.config_maps.emplace(name, (*object)->parse());
    } else if (object.error().code != Code::kNotFound) {
      co_return fail(wrap(object.error(), "configmap \"" + name + "\""));
    }
  }
  for (const std::string& name : names.secrets) {
    auto object = co_await context_.objects.use(uid_, ObjectCache::Kind::kSecret, ns_, name);
    if (object) {
      fetched.secrets.emplace(name, (*object)->parse());
    } else if (object.error().code != Code::kNotFound) {
      co_return fail(wrap(object.error(), "secret \"" + name + "\""));
    }
  }
  objects_ = std::move(fetched);
  co_return Status();
}

Task<Status> PodWorker::fetch_tokens() {
  std::string account(str(at(pod_, "spec"), "serviceAccountName"));
  if (account.empty()) account = "default";
  for (const TokenSource& source : token_sources(pod_)) {
    const auto have = tokens_.find(source.key);
    if (have != tokens_.end() && have->second.refresh_at() > context_.clock.now()) continue;
    Json spec = {{"expirationSeconds", source.expiration_seconds},
                 {"boundObjectRef", {{"apiVersion", "v1"}, {"kind", "Pod"}, {"name", name_}, {"uid", uid_}}}};
    spec["audiences"] = source.audience.empty() ? Json::array() : Json::array({source.audience});
    Json request = {{"apiVersion", "authentication.k8s.io/v1"},
                    {"kind", "TokenRequest"},
                    {"metadata", {{"name", account}, {"namespace", ns_}}},
                    {"spec", std::move(spec)}};
    auto answer = co_await context_.client.create_subresource(api::res("serviceaccounts"), ns_, account, "token",
                                                              std::move(request));
    if (!answer) co_return fail(wrap(answer.error(), "failed to fetch token"));
    Token token;
    token.text = str(at(*answer, "status"), "token");
    token.issued = context_.clock.now();
    token.expires = parse_rfc3339(str(at(*answer, "status"), "expirationTimestamp"))
                        .value_or(token.issued + std::chrono::seconds(source.expiration_seconds));
    tokens_[source.key] = std::move(token);
  }
  co_return Status();
}

Task<Status> PodWorker::make_volumes() {
  auto fetched = co_await fetch_objects();
  if (fetched) fetched = co_await fetch_claims();
  if (!fetched) co_return fetched;
  auto tokens = co_await fetch_tokens();
  if (!tokens) co_return fail(Error{tokens.error().code, mount_failure("kube-api-access", tokens.error().message)});
  const std::string dir = context_.pod_dir(uid_);
  const PodRuntimeInfo info = runtime_info();
  const PayloadInputs inputs{pod_, objects_, tokens_, info};
  std::vector<VolumePlan> plans;
  for (const Json& volume : at(pod_, "spec", "volumes")) {
    auto plan = plan_volume(pod_, volume, dir, claims_);
    if (!plan)
      co_return fail(Error{plan.error().code, mount_failure(std::string(str(volume, "name")), plan.error().message)});
    if (plan->kind == VolumePlan::Kind::kLocal) plan->shared = context_.volume_uses.by_others(plan->shown, uid_);
    if (plan->kind == VolumePlan::Kind::kFiles) {
      auto files = make_payload(volume, inputs);
      if (!files) co_return fail(Error{files.error().code, mount_failure(plan->name, files.error().message)});
      plan->files = *std::move(files);
    }
    plans.push_back(*std::move(plan));
  }
  auto host = make_hostname(pod_, context_.options.hostname, context_.options.cluster_domain);
  const std::string hostname = host ? host->hostname : name_;
  const Json pod = pod_;
  const DnsSettings dns{context_.options.cluster_dns, context_.options.cluster_domain, {}};
  const auto read_resolv_conf = context_.read_resolv_conf;
  const bool private_shm = !flag(at(pod_, "spec"), "hostIPC");
  auto done = co_await run_blocking([=]() -> Result<std::vector<std::string>> {
    std::vector<std::string> warnings;
    DnsSettings settings = dns;
    settings.host_resolv_conf = read_resolv_conf();
    BRUME_CHECK(linux_os::make_dirs(dir, 0750));
    BRUME_CHECK(write_plain(dir + "/resolv.conf", make_resolv_conf(pod, settings)));
    BRUME_CHECK(write_plain(dir + "/hostname", hostname + "\n"));
    if (private_shm) BRUME_CHECK(mount_tmpfs(dir + "/shm", kShmBytes, 01777));
    for (const VolumePlan& plan : plans) {
      if (auto up = set_up_volume(plan); !up) return fail(set_up_failure(plan, up.error()));
      if (auto warning = group_conflict(plan)) warnings.push_back(*std::move(warning));
    }
    return warnings;
  });
  if (!done) co_return fail(done.error());
  for (const std::string& warning : *done) event(true, "AlreadyMountedVolume", warning);
  co_return Status();
}

Task<void> PodWorker::refresh_volumes() {
  auto fetched = co_await fetch_objects();
  if (fetched) fetched = co_await fetch_tokens();
  // After a restart of brume they are not known any more.
  if (fetched) fetched = co_await fetch_claims();
  if (!fetched)
    log::warn("cannot refresh a pod's objects", {{"pod", pod_text(pod_)}, {"error", fetched.error().message}});
  const std::string dir = context_.pod_dir(uid_);
  const PodRuntimeInfo info = runtime_info();
  const PayloadInputs inputs{pod_, objects_, tokens_, info};
  std::vector<VolumePlan> plans;
  for (const Json& volume : at(pod_, "spec", "volumes")) {
    if (!has_payload(volume)) continue;
    auto plan = plan_volume(pod_, volume, dir, claims_);
    if (!plan) continue;
    auto files = make_payload(volume, inputs);
    if (!files) {
      // What was there stays: an object that is gone does not take files from running containers.
      if (fetched) event(true, "FailedMount", mount_failure(plan->name, files.error().message));
      continue;
    }
    plan->files = *std::move(files);
    plans.push_back(*std::move(plan));
  }
  auto done = co_await run_blocking([plans]() -> Status {
    for (const VolumePlan& plan : plans) BRUME_CHECK(set_up_volume(plan));
    return {};
  });
  if (!done) log::warn("cannot refresh a pod's volumes", {{"pod", pod_text(pod_)}, {"error", done.error().message}});
  refreshing_ = false;
  // Containers that waited for a missing key may go on.
  for (ContainerRun& run : runs_) {
    if (run.wait_reason == "CreateContainerConfigError") run.retry_at.reset();
  }
  wake();
}

}  // namespace brume::node
