// brume check: what this kernel and machine offer, one line each.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "brume/base/strings.h"
#include "brume/linux/cgroup.h"
#include "brume/linux/fd.h"
#include "brume/linux/mount.h"
#include "brume/linux/process.h"
#include "brume/runtime/overlay.h"
#include "cmd/commands.h"

namespace brume::cmd {

namespace {

/// How much a missing thing matters.
enum class Need { kRequired, kWanted };

struct Finding {
  bool ok = false;
  std::string detail;
};

struct Check {
  std::string_view name;
  Need need;
  std::function<Finding()> run;
};

Finding of_errno(bool ok, std::string_view without) {
  return {ok, ok ? "" : std::string(std::strerror(errno)) + ": " + std::string(without)};
}

// `probe` gives an errno.
Finding in_child(int (*probe)(), std::string_view without) {
  const auto told = linux_os::run_in_child(probe);
  if (!told) return {false, told.error().message + ": " + std::string(without)};
  errno = *told;
  return of_errno(errno == 0, without);
}

int probe_namespaces() {
  return ::unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) == 0
             ? 0
             : errno;
}

int probe_mount_api() {
  if (::unshare(CLONE_NEWNS) != 0) return errno;
  const auto context = linux_os::fs_open("tmpfs");
  if (!context) return ENOSYS;
  return ::syscall(SYS_mount_setattr, -1, "", 0, nullptr, 0) == -1 && errno == ENOSYS ? ENOSYS : 0;
}

int probe_nftables() {
  if (::unshare(CLONE_NEWNET) != 0) return errno;
  const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 12);  // NETLINK_NETFILTER
  if (fd < 0) return errno;
  return ::access("/proc/sys/net/netfilter", F_OK) == 0 || ::access("/sys/module/nf_tables", F_OK) == 0 ? 0 : ENOENT;
}

Finding check_root() { return {::geteuid() == 0, ::geteuid() == 0 ? "" : "run brume as root (sudo)"}; }

Finding check_chroot() {
  const auto chrooted = linux_os::is_chrooted();
  if (!chrooted) return {false, chrooted.error().message};
  return {!*chrooted, *chrooted ? std::string(kChrooted) : ""};
}

Finding check_kernel() {
  utsname host{};
  ::uname(&host);
  int major = 0;
  int minor = 0;
  const bool read = std::sscanf(host.release, "%d.%d", &major, &minor) == 2;
  // 5.12 brought mount_setattr, 5.14 cgroup.kill: the newest that brume cannot do without.
  const bool ok = read && (major > 5 || (major == 5 && minor >= 14));
  return {ok, std::string(host.release) + (ok ? "" : ": 5.14 or newer is needed")};
}

Finding check_overlay() {
  const auto way = runtime::probe_overlay();
  if (!way) return {false, way.error().message + ": modprobe overlay, or a kernel with CONFIG_OVERLAY_FS"};
  return {true, *way == runtime::OverlayWay::kAppended ? "layers one by one (lowerdir+)"
                                                       : "layers in one option (no lowerdir+): at most about 230"};
}

Finding check_cgroups() {
  const auto root = linux_os::find_cgroup2_mount();
  if (!root) return {false, "no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup"};
  return {true, *root};
}

Finding check_controllers() {
  const auto root = linux_os::find_cgroup2_mount();
  if (!root) return {false, "no cgroup2 is mounted"};
  const auto text = linux_os::read_file(*root + "/cgroup.controllers");
  std::string missing;
  const std::string have = " " + std::string(trim(text.value_or(""))) + " ";
  for (const auto* wanted : {"cpu", "memory", "pids"}) {
    if (have.find(" " + std::string(wanted) + " ") == std::string::npos)
      missing += std::string(missing.empty() ? "" : ", ") + wanted;
  }
  if (missing.empty()) return {true, ""};
  return {
      false,
      "without " + missing +
          " such limits of pods are not enforced (bound to cgroup v1? boot with systemd.unified_cgroup_hierarchy=1)"};
}

Finding check_pidfd() {
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0));
  const Finding found = of_errno(fd >= 0, "pidfd_open is needed");
  if (fd >= 0) ::close(fd);
  return found;
}

Finding check_openat2() {
  open_how how{};
  how.flags = O_PATH;
  how.resolve = RESOLVE_IN_ROOT;
  const int fd = static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof how));
  const Finding found = of_errno(fd >= 0, "openat2 is needed");
  if (fd >= 0) ::close(fd);
  return found;
}

Finding check_seccomp() {
  const bool ok = ::prctl(PR_GET_SECCOMP) >= 0;
  return of_errno(ok, "the kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)");
}

Finding check_inotify() {
  const auto text = linux_os::read_file("/proc/sys/fs/inotify/max_user_instances");
  const auto count = text ? parse_int(trim(*text)) : std::nullopt;
  const bool ok = count && *count >= 128;
  return {ok, ok ? "" : "fs.inotify.max_user_instances is low; raise it: sysctl fs.inotify.max_user_instances=512"};
}

Finding check_files() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const bool ok = limit.rlim_max >= 16384;
  return {ok, ok ? "" : "at most " + std::to_string(limit.rlim_max) + " open files; raise the hard limit (ulimit -Hn)"};
}

Finding check_oom_score() {
  return in_child(
      [] {
        const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        return fd >= 0 && ::write(fd, "-998", 4) == 4 ? 0 : errno;
      },
      "critical pods cannot be shielded from the out-of-memory killer (CAP_SYS_RESOURCE)");
}

const std::vector<Check>& checks() {
  static const std::vector<Check> kChecks{
      {"root", Need::kRequired, check_root},
      {"root of its mounts", Need::kRequired, check_chroot},
      {"kernel", Need::kRequired, check_kernel},
      {"namespaces", Need::kRequired,
       [] { return in_child(probe_namespaces, "net, mount, pid, ipc, uts and cgroup namespaces are needed"); }},
      {"cgroup v2", Need::kRequired, check_cgroups},
      {"overlayfs", Need::kRequired, check_overlay},
      {"mount API", Need::kRequired, [] { return in_child(probe_mount_api, "fsopen and mount_setattr are needed"); }},
      {"openat2", Need::kRequired, check_openat2},
      {"pidfd", Need::kRequired, check_pidfd},
      {"seccomp", Need::kRequired, check_seccomp},
      {"nf_tables", Need::kRequired, [] { return in_child(probe_nftables, "modprobe nf_tables"); }},
      {"cgroup controllers", Need::kWanted, check_controllers},
      {"oom score", Need::kWanted, check_oom_score},
      {"inotify", Need::kWanted, check_inotify},
      {"open files", Need::kWanted, check_files},
  };
  return kChecks;
}

}  // namespace

int run_check(const std::vector<std::string>& arguments) {
  if (wants_help(arguments)) {
    std::puts(
        "brume check: what this kernel offers and lacks, one line each.\n\n"
        "\"ok\" is there, \"lacks\" is wanted but brume runs without, \"fails\" is needed. Exit status 1 if anything "
        "fails.");
    return 0;
  }
  bool failed = false;
  for (const auto& check : checks()) {
    const Finding found = check.run();
    const bool fails = !found.ok && check.need == Need::kRequired;
    failed = failed || fails;
    std::printf("%-6s %-20s %s\n",
                found.ok ? "ok"
                : fails  ? "fails"
                         : "lacks",
                std::string(check.name).c_str(), found.detail.c_str());
  }
  return failed ? 1 : 0;
}

}  // namespace brume::cmd
