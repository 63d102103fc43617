// Deletes the directories of this node's persistent volumes when the volumes are deleted.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "brume/base/clock.h"
#include "brume/base/json_fwd.h"
#include "brume/base/task.h"
#include "brume/client/client.h"
#include "brume/client/events.h"
#include "brume/client/informer.h"
#include "brume/client/queue.h"
#include "brume/node/agent.h"

namespace brume::node {

/// Watches the volumes of brume.dev/local-path that carry this node's name. One that is being deleted, and that no
/// claim has any more, keeps a finalizer until its directory is gone; a retained one loses the finalizer alone. A
/// directory whose volume is gone, as when the node's object was deleted and made again, is told of, by the log and an
/// event of the node, and stays. Owner: the node loop.
class StorageKeeper {
 public:
  StorageKeeper(const NodeOptions& options, client::Client& client, Clock& clock, const Executor& executor);
  void start();
  Task<void> stop();

 private:
  void consider(const api::ObjectPtr& volume);
  Task<Status> reconcile(std::string name);
  Task<Status> remove_directory(Json volume);
  Task<Status> look_for_abandoned();
  Task<void> tell_of(std::vector<std::string> abandoned);
  Task<Status> let_go(api::ObjectPtr volume);

  const NodeOptions& options_;
  client::Client& client_;
  client::EventRecorder events_;
  client::Informer volumes_;
  client::WorkQueue queue_;
  std::set<std::string> told_;  ///< directories without a volume that the log tells of
};

}  // namespace brume::node
