// Images: the facade over store, registries and archives.
#include <unistd.h>

#include <algorithm>

#include "brume/base/crypto.h"
#include "brume/base/log.h"
#include "brume/base/task.h"
#include "brume/runtime/images.h"
#include "runtime/images/archive_import.h"
#include "runtime/images/image_store.h"
#include "runtime/images/registry_client.h"

namespace brume::runtime {

namespace {

using PullResult = Result<Image>;

/// A pull under way, and those who wait for it.
struct Pull {
  std::optional<PullResult> result;
  std::vector<std::shared_ptr<Event>> waiters;
};

class ImagesImpl final : public Images {
 public:
  ImagesImpl(ImageOptions options, std::unique_ptr<ImageStore> store, Executor executor)
      : options_(std::move(options)), store_(std::move(store)), tasks_(executor) {}

  Task<Result<Image>> pull(ImageReference reference, std::optional<RegistryAuth> auth) override;
  Task<Result<std::vector<Image>>> import_archive(std::string path) override;
  Task<Result<Image>> import_files(std::string name, std::vector<std::pair<std::string, std::string>> files,
                                   Json config) override;
  std::shared_ptr<const Image> find(std::string_view reference) const override { return store_->find(reference); }
  std::vector<std::shared_ptr<const Image>> list() const override { return store_->list(); }
  Task<Status> remove(std::string reference) override;
  void set_in_use(std::function<bool(std::string_view id)> in_use) override { in_use_ = std::move(in_use); }
  Task<void> stop() override { co_await tasks_.stop(); }

 private:
  Task<void> run_pull(ImageReference reference, std::optional<RegistryAuth> auth, std::string key,
                      std::shared_ptr<Pull> pull);
  Task<PullResult> fetch(ImageReference reference, std::optional<RegistryAuth> auth);
  Task<Status> fetch_layers(std::shared_ptr<RegistryClient> client, std::vector<Descriptor> layers,
                            std::vector<std::string> diff_ids);
  Task<Status> fetch_layer(std::shared_ptr<RegistryClient> client, Descriptor layer, std::string diff_id);
  Task<void> await_turn(std::string digest);

