// The launch plan compiler: an OCI runtime spec to the steps that the shim runs.
#pragma once

#include <string>
#include <vector>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"
#include "brume/runtime/runtime.h"

namespace brume::runtime {

/// What the compiler must know of the pod beside the container's spec.
struct PlanContext {
  bool host_network = false;
  bool host_pid = false;
  bool share_pid = false;
  std::string hostname;
  std::string cgroup_path;  ///< the container's cgroup directory
  std::string merged_dir;   ///< where the root is mounted inside the new mount namespace
  bool oom_score_permitted = true;
};

/// kInvalid names the field of the spec that cannot be honoured. Pure but for reading /proc/sys/kernel/cap_last_cap.
Result<std::string> compile_container(const ContainerSpec& spec, const PlanContext& context);
/// A further process of a container whose spec was `oci`.
Result<std::string> compile_exec(const Json& oci, const ExecSpec& exec, const PlanContext& context);

}  // namespace brume::runtime
