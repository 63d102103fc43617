// What a pod needs and may use as a whole, by resource.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "brume/api/quantity.h"
#include "brume/base/json_fwd.h"

namespace brume::api {

using Amounts = std::map<std::string, Quantity, std::less<>>;  ///< by resource: cpu, memory ...

/// What a pod's containers say at once, `which` being requests or limits: the running ones and sidecars together, or
/// the greediest step of initialisation (KEP-753).
[[nodiscard]] Amounts container_amounts(const Json& pod_spec, std::string_view which);
/// ... with those of the pod as a whole in their place (KEP-2837).
[[nodiscard]] Amounts pod_amounts(const Json& pod_spec, std::string_view which);
/// ... and its overhead.
[[nodiscard]] Amounts pod_requests(const Json& pod_spec);
[[nodiscard]] Amounts pod_limits(const Json& pod_spec);
/// Whether a pod as a whole may ask for this resource: cpu, memory, huge pages.
[[nodiscard]] bool is_pod_level_resource(std::string_view name);

/// One resource of a requests or limits map; zero when it is not there.
[[nodiscard]] Quantity amount_of(const Json& amounts, std::string_view name);
/// All of a requests or limits map, and back: {"cpu": "1500m", ...}
[[nodiscard]] Amounts amounts_of(const Json& amounts);
[[nodiscard]] Json amounts_json(const Amounts& amounts);

}  // namespace brume::api
