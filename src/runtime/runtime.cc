#include "brume/runtime/runtime.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <map>
#include <set>

#include "brume/base/json.h"
#include "brume/base/log.h"
#include "brume/base/random.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "brume/linux/process.h"
#include "cgroup_resources.h"
#include "device_filter.h"
#include "resource_use.h"
#include "sandbox.h"
#include "session.h"
#include "shim_client.h"
#include "shim_image.h"

namespace brume::runtime {
namespace {

using linux_os::Cgroup;
using linux_os::Fd;

constexpr auto kEndPatience = std::chrono::seconds(10);
constexpr unsigned kCapSysResource = 24;
constexpr std::uint32_t kStepOp = shim::kStepOp;

struct Container {
  explicit Container(const Executor& executor) : ended(executor) {}
  ContainerSpec spec;
  ContainerStatus status;
  Event ended;
  bool removing = false;
  std::vector<std::weak_ptr<SessionState>> attached;
};

struct Pod {
  SandboxSpec spec;
  SandboxInfo info;
  Fd shim;
  std::shared_ptr<ShimClient> client;
  std::map<std::string, std::shared_ptr<Container>, std::less<>> containers;
  std::map<std::uint32_t, std::weak_ptr<SessionState>> execs;
  std::map<std::uint32_t, int> early_exits;  // of processes that ended before their session was made
  std::set<std::uint32_t> starting_execs;
  std::uint32_t next_exec = static_cast<std::uint32_t>(random_u64() & 0x3fffffff);  // not those of an earlier process
  bool removing = false;
};
using PodPtr = std::shared_ptr<Pod>;
using ContainerPtr = std::shared_ptr<Container>;

WallTime from_ns(std::uint64_t ns) {
  return WallTime(std::chrono::duration_cast<WallTime::duration>(std::chrono::nanoseconds(ns)));
}

// A failed launch in a person's words. ENOENT and EACCES of the program itself are the image's or the user's matter.
Error launch_error(const ShimReply& reply) {
  std::string what;
  switch (reply.step) {
    case kStepOp + shim::kOpExec:
      if (reply.error == ENOENT && reply.detail.find('/') == std::string::npos) {
        return {Code::kNotFound, "exec: \"" + reply.detail + "\": executable file not found in $PATH"};
      }
      what = "exec " + reply.detail;
      break;
    case kStepOp + shim::kOpDirectory: what = "chdir to " + reply.detail; break;
    case kStepOp + shim::kOpOverlayRoot: what = "mount the root: " + reply.detail; break;
    case kStepOp + shim::kOpOpenSource: what = "mount source " + reply.detail; break;
    case kStepOp + shim::kOpAttach:
    case kStepOp + shim::kOpMount: what = "mount " + reply.detail; break;
    case kStepOp + shim::kOpCredentials: what = "set " + reply.detail; break;
    case shim::kStepLog: what = "open log " + reply.detail; break;
    case shim::kStepNoSuchContainer: return {Code::kNotFound, "container " + reply.detail + " is not running"};
    case shim::kStepExists: return {Code::kAlreadyExists, "container " + reply.detail + " exists"};
    default: what = "launch step " + std::to_string(reply.step) + " " + reply.detail;
  }
  Error error = errno_error(reply.error, what);
  bool of_image = reply.step == kStepOp + shim::kOpExec;
  if (!of_image && (error.code == Code::kForbidden || error.code == Code::kNotFound)) error.code = Code::kIo;
  return error;
}

Result<std::pair<Fd, Fd>> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "pipe");
  return std::pair{Fd(ends[0]), Fd(ends[1])};
}

class ShimRuntime final : public Runtime {
 public:
  ShimRuntime(Machine machine, std::vector<Limitation> limitations, const Executor& executor)
      : executor_(executor),
        machine_(std::make_shared<Machine>(std::move(machine))),
        limitations_(std::move(limitations)),
        tasks_(executor) {}
  ~ShimRuntime() override {
    for (auto& [id, pod] : pods_) pod->client->close();
  }

