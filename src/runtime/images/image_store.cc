#include "runtime/images/image_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "brume/base/log.h"
#include "brume/base/random.h"
#include "brume/base/strings.h"
#include "brume/linux/fd.h"
#include "runtime/images/decompress.h"
#include "runtime/images/unpack.h"

namespace brume::runtime {

namespace {

namespace fs = std::filesystem;

/// The smallest prefix of an image id that find() takes: what `docker` prints.
constexpr std::size_t kShortId = 12;

Status sync_filesystem(const std::string& dir) {
  BRUME_TRY(const auto fd, linux_os::open_fd(dir, O_RDONLY | O_DIRECTORY));
  if (::syncfs(fd.get()) != 0) return fail_errno(errno, "syncing " + dir);
  return {};
}

Status rename_into_place(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return {};
  if (errno == EEXIST || errno == ENOTEMPTY) return linux_os::remove_tree(from);  // another thread was first
  return fail_errno(errno, "rename to " + to);
}

std::uint64_t tree_size(const std::string& dir) {
  std::uint64_t size = 0;
  std::error_code ec;
  for (auto it = fs::recursive_directory_iterator(dir, ec); !ec && it != fs::recursive_directory_iterator();
       it.increment(ec)) {
    struct stat found{};
    if (::lstat(it->path().c_str(), &found) == 0) size += static_cast<std::uint64_t>(found.st_blocks) * 512;
  }
  return size;
}

std::vector<std::string> strings_of(const Json& list) {
  std::vector<std::string> out;
  if (!list.is_array()) return out;
  for (const auto& one : list) out.emplace_back(str(one));
  return out;
}

bool is_sha256(std::string_view digest) {
  constexpr std::string_view kPrefix = "sha256:";
  return digest.size() == kPrefix.size() + 64 && digest.starts_with(kPrefix) &&
         hex_decode(digest.substr(kPrefix.size()));
}

}  // namespace

std::string digest_hex(std::string_view digest) { return std::string(digest.substr(digest.find(':') + 1)); }

Result<std::unique_ptr<ImageStore>> ImageStore::open(std::string dir) {
  std::unique_ptr<ImageStore> store(new ImageStore(std::move(dir)));
  for (const auto* part : {"", "/layers", "/images", "/blobs"})
    BRUME_CHECK(linux_os::make_dirs(store->dir_ + part, 0700));
  auto emptied = linux_os::remove_tree(store->dir_ + "/tmp");
  if (emptied) emptied = linux_os::make_dirs(store->dir_ + "/tmp", 0700);
  // A disk that takes no writes keeps no image from being used; a pull says so in its own error.
  if (!emptied) log::warn("what earlier pulls left was not removed", {{"error", emptied.error().message}});
  BRUME_CHECK(store->load());
  return store;
}

std::string ImageStore::layer_path(std::string_view diff_id) const { return dir_ + "/layers/" + digest_hex(diff_id); }
std::string ImageStore::blob_path(std::string_view digest) const { return dir_ + "/blobs/" + digest_hex(digest); }

Result<std::string> ImageStore::make_temporary() {
  std::string path = dir_ + "/tmp/" + random_suffix(12);
  BRUME_CHECK(linux_os::make_dirs(path, 0700));
  return path;
}

// Records ---------------------------------------------------------------------------------------------------------

Result<ImagePtr> ImageStore::read_record(const std::string& path) const {
  BRUME_TRY(const auto text, linux_os::read_file(path, 16U << 20));
  BRUME_TRY(const auto record, parse_json(text));
  auto image = std::make_shared<Image>();
  image->id = str(record, "id");
  image->repo_tags = strings_of(at(record, "names"));
  image->repo_digests = strings_of(at(record, "digests"));
  image->size = static_cast<std::uint64_t>(num(record, "size"));
  image->config = at(record, "config");
  image->pinned = flag(record, "pinned");
  for (const auto& diff_id : strings_of(at(record, "layers"))) {
    if (!is_sha256(diff_id)) return fail(Code::kCorrupt, "a layer has no sha256 digest");
    image->layers.push_back(layer_path(diff_id));
    if (!has_layer(diff_id)) return fail(Code::kCorrupt, "layer " + diff_id + " is missing");
  }
  if (!is_sha256(image->id)) return fail(Code::kCorrupt, "the record has no id");
  return image;
}

Status ImageStore::load() {
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(dir_ + "/images", ec)) {
    auto image = read_record(entry.path());
    if (image) {
      images_[(*image)->id] = *image;
      continue;
    }
    // A record that cannot be used would block its image for ever; without it the next pull mends all.
    log::warn("an image record is unusable and is dropped",
              {{"file", entry.path()}, {"reason", image.error().message}});
    ::unlink(entry.path().c_str());
  }
  if (ec) return fail(Code::kIo, dir_ + "/images: " + ec.message());
  drop_unused_layers();
  return {};
}

