// Amounts of resources as plain integers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "brume/base/json_fwd.h"

namespace brume::scheduler {

/// CPU in thousandths, memory and ephemeral storage in bytes; extended resources (devices, huge pages) in their units,
/// by an id given to each name on first sight. A value.
struct Resources {
  enum Basic : std::uint8_t { kCpu, kMemory, kStorage, kBasicCount };
  std::array<std::int64_t, kBasicCount> basic{};
  std::vector<std::pair<std::uint32_t, std::int64_t>> extended = {};  ///< sorted by id, no zeros

  [[nodiscard]] std::int64_t extended_of(std::uint32_t id) const;
  void set_extended(std::uint32_t id, std::int64_t amount);
  void add(const Resources& other);
  void subtract(const Resources& other);
  void raise_to(const Resources& other);  ///< the larger of each
  friend bool operator==(const Resources&, const Resources&) = default;
};

/// A ResourceList such as {"cpu": "100m", "memory": "1Gi"}; "pods" is left out.
Resources decode_resources(const Json& list);
/// What a node says that it has: less than what any pod can ask for at most, so that sums hold.
Resources decode_allocatable(const Json& list);

/// The id of an extended resource's name and back. Owner: the scheduler's loop.
std::uint32_t resource_id(std::string_view name);
/// Of a name in the configuration: it stays, whoever uses it.
std::uint32_t lasting_resource_id(std::string_view name);
const std::string& resource_name(std::uint32_t id);

/// Whoever makes a pod invents names of resources. True when so many have come that it is worth to look for those that
/// nobody uses any more.
bool resource_names_pile_up();
/// Frees the ids, to be given to other names, of all that `each_live` does not call its argument for. Between two pods'
/// cycles, when nobody else holds amounts.
void sweep_resource_names(const std::function<void(const std::function<void(const Resources&)>&)>& each_live);
/// How many names have an id.
std::size_t resource_names();

/// What a pod asks for: its containers' requests and its restartable init containers', or the peak while it
/// initialises, whichever is larger; pod-level requests before these; overhead on top (KEP-753, KEP-2837, KEP-688).
/// Of a pod that runs, `status` counts too: while it is being resized (KEP-1287) it takes the most of what it asks for,
/// what it was granted and what it has. A pod that does not run yet has none (null).
Resources pod_requests(const Json& pod_spec, const Json& status);
/// The same with 100m CPU and 200 MiB for containers that ask for none, which is what nodes are compared by.
Resources scoring_requests(const Json& pod_spec, const Json& status);

}  // namespace brume::scheduler
