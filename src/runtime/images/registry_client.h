// A registry's API (OCI distribution spec): manifests, blobs, tokens.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "brume/base/json.h"
#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/http/client.h"
#include "brume/runtime/images.h"

namespace brume::runtime {

/// What a manifest names: its config and layers, with their digests and sizes.
struct Descriptor {
  std::string media_type;
  std::string digest;
  std::int64_t size = 0;
};

struct Manifest {
  std::string digest;        ///< of the bytes as the registry sent them
  std::string index_digest;  ///< of the index that led to it; empty when there was none
  Descriptor config;
  std::vector<Descriptor> layers;
};

/// Fetches of one pull from one registry (or its mirrors). Owner: the node loop.
class RegistryClient {
 public:
  RegistryClient(ImageReference reference, const ImageOptions& options, const std::optional<RegistryAuth>& auth);
  ~RegistryClient();

  /// The manifest for this machine's platform. Tries every endpoint in order and stays with the first that answers.
  Task<Result<Manifest>> manifest();
  /// A small blob (the config), digest checked.
  Task<Result<std::string>> small_blob(Descriptor blob);
  /// Fetches a blob into `path`, going on where `path`.partial ends. The digest is checked before the name appears.
  Task<Status> blob(Descriptor blob, std::string path);

 private:
  struct Endpoint;
  /// Null when it is there already, or cannot be had.
  Endpoint* add_endpoint(const ImageOptions& options, const std::string& base, const RegistryMirror* mirror,
                         const std::optional<RegistryAuth>& auth);
  Task<Result<Manifest>> manifest_from(Endpoint& endpoint);
  Task<Result<http::Response>> get_manifest(Endpoint& endpoint, std::string what);
  Task<Result<std::unique_ptr<http::ResponseStream>>> open(Endpoint& endpoint, std::string path, http::Headers headers);
  [[nodiscard]] std::vector<Endpoint*> blob_endpoints() const;
  Task<Result<std::string>> small_blob_from(Endpoint& endpoint, Descriptor blob);
  Task<Status> blob_from(Endpoint& endpoint, Descriptor blob, std::string path);
  Task<Status> authenticate(Endpoint& endpoint, std::string challenge);

  ImageReference reference_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  Endpoint* chosen_ = nullptr;
};

}  // namespace brume::runtime
