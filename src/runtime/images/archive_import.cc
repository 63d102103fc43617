#include "runtime/images/archive_import.h"

#include <fcntl.h>

#include "brume/base/crypto.h"
#include "brume/base/strings.h"
#include "brume/linux/fd.h"
#include "brume/linux/mount.h"
#include "runtime/images/decompress.h"
#include "runtime/images/unpack.h"

namespace brume::runtime {

namespace {

using linux_os::Fd;

constexpr std::size_t kMaxDocument = 16U << 20;

/// An unpacked archive. Names inside it are resolved below its root, so a crafted one reaches no other file.
class Layout {
 public:
  Layout(std::string dir, Fd root) : dir_(std::move(dir)), root_(std::move(root)) {}

  [[nodiscard]] Result<std::string> path_of(const std::string& name) const {
    BRUME_TRY(const auto fd, linux_os::open_beneath(root_, name, O_PATH | O_CLOEXEC));
    return dir_ + "/" + name;
  }
  [[nodiscard]] Result<std::string> read(const std::string& name) const {
    BRUME_TRY(const auto fd, linux_os::open_beneath(root_, name, O_RDONLY | O_CLOEXEC));
    return linux_os::read_file("/proc/self/fd/" + std::to_string(fd.get()), kMaxDocument);
  }
  [[nodiscard]] Result<Json> json(const std::string& name) const {
    BRUME_TRY(const auto text, read(name));
    return parse_json(text);
  }
  [[nodiscard]] static std::string blob_name(std::string_view digest) {
    std::string name = "blobs/" + std::string(digest);
    for (char& c : name) c = c == ':' ? '/' : c;
    return name;
  }

 private:
  std::string dir_;
  Fd root_;
};

std::string canonical(std::string_view name) {
  const auto parsed = ImageReference::parse(name);
  return parsed ? parsed->name() : std::string();
}

// Adds the config's layers, which lie at `layer_files`, and records the image under each of `names`.
Result<ImagePtr> add(ImageStore& store, const Layout& layout, const std::string& config_text,
                     const std::vector<std::string>& layer_files, const std::vector<std::string>& names) {
  BRUME_TRY(const auto config, parse_json(config_text));
  const Json& diff_ids = at(config, "rootfs", "diff_ids");
  if (!diff_ids.is_array() || diff_ids.size() != layer_files.size()) {
    return fail(Code::kCorrupt, "the image's config names other layers than its manifest");
  }
  for (std::size_t i = 0; i < layer_files.size(); ++i) {
    BRUME_TRY(const auto path, layout.path_of(layer_files[i]));
    BRUME_CHECK(store.add_layer(path, std::string(str(diff_ids[i]))));
  }
  const std::string id = "sha256:" + sha256_hex(config_text);
  ImagePtr image;
  if (names.empty()) {
    BRUME_TRY(image, store.add_image(id, config, "", "", true));
  }
  for (const auto& name : names) {
    BRUME_TRY(image, store.add_image(id, config, name, "", true));
  }
  return image;
}

Result<std::vector<ImagePtr>> import_docker(ImageStore& store, const Layout& layout, const Json& manifest) {
  std::vector<ImagePtr> images;
  for (const auto& one : manifest) {
    BRUME_TRY(const auto config, layout.read(std::string(str(one, "Config"))));
    std::vector<std::string> layers;
    if (at(one, "Layers").is_array()) {
      for (const auto& layer : at(one, "Layers")) layers.emplace_back(str(layer));
    }
    std::vector<std::string> names;
    if (at(one, "RepoTags").is_array()) {
      for (const auto& tag : at(one, "RepoTags")) names.push_back(canonical(str(tag)));
    }
    BRUME_TRY(auto image, add(store, layout, config, layers, names));
    images.push_back(std::move(image));
  }
  return images;
}

// The image that a manifest descriptor of an index leads to; an inner index is searched for this machine's platform by
// taking the manifests whose blobs the archive has.
Result<std::vector<ImagePtr>> import_oci_descriptor(ImageStore& store, const Layout& layout, const Json& descriptor,
                                                    const std::vector<std::string>& names, int depth) {
  BRUME_TRY(const auto text, layout.read(Layout::blob_name(str(descriptor, "digest"))));
  if ("sha256:" + sha256_hex(text) != str(descriptor, "digest")) {
    return fail(Code::kCorrupt, "digest mismatch of manifest " + std::string(str(descriptor, "digest")));
  }
  BRUME_TRY(const auto manifest, parse_json(text));
  std::vector<ImagePtr> images;
  if (const Json& inner = at(manifest, "manifests"); inner.is_array()) {
    if (depth > 2) return fail(Code::kCorrupt, "indexes are nested too deep");
    for (const auto& one : inner) {
      if (!layout.path_of(Layout::blob_name(str(one, "digest")))) continue;
      BRUME_TRY(auto found, import_oci_descriptor(store, layout, one, names, depth + 1));
      images.insert(images.end(), found.begin(), found.end());
    }
    return images;
  }
  BRUME_TRY(const auto config, layout.read(Layout::blob_name(str(at(manifest, "config"), "digest"))));
  std::vector<std::string> layers;
  for (const auto& layer : at(manifest, "layers")) layers.push_back(Layout::blob_name(str(layer, "digest")));
  BRUME_TRY(auto image, add(store, layout, config, layers, names));
  images.push_back(std::move(image));
  return images;
}

Result<std::vector<ImagePtr>> import_oci(ImageStore& store, const Layout& layout, const Json& index) {
  std::vector<ImagePtr> images;
  if (!at(index, "manifests").is_array()) return fail(Code::kInvalid, "index.json lists no manifests");
  for (const auto& one : at(index, "manifests")) {
    // containerd's annotation is the full name; the OCI one may be only a tag, which names nothing by itself.
    const Json& notes = at(one, "annotations");
    std::string name = canonical(str(notes, "io.containerd.image.name"));
    const auto ref = str(notes, "org.opencontainers.image.ref.name");
    if (name.empty() && ref.find_first_of("/:") != std::string_view::npos) name = canonical(ref);
    BRUME_TRY(auto found, import_oci_descriptor(store, layout, one,
                                                name.empty() ? std::vector<std::string>() : std::vector{name}, 0));
    images.insert(images.end(), found.begin(), found.end());
  }
  return images;
}

}  // namespace

Result<std::vector<ImagePtr>> import_image_archive(ImageStore& store, const std::string& path) {
  BRUME_TRY(const auto dir, store.make_temporary());
  const auto import = [&]() -> Result<std::vector<ImagePtr>> {
    BRUME_TRY(auto source, Decompressor::open(path));
    BRUME_CHECK(unpack_archive(*source, dir));
    BRUME_TRY(auto root, linux_os::open_fd(dir, O_PATH | O_DIRECTORY));
    const Layout layout(dir, std::move(root));
    // `docker save` of today writes both; its own manifest has the full names.
    if (const auto manifest = layout.json("manifest.json"); manifest && manifest->is_array()) {
      return import_docker(store, layout, *manifest);
    }
    const auto index = layout.json("index.json");
    if (!index) return fail(Code::kInvalid, "neither manifest.json (docker) nor index.json (OCI) is in it");
    return import_oci(store, layout, *index);
  };
  auto images = import();
  (void)linux_os::remove_tree(dir);
  if (!images) return fail(wrap(images.error(), path));
  return images;
}

}  // namespace brume::runtime
