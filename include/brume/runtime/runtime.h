// Runtime: pods and containers by Linux namespaces, cgroups v2 and one shim process per pod. It knows OCI specs, not
// the API.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "brume/base/json.h"
#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/base/time.h"

namespace brume::runtime {

/// What a pod's containers share. `id` names the pod on this node (its uid) and the shim's folder under the state dir.
struct SandboxSpec {
  std::string id;
  std::string hostname;       ///< of the UTS namespace; ignored with host_network
  bool host_network = false;  ///< use the node's network and UTS namespaces
  bool host_pid = false;
  bool host_ipc = false;
  bool share_pid = false;     ///< one PID namespace for all containers (the shim is its init)
  std::string cgroup_parent;  ///< below the cgroup2 mount, e.g. brume/kubepods/burstable/pod<uid>; made if missing
  Json cgroup_resources;      ///< OCI linux.resources for the pod's own cgroup
  std::vector<std::pair<std::string, std::string>> sysctls;
  std::vector<std::pair<std::string, std::string>> labels;  ///< kept and given back by adopt()
};

struct SandboxInfo {
  std::string id;
  pid_t shim_pid = 0;
  std::string netns_path;  ///< opens the pod's network namespace; empty with host_network
  std::vector<std::pair<std::string, std::string>> labels;
};

/// One container: an OCI runtime spec (v1.2) whose root.path is ignored; the root is an overlay of `layers`.
struct ContainerSpec {
  std::string sandbox_id;
  std::string id;    ///< unique on the node
  std::string name;  ///< the container's name in the pod
  Json oci;  ///< process, mounts, linux.*, hostname...; what the runtime cannot honour is an error, never ignored
  std::vector<std::string> layers;  ///< directories, lowest first
  std::string writable_dir;         ///< made if missing; holds the overlay's upper and work directories
  bool readonly_root = false;
  std::string log_path;  ///< CRI log format; the directory must exist
  bool tty = false;
  bool stdin = false;
  bool stdin_once = false;
  std::vector<std::pair<std::string, std::string>> labels;  ///< kept and given back by adopt()
};

struct ContainerStatus {
  enum class State : std::uint8_t { kRunning, kExited };
  std::string sandbox_id;
  std::string id;
  std::string name;
  State state = State::kRunning;
  pid_t pid = 0;
  WallTime started_at;
  WallTime finished_at;
  int exit_code = 0;  ///< 128 + signal when a signal ended it
  int signal = 0;
  bool oom_killed = false;
  std::vector<std::pair<std::string, std::string>> labels;
};

/// In bytes.
struct MemoryUse {
  std::uint64_t usage = 0;
  std::uint64_t working_set = 0;  ///< without files that were read and could go at once, as the kubelet counts
  std::uint64_t rss = 0;          ///< anonymous
};

/// What a cgroup has used. What the kernel does not count there is absent.
struct ResourceUse {
  WallTime at;                                   ///< when it was read
  std::optional<std::uint64_t> cpu_nanoseconds;  ///< of processor time since the cgroup was made
  std::optional<MemoryUse> memory;
};

struct PodUse {
  ResourceUse pod;
  std::map<std::string, ResourceUse> containers;  ///< those that run, by id
};

struct ExecSpec {
  std::string sandbox_id;
  std::string container_id;
  std::vector<std::string> argv;
  std::vector<std::string> env;  ///< added to the container's
  bool tty = false;
  bool stdin = false;
};

/// A process in a container whose streams the caller holds: exec, or attach to the container's own. Owner: one loop.
class Session {
 public:
  enum class Channel : std::uint8_t { kStdout, kStderr };
  struct Chunk {
    Channel channel = Channel::kStdout;
    std::string data;
    bool ended = false;  ///< the process has ended and all its output was read; exit_code holds
    int exit_code = 0;
  };
  virtual ~Session() = default;
  /// The next output, or the end.
  virtual Task<Result<Chunk>> read() = 0;
  virtual Task<Status> write_stdin(std::string_view bytes) = 0;
  virtual Task<Status> close_stdin() = 0;
  virtual Task<Status> resize(std::uint16_t columns, std::uint16_t rows) = 0;
  /// Kills an exec'd process (detaches from an attached container).
  virtual void close() = 0;
};

struct RuntimeOptions {
  std::string state_dir = "/run/brume";  ///< on tmpfs; one folder a pod: socket, plans, statuses
  std::string cgroup_root;               ///< empty: the machine's cgroup2 mount is found in /proc/self/mountinfo
};

/// What this kernel and machine withhold from containers, found out once. For node conditions, events and `brume
/// check`.
struct Limitation {
  std::string what;    ///< memory limits, cpu limits, pids limit, oom_score_adj, ...
  std::string reason;  ///< e.g. controller memory is bound to cgroup v1
};

/// Owner: the node loop; every call there. Blocking work happens on blocking threads inside.
class Runtime {
 public:
  static Result<std::unique_ptr<Runtime>> create(RuntimeOptions options, Executor executor);
  virtual ~Runtime() = default;