  void on_exit(std::function<void(const ContainerStatus&)> callback) override { on_exit_ = std::move(callback); }
  void on_sandbox_end(std::function<void(const std::string&)> callback) override {
    on_sandbox_end_ = std::move(callback);
  }
  Task<Result<std::vector<SandboxInfo>>> adopt() override;
  Task<Result<SandboxInfo>> create_sandbox(SandboxSpec spec) override;
  Task<Result<ContainerStatus>> start_container(ContainerSpec spec) override;
  Task<Status> signal_container(std::string sandbox_id, std::string container_id, int signal) override;
  Task<Status> remove_container(std::string sandbox_id, std::string container_id) override;
  Task<Status> remove_sandbox(std::string sandbox_id) override;
  [[nodiscard]] std::vector<ContainerStatus> containers(std::string_view sandbox_id) const override;
  Task<Result<std::unique_ptr<Session>>> exec(ExecSpec spec) override;
  Task<Result<std::unique_ptr<Session>>> attach(std::string sandbox_id, std::string container_id) override;
  Task<Status> reopen_log(std::string sandbox_id, std::string container_id) override;
  Task<Status> update_resources(std::string sandbox_id, std::string container_id, Json resources) override;
  Task<Result<std::optional<MemoryUse>>> memory_use(std::string sandbox_id, std::string container_id) override;
  Task<Result<PodUse>> use(std::string sandbox_id) override;
  [[nodiscard]] const std::vector<Limitation>& limitations() const override { return limitations_; }
  Task<void> stop() override;

 private:
  Result<PodPtr> find_pod(std::string_view id) const;
  Result<ContainerPtr> find_container(const PodPtr& pod, std::string_view id) const;
  Result<linux_os::Cgroup> find_cgroup(const std::string& sandbox_id, const std::string& container_id) const;
  void connect(const PodPtr& pod, Fd socket);
  void container_ended(const PodPtr& pod, const ShimContainer& ended);
  void finish(const PodPtr& pod, const ContainerPtr& container);
  void exec_ended(const PodPtr& pod, std::uint32_t number, int code);
  void shim_lost(const PodPtr& pod);
  static Task<void> find_shim(ShimRuntime* self, PodPtr pod);
  void shim_ended(const PodPtr& pod);
  Task<Result<PodPtr>> adopt_pod(std::string id);
  Task<Status> adopt_containers(PodPtr pod);
  Task<Result<ShimReply>> send_exec(PodPtr pod, const ExecSpec& spec, std::uint32_t number, int plan,
                                    std::array<Fd, 3>& child_ends);
  static Task<void> send_quietly(std::shared_ptr<ShimClient> client, shim::FrameType type, FieldWriter fields);

  Executor executor_;
  std::shared_ptr<Machine> machine_;
  std::vector<Limitation> limitations_;
  std::function<void(const ContainerStatus&)> on_exit_;
  std::function<void(const std::string&)> on_sandbox_end_;
  std::map<std::string, PodPtr, std::less<>> pods_;
  std::set<std::string, std::less<>> busy_;  // pods being made or removed
  TaskGroup tasks_;
};

Result<PodPtr> ShimRuntime::find_pod(std::string_view id) const {
  auto found = pods_.find(id);
  if (found == pods_.end() || found->second->removing) return fail(Code::kNotFound, "no sandbox " + std::string(id));
  return found->second;
}

Result<ContainerPtr> ShimRuntime::find_container(const PodPtr& pod, std::string_view id) const {
  auto found = pod->containers.find(id);
  if (found == pod->containers.end()) return fail(Code::kNotFound, "no container " + std::string(id));
  return found->second;
}

void ShimRuntime::connect(const PodPtr& pod, Fd socket) {
  std::weak_ptr<Pod> weak = pod;
  ShimEvents events;
  events.exited = [this, weak](const ShimContainer& ended) {
    if (auto live = weak.lock()) container_ended(live, ended);
  };
  events.exec_exited = [this, weak](std::uint32_t number, int code, int) {
    if (auto live = weak.lock()) exec_ended(live, number, code);
  };
  events.closed = [this, weak] {
    if (auto live = weak.lock()) shim_lost(live);
  };
  pod->client = std::make_shared<ShimClient>(executor_, std::move(socket), std::move(events));
  ShimClient::start(pod->client, tasks_);
}

void ShimRuntime::container_ended(const PodPtr& pod, const ShimContainer& ended) {
  auto found = pod->containers.find(ended.id);
  if (found == pod->containers.end()) return;
  ContainerStatus& status = found->second->status;
  if (status.state == ContainerStatus::State::kExited) return;
  status.exit_code = ended.code;
  status.signal = ended.signal;
  status.started_at = from_ns(ended.started_ns);
  status.finished_at = from_ns(ended.finished_ns);
  finish(pod, found->second);
}

