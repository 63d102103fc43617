// The quality of service of a pod.
#pragma once

#include <string_view>

#include "brume/base/json_fwd.h"

namespace brume::api {

/// "Guaranteed", "Burstable" or "BestEffort" of a pod's spec, as Kubernetes' qos package has it: by cpu and memory of
/// all containers but ephemeral ones, or of the pod as a whole when it says so. A limit without a request is a request.
[[nodiscard]] std::string_view pod_qos_class(const Json& spec);

}  // namespace brume::api