  ImageOptions options_;
  std::unique_ptr<ImageStore> store_;
  TaskGroup tasks_;
  std::map<std::string, std::shared_ptr<Pull>> pulls_;
  std::map<std::string, std::vector<std::shared_ptr<Event>>> fetching_;  ///< by layer's digest: those who wait
  std::function<bool(std::string_view)> in_use_ = [](std::string_view) { return false; };
};

// Pulling ---------------------------------------------------------------------------------------------------------

Task<Result<Image>> ImagesImpl::pull(ImageReference reference, std::optional<RegistryAuth> auth) {
  // Callers with other credentials get a pull of their own: one must not see what another may.
  const std::string key =
      reference.name() + (auth ? "\n" + auth->username + "\n" + auth->password + "\n" + auth->token : "");
  auto& slot = pulls_[key];
  std::shared_ptr<Pull> pull = slot;
  if (!pull) {
    pull = slot = std::make_shared<Pull>();
    tasks_.spawn("image pull", run_pull(std::move(reference), std::move(auth), key, pull));
  }
  for (;;) {
    if (const auto& result = pull->result) co_return *result;
    if (tasks_.stopping()) co_return fail(Code::kCancelled, "brume is stopping");
    auto waiter = std::make_shared<Event>(co_await boost::asio::this_coro::executor);
    pull->waiters.push_back(waiter);
    co_await waiter->wait();
  }
}

Task<void> ImagesImpl::run_pull(ImageReference reference, std::optional<RegistryAuth> auth, std::string key,
                                std::shared_ptr<Pull> pull) {
  // Whatever ends this task, cancellation too, those who wait are told.
  struct AtEnd {
    ImagesImpl* images;
    std::string key;
    std::shared_ptr<Pull> pull;
    ~AtEnd() {
      if (!pull->result) pull->result = fail(Code::kCancelled, "the pull was stopped");
      images->pulls_.erase(key);
      for (auto& waiter : pull->waiters) waiter->notify();
    }
  } at_end{this, std::move(key), pull};
  auto result = co_await fetch(std::move(reference), std::move(auth));
  pull->result = std::move(result);
}

Task<PullResult> ImagesImpl::fetch(ImageReference reference, std::optional<RegistryAuth> auth) {
  auto client = std::make_shared<RegistryClient>(reference, options_, auth);
  auto manifest = co_await client->manifest();
  if (!manifest) co_return fail(manifest.error());
  auto config_text = co_await client->small_blob(manifest->config);
  if (!config_text) co_return fail(config_text.error());
  auto parsed = parse_json(*config_text);
  if (!parsed) co_return fail(wrap(parsed.error(), reference.name() + ": the image's config"));
  const Json& diff_ids = at(*parsed, "rootfs", "diff_ids");
  if (!diff_ids.is_array() || diff_ids.size() != manifest->layers.size()) {
    co_return fail(Code::kCorrupt, reference.name() + ": the config names other layers than the manifest");
  }
  std::vector<std::string> ids;
  for (const auto& id : diff_ids) ids.emplace_back(str(id));
  auto fetched = co_await fetch_layers(client, manifest->layers, std::move(ids));
  if (!fetched) co_return fail(wrap(fetched.error(), reference.name()));
  const std::string digest = manifest->index_digest.empty() ? manifest->digest : manifest->index_digest;
  const std::string digest_name = reference.registry + "/" + reference.repository + "@" + digest;
  ImageReference tagged = reference;
  tagged.digest.clear();
  const std::string name = reference.tag.empty() ? digest_name : tagged.name();
  auto image = co_await run_blocking(
      [&] { return store_->add_image(manifest->config.digest, *parsed, name, digest_name, false); });
  if (!image) co_return fail(image.error());
  co_return **image;
}

Task<Status> ImagesImpl::fetch_layers(std::shared_ptr<RegistryClient> client, std::vector<Descriptor> layers,
                                      std::vector<std::string> diff_ids) {
  // Each of a few workers takes the next layer until none is left or one failed.
  struct Shared {
    std::vector<Descriptor> layers;
    std::vector<std::string> diff_ids;
    std::size_t next = 0;
    int running = 0;
    Status status;
    Event ended;
    explicit Shared(const Executor& executor) : ended(executor) {}
  };
  const Executor executor = co_await boost::asio::this_coro::executor;
  auto shared = std::make_shared<Shared>(executor);
  shared->layers = std::move(layers);
  shared->diff_ids = std::move(diff_ids);
  auto worker = [](ImagesImpl* self, std::shared_ptr<RegistryClient> from, std::shared_ptr<Shared> work) -> Task<void> {
    struct AtEnd {
      std::shared_ptr<Shared> work;
      ~AtEnd() {
        --work->running;
        work->ended.notify();
      }
    } at_end{work};
    while (work->status && work->next < work->layers.size()) {
      const std::size_t i = work->next++;
      auto done = co_await self->fetch_layer(from, work->layers[i], work->diff_ids[i]);
      if (!done && work->status) work->status = std::move(done);
    }
  };
  // Workers live no longer than this call, even when it is cancelled: then their work fails on its own and they end.
  const int count = std::min<int>(options_.parallel_layers, static_cast<int>(shared->layers.size()));
  for (int i = 0; i < count; ++i) {
    ++shared->running;
    tasks_.spawn("image layer", worker(this, client, shared));
  }
  while (shared->running > 0) co_await shared->ended.wait();
  if (shared->status && shared->next < shared->layers.size()) co_return fail(Code::kCancelled, "the pull was stopped");
  co_return shared->status;
}

// Two images may share a layer: whoever fetches it has its file alone, and the next finds it there.
Task<void> ImagesImpl::await_turn(std::string digest) {
  while (!fetching_.try_emplace(digest).second) {
    auto waiter = std::make_shared<Event>(co_await boost::asio::this_coro::executor);
    fetching_[digest].push_back(waiter);
    co_await waiter->wait();
  }
}

Task<Status> ImagesImpl::fetch_layer(std::shared_ptr<RegistryClient> client, Descriptor layer, std::string diff_id) {
  if (layer.media_type.find("foreign") != std::string::npos ||
      layer.media_type.find("nondistributable") != std::string::npos) {
    co_return fail(Code::kInvalid, "layer " + layer.digest + " is not distributable");
  }
  co_await await_turn(layer.digest);
  struct Turn {
    ImagesImpl* images;
    std::string digest;
    ~Turn() {
      for (auto& waiter : images->fetching_.extract(digest).mapped()) waiter->notify();
    }
  } turn{this, layer.digest};
  if (!store_->has_layer(diff_id)) {
    const std::string path = store_->blob_path(layer.digest);
    auto fetched = co_await client->blob(layer, path);
    if (!fetched) co_return fetched;
    auto added = co_await run_blocking([&] {
      auto done = store_->add_layer(path, diff_id);
      ::unlink(path.c_str());
      return done;
    });
    co_return added;
  }
  // Marks it as wanted, so that a removal under way leaves it.
  co_return co_await run_blocking([&] { return store_->add_layer("", diff_id); });
}

// Local images ----------------------------------------------------------------------------------------------------

Task<Result<std::vector<Image>>> ImagesImpl::import_archive(std::string path) {
  auto images = co_await run_blocking([&] { return import_image_archive(*store_, path); });
  if (!images) co_return fail(images.error());
  std::vector<Image> out;
  for (const auto& image : *images) out.push_back(*image);
  co_return out;
}

Task<Result<Image>> ImagesImpl::import_files(std::string name, std::vector<std::pair<std::string, std::string>> files,
                                             Json config) {
  const auto reference = ImageReference::parse(name);
  if (!reference) co_return fail(reference.error());
  auto image = co_await run_blocking([&]() -> Result<ImagePtr> {
    BRUME_TRY(const auto diff_id, store_->add_files(files));
    config["rootfs"] = {{"type", "layers"}, {"diff_ids", Json::array({diff_id})}};
    const std::string id = "sha256:" + sha256_hex(dump_json(config));
    return store_->add_image(id, config, reference->name(), "", true);
  });
  if (!image) co_return fail(image.error());
  co_return **image;
}

Task<Status> ImagesImpl::remove(std::string reference) {
  const auto image = store_->find(reference);
  if (!image) co_return fail(Code::kNotFound, "no image " + reference + " on this node");
  std::string name = reference;
  if (image->id.find(reference) != std::string::npos) {
    name = image->id;
  } else if (const auto parsed = ImageReference::parse(reference)) {
    name = parsed->name();
  }
  const bool last = name == image->id || (image->repo_tags.size() <= 1);
  if (last && in_use_(image->id)) co_return fail(Code::kConflict, "image " + reference + " is in use by a container");
  co_return co_await run_blocking([&] { return store_->remove(image, name); });
}

}  // namespace

Result<std::unique_ptr<Images>> Images::open(ImageOptions options, Executor executor) {
  BRUME_TRY(auto store, ImageStore::open(options.dir));
  return std::make_unique<ImagesImpl>(std::move(options), std::move(store), std::move(executor));
}

}  // namespace brume::runtime
