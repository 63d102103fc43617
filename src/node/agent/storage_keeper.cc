#include "agent/storage_keeper.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <system_error>
#include <vector>

#include "brume/api/local_path.h"
#include "brume/base/json.h"
#include "brume/base/log.h"
#include "brume/client/volumes.h"
#include "volumes/claims.h"
#include "volumes/local_path.h"

namespace brume::node {

namespace {

/// A key of the queue that is no volume's name.
constexpr std::string_view kAbandoned = "/abandoned";
/// Volumes that go together are looked after together.
constexpr auto kSettle = std::chrono::seconds(1);
/// Directories that one event names.
constexpr std::size_t kMostTold = 5;

client::InformerOptions own_volumes(const NodeOptions& options) {
  client::InformerOptions out;
  out.label_selector = std::string(api::kLocalPathNode) + "=" + options.node_name;
  return out;
}

bool has(const api::Object& volume, std::string_view finalizer) {
  const auto& all = volume.finalizers();
  return std::find(all.begin(), all.end(), finalizer) != all.end();
}

/// It waits for its directory to go, and no claim has it any more.
bool is_going(const api::Object& volume) {
  return volume.deleting() && has(volume, api::kLocalPath) && !has(volume, client::kVolumeProtection);
}

std::string claim_uid_of(const Json& volume) { return std::string(str(at(volume, "spec", "claimRef"), "uid")); }

/// Names of directories that mount() made here: <volume>_<namespace>_<claim>.
std::vector<std::string> volume_directories(const std::string& storage) {
  std::vector<std::string> out;
  std::error_code error;
  std::filesystem::directory_iterator entry(storage, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const auto first = name.find('_');
    const bool named = first != std::string::npos && first > 0 && name.find('_', first + 1) != std::string::npos;
    std::error_code unknown;
    if (named && entry->symlink_status(unknown).type() == std::filesystem::file_type::directory) out.push_back(name);
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

StorageKeeper::StorageKeeper(const NodeOptions& options, client::Client& client, Clock& clock, const Executor& executor)
    : options_(options),
      client_(client),
      events_(client, executor, clock, std::string(api::kLocalPath), options.node_name),
      volumes_(client, api::res("persistentvolumes"), executor, clock, own_volumes(options)),
      queue_("storage", executor, clock, {.workers = 2}) {}

void StorageKeeper::start() {
  volumes_.add_handler(
      {.added = [this](const api::ObjectPtr& now) { consider(now); },
       .updated = [this](const api::ObjectPtr&, const api::ObjectPtr& now) { consider(now); },
       .deleted = [this](const api::ObjectPtr&) { queue_.add_after(std::string(kAbandoned), kSettle); }});
  volumes_.start();
  queue_.start([this](std::string name) { return name == kAbandoned ? look_for_abandoned() : reconcile(name); });
  queue_.add(std::string(kAbandoned));
}

Task<void> StorageKeeper::stop() {
  co_await volumes_.stop();
  co_await queue_.stop();
  co_await events_.stop();
}

// Its protection goes when no claim has it any more, and a claim's when no pod uses that.
void StorageKeeper::consider(const api::ObjectPtr& volume) {
  if (is_going(*volume)) queue_.add(volume->name());
}

// What is gone cannot be had back, so the copy that events brought is not enough: somebody may have retained the volume
// since, or have made another of its name.
Task<Status> StorageKeeper::reconcile(std::string name) {
  const auto seen = volumes_.get(name);
  if (!seen || !is_going(*seen)) co_return Status();
  auto live = co_await client_.get(volumes_.resource(), "", name);
  if (!live && live.error().code == Code::kNotFound) co_return Status();
  if (!live) co_return fail(live.error());
  const api::ObjectPtr volume = *std::move(live);
  if (volume->uid() != seen->uid() || !is_going(*volume)) co_return Status();
  const Json value = volume->parse();
  if (claim_uid_of(value) != claim_uid_of(seen->parse())) {
    co_return fail(Code::kConflict, "persistent volume " + name + " was given to another claim");
  }
  if (str(at(value, "spec"), "persistentVolumeReclaimPolicy") == "Delete") {
    const Status removed = co_await remove_directory(value);
    if (!removed) {
      events_.warning(*volume, "VolumeFailedDelete", removed.error().message);
      co_return removed;
    }
  }
  co_return co_await let_go(volume);
}

Task<Status> StorageKeeper::remove_directory(Json volume) {
  auto directory = local_path_of(volume, options_);
  if (!directory) co_return fail(directory.error());
  if (directory->empty()) co_return Status();
  const std::string path(str(at(volume, "spec", "local"), "path"));
  co_return co_await run_blocking(
      [storage = *directory, entry = path.substr(path.rfind('/') + 1)] { return remove_local_path(storage, entry); });
}

// A directory without a volume may hold what a retained volume left, or one that went with this node's object while the
// node was away. Nobody can say whether its data is needed: it is told of, once in a life of this process, and stays.
Task<Status> StorageKeeper::look_for_abandoned() {
  const std::string storage = options_.storage_dir();
  // Before the volumes: no directory is made before its volume.
  const auto directories = co_await run_blocking([storage] { return volume_directories(storage); });
  if (directories.empty()) co_return Status();
  auto listed = co_await client_.list(volumes_.resource(),
                                      {.label_selector = std::string(api::kLocalPathNode) + "=" + options_.node_name});
  if (!listed) co_return fail(listed.error());
  std::set<std::string> volumes;
  for (const auto& volume : listed->items) volumes.insert(volume->name());
  // Again: meanwhile some may have gone in good order.
  const auto left = co_await run_blocking([storage] { return volume_directories(storage); });
  const auto among = [](const std::vector<std::string>& all, const std::string& one) {
    return std::binary_search(all.begin(), all.end(), one);
  };
  std::vector<std::string> abandoned;
  for (const auto& directory : directories) {
    if (volumes.contains(directory.substr(0, directory.find('_'))) || told_.contains(directory)) continue;
    if (among(left, directory)) abandoned.push_back(directory);
  }
  std::erase_if(told_, [&](const std::string& one) { return !among(left, one); });
  if (!abandoned.empty()) co_await tell_of(std::move(abandoned));
  co_return Status();
}

Task<void> StorageKeeper::tell_of(std::vector<std::string> abandoned) {
  std::string names;
  for (std::size_t i = 0; i < abandoned.size(); ++i) {
    const std::string path = options_.storage_dir() + "/" + abandoned[i];
    log::warn("no volume of the local-path provisioner has this directory any more; it stays until somebody removes it",
              {{"path", path}});
    if (i < kMostTold) names += (i == 0 ? "" : ", ") + path;
    told_.insert(abandoned[i]);
  }
  if (abandoned.size() > kMostTold) names += " and " + std::to_string(abandoned.size() - kMostTold) + " more";
  const auto node = co_await client_.get(api::res("nodes"), "", options_.node_name);
  if (!node) co_return;
  events_.warning(**node, "VolumeDirectoryAbandoned",
                  "No volume of " + std::string(api::kLocalPath) +
                      " has these directories any more; they stay until somebody removes them: " + names);
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