Status ImageStore::write_record(const Image& image) {
  Json layers = Json::array();
  for (const auto& layer : image.layers) layers.push_back("sha256:" + fs::path(layer).filename().string());
  const Json record{{"id", image.id},        {"names", image.repo_tags}, {"digests", image.repo_digests},
                    {"size", image.size},    {"config", image.config},   {"layers", layers},
                    {"pinned", image.pinned}};
  return linux_os::replace_file(dir_ + "/images/" + digest_hex(image.id) + ".json", dump_json(record), 0600);
}

void ImageStore::take_name(const std::string& name, std::string_view keep_id) {
  for (auto& [id, image] : images_) {
    if (id == keep_id || std::ranges::find(image->repo_tags, name) == image->repo_tags.end()) continue;
    auto changed = std::make_shared<Image>(*image);
    std::erase(changed->repo_tags, name);
    if (const auto written = write_record(*changed); !written)
      log::warn("image record", {{"error", written.error().message}});
    image = changed;
  }
}

Result<ImagePtr> ImageStore::add_image(const std::string& id, Json config, const std::string& name,
                                       const std::string& digest_name, bool pinned) {
  auto image = std::make_shared<Image>();
  image->id = id;
  for (const auto& diff_id : strings_of(at(config, "rootfs", "diff_ids"))) {
    if (!has_layer(diff_id)) return fail(Code::kCorrupt, "layer " + diff_id + " of " + name + " is missing");
    image->layers.push_back(layer_path(diff_id));
    image->size += tree_size(image->layers.back());
  }
  image->config = std::move(config);
  image->pinned = pinned;
  BRUME_CHECK(sync_filesystem(dir_));
  const std::lock_guard lock(mutex_);
  if (const auto it = images_.find(id); it != images_.end()) {
    image->repo_tags = it->second->repo_tags;
    image->repo_digests = it->second->repo_digests;
    image->pinned = image->pinned || it->second->pinned;
  }
  const auto add = [](std::vector<std::string>& list, const std::string& value) {
    if (!value.empty() && std::ranges::find(list, value) == list.end()) list.push_back(value);
  };
  add(image->repo_tags, name);
  add(image->repo_digests, digest_name);
  BRUME_CHECK(write_record(*image));
  take_name(name, id);
  images_[id] = image;
  for (const auto& layer : image->layers) busy_layers_.erase(fs::path(layer).filename());
  return ImagePtr(image);
}

ImagePtr ImageStore::find(std::string_view reference) const {
  const std::lock_guard lock(mutex_);
  if (const auto it = images_.find(reference); it != images_.end()) return it->second;
  for (const auto& [id, image] : images_) {
    const auto has = [&](const std::vector<std::string>& names) {
      return std::ranges::find(names, reference) != names.end();
    };
    if (has(image->repo_tags) || has(image->repo_digests)) return image;
  }
  if (reference.size() >= kShortId) {
    for (const auto& [id, image] : images_) {
      if (id.starts_with(reference) || std::string_view(id).substr(7).starts_with(reference)) return image;
    }
  }
  const auto parsed = ImageReference::parse(reference);
  if (!parsed || parsed->name() == reference) return nullptr;
  const std::string canonical = parsed->name();
  // name:tag@digest is had by its digest.
  const std::string by_digest =
      parsed->digest.empty() ? canonical : parsed->registry + "/" + parsed->repository + "@" + parsed->digest;
  for (const auto& [id, image] : images_) {
    const auto has = [&](const std::vector<std::string>& names, const std::string& wanted) {
      return std::ranges::find(names, wanted) != names.end();
    };
    if (has(image->repo_tags, canonical) || has(image->repo_digests, by_digest)) return image;
  }
  return nullptr;
}

std::vector<ImagePtr> ImageStore::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<ImagePtr> out;
  for (const auto& [id, image] : images_) out.push_back(image);
  return out;
}

Status ImageStore::remove(const ImagePtr& image, const std::string& name) {
  {
    const std::lock_guard lock(mutex_);
    const auto it = images_.find(image->id);
    if (it == images_.end()) return fail(Code::kNotFound, "image " + image->id + " is gone");
    auto changed = std::make_shared<Image>(*it->second);
    std::erase(changed->repo_tags, name);
    if (name == image->id) changed->repo_tags.clear();
    if (!changed->repo_tags.empty()) {
      BRUME_CHECK(write_record(*changed));
      it->second = changed;
      return {};
    }
    const std::string record = dir_ + "/images/" + digest_hex(image->id) + ".json";
    if (::unlink(record.c_str()) != 0 && errno != ENOENT) return fail_errno(errno, record);
    images_.erase(it);
  }
  drop_unused_layers();
  return {};
}

