// A pod's status as the API shows it, made from what the worker knows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "brume/base/json_fwd.h"
#include "brume/base/time.h"
#include "worker/container_run.h"

namespace brume::node {

/// A resize that is not done: what its condition (PodResizePending, PodResizeInProgress) says.
struct ResizeNotice {
  std::string reason;
  std::string message;
  std::int64_t generation = 0;  ///< of the spec that asks for it
};

struct StatusInputs {
  const Json& pod;  ///< as the API has it, status included (conditions of others, transition times), with the resources
                    ///< that the node has granted
  const std::vector<ContainerRun>& runs;
  bool initialized = false;
  bool sandbox_ready = false;
  bool stopped = false;   ///< all containers have ended and none will start again
  bool rejected = false;  ///< it was never let in: there is nothing to tell of its containers
  std::string reason;     ///< Evicted, DeadlineExceeded, OutOfcpu ...: the pod failed as a whole
  std::string message;
  bool restarting_all = false;
  bool disrupted = false;  ///< `message` says why the node ends the pod
  std::optional<ResizeNotice> resize_pending;
  std::optional<ResizeNotice> resize_progress;
  std::vector<std::string> pod_ips;
  std::vector<std::string> host_ips;
  WallTime start_time;
  WallTime now;
};

/// Whether a PodStatus says that the whole pod is being restarted.
[[nodiscard]] bool tells_of_restart(const Json& status);
/// PodStatus with every field that the node owns.
[[nodiscard]] Json make_pod_status(const StatusInputs& in);
/// state.terminated of an exited container.
[[nodiscard]] Json terminated_json(const ContainerRun& run);

/// The strategic merge patch that turns `old` (a PodStatus, with conditions of others) into `wanted`; null when there
/// is nothing to write. `uid` becomes a precondition.
[[nodiscard]] Json status_patch(const Json& old, const Json& wanted, std::string_view uid);

}  // namespace brume::node
