#include "brume/linux/process.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "brume/base/random.h"
#include "brume/base/strings.h"
#include "brume/linux/mount.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace brume::linux_os {

void Fd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<Fd> open_fd(const std::string& path, int flags, unsigned mode) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd.valid()) return fail_errno(errno, "open " + path);
  return fd;
}

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  BRUME_TRY(Fd fd, open_fd(path, O_RDONLY));
  std::string out;
  std::array<char, 16384> buffer;
  for (;;) {
    ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "read " + path);
    if (got == 0) return out;
    out.append(buffer.data(), static_cast<std::size_t>(got));
    if (out.size() > limit) return fail(Code::kInvalid, path + " is larger than " + std::to_string(limit) + " bytes");
  }
}

Status write_file(const std::string& path, std::string_view text) {
  BRUME_TRY(Fd fd, open_fd(path, O_WRONLY));
  ssize_t put = ::write(fd.get(), text.data(), text.size());
  if (put < 0) return fail_errno(errno, "write " + path);
  if (static_cast<std::size_t>(put) != text.size()) return fail(Code::kIo, "short write to " + path);
  return {};
}

Status replace_file(const std::string& path, std::string_view bytes, unsigned mode) {
  std::string temporary = path + "." + random_suffix(6);
  Status written = [&]() -> Status {
    BRUME_TRY(Fd fd, open_fd(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
    if (::fchmod(fd.get(), mode) != 0) return fail_errno(errno, "chmod " + temporary);
    for (std::string_view rest = bytes; !rest.empty();) {
      ssize_t put = ::write(fd.get(), rest.data(), rest.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return fail_errno(errno, "write " + temporary);
      rest.remove_prefix(static_cast<std::size_t>(put));
    }
    if (::rename(temporary.c_str(), path.c_str()) != 0) return fail_errno(errno, "rename to " + path);
    return {};
  }();
  if (!written) ::unlink(temporary.c_str());
  return written;
}

Status make_dirs(const std::string& path, unsigned mode) {
  for (std::size_t at = 1; at != std::string::npos && at <= path.size();) {
    std::size_t slash = path.find('/', at);
    std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST) return fail_errno(errno, "mkdir " + part);
    at = slash == std::string::npos ? slash : slash + 1;
  }
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return fail_errno(errno, "stat " + path);
  if (!S_ISDIR(info.st_mode)) return fail_errno(ENOTDIR, path);
  return {};
}

Result<Fd> open_pidfd(pid_t pid) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd.valid()) {
    if (errno == ESRCH) return fail(Code::kNotFound, "process " + std::to_string(pid) + " has ended");
    return fail_errno(errno, "pidfd_open");
  }
  return fd;
}

Status send_signal(const Fd& pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0) return {};
  if (errno == ESRCH) return fail(Code::kNotFound, "the process has ended");
  return fail_errno(errno, "pidfd_send_signal");
}

Result<pid_t> pid_of(const Fd& pidfd) {
  BRUME_TRY(std::string text, read_file("/proc/self/fdinfo/" + std::to_string(pidfd.get())));
  for (std::string_view line : split(text, '\n')) {
    if (!line.starts_with("Pid:")) continue;
    auto pid = parse_int(trim(line.substr(4)));
    if (pid && *pid > 0) return static_cast<pid_t>(*pid);
  }
  return fail(Code::kNotFound, "the process has ended");
}

Result<bool> wait_ended(const Fd& pidfd, std::chrono::milliseconds timeout) {
  auto until = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    pollfd item{pidfd.get(), POLLIN, 0};
    int ready = ::poll(&item, 1, left > 0 ? static_cast<int>(left) : 0);
    if (ready > 0) return true;
    if (ready == 0) return false;
    if (errno != EINTR) return fail_errno(errno, "poll pidfd");
  }
}

void reap(const Fd& pidfd) {
  siginfo_t info{};
  ::waitid(static_cast<idtype_t>(3) /* P_PIDFD */, static_cast<id_t>(pidfd.get()), &info, WEXITED | WNOHANG | __WALL);
}

Result<Child> clone_process(const CloneOptions& options) {
  int pidfd = -1;
  clone_args args{};
  args.flags = options.flags | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  if (options.cgroup_fd >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<std::uint64_t>(options.cgroup_fd);
  }
  long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) return fail_errno(errno, "clone3");
  Child child;
  child.pid = static_cast<pid_t>(pid);
  if (pid > 0) child.pidfd.reset(pidfd);
  return child;
}

