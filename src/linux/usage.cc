#include "brume/linux/usage.h"

#include <set>

#include "brume/linux/walk.h"

namespace brume::linux_os {
namespace {

constexpr std::size_t kMostLinked = 1 << 16;
constexpr std::int64_t kBlock = 512;  // of st_blocks (stat(2))

}  // namespace

Result<TreeUsage> tree_usage(const std::string& path, const std::atomic<bool>* stop) {
  TreeUsage usage;
  std::set<ino_t> linked;  // files with several names that were counted
  const auto count = [&](int /*directory*/, const char* name, const struct stat& info) {
    // Of very many files with several names the later ones count with each.
    const bool once = name == nullptr || info.st_nlink < 2 || linked.size() >= kMostLinked;
    if (!once && !linked.insert(info.st_ino).second) return;
    usage.bytes += static_cast<std::int64_t>(info.st_blocks) * kBlock;
    ++usage.inodes;
  };
  if (auto walked = walk_tree(path, count, stop); !walked && walked.error().code != Code::kNotFound) {
    return fail(walked.error());
  }
  return usage;
}

}  // namespace brume::linux_os
