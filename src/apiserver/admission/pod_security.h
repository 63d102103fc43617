// The pod security standards: what the levels `baseline` and `restricted` forbid a pod.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/json_fwd.h"

namespace brume::apiserver {

enum class PodLevel : std::uint8_t { kPrivileged, kBaseline, kRestricted };

struct PodViolation {
  std::string reason;  ///< short: "host namespaces"
  std::string detail;  ///< who and what: "hostNetwork=true"
};

/// The standards' newest version, as a minor version of Kubernetes.
inline constexpr int kLatestPodStandard = std::numeric_limits<int>::max();

/// What of a pod's metadata and spec the level forbids, in the standards' version 1.`minor`.
[[nodiscard]] std::vector<PodViolation> pod_violations(const Json& metadata, const Json& spec, PodLevel level,
                                                       int minor = kLatestPodStandard);

}  // namespace brume::apiserver
