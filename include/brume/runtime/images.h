// Images: pulled from registries or imported from archives, kept as unpacked content-addressed layers.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/json.h"
#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/http/proxy.h"

namespace brume::runtime {

/// An image reference in full: docker.io/library/busybox:latest, host:5000/a/b@sha256:...
struct ImageReference {
  std::string registry;    ///< host[:port]
  std::string repository;  ///< library/busybox
  std::string tag;         ///< empty when only a digest was given
  std::string digest;      ///< sha256:..., or empty
  /// Fills in docker.io, library/ and :latest as docker does. kInvalid says what is wrong ("InvalidImageName").
  static Result<ImageReference> parse(std::string_view text);
  [[nodiscard]] std::string name() const;  ///< canonical text
};

/// An image that is on this node, whole.
struct Image {
  std::string id;                         ///< sha256:... of its config
  std::vector<std::string> repo_tags;     ///< canonical names
  std::vector<std::string> repo_digests;  ///< name@sha256:...
  std::uint64_t size = 0;                 ///< bytes on disk, unpacked
  Json config;                            ///< OCI image config (config.Env, config.Cmd, ...)
  std::vector<std::string> layers;        ///< directories, lowest first, for ContainerSpec::layers
  bool pinned = false;                    ///< imported or built in: garbage collection leaves it alone
};

struct RegistryAuth {
  std::string username;
  std::string password;
  std::string token;  ///< bearer token given as it is
};

/// Where the images of one registry are asked for before the registry itself.
struct RegistryMirror {
  /// URLs of the API's root (https://mirror.example/v2), in order. One over http of the registry's own host stands for
  /// it.
  std::vector<std::string> endpoints;
  /// What the repository is called there: POSIX extended expression and replacement, in which $1 to $9 are its groups.
  /// The first that matches counts.
  std::vector<std::pair<std::string, std::string>> rewrites;
};

/// How to talk to one host of registries or mirrors.
struct RegistryHost {
  std::optional<RegistryAuth> auth;  ///< where a pull has none of its own for this host; not under "*"
  bool insecure_tls = false;
  std::string ca_pem;  ///< trusted beside the system's: a registry may send us elsewhere for tokens and blobs
  std::string certificate_pem;
  std::string private_key_pem;
  [[nodiscard]] bool says_tls() const { return insecure_tls || !ca_pem.empty() || !certificate_pem.empty(); }
};

/// What an admin says of registries. Where nothing is said of TLS: https, and http too for loopback addresses.
struct Registries {
  std::map<std::string, RegistryMirror> mirrors;  ///< by host[:port] as image names have it; "*": all others
  std::map<std::string, RegistryHost> hosts;      ///< by host[:port] of the URL; "*": all others
};

struct ImageOptions {
  std::string dir;  ///< e.g. /var/lib/brume/images
  Registries registries;
  http::Proxies proxies;  ///< between here and registries
  int parallel_layers = 3;
  /// A download without a byte for so long is begun anew where it was.
  std::chrono::milliseconds stall_timeout{60'000};
};

/// What a mirror calls `repository`. kInvalid for a bad expression.
Result<std::string> rewrite_repository(const RegistryMirror& mirror, const std::string& repository);

/// Owner: the node loop; every call there. Disk work happens on blocking threads inside. An interrupted pull or import
/// leaves nothing half-made visible, and a later one resumes what was fetched.
class Images {
 public:
  static Result<std::unique_ptr<Images>> open(ImageOptions options, Executor executor);
  virtual ~Images() = default;
  /// Pulls, or joins the pull under way for the same reference. Errors say the true reason: name resolution,
  /// connection, TLS, 401/403, "manifest unknown", digest mismatch, disk full, no manifest for this platform.
  virtual Task<Result<Image>> pull(ImageReference reference, std::optional<RegistryAuth> auth) = 0;
  /// Imports every image of a `docker save` or OCI archive (tar, gzip or zstd), pinned.
  virtual Task<Result<std::vector<Image>>> import_archive(std::string path) = 0;
  /// Makes an image of one layer out of local files (path in image → source file), pinned: for what brume carries in
  /// itself. A file with mode 0755 is linked where the file system allows, else copied.
  virtual Task<Result<Image>> import_files(std::string name, std::vector<std::pair<std::string, std::string>> files,
                                           Json config) = 0;
  /// By reference, id or id prefix; null when absent.
  [[nodiscard]] virtual std::shared_ptr<const Image> find(std::string_view reference) const = 0;
  [[nodiscard]] virtual std::vector<std::shared_ptr<const Image>> list() const = 0;
  /// Removes the name, and the image with its last name. kConflict while in_use() says a container needs it.
  virtual Task<Status> remove(std::string reference) = 0;
  /// Tells which image ids containers use now.
  virtual void set_in_use(std::function<bool(std::string_view id)> in_use) = 0;
  virtual Task<void> stop() = 0;
};

}  // namespace brume::runtime
