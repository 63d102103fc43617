#include "agent/storage_keeper.h"

#include <algorithm>

#include "brume/api/local_path.h"
#include "brume/base/json.h"
#include "brume/client/volumes.h"
#include "volumes/claims.h"
#include "volumes/local_path.h"

namespace brume::node {

namespace {

client::InformerOptions own_volumes(const NodeOptions& options) {
  client::InformerOptions out;
  out.label_selector = std::string(api::kLocalPathNode) + "=" + options.node_name;
  return out;
}

bool has(const api::Object& volume, std::string_view finalizer) {
  const auto& all = volume.finalizers();
  return std::find(all.begin(), all.end(), finalizer) != all.end();
}

}  // namespace

StorageKeeper::StorageKeeper(const NodeOptions& options, client::Client& client, Clock& clock, const Executor& executor)
    : options_(options),
      client_(client),
      events_(client, executor, clock, std::string(api::kLocalPath), options.node_name),
      volumes_(client, api::res("persistentvolumes"), executor, clock, own_volumes(options)),
      queue_("storage", executor, clock, {.workers = 2}) {}

void StorageKeeper::start() {
  volumes_.add_handler({.added = [this](const api::ObjectPtr& now) { consider(now); },
                        .updated = [this](const api::ObjectPtr&, const api::ObjectPtr& now) { consider(now); },
                        .deleted = nullptr});
  volumes_.start();
  queue_.start([this](std::string name) { return reconcile(std::move(name)); });
}

Task<void> StorageKeeper::stop() {
  co_await volumes_.stop();
  co_await queue_.stop();
  co_await events_.stop();
}

// Its protection goes when no claim has it any more, and a claim's when no pod uses that.
void StorageKeeper::consider(const api::ObjectPtr& volume) {
  if (!volume->deleting() || !has(*volume, api::kLocalPath) || has(*volume, client::kVolumeProtection)) return;
  queue_.add(volume->name());
}

Task<Status> StorageKeeper::reconcile(std::string name) {
  const auto volume = volumes_.get(name);
  if (!volume || !volume->deleting() || !has(*volume, api::kLocalPath)) co_return Status();
  const Json value = volume->parse();
  if (str(at(value, "spec"), "persistentVolumeReclaimPolicy") == "Delete") {
    Status removed;
    auto directory = local_path_of(value, options_.node_name, options_.storage_dir());
    if (!directory) {
      removed = fail(directory.error());
    } else if (!directory->empty()) {
      const std::string path(str(at(value, "spec", "local"), "path"));
      removed = co_await run_blocking([storage = *directory, entry = path.substr(path.rfind('/') + 1)] {
        return remove_local_path(storage, entry);
      });
    }
    if (!removed) {
      events_.warning(*volume, "VolumeFailedDelete", removed.error().message);
      co_return removed;
    }
  }
  co_return co_await let_go(volume);
}

Task<Status> StorageKeeper::let_go(api::ObjectPtr volume) {
  Json value = volume->parse();
  Json& finalizers = value["metadata"]["finalizers"];
  finalizers.erase(std::remove(finalizers.begin(), finalizers.end(), Json(api::kLocalPath)), finalizers.end());
  auto written = co_await client_.update(volumes_.resource(), "", volume->name(), std::move(value));
  if (written || written.error().code == Code::kNotFound) co_return Status();
  co_return fail(written.error());
}

}  // namespace brume::node