void ShimRuntime::finish(const PodPtr& pod, const ContainerPtr& container) {
  ContainerStatus& status = container->status;
  status.state = ContainerStatus::State::kExited;
  status.pid = 0;
  // A read of cgroupfs, which is memory: not worth a thread.
  status.oom_killed = machine_->cgroup_of(pod->spec).child(status.id).counter("memory.events", "oom_kill") > 0;
  for (auto& weak : container->attached) {
    if (auto session = weak.lock()) session->end(status.exit_code);
  }
  container->attached.clear();
  container->ended.notify();
  if (!container->removing && !pod->removing && on_exit_) on_exit_(ContainerStatus(status));
}

void ShimRuntime::exec_ended(const PodPtr& pod, std::uint32_t number, int code) {
  auto found = pod->execs.find(number);
  if (found == pod->execs.end()) {
    if (pod->starting_execs.contains(number)) pod->early_exits[number] = code;
    return;
  }
  if (auto session = found->second.lock()) session->end(code);
  pod->execs.erase(found);
}

// The shim was killed, or it cut us off because we did not read. Either way what it told last no longer holds.
void ShimRuntime::shim_lost(const PodPtr& pod) {
  if (pod->removing || tasks_.stopping()) return;
  for (auto& [number, weak] : pod->execs) {
    if (auto session = weak.lock()) session->end(128 + SIGKILL);
  }
  pod->execs.clear();
  tasks_.spawn("shim lost", find_shim(this, pod));
}

Task<void> ShimRuntime::find_shim(ShimRuntime* self, PodPtr pod) {
  for (int attempt = 0; attempt < 20; ++attempt) {
    // A process closes its sockets a little before its pidfd tells of its end.
    co_await sleep_for(std::chrono::milliseconds(2 << std::min(attempt, 6)));
    if (pod->removing) co_return;
    auto ended = linux_os::wait_ended(pod->shim, std::chrono::milliseconds(0));
    if (ended && *ended) co_return self->shim_ended(pod);
    if (attempt < 3) continue;
    auto socket = connect_shim(self->machine_->folder(pod->spec.id));
    if (!socket) continue;
    log::warn("connected anew to a shim", {{"sandbox", pod->spec.id}});
    self->connect(pod, std::move(*socket));
    if (co_await self->adopt_containers(pod)) co_return;
  }
  log::error("a shim runs but does not answer; ending its pod", {{"sandbox", pod->spec.id}});
  (void)linux_os::send_signal(pod->shim, SIGKILL);
  self->shim_ended(pod);
}

void ShimRuntime::shim_ended(const PodPtr& pod) {
  log::error("the shim of a pod ended; its containers are killed", {{"sandbox", pod->spec.id}});
  linux_os::reap(pod->shim);
  (void)machine_->cgroup_of(pod->spec).kill();
  for (auto& [id, container] : pod->containers) {
    if (container->status.state == ContainerStatus::State::kExited || container->status.pid == 0) continue;
    container->status.exit_code = 128 + SIGKILL;
    container->status.signal = SIGKILL;
    container->status.finished_at = std::chrono::system_clock::now();
    finish(pod, container);
  }
  if (!pod->removing && on_sandbox_end_) on_sandbox_end_(pod->spec.id);
}

Task<Result<SandboxInfo>> ShimRuntime::create_sandbox(SandboxSpec spec) {
  BRUME_CO_CHECK(check_id(spec.id, "sandbox"));
  if (spec.cgroup_parent.empty()) co_return fail(Code::kInvalid, "cgroup_parent: is empty");
  while (spec.cgroup_parent.starts_with('/')) spec.cgroup_parent.erase(0, 1);
  if (spec.hostname.size() > 64) co_return fail(Code::kInvalid, "hostname: is longer than 64 bytes");
  if (pods_.contains(spec.id) || !busy_.insert(spec.id).second) {
    co_return fail(Code::kAlreadyExists, "sandbox " + spec.id + " exists");
  }
  auto machine = machine_;
  auto process = co_await run_blocking([machine, spec] { return launch_shim(*machine, spec); });
  busy_.erase(spec.id);
  if (!process) co_return fail(wrap(process.error(), "create sandbox " + spec.id));
  auto pod = std::make_shared<Pod>();
  pod->spec = spec;
  pod->shim = std::move(process->pidfd);
  pod->info = {spec.id, process->pid, "", spec.labels};
  if (!spec.host_network) pod->info.netns_path = "/proc/" + std::to_string(process->pid) + "/ns/net";
  pods_[spec.id] = pod;
  connect(pod, std::move(process->socket));

  std::vector<std::string> sysctls;
  for (const auto& [key, value] : spec.sysctls) {
    std::string path = key;
    for (char& c : path) c = c == '.' ? '/' : c;
    sysctls.push_back(path);
    sysctls.push_back(value);
  }
  FieldWriter fields;
  fields.u32(spec.host_network ? 0 : 1).u32(spec.share_pid && !spec.host_pid ? 1 : 0);
  fields.str(spec.host_network ? "" : spec.hostname).strings(sysctls);
  auto set_up = co_await pod->client->must(shim::kFrameSetup, fields, {}, "set up");
  if (!set_up) {
    Error error = wrap(set_up.error(), "create sandbox " + spec.id);
    (void)co_await remove_sandbox(spec.id);
    co_return fail(std::move(error));
  }
  co_return pod->info;
}

