// Processes: pidfds, clone3, limits and capabilities of this process.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "brume/base/result.h"
#include "brume/linux/fd.h"

namespace brume::linux_os {

/// A pidfd (pidfd_open(2)): names one process for good, so that a reused pid is never hit.
Result<Fd> open_pidfd(pid_t pid);
Status send_signal(const Fd& pidfd, int signal);
/// The pid of a pidfd as this process' PID namespace sees it (from /proc/self/fdinfo); kNotFound when it has ended.
Result<pid_t> pid_of(const Fd& pidfd);
/// Waits until the process has ended; false when `timeout` passed first. Blocks.
Result<bool> wait_ended(const Fd& pidfd, std::chrono::milliseconds timeout);
/// Reaps an ended child, if it is one of ours. Never blocks.
void reap(const Fd& pidfd);

struct CloneOptions {
  std::uint64_t flags = 0;  ///< CLONE_NEW*; CLONE_PIDFD and CLONE_INTO_CGROUP are added as needed
  int cgroup_fd = -1;
};
struct Child {
  pid_t pid = 0;  ///< 0 in the child
  Fd pidfd;
};
/// clone3(2) as a fork: returns twice. In a process with threads the child may call async-signal-safe functions only.
Result<Child> clone_process(const CloneOptions& options);

/// What `probe` returns, up to 255, run in a forked child: namespaces and mounts that it makes vanish with it. kIo when
/// the child was killed, and the error of waitpid(2), which does not work while SIGCHLD is ignored. Blocks; for a
/// process with one thread.
Result<int> run_in_child(int (*probe)());

/// Sealed memfd (write, grow, shrink, seal) holding `bytes`: a program or a message nobody can change any more.
Result<Fd> sealed_memfd(const char* name, std::string_view bytes, bool executable);

/// Effective capabilities of this process as a bit set by capability number.
std::uint64_t effective_capabilities();
/// The number of "CAP_CHOWN"...; nullopt for an unknown name.
std::optional<unsigned> capability_number(std::string_view name);
/// "CAP_CHOWN"... of a number; "" for one without a name here.
std::string capability_name(unsigned number);
/// The highest capability this kernel knows.
unsigned last_capability();

/// Sends one SEQPACKET message with descriptors. kIo on EAGAIN too.
Status send_message(int socket, std::string_view bytes, std::span<const int> fds);

}  // namespace brume::linux_os
