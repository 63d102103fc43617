// Whether a pod that was bound to this node can run here.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "brume/api/object.h"
#include "brume/base/json_fwd.h"
#include "brume/client/taints.h"
#include "brume/node/pod_network.h"
#include "spec/resources.h"

namespace brume::node {

struct AdmissionInputs {
  std::int64_t milli_cpu = 0, memory = 0, ephemeral_storage = 0;  ///< allocatable
  std::int64_t max_pods = 0;
  std::int64_t pods = 0;  ///< that occupy the node now
  PodRequest used;
  std::vector<HostPort> ports = {};  ///< of the node that its pods have
  std::span<const std::string> allowed_unsafe_sysctls;
  bool memory_pressure = false, disk_pressure = false, pid_pressure = false;
  api::ObjectPtr node = {};  ///< null: not known, and nothing is asked of it
  std::span<const client::Taint> taints = {};
};
struct Refusal {
  /// OutOfpods, OutOfcpu, OutOfmemory, OutOfephemeral-storage, OutOfexample.com/device, NodeAffinity, NodePorts,
  /// TaintToleration, SysctlForbidden, AppArmor, Evicted ...
  std::string reason;
  std::string message;
  bool by_node = false;  ///< by labels, taints or resources of the Node, of which an informer may be behind
};
/// nullopt: it may run.
[[nodiscard]] std::optional<Refusal> admit_pod(const Json& pod, const AdmissionInputs& in);
/// The part of it that is about amounts (of huge pages and extended resources if `node` is known): for a pod that asks
/// for others than it has, too.
[[nodiscard]] std::optional<Refusal> check_room(const PodRequest& request, const AdmissionInputs& in);

}  // namespace brume::node
