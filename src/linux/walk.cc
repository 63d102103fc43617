#include "brume/linux/walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "brume/linux/fd.h"

namespace brume::linux_os {
namespace {

constexpr std::size_t kOpenLevels = 32;  // of directories kept open; those above are found again by ".."
constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

struct CloseDirectory {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

/// A directory that is being walked: open and read so far, or closed with what is left of it.
struct Level {
  Directory dir;
  Fd fd;  ///< of one that was closed, once its turn has come again
  ino_t inode = 0;
  std::vector<std::string> left;  ///< names of directories that were not walked before it was closed
  [[nodiscard]] int at() const { return dir ? ::dirfd(dir.get()) : fd.get(); }
};

class Walk {
 public:
  Walk(const Visit& visit, const std::atomic<bool>* stop) : visit_(visit), stop_(stop) {}

  Status run(const std::string& path) {
    Fd root(::open(path.c_str(), kDirectory));
    if (!root.valid()) return fail_errno(errno, "open " + path);
    struct stat info{};
    if (::fstat(root.get(), &info) != 0) return fail_errno(errno, "stat " + path);
    device_ = info.st_dev;
    enter(std::move(root), info);
    while (!levels_.empty()) {
      if (stop_ != nullptr && *stop_) return fail(Code::kCancelled, "told to stop");
      step();
    }
    return {};
  }

 private:
  void step() {
    Level& top = levels_.back();
    if (const auto name = next_directory(top)) {
      Fd child(::openat(top.at(), name->c_str(), kDirectory));
      struct stat info{};
      if (child.valid() && ::fstat(child.get(), &info) == 0 && info.st_dev == device_) enter(std::move(child), info);
      return;
    }
    const Level done = std::move(top);
    levels_.pop_back();
    if (levels_.empty() || levels_.back().at() >= 0) return;
    // Whoever moved the directory elsewhere meanwhile has taken the rest of the tree out of this walk.
    Level& above = levels_.back();
    above.fd = Fd(::openat(done.at(), "..", kDirectory));
    struct stat info{};
    const bool same =
        above.fd.valid() && ::fstat(above.fd.get(), &info) == 0 && info.st_dev == device_ && info.st_ino == above.inode;
    if (!same) levels_.clear();
  }

  void enter(Fd fd, const struct stat& info) {
    visit_(fd.get(), nullptr, info);
    Directory dir(::fdopendir(fd.get()));
    if (!dir) return;
    (void)fd.release();  // closedir() closes it
    levels_.push_back({std::move(dir), Fd(), info.st_ino, {}});
    if (levels_.size() > kOpenLevels) close(levels_[levels_.size() - 1 - kOpenLevels]);
  }

  void close(Level& level) {
    while (auto name = read_directory(level)) level.left.push_back(*std::move(name));
    level.dir.reset();
    level.fd.reset();
  }

  std::optional<std::string> next_directory(Level& level) {
    if (auto name = read_directory(level)) return name;
    if (level.left.empty()) return std::nullopt;
    std::string name = std::move(level.left.back());
    level.left.pop_back();
    return name;
  }

  // Visits files up to the next directory.
  std::optional<std::string> read_directory(Level& level) {
    if (!level.dir) return std::nullopt;
    while (const dirent* entry = ::readdir(level.dir.get())) {  // NOLINT(concurrency-mt-unsafe): a stream of its own
      const std::string_view name(entry->d_name);
      if (name == "." || name == "..") continue;
      struct stat info{};
      if (::fstatat(level.at(), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (S_ISDIR(info.st_mode)) return std::string(name);
      if (info.st_dev == device_) visit_(level.at(), entry->d_name, info);
    }
    return std::nullopt;
  }

  const Visit& visit_;
  const std::atomic<bool>* stop_;
  dev_t device_ = 0;
  std::vector<Level> levels_;
};

}  // namespace

Status walk_tree(const std::string& path, const Visit& visit, const std::atomic<bool>* stop) {
  return Walk(visit, stop).run(path);
}

}  // namespace brume::linux_os