Task<Result<ContainerStatus>> ShimRuntime::start_container(ContainerSpec spec) {
  BRUME_CO_CHECK(check_id(spec.id, "container"));
  if (spec.id == "shim" || spec.id == "sandbox" || spec.id == "root")
    co_return fail(Code::kInvalid, "container " + spec.id + ": reserved name");
  BRUME_CO_TRY(PodPtr pod, find_pod(spec.sandbox_id));
  if (pod->containers.contains(spec.id)) co_return fail(Code::kAlreadyExists, "container " + spec.id + " exists");
  auto container = std::make_shared<Container>(executor_);
  container->spec = spec;
  container->status.sandbox_id = spec.sandbox_id;
  container->status.id = spec.id;
  container->status.name = spec.name;
  container->status.labels = spec.labels;
  pod->containers[spec.id] = container;

  auto machine = machine_;
  auto prepared = co_await run_blocking([machine, pod, spec] { return prepare_container(*machine, pod->spec, spec); });
  if (!prepared) {
    pod->containers.erase(spec.id);
    co_return fail(wrap(prepared.error(), "container " + spec.name));
  }
  FieldWriter fields;
  fields.str(spec.id).str(spec.log_path).str(prepared->cgroup);
  fields.u32((spec.stdin ? shim::kStartStdin : 0U) | (spec.stdin_once ? shim::kStartStdinOnce : 0U));
  auto reply = co_await pod->client->request(shim::kFrameStart, fields, {prepared->plan.get()});
  if (!reply || reply->error != 0) {
    Error error = reply ? launch_error(*reply) : reply.error();
    pod->containers.erase(spec.id);
    container->status.state = ContainerStatus::State::kExited;  // for a removal that waits for its end
    container->ended.notify();
    if (!pod->removing) {
      auto cleaned =
          co_await run_blocking([machine, pod, spec] { return remove_container_files(*machine, pod->spec, spec); });
      if (!cleaned) log::warn("leftovers of a failed container", {{"error", cleaned.error().message}});
    }
    co_return fail(std::move(error));
  }
  // It may have ended by now: then the event came first and filled in the status.
  if (container->status.state == ContainerStatus::State::kRunning) {
    // The shim's own time: a later runtime that adopts the container is told the same.
    container->status.started_at =
        reply->started_ns != 0 ? from_ns(reply->started_ns) : WallTime(std::chrono::system_clock::now());
    if (!reply->fds.empty()) {
      if (auto pid = linux_os::pid_of(reply->fds[0])) container->status.pid = *pid;
    }
  }
  co_return container->status;
}

Task<Status> ShimRuntime::signal_container(std::string sandbox_id, std::string container_id, int signal) {
  BRUME_CO_TRY(PodPtr pod, find_pod(sandbox_id));
  BRUME_CO_TRY(ContainerPtr container, find_container(pod, container_id));
  if (container->status.state == ContainerStatus::State::kExited) co_return Status{};
  FieldWriter fields;
  fields.str(container_id).u32(0).u32(static_cast<std::uint32_t>(signal));
  BRUME_CO_TRY(ShimReply reply, co_await pod->client->request(shim::kFrameSignal, fields, {}));
  if (reply.error != 0 && reply.error != ENOENT && reply.error != ESRCH)
    co_return fail_errno(reply.error, "signal container");
  co_return Status{};
}

