// Which containers of a pod are to start or stop now: pure decisions over what is known of them.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "brume/base/json_fwd.h"
#include "brume/base/time.h"
#include "worker/container_run.h"

namespace brume::node {

struct Decision {
  std::vector<std::size_t> start;  ///< to be started, when their back-off allows it
  std::vector<std::size_t> stop;   ///< sidecars of a pod whose work is done
  bool initialized = false;        ///< every init container has done its part
  bool complete = false;           ///< nothing that counts runs or will run again
};

/// Fresh records for every container of the pod, in containers_of() order.
[[nodiscard]] std::vector<ContainerRun> make_runs(const Json& pod);
/// The rule that an exited container's code fits, if any.
[[nodiscard]] const RestartRule* matching_rule(const ContainerRun& run);
/// Whether one of them has ended in a way that starts the whole pod over.
[[nodiscard]] bool whole_pod_restarts(const std::vector<ContainerRun>& runs);
/// `initialized`: what an earlier decision said (a sidecar's restart does not take it back).
[[nodiscard]] Decision decide(const std::vector<ContainerRun>& runs, bool initialized);
/// Succeeded or Failed for a complete or stopped pod; else Pending or Running.
[[nodiscard]] std::string pod_phase(const std::vector<ContainerRun>& runs, bool initialized, bool stopped);

// Restart back-off, as the kubelet's: the first restart is immediate, then 10 s doubling to 5 min; forgotten after 10
// min without one.
constexpr std::chrono::seconds kInitialBackOff{10};
constexpr std::chrono::seconds kMaxBackOff{300};
/// How long the next start of this exited container has to wait from `now`.
[[nodiscard]] std::chrono::milliseconds restart_wait(const ContainerRun& run, WallTime now);
/// To be called when a restart begins.
void note_restart(ContainerRun& run, WallTime now);

}  // namespace brume::node
