// Deletes the directories of this node's persistent volumes when the volumes are deleted.
#pragma once

#include <string>

#include "brume/base/clock.h"
#include "brume/base/task.h"
#include "brume/client/client.h"
#include "brume/client/events.h"
#include "brume/client/informer.h"
#include "brume/client/queue.h"
#include "brume/node/agent.h"

namespace brume::node {

/// Watches the volumes of brume.dev/local-path that carry this node's name. One that is being deleted, and that no
/// claim has any more, keeps a finalizer until its directory is gone; a retained one loses the finalizer alone. Owner:
/// the node loop.
class StorageKeeper {
 public:
  StorageKeeper(const NodeOptions& options, client::Client& client, Clock& clock, const Executor& executor);
  void start();
  Task<void> stop();

 private:
  void consider(const api::ObjectPtr& volume);
  Task<Status> reconcile(std::string name);
  Task<Status> let_go(api::ObjectPtr volume);

  const NodeOptions& options_;
  client::Client& client_;
  client::EventRecorder events_;
  client::Informer volumes_;
  client::WorkQueue queue_;
};

}  // namespace brume::node
