// What happens to pods on blocking threads: folders, cgroups, the shim's process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "brume/base/result.h"
#include "brume/linux/cgroup.h"
#include "brume/linux/fd.h"
#include "brume/runtime/runtime.h"
#include "compiler.h"
#include "state.h"

namespace brume::runtime {

/// What every blocking step needs to know of this machine; set once, read by any thread.
struct Machine {
  std::string state_dir;
  std::string cgroup_root;
  linux_os::Fd shim_program;
  bool devices_permitted = false;
  bool oom_score_permitted = false;
  [[nodiscard]] PodFolder folder(std::string_view id) const { return {state_dir + "/" + std::string(id)}; }
  [[nodiscard]] linux_os::Cgroup cgroup_of(const SandboxSpec& spec) const {
    return linux_os::Cgroup(cgroup_root + "/" + spec.cgroup_parent);
  }
};

struct ShimProcess {
  pid_t pid = 0;
  linux_os::Fd pidfd;
  linux_os::Fd socket;  ///< connected
};

/// Makes the folder, the cgroup and the shim. Undoes all of it on an error.
Result<ShimProcess> launch_shim(const Machine& machine, const SandboxSpec& spec);
/// Connects to a shim that runs; kNotFound when there is none any more.
Result<linux_os::Fd> connect_shim(const PodFolder& folder);
/// Kills what is left of a pod and removes its cgroups, its containers' writable directories and its folder.
Status remove_pod(const Machine& machine, const SandboxSpec& spec, const linux_os::Fd& shim);

struct PreparedContainer {
  linux_os::Fd plan;
  std::string cgroup;
};
/// Compiles the plan, makes the directories, the cgroup and the state file. Undoes it on an error.
Result<PreparedContainer> prepare_container(const Machine& machine, const SandboxSpec& sandbox,
                                            const ContainerSpec& spec);
/// Removes the container's cgroup, writable directory and state file.
Status remove_container_files(const Machine& machine, const SandboxSpec& sandbox, const ContainerSpec& spec);
Result<linux_os::Fd> prepare_exec(const Machine& machine, const SandboxSpec& sandbox, const Json& oci,
                                  const ExecSpec& exec);

}  // namespace brume::runtime
