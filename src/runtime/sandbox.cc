#include "sandbox.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "brume/base/json.h"
#include "brume/linux/process.h"
#include "cgroup_resources.h"
#include "shim/plan.h"

namespace brume::runtime {
namespace {

using linux_os::Cgroup;
using linux_os::Fd;

constexpr auto kEndPatience = std::chrono::milliseconds(10000);

// The folder by descriptor keeps the address short whatever the state directory is called (unix(7): 108 bytes).
Result<sockaddr_un> socket_address(const Fd& folder) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string path = "/proc/self/fd/" + std::to_string(folder.get()) + "/shim.sock";
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Result<Fd> seqpacket_socket() {
  Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return fail_errno(errno, "socket");
  int bytes = 1 << 20;
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  return fd;
}

Result<Fd> listen_in(const Fd& folder) {
  BRUME_TRY(Fd fd, seqpacket_socket());
  BRUME_TRY(sockaddr_un address, socket_address(folder));
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return fail_errno(errno, "bind shim socket");
  if (::listen(fd.get(), 8) != 0) return fail_errno(errno, "listen on shim socket");
  return fd;
}

Result<Fd> above_ten(const Fd& fd) {
  Fd out(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 10));
  if (!out.valid()) return fail_errno(errno, "dup");
  return out;
}

// Between fork and exec in a process with threads: system calls only.
[[noreturn]] void exec_shim(int program, int null, int listener, int folder, char* const* argv) {
  char* const no_env[] = {nullptr};
  bool fine = ::dup2(null, 0) >= 0 && ::dup2(null, 1) >= 0 && ::dup2(null, 2) >= 0 && ::dup2(listener, 3) >= 0 &&
              ::dup2(folder, 4) >= 0;
  if (fine) ::syscall(SYS_execveat, program, "", argv, no_env, AT_EMPTY_PATH);
  ::_exit(126);
}

Result<ShimProcess> spawn_shim(const Machine& machine, const SandboxSpec& spec, const Cgroup& pod) {
  BRUME_TRY(Fd folder, linux_os::open_fd(machine.folder(spec.id).path, O_RDONLY | O_DIRECTORY));
  BRUME_TRY(Fd listening, listen_in(folder));
  BRUME_TRY(Cgroup shim_cgroup, Cgroup::create(pod.path(), "shim"));
  BRUME_TRY(Fd cgroup, shim_cgroup.open());
  BRUME_TRY(Fd null, linux_os::open_fd("/dev/null", O_RDWR));
  BRUME_TRY(Fd listener, above_ten(listening));
  BRUME_TRY(Fd directory, above_ten(folder));
  BRUME_TRY(Fd nothing, above_ten(null));
  BRUME_TRY(Fd program, above_ten(machine.shim_program));
  linux_os::CloneOptions options;
  options.cgroup_fd = cgroup.get();
  if (!spec.host_network) options.flags |= CLONE_NEWNET | CLONE_NEWUTS;
  if (!spec.host_ipc) options.flags |= CLONE_NEWIPC;
  std::string name = "brume-shim";
  std::string id = spec.id;
  char* argv[] = {name.data(), id.data(), nullptr};
  BRUME_TRY(linux_os::Child child, linux_os::clone_process(options));
  if (child.pid == 0) exec_shim(program.get(), nothing.get(), listener.get(), directory.get(), argv);
  ShimProcess process;
  process.pid = child.pid;
  process.pidfd = std::move(child.pidfd);
  BRUME_TRY(process.socket, connect_shim(machine.folder(spec.id)));
  return process;
}

void remove_empty_parents(const Machine& machine, std::string path) {
  for (;;) {
    std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return;
    path.resize(slash);
    if (path.size() <= machine.cgroup_root.size() || ::rmdir(path.c_str()) != 0) return;
  }
}

Result<Cgroup> make_pod_cgroup(const Machine& machine, const SandboxSpec& spec) {
  for (int attempt = 0;; ++attempt) {  // the removal of a pod beside us may take an empty parent away
    auto made = Cgroup::create(machine.cgroup_root, spec.cgroup_parent);
    if (made || made.error().code != Code::kNotFound || attempt == 3) return made;
  }
}

PlanContext plan_context(const Machine& machine, const SandboxSpec& sandbox) {
  PlanContext context;
  context.host_network = sandbox.host_network;
  context.host_pid = sandbox.host_pid;
  context.share_pid = sandbox.share_pid;
  context.hostname = sandbox.host_network ? "" : sandbox.hostname;
  context.oom_score_permitted = machine.oom_score_permitted;
  context.merged_dir = machine.folder(sandbox.id).root_dir();
  return context;
}

Result<std::string> container_cgroup(const SandboxSpec& sandbox, const ContainerSpec& spec) {
  std::string path = sandbox.cgroup_parent + "/" + spec.id;
  std::string_view asked = str(at(spec.oci, "linux"), "cgroupsPath");
  if (!asked.empty() && asked != path && asked != "/" + path) {
    return fail(Code::kInvalid, "linux.cgroupsPath: must be " + path + " in this pod");
  }
  return path;
}

Status make_writable(const ContainerSpec& spec) {
  if (spec.writable_dir.empty()) return {};
  BRUME_CHECK(linux_os::make_dirs(spec.writable_dir, 0700));
  // The upper directory is the container's "/": its owner and mode show inside.
  BRUME_CHECK(linux_os::make_dirs(spec.writable_dir + "/upper", 0755));
  BRUME_CHECK(linux_os::make_dirs(spec.writable_dir + "/work", 0700));
  if (::chmod((spec.writable_dir + "/upper").c_str(), 0755) != 0) return fail_errno(errno, "chmod upper directory");
  return {};
}

}  // namespace

