// What the resources of a pod's containers are, as its spec asks or as the node has granted: in-place resize (KEP-1287)
// tells the two apart.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "brume/base/json.h"

namespace brume::node {

/// ResourceRequirements by container, ephemeral ones left out; those of the pod as a whole (KEP-5419) under "", if its
/// spec has any.
using Allocation = std::map<std::string, Json, std::less<>>;

[[nodiscard]] Allocation allocation_of(const Json& pod);
/// Writes the resources of the containers that `allocation` knows into the pod's spec.
void put_allocation(Json& pod, const Allocation& allocation);

/// Whether two ResourceRequirements have the same requests and limits of cpu and memory, by number: what a resize may
/// change.
[[nodiscard]] bool same_amounts(const Json& a, const Json& b);
[[nodiscard]] bool same_amounts(const Allocation& a, const Allocation& b);
/// A container's ResourceRequirements with the pod's limits where it has none.
[[nodiscard]] Json effective_resources(const Json& pod, const Json& resources);
/// Whether a container with these resources has to start anew to have the others, by its resizePolicy.
[[nodiscard]] bool resize_restarts(const Json& container, const Json& from, const Json& to);

/// Of two OCI linux.resources the wider of each limit: what a cgroup needs while some of its children have the one and
/// some the other.
[[nodiscard]] Json wider_resources(const Json& a, const Json& b);

/// The same where each limit that is not there is said to be none: for a cgroup that may have had one.
[[nodiscard]] Json with_no_limits(Json oci_resources);

/// What the kubelet's events about a resize say of the pod: its containers' resources and generation as JSON, and the
/// error if there is one.
[[nodiscard]] std::string resize_summary(const Json& pod, std::int64_t generation, std::string_view error = {});

}  // namespace brume::node
