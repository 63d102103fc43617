// What every pod worker works with: the node's parts, shared by all workers of one agent.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "brume/base/clock.h"
#include "brume/base/task.h"
#include "brume/client/client.h"
#include "brume/client/events.h"
#include "brume/node/agent.h"
#include "spec/env.h"
#include "spec/fields.h"
#include "spec/users.h"
#include "volumes/claims.h"
#include "worker/handlers.h"
#include "worker/image_puller.h"
#include "worker/object_cache.h"

namespace brume::node {

struct WorkerContext {
  const NodeOptions& options;
  client::Client& client;
  runtime::Runtime& runtime;
  runtime::Images& images;
  PodNetwork& network;
  Clock& clock;
  Executor executor;
  client::EventRecorder& events;
  ObjectCache& objects;
  ImagePuller& puller;
  HandlerRunner& handlers;
  /// Service variables that a pod of this namespace sees.
  std::function<EnvList(const std::string& ns, bool links)> service_env;
  /// A pod came to use or let go of something: the node may have news for its status.
  std::function<void()> usage_changed;
  /// A pod asks for resources other than those that it was granted: the node is to decide.
  std::function<void()> resize_asked;
  std::int64_t memory_bytes = 0;  ///< of the machine
  std::int64_t milli_cpu = 0;
  std::int64_t ephemeral_bytes = 0;
  std::function<std::string()> read_resolv_conf;  ///< the node's, as it is now; called on blocking threads
  UserFilesCache user_files;
  VolumeUses volume_uses = {};

  [[nodiscard]] std::string pod_dir(const std::string& uid) const { return options.data_dir + "/pods/" + uid; }
  [[nodiscard]] std::string container_dir(const std::string& id) const {
    return options.data_dir + "/containers/" + id;
  }
};

}  // namespace brume::node
