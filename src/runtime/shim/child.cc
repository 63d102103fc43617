#include "child.h"

#include <asm/ioctls.h>
#include <asm/signal.h>
#include <asm/statfs.h>
#include <asm/termios.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

#include "overlay.h"
#include "plan.h"
#include "sys.h"

namespace brume::shim {
namespace {

constexpr uint32_t kMsPrivate = 1U << 18;
constexpr int kMntDetach = 2;
constexpr long kDevptsMagic = 0x1cd1;
constexpr int kPathBuffer = 4096;

struct State {
  const Launch* launch = nullptr;
  int sources[kMaxSources];
  int root = -1;     // the container's root directory
  int null_fd = -1;  // the node's /dev/null, checked
  bool pivoted = false;
  uint32_t step = kStepNone;
};
State state;

[[noreturn]] void give_up(int error, const char* detail) {
  SyncMessage message{};
  message.kind = kSyncError;
  message.step = state.step;
  message.error = error < 0 ? -error : error;
  for (size_t i = 0; i + 1 < sizeof message.detail && detail[i] != 0; ++i) message.detail[i] = detail[i];
  send_frame(state.launch->sync, &message, sizeof message, nullptr, 0);
  exit_now(127);
}

void must(long result, const char* detail) {
  if (result < 0) give_up(static_cast<int>(result), detail);
}

int open_resolved(int dir, const char* path, uint64_t flags, uint64_t resolve) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = resolve;
  for (;;) {
    long fd = call(__NR_openat2, dir, path, &how, sizeof how);
    if (fd != -kEAGAIN && fd != -kEINTR) return static_cast<int>(fd);
  }
}

constexpr uint64_t kInRoot = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;

// Opens `path` inside the root, making what is missing, each part by descriptor. A dangling symlink at the end is
// followed inside the root, as a container would see it. Answers an O_PATH descriptor or -errno.
int ensure(const char* path, bool directory, bool no_symlinks, int depth) {
  if (depth > 40) return -kELOOP;
  uint64_t resolve = kInRoot | (no_symlinks ? RESOLVE_NO_SYMLINKS : 0);
  int fd = open_resolved(state.root, path, O_PATH, resolve);
  if (fd != -kENOENT) return fd;

  char parent_path[kPathBuffer];
  if (!copy(parent_path, sizeof parent_path, path)) return -kENAMETOOLONG;
  size_t end = length(parent_path);
  while (end > 1 && parent_path[end - 1] == '/') parent_path[--end] = 0;
  size_t slash = end;
  while (slash > 0 && parent_path[slash - 1] != '/') --slash;
  char base[256];
  if (slash == end || !copy(base, sizeof base, parent_path + slash)) return slash == end ? -kENOENT : -kENAMETOOLONG;
  parent_path[slash] = 0;
  int parent = ensure(slash == 0 ? "/" : parent_path, true, no_symlinks, depth + 1);
  if (parent < 0) return parent;

  int made;
  if (directory) {
    made = static_cast<int>(call(__NR_mkdirat, parent, base, 0755));
  } else {
    made = openat(parent, base, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY, 0644);
    if (made >= 0) close(made);
  }
  if (made == -kEEXIST) {  // openat2 said ENOENT: a dangling symlink
    char link[kPathBuffer];
    long size = call(__NR_readlinkat, parent, base, link, sizeof link - 1);
    close(parent);
    if (size < 0) return static_cast<int>(size);
    if (no_symlinks) return -kELOOP;
    link[size] = 0;
    if (link[0] == '/') return ensure(link, directory, no_symlinks, depth + 1);
    size_t at = length(parent_path);
    if (!copy(parent_path + at, sizeof parent_path - at, link)) return -kENAMETOOLONG;
    return ensure(parent_path, directory, no_symlinks, depth + 1);
  }
  if (made < 0) {
    close(parent);
    return made;
  }
  fd = open_resolved(parent, base, O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH);
  close(parent);
  return fd;
}

int move_onto(int mount, int target) {
  return static_cast<int>(
      call(__NR_move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}

int set_attributes(int mount, uint64_t set, uint64_t clear, uint64_t propagation, bool recursive) {
  mount_attr attributes{};
  attributes.attr_set = set;
  attributes.attr_clr = clear;
  attributes.propagation = propagation;
  return static_cast<int>(call(__NR_mount_setattr, mount, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0),
                               &attributes, sizeof attributes));
}

int clone_of(int fd, bool recursive) {
  return static_cast<int>(call(__NR_open_tree, fd, "",
                               OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0)));
}

int config_string(int context, const char* key, const char* value) {
  return static_cast<int>(call(__NR_fsconfig, context, FSCONFIG_SET_STRING, key, value, 0));
}

// "key=value" as a string, "key" as a flag.
int config_option(int context, const char* option) {
  char key[128];
  for (size_t i = 0; i < sizeof key; ++i) {
    key[i] = option[i];
    if (option[i] == 0) return static_cast<int>(call(__NR_fsconfig, context, FSCONFIG_SET_FLAG, option, nullptr, 0));
    if (option[i] == '=') {
      key[i] = 0;
      return config_string(context, key, option + i + 1);
    }
  }
  return -kEINVAL;
}

int create_mount(int context, uint32_t attributes) {
  long done = call(__NR_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
  if (done < 0) return static_cast<int>(done);
  return static_cast<int>(call(__NR_fsmount, context, FSMOUNT_CLOEXEC, attributes));
}

// The node's /dev/null, opened once and proven to be it, so that nothing else is ever mounted over a masked path.
int null_device() {
  if (state.null_fd >= 0) return state.null_fd;
  int fd = openat(AT_FDCWD, "/dev/null", O_PATH | O_NOFOLLOW);
  must(fd, "/dev/null of the node");
  FileInfo info;
  must(file_info(fd, "", AT_EMPTY_PATH, info), "/dev/null of the node");
  if ((info.mode & kTypeMask) != kTypeChar || info.rdev_major != 1 || info.rdev_minor != 3) {
    give_up(kEINVAL, "/dev/null of the node is not the null device");
  }
  return state.null_fd = fd;
}

void op_open_source(Cursor& c) {
  uint32_t slot = c.u32();
  bool recursive = c.u32() != 0;
  const char* path = c.str();
  const char* subpath = c.str();
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0);
  long fd;
  if (subpath[0] == 0) {
    fd = call(__NR_open_tree, AT_FDCWD, path, flags);
  } else {  // symlinks of the volume must not lead out of it, and nobody can swap the file between check and mount
    int base = openat(AT_FDCWD, path, O_PATH);
    must(base, path);
    int inside = open_resolved(base, subpath, O_PATH, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
    must(inside, subpath);
    fd = call(__NR_open_tree, inside, "", flags | AT_EMPTY_PATH);
    close(inside);
    close(base);
  }
  must(fd, path);
  state.sources[slot] = static_cast<int>(fd);
}

void op_propagation(Cursor& c) {
  mount_attr attributes{};
  attributes.propagation = c.u32();
  must(call(__NR_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &attributes, sizeof attributes), "/");
}

void adopt_root(int mount, const char* merged) {
  must(call(__NR_move_mount, mount, "", AT_FDCWD, merged, MOVE_MOUNT_F_EMPTY_PATH), merged);
  state.root = mount;  // the descriptor of a moved mount stays usable
}

// The system calls of overlay.h.
struct OverlayCalls {
  static int open_context() { return static_cast<int>(call(__NR_fsopen, "overlay", FSOPEN_CLOEXEC)); }
  static int set(int context, const char* key, const char* value) {
    return static_cast<int>(
        call(__NR_fsconfig, context, value != nullptr ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value, 0));
  }
  static int make(int context) { return create_mount(context, 0); }
  static int move(int mount, const char* target) {
    return static_cast<int>(call(__NR_move_mount, mount, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH));
  }
  static int mount(const char* target, const char* options) {
    return static_cast<int>(call(__NR_mount, "overlay", target, "overlay", 0, options));
  }
  static int open_directory(const char* path) { return openat(AT_FDCWD, path, O_PATH | O_DIRECTORY); }
  static void close(int fd) { shim::close(fd); }
};

void op_overlay_root(Cursor& c) {
  OverlayPaths paths{};
  paths.upper = c.str();
  paths.work = c.str();
  paths.target = c.str();
  uint32_t count = c.u32();
  OverlayCalls kernel;
  bool joined = false;
  const char* detail = nullptr;
  state.root = mount_overlay(kernel, paths, c, count, joined, detail);
  must(state.root, detail);
}

void op_mount(Cursor& c) {
  const char* fstype = c.str();
  const char* source = c.str();
  const char* target = c.str();
  uint32_t options = c.u32();
  int context = static_cast<int>(call(__NR_fsopen, fstype, FSOPEN_CLOEXEC));
  must(context, fstype);
  bool cgroup = equal(fstype, "cgroup2");
  if (source[0] != 0 && !cgroup) must(config_string(context, "source", source), source);
  for (uint32_t i = 0; i < options; ++i) {
    const char* option = c.str();
    must(config_option(context, option), option);
  }
  uint32_t attributes = c.u32();
  uint32_t propagation = c.u32();
  uint32_t flags = c.u32();
  int mount = create_mount(context, attributes);
  close(context);
  if (mount < 0 && cgroup && (flags & kMountCgroup) != 0 && source[0] != 0) {
    mount = static_cast<int>(call(__NR_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (mount >= 0) must(set_attributes(mount, attributes, 0, kMsPrivate, false), source);
  }
  must(mount, fstype);
  int at = ensure(target, true, (flags & kMountNoSymlinks) != 0, 0);
  must(at, target);
  must(move_onto(mount, at), target);
  if (propagation != 0) must(set_attributes(mount, 0, 0, propagation, true), target);
  close(at);
  close(mount);
}

void op_attach(Cursor& c) {
  uint32_t slot = c.u32();
  const char* target = c.str();
  uint64_t set = c.u64();
  uint64_t clear = c.u64();
  bool recursive = c.u32() != 0;
  uint32_t propagation = c.u32();
  int mount = state.sources[slot];
  if (mount < 0) give_up(kEINVAL, target);
  FileInfo info;
  must(file_info(mount, "", AT_EMPTY_PATH, info), target);
  if (propagation != 0) must(set_attributes(mount, 0, 0, propagation, true), target);
  if (set != 0 || clear != 0) must(set_attributes(mount, set, clear, 0, recursive), target);
  int at = ensure(target, (info.mode & kTypeMask) == kTypeDir, false, 0);
  must(at, target);
  must(move_onto(mount, at), target);
  close(at);
  close_and_clear(state.sources[slot]);
}

// Splits off the last name; the directory's descriptor, made if missing.
int parent_of(const char* path, const char*& base) {
  char parent[kPathBuffer];
  if (!copy(parent, sizeof parent, path)) return -kENAMETOOLONG;
  size_t slash = length(parent);
  while (slash > 0 && parent[slash - 1] != '/') --slash;
  base = path + slash;
  if (*base == 0) return -kEINVAL;
  parent[slash] = 0;
  return ensure(slash == 0 ? "/" : parent, true, false, 0);
}

void op_device(Cursor& c) {
  const char* path = c.str();
  uint32_t mode = c.u32();
  uint32_t major = c.u32();
  uint32_t minor = c.u32();
  uint32_t uid = c.u32();
  uint32_t gid = c.u32();
  const char* base = nullptr;
  int parent = parent_of(path, base);
  must(parent, path);
  uint64_t device = (minor & 0xffU) | ((major & 0xfffU) << 8) | (static_cast<uint64_t>(minor & ~0xffU) << 12);
  long done = call(__NR_mknodat, parent, base, mode, device);
  if (done == -kEEXIST) {
    FileInfo info;
    must(file_info(parent, base, AT_SYMLINK_NOFOLLOW, info), path);
    bool same = (info.mode & kTypeMask) == (mode & kTypeMask) && info.rdev_major == major && info.rdev_minor == minor;
    done = same ? 0 : -kEEXIST;
  }
  must(done, path);
  must(call(__NR_fchownat, parent, base, uid, gid, AT_SYMLINK_NOFOLLOW), path);
  close(parent);
}

void op_symlink(Cursor& c) {
  const char* content = c.str();
  const char* path = c.str();
  const char* base = nullptr;
  int parent = parent_of(path, base);
  must(parent, path);
  long done = call(__NR_symlinkat, content, parent, base);
  if (done != -kEEXIST) must(done, path);
  close(parent);
}

void op_mask(Cursor& c) {
  const char* path = c.str();
  int at = open_resolved(state.root, path, O_PATH, kInRoot);
  if (at == -kENOENT || at == -kENOTDIR) return;
  must(at, path);
  FileInfo info;
  must(file_info(at, "", AT_EMPTY_PATH, info), path);
  int mount;
  if ((info.mode & kTypeMask) == kTypeDir) {
    int context = static_cast<int>(call(__NR_fsopen, "tmpfs", FSOPEN_CLOEXEC));
    must(context, path);
    must(config_option(context, "ro"), path);
    mount = create_mount(context, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    close(context);
  } else {
    mount = clone_of(null_device(), false);
    if (mount >= 0) must(set_attributes(mount, MOUNT_ATTR_RDONLY, 0, kMsPrivate, false), path);
  }
  must(mount, path);
  must(move_onto(mount, at), path);
  close(mount);
  close(at);
}

void op_readonly(Cursor& c) {
  const char* path = c.str();
  int at = open_resolved(state.root, path, O_PATH, kInRoot);
  if (at == -kENOENT || at == -kENOTDIR) return;
  must(at, path);
  int mount = clone_of(at, true);
  must(mount, path);
  must(set_attributes(mount, MOUNT_ATTR_RDONLY, 0, 0, true), path);
  must(move_onto(mount, at), path);
  close(mount);
  close(at);
}

void op_pivot(Cursor& c) {
  uint32_t propagation = c.u32();
  int old_root = openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
  must(old_root, "/");
  must(call(__NR_fchdir, state.root), "root");
  must(call(__NR_pivot_root, ".", "."), "root");
  must(call(__NR_fchdir, old_root), "old root");
  // What is unmounted here must not be unmounted on the node.
  must(set_attributes(old_root, 0, 0, kMsPrivate, true), "old root");
  must(call(__NR_umount2, ".", kMntDetach), "old root");
  must(call(__NR_chdir, "/"), "/");
  close(old_root);
  state.pivoted = true;
  if (propagation != 0) must(set_attributes(state.root, 0, 0, propagation, true), "root propagation");
}

// A procfs that is mounted nowhere, so that no mount of the image can stand in for it.
int detached_proc() {
  int context = static_cast<int>(call(__NR_fsopen, "proc", FSOPEN_CLOEXEC));
  if (context < 0) return context;
  int mount = create_mount(context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  close(context);
  return mount;
}

int write_proc(const char* path, const char* value) {
  int proc = detached_proc();
  if (proc < 0) return proc;
  int fd = open_resolved(proc, path, O_WRONLY, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
  close(proc);
  if (fd < 0) return fd;
  long put = write(fd, value, length(value));
  close(fd);
  return put < 0 ? static_cast<int>(put) : 0;
}

void op_oom_score(Cursor& c) {
  auto score = static_cast<int32_t>(c.u32());
  bool required = c.u32() != 0;
  char text[8];
  int at = 7;
  text[at] = 0;
  int magnitude = score < 0 ? -score : score;
  do {
    text[--at] = static_cast<char>('0' + magnitude % 10);
    magnitude /= 10;
  } while (magnitude > 0 && at > 1);
  if (score < 0) text[--at] = '-';
  int done = write_proc("self/oom_score_adj", text + at);
  if (required) must(done, "oom_score_adj");
}

void op_terminal(Cursor& c) {
  bool console = c.u32() != 0;
  winsize size{};
  size.ws_col = static_cast<unsigned short>(c.u32());
  size.ws_row = static_cast<unsigned short>(c.u32());
  int master = open_resolved(state.root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY, kInRoot | RESOLVE_NO_SYMLINKS);
  must(master, "/dev/pts/ptmx");
  struct statfs fs;
  must(call(__NR_fstatfs, master, &fs), "/dev/pts/ptmx");
  FileInfo info;
  must(file_info(master, "", AT_EMPTY_PATH, info), "/dev/pts/ptmx");
  if (fs.f_type != kDevptsMagic || info.rdev_major != 5 || info.rdev_minor != 2) {
    give_up(kEINVAL, "/dev/pts/ptmx is not a terminal multiplexer");
  }
  int unlock = 0;
  must(call(__NR_ioctl, master, TIOCSPTLCK, &unlock), "TIOCSPTLCK");
  // By descriptor and never by the name /dev/pts/N, which the image could have made a link.
  int slave = static_cast<int>(call(__NR_ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  must(slave, "TIOCGPTPEER");
  if (size.ws_col != 0) call(__NR_ioctl, slave, TIOCSWINSZ, &size);
  if (console) {
    must(call(__NR_fstatfs, slave, &fs), "terminal");
    must(file_info(slave, "", AT_EMPTY_PATH, info), "terminal");
    if (fs.f_type != kDevptsMagic || (info.mode & kTypeMask) != kTypeChar) give_up(kEINVAL, "terminal");
    int at = ensure("/dev/console", false, true, 0);
    must(at, "/dev/console");
    int mount = clone_of(slave, false);
    must(mount, "/dev/console");
    must(move_onto(mount, at), "/dev/console");
    close(mount);
    close(at);
  }
  SyncMessage message{};
  message.kind = kSyncTerminal;
  must(send_frame(state.launch->sync, &message, sizeof message, &master, 1), "terminal");
  close(master);
  must(call(__NR_ioctl, slave, TIOCSCTTY, 0), "TIOCSCTTY");
  for (int fd = 0; fd < 3; ++fd) must(call(__NR_dup3, slave, fd, 0), "terminal");
  close(slave);
}

// The container's own /dev/null for standard input, so that no mount of the node stays open in it.
void reopen_null() {
  if (state.launch->in >= 0 || !state.pivoted) return;
  int fd = open_resolved(AT_FDCWD, "/dev/null", O_RDWR, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
  if (fd < 0) return;
  FileInfo info;
  if (file_info(fd, "", AT_EMPTY_PATH, info) == 0 && (info.mode & kTypeMask) == kTypeChar && info.rdev_major == 1 &&
      info.rdev_minor == 3) {
    FileInfo current;
    if (file_info(0, "", AT_EMPTY_PATH, current) == 0 && current.rdev_major == 1 && current.rdev_minor == 3) {
      call(__NR_dup3, fd, 0, 0);
    }
  }
  close(fd);
}

void op_directory(Cursor& c) {
  const char* path = c.str();
  must(call(__NR_chdir, path), path);
  char actual[kPathBuffer];
  long size = call(__NR_getcwd, actual, sizeof actual);
  must(size, path);
  // The kernel writes "(unreachable)" before a directory outside of the root (CVE-2024-21626).
  if (actual[0] != '/') give_up(kEPERM, "the working directory is outside of the container");
}

void set_capabilities(uint64_t effective, uint64_t permitted) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};  // inheritable stays empty (CVE-2022-29162)
  data[0].effective = static_cast<uint32_t>(effective);
  data[1].effective = static_cast<uint32_t>(effective >> 32);
  data[0].permitted = static_cast<uint32_t>(permitted);
  data[1].permitted = static_cast<uint32_t>(permitted >> 32);
  must(call(__NR_capset, &header, data), "capset");
}

uint64_t permitted_now() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  must(call(__NR_capget, &header, data), "capget");
  return data[0].permitted | (static_cast<uint64_t>(data[1].permitted) << 32);
}

void load_seccomp(uint32_t flags, const uint8_t* filter, uint32_t size) {
  sock_fprog program{};
  program.len = static_cast<unsigned short>(size / sizeof(sock_filter));
  program.filter = reinterpret_cast<sock_filter*>(const_cast<uint8_t*>(filter));
  must(call(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program), "seccomp filter");
}

void op_credentials(Cursor& c) {
  uint32_t uid = c.u32();
  uint32_t gid = c.u32();
  uint32_t mask = c.u32();
  uint32_t group_count = c.u32();
  const uint8_t* groups = c.at;
  for (uint32_t i = 0; i < group_count; ++i) c.u32();
  uint64_t bounding = c.u64();
  uint64_t effective = c.u64();
  uint64_t permitted = c.u64();
  uint64_t ambient = c.u64();
  bool no_new_privileges = c.u32() != 0;
  bool seccomp = c.u32() != 0;
  uint32_t seccomp_flags = c.u32();
  uint32_t filter_size = 0;
  const uint8_t* filter = c.bytes(filter_size);

  for (int fd = 0; fd < 3; ++fd) {  // so that /dev/stdout can be opened by the container's user
    FileInfo info;
    if (file_info(fd, "", AT_EMPTY_PATH, info) == 0 && !(info.rdev_major == 1 && info.rdev_minor == 3)) {
      call(__NR_fchown, fd, uid, -1);
    }
  }
  for (unsigned cap = 0; cap < 64; ++cap) {
    if ((bounding >> cap & 1) != 0) continue;
    long done = call(__NR_prctl, PR_CAPBSET_DROP, cap, 0, 0, 0);
    if (done == -kEINVAL) break;  // above the last one of this kernel
    must(done, "bounding capabilities");
  }
  must(call(__NR_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0), "keepcaps");
  must(call(__NR_setgroups, group_count, groups), "additional groups");
  must(call(__NR_setresgid, gid, gid, gid), "gid");
  must(call(__NR_setresuid, uid, uid, uid), "uid");
  uint64_t held = permitted_now();
  // Without no_new_privs a filter needs CAP_SYS_ADMIN: load it while that is still there.
  if (seccomp && !no_new_privileges) {
    set_capabilities(held, held);
    load_seccomp(seccomp_flags, filter, filter_size);
  }
  if (ambient != 0) {  // ambient asks for inheritable; only what was asked for is given
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    data[0] = {static_cast<uint32_t>(effective), static_cast<uint32_t>(permitted & held),
               static_cast<uint32_t>(ambient)};
    data[1] = {static_cast<uint32_t>(effective >> 32), static_cast<uint32_t>((permitted & held) >> 32),
               static_cast<uint32_t>(ambient >> 32)};
    must(call(__NR_capset, &header, data), "capset");
    for (unsigned cap = 0; cap < 64; ++cap) {
      if ((ambient >> cap & 1) == 0) continue;
      must(call(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0), "ambient capabilities");
    }
  } else {
    set_capabilities(effective & held, permitted & held);
  }
  call(__NR_umask, mask);
  if (no_new_privileges) must(call(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
  if (seccomp && no_new_privileges) load_seccomp(seccomp_flags, filter, filter_size);
}

// A list of strings as a NULL-ended array, in the memory after the break.
const char** string_array(Cursor& c) {
  uint32_t count = c.u32();
  size_t bytes = (static_cast<size_t>(count) + 1) * sizeof(char*);
  long memory = call(__NR_mmap, nullptr, bytes, 3 /* read, write */, 0x22 /* private, anonymous */, -1, 0);
  must(memory < 0 && memory > -4096 ? memory : 0, "memory");
  auto array = reinterpret_cast<const char**>(memory);
  for (uint32_t i = 0; i < count; ++i) array[i] = c.str();
  array[count] = nullptr;
  return array;
}

[[noreturn]] void op_exec(Cursor& c) {
  const char* program = c.str();
  const char** argv = string_array(c);
  const char** env = string_array(c);
  reopen_null();
  must(call(__NR_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */), "close_range");
  for (const char* p = program;; ++p) {
    if (*p == '/') must(call(__NR_execve, program, argv, env), program);
    if (*p == 0) break;
  }
  const char* path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (const char** e = env; *e != nullptr; ++e) {
    const char* v = *e;
    if (v[0] == 'P' && v[1] == 'A' && v[2] == 'T' && v[3] == 'H' && v[4] == '=') path = v + 5;
  }
  int error = kENOENT;
  while (program[0] != 0) {
    char candidate[kPathBuffer];
    size_t n = 0;
    while (path[n] != 0 && path[n] != ':') ++n;
    if (n > 0 && n + length(program) + 2 <= sizeof candidate) {
      __builtin_memcpy(candidate, path, n);
      candidate[n] = '/';
      copy(candidate + n + 1, sizeof candidate - n - 1, program);
      long done = call(__NR_execve, candidate, argv, env);
      if (done == -kEACCES) {
        error = kEACCES;
      } else if (done != -kENOENT && done != -kENOTDIR) {
        give_up(static_cast<int>(done), program);
      }
    }
    if (path[n] == 0) break;
    path += n + 1;
  }
  give_up(error, program);
}

void op_join(Cursor& c) {
  const char* path = c.str();
  uint32_t type = c.u32();
  int fd = openat(AT_FDCWD, path, O_RDONLY);
  must(fd, path);
  must(call(__NR_setns, fd, type), path);
  close(fd);
}

void op_rlimit(Cursor& c) {
  uint32_t resource = c.u32();
  uint64_t limit[2];
  limit[0] = c.u64();
  limit[1] = c.u64();
  must(call(__NR_prlimit64, 0, resource, limit, nullptr), "rlimit");
}

void op_hostname(Cursor& c) {
  const char* name = c.str();
  const char* domain = c.str();
  if (name[0] != 0) must(call(__NR_sethostname, name, length(name)), name);
  if (domain[0] != 0) must(call(__NR_setdomainname, domain, length(domain)), domain);
}

void run_op(uint32_t op, Cursor c) {
  switch (op) {
    case kOpJoinNamespace: return op_join(c);
    case kOpUnshare: return must(call(__NR_unshare, c.u32()), "unshare");
    case kOpOpenSource: return op_open_source(c);
    case kOpPropagation: return op_propagation(c);
    case kOpOverlayRoot: return op_overlay_root(c);
    case kOpBindRoot: {
      uint32_t slot = c.u32();
      adopt_root(state.sources[slot], c.str());
      state.sources[slot] = -1;
      return;
    }
    case kOpMount: return op_mount(c);
    case kOpAttach: return op_attach(c);
    case kOpDevice: return op_device(c);
    case kOpSymlink: return op_symlink(c);
    case kOpMakeDirectory: {
      const char* path = c.str();
      int fd = ensure(path, true, false, 0);
      must(fd, path);
      close(fd);
      return;
    }
    case kOpMask: return op_mask(c);
    case kOpReadonly: return op_readonly(c);
    case kOpReadonlyRoot: return must(set_attributes(state.root, MOUNT_ATTR_RDONLY, 0, 0, false), "root");
    case kOpPivot: return op_pivot(c);
    case kOpSysctl: {
      const char* key = c.str();
      return must(write_sysctl(key, c.str()), key);
    }
    case kOpHostname: return op_hostname(c);
    case kOpRlimit: return op_rlimit(c);
    case kOpOomScore: return op_oom_score(c);
    case kOpTerminal: return op_terminal(c);
    case kOpDirectory: return op_directory(c);
    case kOpCredentials: return op_credentials(c);
    case kOpExec: op_exec(c);
    default: give_up(kEINVAL, "unknown step");
  }
}

void reset_signals() {
  struct {
    long handler, flags, restorer;
    uint64_t mask;
  } action{};
  for (int signal = 1; signal <= 64; ++signal) call(__NR_rt_sigaction, signal, &action, nullptr, 8);
  uint64_t none = 0;
  call(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &none, nullptr, 8);
}

}  // namespace

int write_sysctl(const char* key, const char* value) {
  char path[512] = "sys/";
  if (!copy(path + 4, sizeof path - 4, key)) return -kENAMETOOLONG;
  return write_proc(path, value);
}

void run_child(const Launch& launch) {
  state.launch = &launch;
  for (int& fd : state.sources) fd = -1;
  reset_signals();
  call(__NR_setsid);
  call(__NR_umask, 0);
  int streams[3] = {launch.in, launch.out, launch.err};
  for (int fd = 0; fd < 3; ++fd) {
    if (streams[fd] >= 0) must(call(__NR_dup3, streams[fd], fd, 0), "streams");
  }
  PlanHeader header;
  __builtin_memcpy(&header, launch.plan, sizeof header);
  if ((header.flags & kPlanExec) != 0) {
    state.step = kStepJoin;
    must(call(__NR_setns, launch.target, launch.join), "the container's namespaces");
    state.pivoted = true;
    must(call(__NR_chdir, "/"), "/");
  }
  state.root = openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
  const uint8_t* at = launch.plan + sizeof header;
  for (uint32_t i = 0; i < header.op_count; ++i) {
    OpHeader op;
    __builtin_memcpy(&op, at, sizeof op);
    at += sizeof op;
    state.step = kStepOp + op.op;
    run_op(op.op, Cursor{at, at + op.size});
    at += op.size;
  }
  exit_now(127);
}

}  // namespace brume::shim