Task<Status> ShimRuntime::remove_container(std::string sandbox_id, std::string container_id) {
  auto pod = find_pod(sandbox_id);
  if (!pod) co_return Status{};
  auto found = find_container(*pod, container_id);
  if (!found) co_return Status{};
  const ContainerPtr& container = *found;
  container->removing = true;
  auto machine = machine_;
  if (container->status.state == ContainerStatus::State::kRunning) {
    BRUME_CO_CHECK(machine->cgroup_of((*pod)->spec).child(container_id).kill());
    auto until = std::chrono::steady_clock::now() + kEndPatience;
    while (container->status.state == ContainerStatus::State::kRunning) {
      if (std::chrono::steady_clock::now() > until) {
        container->removing = false;
        co_return fail(Code::kTimeout, "container " + container_id + " does not end");
      }
      co_await container->ended.wait_for(std::chrono::seconds(1));
    }
  }
  (void)co_await (*pod)->client->request(shim::kFrameForget, FieldWriter().str(container_id), {});
  const PodPtr& owner = *pod;
  ContainerSpec spec = container->spec;
  Status removed =
      co_await run_blocking([machine, owner, spec] { return remove_container_files(*machine, owner->spec, spec); });
  if (removed) owner->containers.erase(container_id);
  co_return removed;
}

Task<Status> ShimRuntime::remove_sandbox(std::string sandbox_id) {
  auto found = pods_.find(sandbox_id);
  auto machine = machine_;
  if (found == pods_.end()) {
    if (!check_id(sandbox_id, "sandbox")) co_return Status{};
    PodFolder folder = machine->folder(sandbox_id);
    co_return co_await run_blocking([machine, folder]() -> Status {  // of an earlier process, never adopted
      auto text = linux_os::read_file(folder.sandbox_file());
      if (!text) return text.error().code == Code::kNotFound ? Status{} : Status(std::unexpected(text.error()));
      BRUME_TRY(Json value, parse_json(*text));
      return remove_pod(*machine, sandbox_from_json(value), Fd());
    });
  }
  PodPtr pod = found->second;
  if (pod->removing && busy_.contains(sandbox_id))
    co_return fail(Code::kConflict, "sandbox " + sandbox_id + " is being removed");
  pod->removing = true;
  busy_.insert(sandbox_id);
  Status removed = co_await run_blocking([machine, pod] { return remove_pod(*machine, pod->spec, pod->shim); });
  busy_.erase(sandbox_id);
  pod->client->close();
  for (auto& [id, container] : pod->containers) {
    container->status.state = ContainerStatus::State::kExited;
    container->ended.notify();
    for (auto& weak : container->attached) {
      if (auto session = weak.lock()) session->end(137);
    }
  }
  for (auto& [number, weak] : pod->execs) {
    if (auto session = weak.lock()) session->end(137);
  }
  if (removed) pods_.erase(sandbox_id);
  co_return removed;
}

std::vector<ContainerStatus> ShimRuntime::containers(std::string_view sandbox_id) const {
  std::vector<ContainerStatus> out;
  auto found = pods_.find(sandbox_id);
  if (found == pods_.end()) return out;
  for (const auto& [id, container] : found->second->containers) {
    bool started = container->status.state == ContainerStatus::State::kExited || container->status.pid != 0;
    if (started) out.push_back(container->status);
  }
  return out;
}

Task<Result<ShimReply>> ShimRuntime::send_exec(PodPtr pod, const ExecSpec& spec, std::uint32_t number, int plan,
                                               std::array<Fd, 3>& child_ends) {
  FieldWriter fields;
  fields.str(spec.container_id).u32(number);
  std::vector<int> fds = {plan};
  if (!spec.tty) {
    for (const Fd& fd : child_ends) fds.push_back(fd.get());
  }
  auto reply = co_await pod->client->request(shim::kFrameExec, fields, std::move(fds));
  for (Fd& fd : child_ends) fd.reset();
  if (!reply) co_return std::unexpected(reply.error());
  if (reply->error != 0) co_return fail(launch_error(*reply));
  co_return std::move(*reply);
}

