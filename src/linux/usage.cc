#include "brume/linux/usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "brume/linux/fd.h"

namespace brume::linux_os {
namespace {

constexpr std::size_t kOpenLevels = 32;  // of directories kept open; those above are found again by ".."
constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
constexpr std::int64_t kBlock = 512;  // of st_blocks (stat(2))

struct Level {
  Fd fd;
  ino_t inode = 0;
  std::vector<std::string> left;  ///< names of directories that were not walked yet
};

class Walk {
 public:
  explicit Walk(const std::atomic<bool>* stop) : stop_(stop) {}

  Result<TreeUsage> run(const std::string& path) {
    Fd root(::open(path.c_str(), kDirectory));
    if (!root.valid()) {
      if (errno == ENOENT) return usage_;
      return fail_errno(errno, "open " + path);
    }
    struct stat info{};
    if (::fstat(root.get(), &info) != 0) return fail_errno(errno, "stat " + path);
    device_ = info.st_dev;
    enter(std::move(root), info);
    while (!levels_.empty()) {
      if (stop_ != nullptr && *stop_) return fail(Code::kCancelled, "told to stop");
      step();
    }
    return usage_;
  }

 private:
  void step() {
    Level& top = levels_.back();
    if (!top.left.empty()) {
      const std::string name = std::move(top.left.back());
      top.left.pop_back();
      Fd child(::openat(top.fd.get(), name.c_str(), kDirectory));
      struct stat info{};
      if (child.valid() && ::fstat(child.get(), &info) == 0 && info.st_dev == device_) enter(std::move(child), info);
      return;
    }
    const Level done = std::move(top);
    levels_.pop_back();
    if (levels_.empty() || levels_.back().fd.valid()) return;
    // Whoever moved the directory elsewhere meanwhile has taken the rest of the tree out of this walk.
    Level& above = levels_.back();
    above.fd = Fd(::openat(done.fd.get(), "..", kDirectory));
    struct stat info{};
    const bool same =
        above.fd.valid() && ::fstat(above.fd.get(), &info) == 0 && info.st_dev == device_ && info.st_ino == above.inode;
    if (!same) levels_.clear();
  }

  void enter(Fd fd, const struct stat& info) {
    add(info);
    Level level{std::move(fd), info.st_ino, {}};
    read(level);
    levels_.push_back(std::move(level));
    if (levels_.size() > kOpenLevels) levels_[levels_.size() - 1 - kOpenLevels].fd.reset();
  }

  void read(Level& level) {
    const int copy = ::fcntl(level.fd.get(), F_DUPFD_CLOEXEC, 0);  // closedir() closes what it was given
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(copy < 0 ? nullptr : ::fdopendir(copy), &::closedir);
    if (!dir) {
      if (copy >= 0) ::close(copy);
      return;
    }
    while (const dirent* entry = ::readdir(dir.get())) {  // NOLINT(concurrency-mt-unsafe): a stream of its own
      const std::string_view name(entry->d_name);
      if (name == "." || name == "..") continue;
      struct stat info{};
      if (::fstatat(level.fd.get(), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (S_ISDIR(info.st_mode)) {
        level.left.emplace_back(name);
      } else if (info.st_dev == device_ && (info.st_nlink < 2 || linked_.insert(info.st_ino).second)) {
        add(info);
      }
    }
  }

  void add(const struct stat& info) {
    usage_.bytes += static_cast<std::int64_t>(info.st_blocks) * kBlock;
    ++usage_.inodes;
  }

  const std::atomic<bool>* stop_;
  dev_t device_ = 0;
  std::vector<Level> levels_;
  std::set<ino_t> linked_;  ///< files with several names that were counted
  TreeUsage usage_;
};

}  // namespace

Result<TreeUsage> tree_usage(const std::string& path, const std::atomic<bool>* stop) { return Walk(stop).run(path); }

}  // namespace brume::linux_os
