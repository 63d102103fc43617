// Which pods have to go, and what is said of it: decisions over what pods use, in the kubelet's words.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/machine.h"
#include "brume/base/json_fwd.h"
#include "brume/linux/usage.h"

namespace brume::node {

/// Where a pod's local data lies, by container (writable layer and logs) and by emptyDir on disk.
struct PodPaths {
  std::map<std::string, std::vector<std::string>> containers;
  std::map<std::string, std::string> empty_dirs;
};
struct PodDisk {
  std::map<std::string, linux_os::TreeUsage> containers;
  std::map<std::string, linux_os::TreeUsage> empty_dirs;
  [[nodiscard]] linux_os::TreeUsage total() const;
};
/// Blocks, for as long as it takes to look at every file, or until `stop` is set. What cannot be read counts nothing.
[[nodiscard]] PodDisk measure(const PodPaths& paths, const std::atomic<bool>& stop);

/// Whether the pod has a limit of local disk: of an emptyDir on disk, or of ephemeral-storage.
[[nodiscard]] bool has_disk_limit(const Json& pod);
/// The message for a pod that uses more than it may; nullopt: it does not.
[[nodiscard]] std::optional<std::string> exceeded_disk_limit(const Json& pod, const PodDisk& used);

/// System pods stay, whatever the node lacks (pkg/kubelet/types, IsCriticalPod).
[[nodiscard]] bool is_critical(const Json& pod);

/// What a pod uses of the resource that is short, by container (and of the pod's volumes under "").
using Use = std::map<std::string, std::int64_t>;
struct Candidate {
  std::string uid;
  std::shared_ptr<const Json> pod;
  Use use;
};
/// The pod to be evicted first: of those over their requests, of those with the lowest priority, the one that is the
/// furthest over. Null when none may go.
[[nodiscard]] const Candidate* first_to_evict(const std::vector<Candidate>& candidates, std::string_view resource);
[[nodiscard]] std::string eviction_message(const Shortage& shortage, const Candidate& candidate);

}  // namespace brume::node