Task<Result<std::unique_ptr<Session>>> ShimRuntime::exec(ExecSpec spec) {
  BRUME_CO_TRY(PodPtr pod, find_pod(spec.sandbox_id));
  BRUME_CO_TRY(ContainerPtr container, find_container(pod, spec.container_id));
  if (container->status.state != ContainerStatus::State::kRunning) {
    co_return fail(Code::kNotFound, "container " + spec.container_id + " is not running");
  }
  std::array<Fd, 3> child_ends;
  Fd in, out, err;
  if (!spec.tty) {
    if (spec.stdin) {
      BRUME_CO_TRY(auto ends, make_pipe());
      child_ends[0] = std::move(ends.first);
      in = std::move(ends.second);
    } else {
      BRUME_CO_TRY(child_ends[0], linux_os::open_fd("/dev/null", O_RDONLY));
    }
    BRUME_CO_TRY(auto first, make_pipe());
    BRUME_CO_TRY(auto second, make_pipe());
    out = std::move(first.first);
    child_ends[1] = std::move(first.second);
    err = std::move(second.first);
    child_ends[2] = std::move(second.second);
  }
  auto machine = machine_;
  Json oci = container->spec.oci;
  auto plan = co_await run_blocking([machine, pod, oci, spec] { return prepare_exec(*machine, pod->spec, oci, spec); });
  if (!plan) co_return std::unexpected(plan.error());
  const std::uint32_t number = ++pod->next_exec;
  pod->starting_execs.insert(number);
  auto reply = co_await send_exec(pod, spec, number, plan->get(), child_ends);
  pod->starting_execs.erase(number);
  if (!reply) co_return std::unexpected(reply.error());
  if (spec.tty) {
    if (reply->fds.size() < 2) co_return fail(Code::kInternal, "the shim gave no terminal");
    out = std::move(reply->fds[1]);
  }
  auto state = std::make_shared<SessionState>(executor_);
  if (auto early = pod->early_exits.find(number); early != pod->early_exits.end()) {
    state->end(early->second);
    pod->early_exits.erase(early);
  } else {
    pod->execs[number] = state;
  }
  SessionHooks hooks;
  auto pidfd = std::make_shared<Fd>(std::move(reply->fds[0]));
  hooks.on_close = [pidfd, state] {
    if (!state->exited) (void)linux_os::send_signal(*pidfd, SIGKILL);
  };
  co_return make_session(state, std::move(in), std::move(out), std::move(err),
                         spec.tty ? TerminalAt::kOut : TerminalAt::kNone, std::move(hooks));
}

Task<void> ShimRuntime::send_quietly(std::shared_ptr<ShimClient> client, shim::FrameType type, FieldWriter fields) {
  (void)co_await client->request(type, std::move(fields), {});
}

Task<Result<std::unique_ptr<Session>>> ShimRuntime::attach(std::string sandbox_id, std::string container_id) {
  BRUME_CO_TRY(PodPtr pod, find_pod(sandbox_id));
  BRUME_CO_TRY(ContainerPtr container, find_container(pod, container_id));
  BRUME_CO_TRY(auto first, make_pipe());
  BRUME_CO_TRY(auto second, make_pipe());
  auto reply = co_await pod->client->request(shim::kFrameAttach, FieldWriter().str(container_id),
                                             {first.second.get(), second.second.get()});
  if (!reply) co_return std::unexpected(reply.error());
  if (reply->error != 0) co_return fail(Code::kNotFound, "container " + container_id + " is not running");
  first.second.reset();
  second.second.reset();
  auto state = std::make_shared<SessionState>(executor_);
  std::erase_if(container->attached, [](const auto& weak) { return weak.expired(); });
  container->attached.push_back(state);
  if (container->status.state == ContainerStatus::State::kExited) state->end(container->status.exit_code);
  Fd in = reply->fds.empty() ? Fd() : std::move(reply->fds[0]);
  SessionHooks hooks;
  std::weak_ptr<Pod> weak = pod;
  hooks.on_close_stdin = [this, weak, container_id] {
    auto live = weak.lock();  // gone once the runtime was stopped
    if (!live) return;
    tasks_.spawn("close stdin", send_quietly(live->client, shim::kFrameCloseStdin, FieldWriter().str(container_id)));
  };
  TerminalAt terminal = reply->value == 1 ? TerminalAt::kIn : TerminalAt::kNone;
  co_return make_session(state, std::move(in), std::move(first.first), std::move(second.first), terminal,
                         std::move(hooks));
}

Task<Status> ShimRuntime::reopen_log(std::string sandbox_id, std::string container_id) {
  BRUME_CO_TRY(PodPtr pod, find_pod(sandbox_id));
  BRUME_CO_TRY(ShimReply reply,
               co_await pod->client->must(shim::kFrameReopenLog, FieldWriter().str(container_id), {}, "reopen log"));
  co_return Status{};
}

