// Downward API: fieldRef and resourceFieldRef values of a pod.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/json.h"
#include "brume/base/result.h"

namespace brume::node {

/// What the node knows of a pod beyond its spec when values are drawn.
struct PodRuntimeInfo {
  std::vector<std::string> pod_ips;
  std::vector<std::string> host_ips;
  std::string node_name;
  std::int64_t allocatable_milli_cpu = 0;  ///< default of limits.cpu
  std::int64_t allocatable_memory = 0;     ///< default of limits.memory, bytes
  std::int64_t allocatable_ephemeral = 0;  ///< default of limits.ephemeral-storage, bytes
};

/// metadata.name, metadata.labels['x'], status.podIP, spec.nodeName, ...; kInvalid for a path that is not supported.
[[nodiscard]] Result<std::string> pod_field(const Json& pod, std::string_view path, const PodRuntimeInfo& info);
/// limits.cpu and its kin in units of `divisor`, rounded up; `ref` is a ResourceFieldSelector. `container` is used
/// unless the ref names another.
[[nodiscard]] Result<std::string> resource_field(const Json& pod, const Json& container, const Json& ref,
                                                 const PodRuntimeInfo& info);

}  // namespace brume::node
