// Bringing one container up: image, configuration, launch, postStart.
#include <algorithm>

#include "brume/base/log.h"
#include "brume/base/random.h"
#include "brume/base/strings.h"
#include "brume/linux/fd.h"
#include "pod/pod.h"
#include "spec/expansion.h"
#include "spec/oci.h"
#include "spec/resources.h"
#include "spec/security.h"
#include "volumes/volumes.h"
#include "worker/pod_status.h"
#include "worker/pod_worker.h"

namespace brume::node {

namespace {

using State = ContainerRun::State;
using Action = ContainerRun::Action;

constexpr std::chrono::seconds kConfigRetry{10};
constexpr int kStartErrorExitCode = 128;  // what containerd reports for a container that could not be started

/// Disk work before a container starts, gathered on the loop and done on a blocking thread.
struct Preparation {
  struct SubPath {
    std::string volume, sub_path, target;
  };
  std::string log_dir;
  std::string termination_log;
  std::vector<SubPath> sub_paths;
  std::vector<VolumeDevice> volume_devices;
  std::vector<std::string> image_layers;
  bool read_users = false;
  bool privileged = false;
  Json pod, container;
  std::vector<std::string> capabilities;
  std::string seccomp_dir;
};

struct Prepared {
  UserFiles users;
  Json seccomp;
  Json devices;
  Json volume_devices = Json::array();
};

Result<Prepared> prepare(const Preparation& work) {
  Prepared out;
  BRUME_CHECK(linux_os::make_dirs(work.log_dir, 0755));
  BRUME_CHECK(linux_os::make_dirs(work.termination_log.substr(0, work.termination_log.rfind('/')), 0755));
  // Any user of the container may write it.
  BRUME_CHECK(linux_os::replace_file(work.termination_log, "", 0666));
  for (const auto& sub : work.sub_paths) {
    if (auto bound = bind_sub_path(sub.volume, sub.sub_path, sub.target); !bound) {
      return fail(wrap(bound.error(), "failed to prepare subPath for volumeMount"));
    }
  }
  if (work.read_users) out.users = read_user_files(work.image_layers);
  BRUME_TRY(out.seccomp, seccomp_profile(work.pod, work.container, work.capabilities, work.seccomp_dir));
  if (work.privileged) out.devices = host_devices();
  for (const VolumeDevice& device : work.volume_devices) {
    BRUME_TRY(Json made, block_device(device));
    out.volume_devices.push_back(std::move(made));
  }
  return out;
}

// The volume mounts of a container; those with a sub-path are bound first, so they are added to `work`.
Result<std::vector<ContainerMount>> plan_mounts(const Json& pod, const Json& container, const EnvList& env,
                                                const std::string& pod_dir, const ClaimVolumes& claims,
                                                Preparation& work) {
  std::vector<ContainerMount> out;
  std::size_t index = 0;
  for (const Json& mount : at(container, "volumeMounts")) {
    const std::string name(str(mount, "name"));
    const Json* volume = nullptr;
    for (const Json& candidate : at(pod, "spec", "volumes")) {
      if (str(candidate, "name") == name) volume = &candidate;
    }
    if (volume == nullptr) return fail(Code::kInvalid, "volume \"" + name + "\" of a volumeMount is not in the pod");
    BRUME_TRY(const VolumePlan plan, plan_volume(pod, *volume, pod_dir, claims));
    ContainerMount item;
    item.destination = str(mount, "mountPath");
    if (!item.destination.starts_with('/')) item.destination.insert(0, "/");
    item.source = plan.path;
    item.read_only = flag(mount, "readOnly") || plan.read_only;
    item.options = plan.mount_options;
    const auto recursive = str(mount, "recursiveReadOnly");
    item.recursive_read_only = item.read_only && (recursive == "Enabled" || recursive == "IfPossible");
    item.propagation = str(mount, "mountPropagation");
    std::string sub_path(str(mount, "subPath"));
    if (const auto expression = str(mount, "subPathExpr"); !expression.empty()) {
      bool missing = false;
      sub_path = expand(expression, [&](std::string_view variable) -> std::optional<std::string> {
        for (const auto& [key, value] : env) {
          if (key == variable) return value;
        }
        missing = true;
        return std::nullopt;
      });
      if (missing)
        return fail(Code::kInvalid, "missing value for a variable of subPathExpr \"" + std::string(expression) + "\"");
    }
    if (!sub_path.empty()) {
      if (sub_path.starts_with('/')) return fail(Code::kInvalid, "subPath must not be an absolute path: " + sub_path);
      const std::string target = pod_dir + "/volume-subpaths/" + name + "/" + std::string(str(container, "name")) +
                                 "/" + std::to_string(index);
      work.sub_paths.push_back({plan.path, sub_path, target});
      item.source = target;
    }
    // Written files belong to the node; containers get them read-only, as on Kubernetes.
    if (plan.kind == VolumePlan::Kind::kFiles) item.read_only = true;
    out.push_back(std::move(item));
    ++index;
  }
  return out;
}

// The block devices of a container, which are looked at when it is about to start.
Status plan_devices(const Json& pod, const Json& container, const std::string& pod_dir, const ClaimVolumes& claims,
                    Preparation& work) {
  for (const Json& device : at(container, "volumeDevices")) {
    for (const Json& volume : at(pod, "spec", "volumes")) {
      if (str(volume, "name") != str(device, "name")) continue;
      BRUME_TRY(const VolumePlan plan, plan_volume(pod, volume, pod_dir, claims));
      work.volume_devices.push_back({plan.path, std::string(str(device, "devicePath")), plan.read_only});
    }
  }
  return {};
}

// Status' ContainerUser: the primary group counts as a supplementary one, too (KEP-3619).
Json container_user(const ProcessUser& user) {
  Json groups = Json::array({user.gid});
  for (const std::uint32_t group : user.groups) {
    if (group != user.gid) groups.push_back(group);
  }
  return {{"linux", {{"uid", user.uid}, {"gid", user.gid}, {"supplementalGroups", std::move(groups)}}}};
}

}  // namespace

Task<std::vector<Json>> PodWorker::pull_secrets() {
  std::vector<Json> out;
  const Json references = at(pod_, "spec", "imagePullSecrets");  // pod_ is replaced while a secret is read
  for (const Json& reference : references) {
    const std::string name(str(reference, "name"));
    auto object = co_await context_.objects.use(uid_, ObjectCache::Kind::kSecret, ns_, name);
    if (!object) {
      event(true, "FailedToRetrieveImagePullSecret",
            "Unable to retrieve some image pull secrets (" + name + "); attempting to pull the image may not succeed.");
      continue;
    }
    const Json secret = (*object)->parse();
    for (const char* key : {".dockerconfigjson", ".dockercfg"}) {
      const auto text = base64_decode(str(at(secret, "data"), key));
      if (!text || text->empty()) continue;
      if (auto json = parse_json(*text)) out.push_back(*std::move(json));
    }
  }
  co_return out;
}

Task<void> PodWorker::pull_image(std::size_t index) {
  const Json container = spec_of(runs_[index]);
  auto secrets = co_await pull_secrets();
  auto outcome = co_await context_.puller.ensure(about(runs_[index].name), container, std::move(secrets));
  ContainerRun& run = runs_[index];
  run.action = Action::kNone;
  run.image = outcome.image;
  run.image_for = str(container, "image");
  if (outcome.image && context_.usage_changed) context_.usage_changed();
  if (!outcome.image) {
    run.wait_reason = outcome.reason;
    run.wait_message = outcome.message;
    run.retry_at = context_.clock.steady() + outcome.retry_after;
  }
  wake();
}

Task<Result<EnvFiles>> PodWorker::read_env_files(Json container) {
  EnvFiles files = named_env_files(container);
  if (files.empty()) co_return files;
  std::map<std::string, std::string> volumes;
  for (const Json& volume : at(pod_, "spec", "volumes")) {
    if (auto plan = plan_volume(pod_, volume, context_.pod_dir(uid_), claims_)) volumes[plan->name] = plan->path;
  }
  co_return co_await run_blocking([files = std::move(files), volumes]() mutable -> Result<EnvFiles> {
    for (auto& [place, text] : files) {
      const auto& [volume, path] = place;
      const auto found = volumes.find(volume);
      if (found == volumes.end()) {
        return fail(Code::kNotFound, "cannot find the volume \"" + volume + "\" referenced by FileKeyRef");
      }
      BRUME_TRY(text, read_in_volume(found->second, path));
    }
    return std::move(files);
  });
}

Task<Result<runtime::ContainerStatus>> PodWorker::launch(std::size_t index, int attempt, std::string id,
                                                         bool& config_error) {
  config_error = true;
  const Json container = spec_of(runs_[index]);
  const std::shared_ptr<const runtime::Image> image = runs_[index].image;
  const std::string dir = context_.pod_dir(uid_);
  auto env_files = co_await read_env_files(container);
  if (!env_files) co_return fail(std::move(env_files).error());
  const Json& enabled = at(pod_, "spec", "enableServiceLinks");
  const EnvList services = context_.service_env(ns_, !enabled.is_boolean() || enabled.get<bool>());
  auto env = make_env(pod_, container, objects_, services, runtime_info(), *env_files);
  if (!env) co_return fail(std::move(env).error());
  Preparation work;
  // Known since the volumes were set up, but not to a process that took the pod over.
  if (auto claims = co_await fetch_claims(); !claims) co_return fail(std::move(claims).error());
  auto mounts = plan_mounts(pod_, container, *env, dir, claims_, work);
  if (!mounts) co_return fail(std::move(mounts).error());
  if (auto devices = plan_devices(pod_, container, dir, claims_, work); !devices) co_return fail(devices.error());
  const std::string log = log_path(runs_[index], attempt);
  work.log_dir = log.substr(0, log.rfind('/'));
  work.termination_log = dir + "/containers/" + runs_[index].name + "/" + id;
  work.image_layers = image->layers;
  auto users = context_.user_files.find(image->id);
  work.read_users = users == nullptr;
  work.privileged = is_privileged(container);
  work.pod = pod_;
  work.container = container;
  work.capabilities = container_capabilities(container);
  work.seccomp_dir = context_.options.seccomp_dir;
  auto prepared = co_await run_blocking([work] { return prepare(work); });
  if (!prepared) co_return fail(std::move(prepared).error());
  if (!users) users = context_.user_files.add(image->id, std::move(prepared->users));
  auto user = resolve_user(pod_, container, str(image_process(image->config), "User"), *users);
  if (!user) co_return fail(std::move(user).error());
  runs_[index].user = container_user(*user);
  const Json& spec = at(pod_, "spec");
  OciInputs in{.pod = pod_,
               .container = container,
               .image_config = image->config,
               .user = *std::move(user),
               .env = *std::move(env),
               .hostname = hostname_,
               .volumes = *std::move(mounts),
               .resolv_conf = dir + "/resolv.conf",
               .hosts = dir + "/etc-hosts",
               .hostname_file = dir + "/hostname",
               .termination_log = work.termination_log,
               .shm = dir + "/shm",
               .cgroup_path = pod_cgroup(context_.options.cgroup_root, pod_) + "/" + id,
               .oom_score = oom_score_adj(pod_, container, context_.memory_bytes),
               .seccomp = std::move(prepared->seccomp),
               .devices = std::move(prepared->devices),
               .volume_devices = std::move(prepared->volume_devices),
               .host_network = flag(spec, "hostNetwork"),
               .host_pid = flag(spec, "hostPID"),
               .host_ipc = flag(spec, "hostIPC"),
               .share_pid = flag(spec, "shareProcessNamespace")};
  auto oci = make_oci_spec(in);
  if (!oci) co_return fail(std::move(oci).error());
  config_error = false;
  runtime::ContainerSpec start;
  start.sandbox_id = uid_;
  start.id = id;
  start.name = runs_[index].name;
  start.oci = *std::move(oci);
  start.layers = image->layers;
  start.writable_dir = context_.container_dir(id);
  start.readonly_root = flag(at(container, "securityContext"), "readOnlyRootFilesystem");
  start.log_path = log;
  start.tty = flag(container, "tty");
  start.stdin = flag(container, "stdin");
  start.stdin_once = flag(container, "stdinOnce");
  start.labels = {{"io.kubernetes.pod.namespace", ns_},
                  {"io.kubernetes.pod.name", name_},
                  {"io.kubernetes.pod.uid", uid_},
                  {"io.kubernetes.container.name", runs_[index].name},
                  {"brume/attempt", std::to_string(attempt)},
                  {"brume/image", std::string(str(container, "image"))},
                  {"brume/image-id", image->id},
                  {"brume/resources", dump_json(at(container, "resources"))}};
  co_return co_await context_.runtime.start_container(std::move(start));
}

Task<void> PodWorker::start_container(std::size_t index) {
  const int attempt = runs_[index].attempt + 1;
  const std::string id = hex_encode(random_bytes(32));
  const std::string name = runs_[index].name;
  if (attempt >= 2) group_.spawn("container collection", drop_old_attempts(name, attempt - 1));
  bool config_error = false;
  const std::string asked = runs_[index].image_for;
  Json resources = at(spec_of(runs_[index]), "resources");
  Json effective = effective_resources(pod_, resources);
  auto status = co_await launch(index, attempt, id, config_error);
  ContainerRun& run = runs_[index];
  run.action = Action::kNone;
  if (!status) {
    if (config_error) {
      const bool changed = run.wait_message != status.error().message;
      run.wait_reason = "CreateContainerConfigError";
      run.wait_message = status.error().message;
      run.retry_at = context_.clock.steady() + kConfigRetry;
      if (changed) event(true, "Failed", "Error: " + status.error().message, name);
    } else {
      attempt_failed(run, attempt, id, status.error().message);
    }
    wake();
    co_return;
  }
  if (run.state == State::kExited) {
    run.last_terminated = terminated_json(run);
    if (!run.redefined) note_restart(run, context_.clock.now());
  }
  run.asked_image = asked;
  run.applied = resources.is_object() ? std::move(resources) : Json::object();
  run.effective = std::move(effective);
  run.redefined = false;
  run.state = State::kRunning;
  run.id = id;
  run.attempt = attempt;
  run.image_id = run.image->id;
  run.image_name =
      run.image->repo_tags.empty() ? std::string(str(spec_of(run), "image")) : run.image->repo_tags.front();
  run.image.reset();
  run.started_at = status->started_at == WallTime() ? context_.clock.now() : status->started_at;
  run.exit_code = run.signal = 0;
  run.end_reason.clear();
  run.end_message.clear();
  run.wait_reason.clear();
  run.wait_message.clear();
  run.stop = ContainerRun::Stop::kNone;
  run.kill_sent = false;
  run.started = run.ready = false;
  const Json hook = at(spec_of(run), "lifecycle", "postStart");
  const Json container = spec_of(run);
  if (hook.is_object()) {
    run.hooked = id;
  } else {
    begin_probes(index);
  }
  event(false, "Created", "Created container: " + name, name);
  event(false, "Started", "Started container " + name, name);
  // An exit that came while start_container() was under way found no record to match.
  for (const runtime::ContainerStatus& now : context_.runtime.containers(uid_)) {
    if (now.id == id && now.state == runtime::ContainerStatus::State::kExited)
      group_.spawn("container exit", finish_exit(index, now));
  }
  wake();
  if (!hook.is_object()) co_return;
  HandlerRequest request{
      uid_, id, hook, container, pod_ips_.empty() ? "" : pod_ips_.front(), std::chrono::milliseconds(0), false};
  const HandlerResult result = co_await context_.handlers.run(std::move(request));
  ContainerRun& after = runs_[index];
  if (after.id != id) co_return;
  after.hooked.clear();
  wake();
  if (after.state != State::kRunning) co_return;
  if (result.ok) {
    begin_probes(index);
  } else {
    event(true, "FailedPostStartHook", "PostStartHook failed", name);
    begin_stop(after, grace_period(), "FailedPostStartHook");
  }
}

void PodWorker::attempt_failed(ContainerRun& run, int attempt, const std::string& id, const std::string& message) {
  event(true, "Failed", "Error: " + message, run.name);
  if (run.state == State::kExited) {
    run.last_terminated = terminated_json(run);
    note_restart(run, context_.clock.now());
  }
  run.asked_image.clear();
  run.redefined = false;
  run.state = State::kExited;
  run.id = id;
  run.attempt = attempt;
  if (run.image) run.image_id = run.image->id;
  run.image.reset();
  run.started_at = run.finished_at = context_.clock.now();
  run.exit_code = kStartErrorExitCode;
  run.signal = 0;
  run.end_reason = "StartError";
  run.end_message = message;
  run.wait_reason.clear();
  run.wait_message.clear();
  run.started = run.ready = false;
}

// Keeps the attempt `before` (lastState, logs --previous); earlier ones go, with their logs.
Task<void> PodWorker::drop_old_attempts(std::string container, int before) {
  for (const runtime::ContainerStatus& status : context_.runtime.containers(uid_)) {
    if (status.name != container || status.state != runtime::ContainerStatus::State::kExited) continue;
    int attempt = 0;
    for (const auto& [key, value] : status.labels) {
      if (key == "brume/attempt") attempt = static_cast<int>(parse_int(value).value_or(0));
    }
    if (attempt >= before) continue;
    auto removed = co_await context_.runtime.remove_container(uid_, status.id);
    if (!removed)
      log::warn("cannot remove an ended container", {{"container", status.id}, {"error", removed.error().message}});
  }
  const ContainerRun* run = find_run(container);
  if (run == nullptr) co_return;
  const std::string path = log_path(*run, before - 1);
  co_await run_blocking([path] {
    const std::string folder = path.substr(0, path.rfind('/'));
    const std::string file = path.substr(path.rfind('/') + 1);
    for (const std::string& suffix : {"", ".1", ".2", ".3", ".4", ".5"})
      ::unlink((folder + "/" + file + suffix).c_str());
  });
}

}  // namespace brume::node