Task<Status> ShimRuntime::update_resources(std::string sandbox_id, std::string container_id, Json resources) {
  if (at(resources, "devices").is_array()) co_return fail(Code::kInvalid, "linux.resources.devices: cannot be changed");
  BRUME_CO_TRY(const linux_os::Cgroup cgroup, find_cgroup(sandbox_id, container_id));
  co_return co_await run_blocking([cgroup, resources] { return apply_resources(cgroup, resources, false); });
}

Task<Result<std::optional<MemoryUse>>> ShimRuntime::memory_use(std::string sandbox_id, std::string container_id) {
  BRUME_CO_TRY(const linux_os::Cgroup cgroup, find_cgroup(sandbox_id, container_id));
  co_return co_await run_blocking([cgroup] { return read_memory_use(cgroup); });
}

Task<Result<PodUse>> ShimRuntime::use(std::string sandbox_id) {
  BRUME_CO_TRY(const linux_os::Cgroup cgroup, find_cgroup(sandbox_id, ""));
  std::vector<std::string> running;
  for (const ContainerStatus& status : containers(sandbox_id)) {
    if (status.state == ContainerStatus::State::kRunning) running.push_back(status.id);
  }
  co_return co_await run_blocking([cgroup, running] {
    PodUse out{.pod = read_resource_use(cgroup), .containers = {}};
    for (const std::string& id : running) out.containers.emplace(id, read_resource_use(cgroup.child(id)));
    return out;
  });
}

// The whole pod's where no container is named.
Result<linux_os::Cgroup> ShimRuntime::find_cgroup(const std::string& sandbox_id,
                                                  const std::string& container_id) const {
  BRUME_TRY(const PodPtr pod, find_pod(sandbox_id));
  linux_os::Cgroup cgroup = machine_->cgroup_of(pod->spec);
  if (container_id.empty()) return cgroup;
  BRUME_TRY(const ContainerPtr container, find_container(pod, container_id));
  return cgroup.child(container_id);
}

// ---- taking over
// -----------------------------------------------------------------------------------------------------

Task<Status> ShimRuntime::adopt_containers(PodPtr pod) {
  Fd self;
  BRUME_CO_TRY(auto told, co_await pod->client->status(&self));
  if (self.valid()) pod->shim = std::move(self);
  BRUME_CO_TRY(pid_t pid, linux_os::pid_of(pod->shim));
  pod->info.shim_pid = pid;
  if (!pod->spec.host_network) pod->info.netns_path = "/proc/" + std::to_string(pid) + "/ns/net";
  auto machine = machine_;
  auto specs = co_await run_blocking([machine, pod] { return machine->folder(pod->spec.id).containers(); });
  for (ContainerSpec& spec : specs) {
    auto known = pod->containers.find(spec.id);
    auto told_of = std::find_if(told.begin(), told.end(), [&](const ShimContainer& c) { return c.id == spec.id; });
    if (told_of == told.end()) {
      if (known != pod->containers.end()) continue;  // its start is under way in this process
      auto cleaned =
          co_await run_blocking([machine, pod, spec] { return remove_container_files(*machine, pod->spec, spec); });
      if (!cleaned) log::warn("leftovers of a container", {{"error", cleaned.error().message}});
      continue;
    }
    bool fresh = known == pod->containers.end();
    ContainerPtr container = fresh ? std::make_shared<Container>(executor_) : known->second;
    if (fresh) {
      container->spec = spec;
      container->status.sandbox_id = spec.sandbox_id;
      container->status.id = spec.id;
      container->status.name = spec.name;
      container->status.labels = spec.labels;
      pod->containers[spec.id] = container;
    }
    container->status.started_at = from_ns(told_of->started_ns);
    if (told_of->state != shim::kStateExited) {
      if (told_of->pidfd.valid()) {
        if (auto host_pid = linux_os::pid_of(told_of->pidfd)) container->status.pid = *host_pid;
      }
    } else if (container->status.state == ContainerStatus::State::kRunning) {
      container->status.exit_code = told_of->code;
      container->status.signal = told_of->signal;
      container->status.finished_at = from_ns(told_of->finished_ns);
      // In adopt() the caller reads the statuses; after a broken connection it must hear of the end.
      bool quiet = std::exchange(container->removing, container->removing || fresh);
      finish(pod, container);
      container->removing = quiet;
    }
  }
  co_return Status{};
}

