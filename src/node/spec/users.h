// Who a container runs as: the image's user, /etc/passwd and /etc/group of the image, and the security contexts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"

namespace brume::node {

/// One file of an image as the overlay of `layers` (lowest first) shows it, found by openat2 inside each layer, so that
/// no symlink leads out. nullopt when absent, not a regular file, hidden by a whiteout, or larger than `limit` bytes.
/// Blocks.
[[nodiscard]] std::optional<std::string> read_image_file(const std::vector<std::string>& layers, std::string_view path,
                                                         std::size_t limit = 4U << 20);

/// passwd(5) and group(5) text of an image; either may be empty.
struct UserFiles {
  std::string passwd;
  std::string group;
};
[[nodiscard]] UserFiles read_user_files(const std::vector<std::string>& layers);

/// The user files of the images that were started lately, by image id. What find() gave stays valid whatever comes in
/// afterwards. Owner: the node's loop.
class UserFilesCache {
 public:
  static constexpr std::size_t kMost = 64;
  [[nodiscard]] std::shared_ptr<const UserFiles> find(const std::string& image) const;  ///< null: not known
  std::shared_ptr<const UserFiles> add(const std::string& image, UserFiles files);

 private:
  std::map<std::string, std::shared_ptr<const UserFiles>> files_;
};

struct ProcessUser {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;  ///< supplementary, sorted
  std::string home;                   ///< of the passwd entry, or "/"
};

/// The user for a container, from its and the pod's securityContext and the image's User. kInvalid with the kubelet's
/// text for a breach of runAsNonRoot, and for a name that the image does not know.
[[nodiscard]] Result<ProcessUser> resolve_user(const Json& pod, const Json& container, std::string_view image_user,
                                               const UserFiles& files);

}  // namespace brume::node
