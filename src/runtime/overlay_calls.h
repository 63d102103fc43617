// The system calls of shim/overlay.h by the C library.
#pragma once

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace brume::runtime {

struct OverlayCalls {
  static int answer(long result) { return result < 0 ? -errno : static_cast<int>(result); }
  static int open_context() { return answer(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC)); }
  static int set(int context, const char* key, const char* value) {
    return answer(
        ::syscall(SYS_fsconfig, context, value != nullptr ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value, 0));
  }
  static int make(int context) {
    if (const int done = answer(::syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0)); done < 0) {
      return done;
    }
    return answer(::syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0));
  }
  static int move(int mount, const char* target) {
    return answer(::syscall(SYS_move_mount, mount, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH));
  }
  static int mount(const char* target, const char* options) {
    return answer(::mount("overlay", target, "overlay", 0, options));
  }
  static int open_directory(const char* path) { return answer(::open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)); }
  static void close(int fd) { ::close(fd); }
};

}  // namespace brume::runtime
