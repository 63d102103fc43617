// What is on disk: layers and image records. File format: docs/formats/images.md.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/json.h"
#include "brume/base/result.h"
#include "brume/runtime/images.h"

namespace brume::runtime {

using ImagePtr = std::shared_ptr<const Image>;

/// Digests as "sha256:<hex>"; files are named by the hex part.
[[nodiscard]] std::string digest_hex(std::string_view digest);

/// Owns <dir>. Thread-safe: blocking threads unpack while the node loop looks up. A layer becomes visible by a rename,
/// an image by its record, which is written after its layers are on stable storage.
class ImageStore {
 public:
  static Result<std::unique_ptr<ImageStore>> open(std::string dir);

  [[nodiscard]] bool has_layer(std::string_view diff_id) const;
  /// Unpacks a blob as the layer `diff_id`; kCorrupt when the content has another digest. Blocks. Two threads may
  /// unpack the same layer: one wins.
  Status add_layer(const std::string& blob_path, const std::string& diff_id);
  /// Makes a layer of local files (path in the layer → source) and gives its id.
  Result<std::string> add_files(const std::vector<std::pair<std::string, std::string>>& files);
  /// Records an image under a name; a name that another image had moves. Blocks (syncs).
  Result<ImagePtr> add_image(const std::string& id, Json config, const std::string& name,
                             const std::string& digest_name, bool pinned);

  [[nodiscard]] ImagePtr find(std::string_view reference) const;
  [[nodiscard]] std::vector<ImagePtr> list() const;
  /// Takes `name` away; with the last name goes the image, and with it the layers that no other image has. Blocks.
  Status remove(const ImagePtr& image, const std::string& name);

  /// Where a blob is kept while it is fetched: <dir>/blobs/<hex>; ".partial" while incomplete.
  [[nodiscard]] std::string blob_path(std::string_view digest) const;
  /// A fresh directory under <dir>/tmp, gone at the next open.
  Result<std::string> make_temporary();

 private:
  explicit ImageStore(std::string dir) : dir_(std::move(dir)) {}
  Status load();
  Result<ImagePtr> read_record(const std::string& path) const;
  Status write_record(const Image& image);
  void take_name(const std::string& name, std::string_view keep_id);
  void drop_unused_layers();
  [[nodiscard]] std::string layer_path(std::string_view diff_id) const;

  const std::string dir_;
  mutable std::mutex mutex_;
  std::map<std::string, ImagePtr, std::less<>> images_;  ///< by id
  std::map<std::string, int> busy_layers_;               ///< layers being added: not to be dropped
};

}  // namespace brume::runtime
