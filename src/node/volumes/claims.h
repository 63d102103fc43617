// What the claims of a pod's volumes are bound to.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "brume/api/object.h"
#include "brume/base/json.h"
#include "brume/base/result.h"
#include "brume/node/agent.h"

namespace brume::node {

/// A claim's persistent volume, as a pod uses it.
struct ClaimVolume {
  Json volume;                   ///< the PersistentVolume
  bool read_only = false;        ///< persistentVolumeClaim.readOnly
  std::string storage_dir = {};  ///< of a volume of brume.dev/local-path on this node: where its directory lies

  [[nodiscard]] std::string name() const;
  [[nodiscard]] bool block() const;  ///< volumeMode Block
  [[nodiscard]] bool alone() const;  ///< ReadWriteOncePod
};
using ClaimVolumes = std::map<std::string, ClaimVolume>;  ///< by the name of the pod's volume

/// Whether a pod can use the claim now; the kubelet's words when it cannot.
[[nodiscard]] Status check_claim(const api::Object& claim);
/// Whether the volume is the claim's, and within reach of `node`, which may be null for volumes of any node.
[[nodiscard]] Status check_volume(const api::Object& volume, const api::Object& claim, const api::Object* node);
/// Whether the containers of the pod use the volume as its volumeMode says.
[[nodiscard]] Status check_volume_mode(const Json& pod, std::string_view volume, bool block);
/// storage_dir() when the volume is one of brume.dev/local-path on this node, with a directory of its own there; "" for
/// other volumes; kInvalid when it says that it is one but names a directory elsewhere.
[[nodiscard]] Result<std::string> local_path_of(const Json& volume, const NodeOptions& options);

/// Which pods of this node have which persistent volumes mounted. Owner: the node loop.
class VolumeUses {
 public:
  void add(const std::string& volume, const std::string& pod) { pods_[volume].insert(pod); }
  void release(const std::string& pod) {
    for (auto& [volume, pods] : pods_) pods.erase(pod);
    std::erase_if(pods_, [](const auto& entry) { return entry.second.empty(); });
  }
  /// Whether another pod than this one has it.
  [[nodiscard]] bool by_others(const std::string& volume, const std::string& pod) const {
    const auto it = pods_.find(volume);
    return it != pods_.end() && it->second.size() > it->second.count(pod);
  }

 private:
  std::map<std::string, std::set<std::string>> pods_;  // uids by volume
};

}  // namespace brume::node
