#include "volumes/local_path.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "brume/base/random.h"
#include "brume/linux/fd.h"
#include "brume/linux/mount.h"
#include "brume/linux/walk.h"
#include "volumes/volumes.h"

namespace brume::node {

namespace {

using linux_os::Fd;

constexpr mode_t kGroupFile = 0660;
constexpr mode_t kGroupDirectory = 02770;

Status check_name(const std::string& name) {
  if (!name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos) return {};
  return fail(Code::kInvalid, "\"" + name + "\" cannot be the name of a volume's directory");
}

void change(const Fd& file, std::uint32_t group, const struct stat& info) {
  // What cannot be changed (a read-only file system, say) stays as it is, as with the kubelet.
  (void)::fchownat(file.get(), "", static_cast<uid_t>(-1), group, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
  if (S_ISLNK(info.st_mode)) return;
  const mode_t mode = (info.st_mode & 07777) | (S_ISDIR(info.st_mode) ? kGroupDirectory : kGroupFile);
  // By descriptor, since the name may be a symlink by now; chmod(2) of one that was opened by O_PATH needs this detour.
  (void)::chmod(("/proc/self/fd/" + std::to_string(file.get())).c_str(), mode);
}

}  // namespace

Status make_local_path(const std::string& storage_dir, const std::string& name) {
  BRUME_CHECK(check_name(name));
  BRUME_CHECK(linux_os::make_dirs(storage_dir, 0711));
  BRUME_TRY(Fd storage, linux_os::open_fd(storage_dir, O_PATH | O_DIRECTORY | O_NOFOLLOW));
  struct stat info = {};
  if (::fstatat(storage.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) {
    return S_ISDIR(info.st_mode) ? Status() : fail_errno(ENOTDIR, storage_dir + "/" + name);
  }
  // Under another name until it is whole: later its mode is whatever its users make of it.
  const std::string fresh = ".new." + random_suffix(8);
  if (::mkdirat(storage.get(), fresh.c_str(), 0700) != 0)
    return fail_errno(errno, "mkdir " + storage_dir + "/" + fresh);
  BRUME_TRY(Fd dir, linux_os::open_beneath(storage, fresh, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (::fchmod(dir.get(), 0777) != 0) return fail_errno(errno, "chmod " + storage_dir + "/" + fresh);
  if (::renameat2(storage.get(), fresh.c_str(), storage.get(), name.c_str(), RENAME_NOREPLACE) == 0) return {};
  const int error = errno;
  ::unlinkat(storage.get(), fresh.c_str(), AT_REMOVEDIR);
  return error == EEXIST ? Status() : fail_errno(error, "make " + storage_dir + "/" + name);
}

Status remove_local_path(const std::string& storage_dir, const std::string& name) {
  BRUME_CHECK(check_name(name));
  return remove_with_mounts(storage_dir + "/" + name);
}

Status give_to_group(const std::string& path, std::uint32_t group, bool on_mismatch) {
  struct stat root = {};
  if (::stat(path.c_str(), &root) != 0) return fail_errno(errno, "stat " + path);
  const bool as_wanted = root.st_gid == group && (root.st_mode & kGroupDirectory) == kGroupDirectory;
  if (on_mismatch && as_wanted) return {};
  // The root comes last: OnRootMismatch takes it for the sign that all below is done.
  bool at_root = true;
  const auto visit = [&](int directory, const char* name, const struct stat& info) {
    if (std::exchange(at_root, false)) return;
    const Fd file(name == nullptr ? ::openat(directory, ".", O_PATH | O_CLOEXEC)
                                  : ::openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (file.valid()) change(file, group, info);
  };
  // The path that an administrator gave may lead over symlinks; below it none is followed.
  std::error_code error;
  const auto real = std::filesystem::canonical(path, error);
  if (error) return fail_errno(error.value(), "resolve " + path);
  auto walked = linux_os::walk_tree(real.string(), visit);
  if (!walked) return walked;
  Fd again(::open(real.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (again.valid()) change(again, group, root);
  return {};
}

}  // namespace brume::node