// Layers ----------------------------------------------------------------------------------------------------------

bool ImageStore::has_layer(std::string_view diff_id) const { return ::access(layer_path(diff_id).c_str(), F_OK) == 0; }

Status ImageStore::add_layer(const std::string& blob_path, const std::string& diff_id) {
  if (!is_sha256(diff_id)) return fail(Code::kCorrupt, "\"" + diff_id + "\" is no sha256 digest");
  {
    const std::lock_guard lock(mutex_);
    ++busy_layers_[digest_hex(diff_id)];
  }
  if (has_layer(diff_id)) return {};
  BRUME_TRY(const auto temporary, make_temporary());
  const auto unpack = [&]() -> Status {
    BRUME_TRY(auto source, Decompressor::open(blob_path));
    ::chmod(temporary.c_str(), 0755);
    BRUME_TRY([[maybe_unused]] const auto size, unpack_layer(*source, temporary));
    if (source->digest() != digest_hex(diff_id)) {
      return fail(Code::kCorrupt,
                  "layer digest mismatch: the content is sha256:" + source->digest() + ", wanted " + diff_id);
    }
    return {};
  };
  auto done = unpack();
  if (done) done = rename_into_place(temporary, layer_path(diff_id));
  if (!done) (void)linux_os::remove_tree(temporary);
  return done;
}

Result<std::string> ImageStore::add_files(const std::vector<std::pair<std::string, std::string>>& files) {
  // The layer is never a tar, so its id is a digest over names, modes and contents.
  Sha256 hash;
  BRUME_TRY(const auto temporary, make_temporary());
  ::chmod(temporary.c_str(), 0755);
  const auto copy_one = [&](const std::string& path, const std::string& from) -> Status {
    const std::string target = temporary + "/" + path;
    BRUME_CHECK(linux_os::make_dirs(fs::path(target).parent_path(), 0755));
    // A link shares the file's pages between its users here and those in containers, and costs no disk; containers
    // cannot write to it through overlayfs. It needs the same file system and a mode that fits.
    struct stat source_file{};
    const bool fits =
        ::stat(from.c_str(), &source_file) == 0 && (source_file.st_mode & 07777) == 0755 && source_file.st_uid == 0;
    if (!fits || ::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, target.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      std::error_code ec;
      fs::copy_file(from, target, ec);
      if (ec) return fail(Code::kIo, "copying " + from + ": " + ec.message());
      ::chmod(target.c_str(), 0755);
    }
    BRUME_TRY(auto source, Decompressor::open(target));
    while (true) {
      BRUME_TRY(const auto bytes, source->read());
      if (bytes.empty()) break;
    }
    hash.update(path + "\n" + source->digest() + "\n");
    return {};
  };
  for (const auto& [path, from] : files) {
    if (auto copied = copy_one(path, from); !copied) {
      (void)linux_os::remove_tree(temporary);
      return fail(copied.error());
    }
  }
  const std::string diff_id = "sha256:" + hash.hex();
  {
    const std::lock_guard lock(mutex_);
    ++busy_layers_[digest_hex(diff_id)];
  }
  BRUME_CHECK(rename_into_place(temporary, layer_path(diff_id)));
  return diff_id;
}

void ImageStore::drop_unused_layers() {
  std::vector<std::string> doomed;
  {
    const std::lock_guard lock(mutex_);
    std::set<std::string> used;
    for (const auto& [id, image] : images_) {
      for (const auto& layer : image->layers) used.insert(layer);
    }
    std::error_code ec;
    for (const auto& entry : fs::directory_iterator(dir_ + "/layers", ec)) {
      if (used.contains(entry.path()) || busy_layers_.contains(entry.path().filename())) continue;
      // Moved away under the lock, so that a layer added again meanwhile is not hit; deleted after it.
      const std::string away = dir_ + "/tmp/" + random_suffix(12);
      if (::rename(entry.path().c_str(), away.c_str()) == 0) doomed.push_back(away);
    }
  }
  for (const auto& path : doomed) {
    if (const auto removed = linux_os::remove_tree(path); !removed)
      log::warn("a layer was not deleted", {{"error", removed.error().message}});
  }
}

}  // namespace brume::runtime