Result<int> run_in_child(int (*probe)()) {
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "fork");
  if (child == 0) ::_exit(probe() & 0xff);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return fail_errno(errno, "waitpid");  // ECHILD: someone made us ignore SIGCHLD
  }
  if (!WIFEXITED(status)) return fail(Code::kIo, "the probe was killed");
  return WEXITSTATUS(status);
}

Result<Fd> sealed_memfd(const char* name, std::string_view bytes, bool executable) {
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  Fd fd(::memfd_create(name, flags | (executable ? MFD_EXEC : 0)));
  if (!fd.valid() && errno == EINVAL) fd.reset(::memfd_create(name, flags));  // before Linux 6.3
  if (!fd.valid()) return fail_errno(errno, "memfd_create");
  for (std::string_view rest = bytes; !rest.empty();) {
    ssize_t put = ::write(fd.get(), rest.data(), rest.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno(errno, "write memfd");
    rest.remove_prefix(static_cast<std::size_t>(put));
  }
  if (executable) ::fchmod(fd.get(), 0500);
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
    return fail_errno(errno, "seal memfd");
  }
  return fd;
}

std::uint64_t effective_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (::syscall(SYS_capget, &header, data) != 0) return 0;
  return data[0].effective | (static_cast<std::uint64_t>(data[1].effective) << 32);
}

namespace {

// By number (capability.h); the names that follow "CAP_".
constexpr std::array<std::string_view, 41> kCapabilities = {"CHOWN",
                                                            "DAC_OVERRIDE",
                                                            "DAC_READ_SEARCH",
                                                            "FOWNER",
                                                            "FSETID",
                                                            "KILL",
                                                            "SETGID",
                                                            "SETUID",
                                                            "SETPCAP",
                                                            "LINUX_IMMUTABLE",
                                                            "NET_BIND_SERVICE",
                                                            "NET_BROADCAST",
                                                            "NET_ADMIN",
                                                            "NET_RAW",
                                                            "IPC_LOCK",
                                                            "IPC_OWNER",
                                                            "SYS_MODULE",
                                                            "SYS_RAWIO",
                                                            "SYS_CHROOT",
                                                            "SYS_PTRACE",
                                                            "SYS_PACCT",
                                                            "SYS_ADMIN",
                                                            "SYS_BOOT",
                                                            "SYS_NICE",
                                                            "SYS_RESOURCE",
                                                            "SYS_TIME",
                                                            "SYS_TTY_CONFIG",
                                                            "MKNOD",
                                                            "LEASE",
                                                            "AUDIT_WRITE",
                                                            "AUDIT_CONTROL",
                                                            "SETFCAP",
                                                            "MAC_OVERRIDE",
                                                            "MAC_ADMIN",
                                                            "SYSLOG",
                                                            "WAKE_ALARM",
                                                            "BLOCK_SUSPEND",
                                                            "AUDIT_READ",
                                                            "PERFMON",
                                                            "BPF",
                                                            "CHECKPOINT_RESTORE"};

}  // namespace

std::optional<unsigned> capability_number(std::string_view name) {
  if (!name.starts_with("CAP_")) return std::nullopt;
  name.remove_prefix(4);
  for (unsigned i = 0; i < kCapabilities.size(); ++i) {
    if (kCapabilities[i] == name) return i;
  }
  return std::nullopt;
}

std::string capability_name(unsigned number) {
  return number < kCapabilities.size() ? "CAP_" + std::string(kCapabilities[number]) : std::string();
}

unsigned last_capability() {
  static const unsigned last = [] {
    auto text = read_file("/proc/sys/kernel/cap_last_cap");
    auto value = text ? parse_int(trim(*text)) : std::nullopt;
    return value ? static_cast<unsigned>(*value) : 40U;
  }();
  return last;
}

Status send_message(int socket, std::string_view bytes, std::span<const int> fds) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 8)]{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    if (fds.size() > 8) return fail(Code::kInternal, "too many descriptors in one message");
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return {};
    if (errno != EINTR) return fail_errno(errno, "sendmsg");
  }
}

}  // namespace brume::linux_os
