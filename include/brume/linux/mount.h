// Mounts: the new mount API by file descriptor, path resolution inside a root, and /proc/self/mountinfo.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/result.h"
#include "brume/linux/fd.h"

namespace brume::linux_os {

/// One line of /proc/<pid>/mountinfo (proc_pid_mountinfo(5)), with octal escapes decoded.
struct MountInfo {
  int id = 0;
  int parent = 0;
  std::string device;  ///< major:minor
  std::string root;    ///< the part of the filesystem that is mounted
  std::string mount_point;
  std::string options;   ///< per-mount options
  std::string optional;  ///< shared:N, master:N ...
  std::string fstype;
  std::string source;
  std::string super_options;
};
/// Whether "/" of this process is not the root of its mount namespace (chroot(2)). Who enters a mount namespace is put
/// at its root (setns(2)), so what a chrooted process starts in containers would find the machine's files. Needs
/// CAP_SYS_ADMIN and one thread; kIo when it cannot be told.
Result<bool> is_chrooted();

std::vector<MountInfo> parse_mountinfo(std::string_view text);
Result<std::vector<MountInfo>> read_mountinfo();

/// fsopen(2): a context that a filesystem is configured in.
Result<Fd> fs_open(const std::string& fstype);
/// fsconfig(2) with FSCONFIG_SET_STRING; an empty value sets a flag.
Status fs_set(const Fd& context, const std::string& key, const std::string& value = {});
/// FSCONFIG_CMD_CREATE and fsmount(2): a detached mount. `attributes` are MOUNT_ATTR_*.
Result<Fd> fs_mount(const Fd& context, unsigned attributes);
/// open_tree(2) with OPEN_TREE_CLONE: a detached copy of the mount at `path`.
Result<Fd> clone_tree(const std::string& path, bool recursive);
/// move_mount(2) of a detached mount onto `target`.
Status attach_mount(const Fd& mount, const std::string& target);
/// mount_setattr(2) on a mount by descriptor.
Status set_mount_attributes(const Fd& mount, std::uint64_t set, std::uint64_t clear, std::uint64_t propagation,
                            bool recursive);
/// umount2(2) with MNT_DETACH and UMOUNT_NOFOLLOW.
Status detach_mount(const std::string& path);
/// openat2(2) with RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS: symlinks cannot lead out of `root`.
Result<Fd> open_in_root(const Fd& root, const std::string& path, int flags);
/// openat2(2) with RESOLVE_BENEATH: anything that would leave `root` is an error.
Result<Fd> open_beneath(const Fd& root, const std::string& path, int flags);

}  // namespace brume::linux_os
