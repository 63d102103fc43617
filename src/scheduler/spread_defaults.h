// The pods that a pod belongs with, by its Services and its owner: what default spreading counts.
#pragma once

#include <string>
#include <unordered_map>

#include "brume/client/informer.h"
#include "types.h"

namespace brume::scheduler {

/// Owner: the scheduler's loop.
class OwnSelectors {
 public:
  explicit OwnSelectors(client::InformerFactory& informers);

  /// Pods of the pod's namespace that the selectors of its Services and of its ReplicationController, ReplicaSet or
  /// StatefulSet all match. Null when it has neither. Valid until the next change.
  const PodSelector* of(const PodInfo& pod);

 private:
  [[nodiscard]] PodSelector make(const PodInfo& pod) const;

  client::Informer& services_;
  client::Informer& replication_controllers_;
  client::Informer& replica_sets_;
  client::Informer& stateful_sets_;
  std::unordered_map<std::string, PodSelector> known_;  // by namespace, owner and labels
};

}  // namespace brume::scheduler