Task<Result<PodPtr>> ShimRuntime::adopt_pod(std::string id) {
  auto machine = machine_;
  auto text = co_await run_blocking([machine, id] { return linux_os::read_file(machine->folder(id).sandbox_file()); });
  SandboxSpec spec;
  if (text) {
    auto value = parse_json(*text);
    if (value) spec = sandbox_from_json(*value);
  }
  spec.id = id;
  auto socket = co_await run_blocking([machine, id] { return connect_shim(machine->folder(id)); });
  if (!socket && socket.error().code != Code::kNotFound) co_return std::unexpected(socket.error());
  if (!socket) {
    log::warn("removing what is left of a pod whose shim ended", {{"sandbox", id}});
    BRUME_CO_CHECK(co_await run_blocking([machine, spec] { return remove_pod(*machine, spec, Fd()); }));
    co_return PodPtr();
  }
  auto pod = std::make_shared<Pod>();
  pod->spec = spec;
  pod->info.id = id;
  pod->info.labels = spec.labels;
  pods_[id] = pod;
  connect(pod, std::move(*socket));
  if (Status adopted = co_await adopt_containers(pod); !adopted) {
    pod->removing = true;
    pod->client->close();
    pods_.erase(id);
    co_return std::unexpected(adopted.error());
  }
  co_return pod;
}

Task<Result<std::vector<SandboxInfo>>> ShimRuntime::adopt() {
  auto machine = machine_;
  auto ids = co_await run_blocking([machine] {
    std::vector<std::string> out;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(machine->state_dir, error)) {
      if (entry.is_directory(error) && check_id(entry.path().filename().string(), "sandbox"))
        out.push_back(entry.path().filename());
    }
    return out;
  });
  std::vector<SandboxInfo> out;
  for (const std::string& id : ids) {
    if (pods_.contains(id) || busy_.contains(id)) continue;
    auto pod = co_await adopt_pod(id);
    if (!pod) {
      log::error("a pod could not be taken over", {{"sandbox", id}, {"error", pod.error().message}});
    } else if (*pod) {
      out.push_back((*pod)->info);
    }
  }
  co_return out;
}

Task<void> ShimRuntime::stop() {
  on_exit_ = nullptr;
  on_sandbox_end_ = nullptr;
  for (auto& [id, pod] : pods_) pod->client->close();
  co_await tasks_.stop();
  pods_.clear();
}

// ---- what this machine withholds
// -------------------------------------------------------------------------------------

std::vector<Limitation> find_limitations(Machine& machine) {
  std::vector<Limitation> out;
  auto controllers = Cgroup(machine.cgroup_root).controllers();
  for (const auto& [controller, what] :
       {std::pair{"memory", "memory limits"}, std::pair{"cpu", "cpu limits"}, std::pair{"pids", "pids limit"},
        std::pair{"cpuset", "cpu pinning"}, std::pair{"io", "io weights"}, std::pair{"hugetlb", "huge page limits"}}) {
    if (controllers.contains(controller)) continue;
    out.push_back({what, std::string("the cgroup2 mount has no controller ") + controller +
                             " (bound to cgroup v1, or not in this kernel)"});
  }
  Status devices = probe_device_filter();
  machine.devices_permitted = devices.has_value();
  if (!devices) out.push_back({"device access rules", devices.error().message});
  machine.oom_score_permitted = (linux_os::effective_capabilities() >> kCapSysResource & 1) != 0;
  if (!machine.oom_score_permitted) {
    out.push_back(
        {"oom_score_adj below the node agent's own, rlimits above the node's", "CAP_SYS_RESOURCE is missing"});
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<Runtime>> Runtime::create(RuntimeOptions options, Executor executor) {
  // A container that closes its standard input must not end this process.
  ::signal(SIGPIPE, SIG_IGN);
  Machine machine;
  machine.state_dir = options.state_dir;
  BRUME_CHECK(linux_os::make_dirs(options.state_dir, 0700));
  machine.cgroup_root = options.cgroup_root;
  if (machine.cgroup_root.empty()) {
    BRUME_TRY(machine.cgroup_root, linux_os::find_cgroup2_mount());
  } else {
    BRUME_CHECK(linux_os::make_dirs(machine.cgroup_root, 0755));
  }
  while (machine.cgroup_root.size() > 1 && machine.cgroup_root.back() == '/') machine.cgroup_root.pop_back();
  BRUME_TRY(machine.shim_program, shim_image());
  auto limitations = find_limitations(machine);
  return std::make_unique<ShimRuntime>(std::move(machine), std::move(limitations), executor);
}

}  // namespace brume::runtime
