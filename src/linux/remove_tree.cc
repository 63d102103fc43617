#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "brume/linux/fd.h"

namespace brume::linux_os {
namespace {

constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

struct Place {
  std::uint64_t mount = 0;
  std::uint64_t inode = 0;
};

Result<Place> place_of(int directory) {
  struct statx info{};
  if (::statx(directory, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &info) != 0) return fail_errno(errno, "statx");
  return Place{.mount = info.stx_mnt_id, .inode = info.stx_ino};
}

/// Removes what is in a directory, depth first, with one directory open at a time, so that no depth is too much; the
/// way back up is "..", which must be where the way down began. What is mounted in the tree stays, and is an error.
class Removal {
 public:
  explicit Removal(std::string path) : path_(std::move(path)) {}

  Status run() {
    Fd at(::open(path_.c_str(), kDirectory));
    if (!at.valid()) return fail_errno(errno, "open " + path_);
    BRUME_TRY(const Place root, place_of(at.get()));
    mount_ = root.mount;
    std::vector<Level> levels = {{.name = "", .inode = root.inode}};
    while (true) {
      BRUME_TRY(const std::string child, empty(at.get()));
      if (!child.empty()) {
        BRUME_TRY(at, enter(at.get(), child));
        BRUME_TRY(const Place place, place_of(at.get()));
        levels.push_back({.name = child, .inode = place.inode});
        continue;
      }
      const std::string done = std::move(levels.back().name);
      levels.pop_back();
      if (levels.empty()) return {};
      at = Fd(::openat(at.get(), "..", kDirectory));
      if (!at.valid()) return failed("open the parent of", done);
      BRUME_TRY(const Place above, place_of(at.get()));
      if (above.inode != levels.back().inode) return fail(Code::kConflict, "remove " + path_ + ": it is being moved");
      if (::unlinkat(at.get(), done.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) return failed("remove", done);
    }
  }

 private:
  struct Level {
    std::string name;
    std::uint64_t inode = 0;
  };

  [[nodiscard]] Error why(int number, std::string_view what, std::string_view name) const {
    return fail_errno(number, std::string(what) + " " + std::string(name) + " in " + path_).error();
  }
  [[nodiscard]] std::unexpected<Error> failed(std::string_view what, std::string_view name) const {
    return fail(why(errno, what, name));
  }

  // Removes files and empty directories; the name of the first directory that is not empty, or "".
  Result<std::string> empty(int directory) {
    Fd own(::openat(directory, ".", kDirectory));  // a position of its own
    if (!own.valid()) return failed("open", ".");
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(own.get()), ::closedir);
    if (!stream) return failed("read", ".");
    (void)own.release();
    while (const dirent* entry = ::readdir(stream.get())) {  // NOLINT(concurrency-mt-unsafe): a stream of its own
      const std::string name(entry->d_name);
      if (name == "." || name == "..") continue;
      if (::unlinkat(directory, name.c_str(), 0) == 0 || errno == ENOENT) continue;
      if (errno != EISDIR && errno != EPERM) return failed("remove", name);
      if (::unlinkat(directory, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) continue;
      if (errno == ENOTEMPTY || errno == EEXIST) return name;
      return failed("remove", name);
    }
    return std::string();
  }

  Result<Fd> enter(int directory, const std::string& name) {
    Fd child(::openat(directory, name.c_str(), kDirectory));
    if (!child.valid()) return failed("open", name);
    BRUME_TRY(const Place place, place_of(child.get()));
    if (place.mount != mount_) return fail(why(EBUSY, "remove", name));
    return child;
  }

  std::string path_;
  std::uint64_t mount_ = 0;
};

}  // namespace

Status remove_tree(const std::string& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return errno == ENOENT ? Status() : fail_errno(errno, "stat " + path);
  if (S_ISDIR(info.st_mode)) BRUME_CHECK(Removal(path).run());
  if (::unlinkat(AT_FDCWD, path.c_str(), S_ISDIR(info.st_mode) ? AT_REMOVEDIR : 0) == 0 || errno == ENOENT) return {};
  return fail_errno(errno, "remove " + path);
}

}  // namespace brume::linux_os
