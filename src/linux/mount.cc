#include "brume/linux/mount.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "brume/base/strings.h"
#include "brume/linux/process.h"

extern "C" int umount2(const char* target, int flags) noexcept;

namespace brume::linux_os {
namespace {

// Spaces, tabs, newlines and backslashes of a path are written as \ooo.
std::string unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto octal = [&](std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

Result<Fd> open_resolved(const Fd& root, const std::string& path, int flags, std::uint64_t resolve) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = resolve;
  for (;;) {
    Fd fd(static_cast<int>(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how)));
    if (fd.valid()) return fd;
    // EAGAIN: a rename raced with "..": openat2(2) asks to try again.
    if (errno != EINTR && errno != EAGAIN) return fail_errno(errno, "open " + path);
  }
}

}  // namespace

std::vector<MountInfo> parse_mountinfo(std::string_view text) {
  std::vector<MountInfo> out;
  for (std::string_view line : split(text, '\n')) {
    auto parts = split(line, ' ');
    if (parts.size() < 10) continue;
    MountInfo info;
    info.id = static_cast<int>(parse_int(parts[0]).value_or(0));
    info.parent = static_cast<int>(parse_int(parts[1]).value_or(0));
    info.device = parts[2];
    info.root = unescape(parts[3]);
    info.mount_point = unescape(parts[4]);
    info.options = parts[5];
    std::size_t i = 6;
    for (; i < parts.size() && parts[i] != "-"; ++i) {
      if (!info.optional.empty()) info.optional += ' ';
      info.optional += parts[i];
    }
    if (i + 3 >= parts.size()) continue;
    info.fstype = parts[i + 1];
    info.source = unescape(parts[i + 2]);
    info.super_options = parts[i + 3];
    out.push_back(std::move(info));
  }
  return out;
}

Result<std::vector<MountInfo>> read_mountinfo() {
  BRUME_TRY(std::string text, read_file("/proc/self/mountinfo", 64U << 20));
  return parse_mountinfo(text);
}

Result<Fd> fs_open(const std::string& fstype) {
  Fd fd(static_cast<int>(::syscall(SYS_fsopen, fstype.c_str(), FSOPEN_CLOEXEC)));
  if (!fd.valid()) return fail_errno(errno, "fsopen " + fstype);
  return fd;
}

Status fs_set(const Fd& context, const std::string& key, const std::string& value) {
  long done = value.empty()
                  ? ::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_FLAG, key.c_str(), nullptr, 0)
                  : ::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, key.c_str(), value.c_str(), 0);
  if (done != 0) return fail_errno(errno, "fsconfig " + key);
  return {};
}

Result<Fd> fs_mount(const Fd& context, unsigned attributes) {
  if (::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return fail_errno(errno, "fsconfig create");
  }
  Fd fd(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, attributes)));
  if (!fd.valid()) return fail_errno(errno, "fsmount");
  return fd;
}

Result<Fd> clone_tree(const std::string& path, bool recursive) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0);
  Fd fd(static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, path.c_str(), flags)));
  if (!fd.valid()) return fail_errno(errno, "open_tree " + path);
  return fd;
}

Status attach_mount(const Fd& mount, const std::string& target) {
  if (::syscall(SYS_move_mount, mount.get(), "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return fail_errno(errno, "move_mount to " + target);
  }
  return {};
}

Status set_mount_attributes(const Fd& mount, std::uint64_t set, std::uint64_t clear, std::uint64_t propagation,
                            bool recursive) {
  mount_attr attributes{};
  attributes.attr_set = set;
  attributes.attr_clr = clear;
  attributes.propagation = propagation;
  unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
  if (::syscall(SYS_mount_setattr, mount.get(), "", flags, &attributes, sizeof attributes) != 0) {
    return fail_errno(errno, "mount_setattr");
  }
  return {};
}

Result<bool> is_chrooted() {
  constexpr int kSame = 0;
  constexpr int kOther = 1;
  constexpr int kUnknown = 2;
  BRUME_TRY(const int told, run_in_child([]() -> int {
              struct statx before{};
              struct statx after{};
              const int self = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0));
              if (self < 0 || ::statx(AT_FDCWD, "/", 0, STATX_INO | STATX_MNT_ID, &before) != 0) return kUnknown;
              if (::setns(self, CLONE_NEWNS) != 0) return kUnknown;
              if (::statx(AT_FDCWD, "/", 0, STATX_INO | STATX_MNT_ID, &after) != 0) return kUnknown;
              return before.stx_mnt_id == after.stx_mnt_id && before.stx_ino == after.stx_ino ? kSame : kOther;
            }));
  if (told == kUnknown) return fail(Code::kIo, "the mount namespace's root cannot be seen");
  return told == kOther;
}

Status detach_mount(const std::string& path) {
  if (::umount2(path.c_str(), 2 /* MNT_DETACH */ | 8 /* UMOUNT_NOFOLLOW */) != 0) {
    return fail_errno(errno, "umount " + path);
  }
  return {};
}

Result<Fd> open_in_root(const Fd& root, const std::string& path, int flags) {
  return open_resolved(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

Result<Fd> open_beneath(const Fd& root, const std::string& path, int flags) {
  return open_resolved(root, path, flags, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
}

}  // namespace brume::linux_os