  /// Called on the node loop whenever a container has exited.
  virtual void on_exit(std::function<void(const ContainerStatus&)> callback) = 0;
  /// Called on the node loop when a sandbox has ended by itself: its shim is gone. The exits of its containers were
  /// told before. Nothing starts in it any more; it is to be removed.
  virtual void on_sandbox_end(std::function<void(const std::string& sandbox_id)> callback) = 0;
  /// Finds the pods of an earlier process whose shims still run and takes them over, with all their containers, running
  /// and exited. Leftovers of pods whose shim died are removed.
  virtual Task<Result<std::vector<SandboxInfo>>> adopt() = 0;

  virtual Task<Result<SandboxInfo>> create_sandbox(SandboxSpec spec) = 0;
  /// Starts the container; returns once its program was exec'd. A program that cannot be started is an error whose
  /// message says why (kNotFound: no such file in the image; kForbidden: not executable...).
  virtual Task<Result<ContainerStatus>> start_container(ContainerSpec spec) = 0;
  virtual Task<Status> signal_container(std::string sandbox_id, std::string container_id, int signal) = 0;
  /// Kills what runs of it (cgroup.kill), deletes its writable directory and forgets it.
  virtual Task<Status> remove_container(std::string sandbox_id, std::string container_id) = 0;
  /// Kills everything of the pod, ends the shim, removes cgroups and state. Idempotent.
  virtual Task<Status> remove_sandbox(std::string sandbox_id) = 0;
  [[nodiscard]] virtual std::vector<ContainerStatus> containers(std::string_view sandbox_id) const = 0;

  virtual Task<Result<std::unique_ptr<Session>>> exec(ExecSpec spec) = 0;
  virtual Task<Result<std::unique_ptr<Session>>> attach(std::string sandbox_id, std::string container_id) = 0;
  /// Makes the shim open the container's log file anew, after a rotation renamed it.
  virtual Task<Status> reopen_log(std::string sandbox_id, std::string container_id) = 0;
  /// Sets limits of a running container, or of the whole pod where `container_id` is empty (OCI linux.resources).
  virtual Task<Status> update_resources(std::string sandbox_id, std::string container_id, Json resources) = 0;
  /// What a container, or the whole pod, has now; nullopt where the kernel does not count it.
  virtual Task<Result<std::optional<MemoryUse>>> memory_use(std::string sandbox_id, std::string container_id) = 0;
  /// What a pod and its containers use. Without the kernel's count of memory, its processes' pages are summed up, each
  /// page that several share by its share: that costs time by their size, so ask when somebody wants to know.
  virtual Task<Result<PodUse>> use(std::string sandbox_id) = 0;

  [[nodiscard]] virtual const std::vector<Limitation>& limitations() const = 0;
  /// Leaves pods running and lets go of them: the next adopt() takes over.
  virtual Task<void> stop() = 0;
};

}  // namespace brume::runtime