Result<Fd> connect_shim(const PodFolder& folder) {
  BRUME_TRY(Fd directory, linux_os::open_fd(folder.path, O_RDONLY | O_DIRECTORY));
  BRUME_TRY(Fd fd, seqpacket_socket());
  BRUME_TRY(sockaddr_un address, socket_address(directory));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ECONNREFUSED || errno == ENOENT) return fail(Code::kNotFound, "the pod's shim has ended");
    return fail_errno(errno, "connect to shim");
  }
  return fd;
}

Result<ShimProcess> launch_shim(const Machine& machine, const SandboxSpec& spec) {
  PodFolder folder = machine.folder(spec.id);
  auto launch = [&]() -> Result<ShimProcess> {
    BRUME_CHECK(linux_os::make_dirs(folder.root_dir(), 0700));
    BRUME_CHECK(linux_os::replace_file(folder.sandbox_file(), dump_json(sandbox_to_json(spec)), 0600));
    BRUME_TRY(Cgroup pod, make_pod_cgroup(machine, spec));
    pod.enable_controllers();
    BRUME_CHECK(apply_resources(pod, spec.cgroup_resources, machine.devices_permitted));
    return spawn_shim(machine, spec, pod);
  };
  auto process = launch();
  if (!process) (void)remove_pod(machine, spec, Fd());
  return process;
}

Status remove_pod(const Machine& machine, const SandboxSpec& spec, const Fd& shim) {
  PodFolder folder = machine.folder(spec.id);
  Cgroup pod = machine.cgroup_of(spec);
  if (!spec.cgroup_parent.empty() && pod.exists()) BRUME_CHECK(pod.remove(kEndPatience));
  if (shim.valid()) {
    (void)linux_os::send_signal(shim, SIGKILL);
    BRUME_TRY(bool ended, linux_os::wait_ended(shim, kEndPatience));
    if (!ended) return fail(Code::kTimeout, "the shim of pod " + spec.id + " did not end");
    linux_os::reap(shim);
  }
  for (const ContainerSpec& container : folder.containers()) {
    if (!container.writable_dir.empty()) BRUME_CHECK(linux_os::remove_tree(container.writable_dir));
  }
  BRUME_CHECK(linux_os::remove_tree(folder.path));
  if (!spec.cgroup_parent.empty()) remove_empty_parents(machine, pod.path());
  return {};
}

Result<PreparedContainer> prepare_container(const Machine& machine, const SandboxSpec& sandbox,
                                            const ContainerSpec& spec) {
  BRUME_TRY(std::string relative, container_cgroup(sandbox, spec));
  PreparedContainer out;
  out.cgroup = machine.cgroup_root + "/" + relative;
  PlanContext context = plan_context(machine, sandbox);
  context.cgroup_path = out.cgroup;
  BRUME_TRY(std::string plan, compile_container(spec, context));
  BRUME_TRY(out.plan, linux_os::sealed_memfd("plan", plan, false));
  auto make = [&]() -> Status {
    BRUME_CHECK(make_writable(spec));
    BRUME_TRY(Cgroup cgroup, Cgroup::create(machine.cgroup_root, relative));
    BRUME_CHECK(apply_resources(cgroup, at(spec.oci, "linux", "resources"), machine.devices_permitted));
    return linux_os::replace_file(machine.folder(sandbox.id).container_file(spec.id),
                                  dump_json(container_to_json(spec)), 0600);
  };
  if (Status made = make(); !made) {
    (void)remove_container_files(machine, sandbox, spec);
    return std::unexpected(made.error());
  }
  return out;
}

Status remove_container_files(const Machine& machine, const SandboxSpec& sandbox, const ContainerSpec& spec) {
  BRUME_CHECK(machine.cgroup_of(sandbox).child(spec.id).remove(kEndPatience));
  if (!spec.writable_dir.empty()) BRUME_CHECK(linux_os::remove_tree(spec.writable_dir));
  ::unlink(machine.folder(sandbox.id).container_file(spec.id).c_str());
  return {};
}

Result<Fd> prepare_exec(const Machine& machine, const SandboxSpec& sandbox, const Json& oci, const ExecSpec& exec) {
  BRUME_TRY(std::string plan, compile_exec(oci, exec, plan_context(machine, sandbox)));
  return linux_os::sealed_memfd("plan", plan, false);
}

}  // namespace brume::runtime
