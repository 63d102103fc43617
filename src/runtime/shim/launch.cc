// Starts processes: containers, exec'd programs and the pod's init.
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/prctl.h>
#include <linux/sched.h>

#include "shim.h"

namespace brume::shim {
namespace {

constexpr int kSigChld = 17, kSigKill = 9;
constexpr uint32_t kEpollIn = 1;
constexpr uint64_t kJoin = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET;

int own_pid_namespace = -1;
int pod_init = -1;  // pidfd of the shared PID namespace's first process

// A plan in a sealed memfd, mapped and checked. It is not copied, and nobody can change it meanwhile.
struct MappedPlan {
  const uint8_t* data = nullptr;
  size_t size = 0;
  ~MappedPlan() {
    if (data != nullptr) call(__NR_munmap, data, size);
  }
  bool open(int fd) {
    if (fd < 0) return false;
    constexpr long kWanted = 1 | 2 | 4 | 8;  // F_SEAL_SEAL, SHRINK, GROW, WRITE
    long seals = call(__NR_fcntl, fd, 1034 /* F_GET_SEALS */, 0);
    long end = call(__NR_lseek, fd, 0, 2 /* SEEK_END */);
    if (seals < 0 || (seals & kWanted) != kWanted || end <= 0 || end > kPlanMaxSize) return false;
    long at = call(__NR_mmap, nullptr, end, 1 /* PROT_READ */, 2 /* MAP_PRIVATE */, fd, 0);
    if (at < 0 && at > -4096) return false;
    data = reinterpret_cast<const uint8_t*>(at);
    size = static_cast<size_t>(end);
    return check_plan(data, size);
  }
};

int make_pipe(int& read_end, int& write_end) {
  int ends[2];
  long done = call(__NR_pipe2, ends, O_CLOEXEC);
  if (done < 0) return static_cast<int>(done);
  read_end = ends[0];
  write_end = ends[1];
  return 0;
}

void set_nonblocking(int fd) { call(__NR_fcntl, fd, 4 /* F_SETFL */, O_NONBLOCK); }

int make_sync(int ends[2]) {
  return static_cast<int>(call(__NR_socketpair, 1 /* AF_UNIX */, 5 /* SEQPACKET */ | O_CLOEXEC, 0, ends));
}

// clone3 as a fork into `cgroup`. `into` is a pidfd whose PID namespace the child is born into; -1: the shim's own.
long spawn(uint64_t flags, int cgroup, int into, int& pidfd) {
  if (into >= 0) {
    long joined = call(__NR_setns, into, CLONE_NEWPID);
    if (joined < 0) return joined;
  }
  clone_args args{};
  args.flags = flags | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = kSigChld;
  if (cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(cgroup);
  }
  long pid = call(__NR_clone3, &args, sizeof args);
  if (pid != 0 && into >= 0) call(__NR_setns, own_pid_namespace, CLONE_NEWPID);
  return pid;
}

int free_container() {
  for (int i = 0; i < kMaxContainers; ++i) {
    if (!containers[i].used) return i;
  }
  return -1;
}

struct Streams {
  int in = -1, out = -1, err = -1;
  ~Streams() {
    close(in);
    close(out);
    close(err);
  }
};

void clear(Container& c) {
  __builtin_memset(&c, 0, sizeof c);
  c.pidfd = c.sync = c.input = c.log = c.streams[0] = c.streams[1] = c.attached[0] = c.attached[1] = -1;
}

// Opens what the container needs and clones its first process. A step that failed is in `step`.
int launch_container(int index, const MappedPlan& plan, uint32_t& step) {
  Container& c = containers[index];
  PlanHeader header;
  __builtin_memcpy(&header, plan.data, sizeof header);
  c.terminal = (header.flags & kPlanTerminal) != 0;
  step = kStepLog;
  c.log = open_log(c);
  if (c.log < 0 && c.log_path[0] != 0) return c.log;
  step = kStepCgroup;
  int cgroup = openat(AT_FDCWD, c.cgroup, O_RDONLY | O_DIRECTORY);
  if (cgroup < 0) return cgroup;
  Streams child;
  int sync[2] = {-1, -1};
  step = kStepPipes;
  int done = make_sync(sync);
  if (done == 0 && !c.terminal) {
    done = make_pipe(c.streams[0], child.out);
    if (done == 0) done = make_pipe(c.streams[1], child.err);
    if (done == 0 && (c.flags & kStartStdin) != 0) done = make_pipe(child.in, c.input);
  }
  long pid = done;
  if (done == 0) {
    step = kStepClone;
    Launch launch;
    launch.plan = plan.data;
    launch.in = child.in;
    launch.out = child.out;
    launch.err = child.err;
    launch.sync = sync[1];
    pid = spawn(header.clone_flags, cgroup, pod_init, c.pidfd);
    if (pid == 0) run_child(launch);
  }
  close(cgroup);
  close(sync[1]);
  if (pid < 0) {
    close(sync[0]);
    return static_cast<int>(pid);
  }
  c.pid = static_cast<int>(pid);
  c.sync = sync[0];
  for (int fd : c.streams) {
    if (fd >= 0) set_nonblocking(fd);
  }
  watch(c.sync, kEventSync, index, kEpollIn);
  if (c.streams[0] >= 0) watch(c.streams[0], kEventStdout, index, kEpollIn);
  if (c.streams[1] >= 0) watch(c.streams[1], kEventStderr, index, kEpollIn);
  return 0;
}

}  // namespace

int open_own_namespaces() { return own_pid_namespace = openat(AT_FDCWD, "/proc/self/ns/pid", O_RDONLY); }

int find_container(const char* id) {
  for (int i = 0; i < kMaxContainers; ++i) {
    if (containers[i].used && !containers[i].failed && equal(containers[i].id, id)) return i;
  }
  return -1;
}

void start_container(int connection, uint32_t sequence, Cursor frame, int* fds, int fd_count) {
  const char* id = frame.str();
  const char* log_path = frame.str();
  const char* cgroup = frame.str();
  uint32_t flags = frame.u32();
  MappedPlan plan;
  if (frame.bad || fd_count != 1 || !plan.open(fds[0])) {
    return reply(connection, sequence, kEPROTO, kStepBadPlan, 0, "bad launch plan");
  }
  if (find_container(id) >= 0) return reply(connection, sequence, kEEXIST, kStepExists, 0, id);
  int index = free_container();
  if (index < 0) return reply(connection, sequence, kEAGAIN, kStepLimit, 0, "too many containers in one pod");
  Container& c = containers[index];
  clear(c);
  if (!copy(c.id, sizeof c.id, id) || !copy(c.log_path, sizeof c.log_path, log_path) ||
      !copy(c.cgroup, sizeof c.cgroup, cgroup)) {
    return reply(connection, sequence, kENAMETOOLONG, kStepBadPlan, 0, "a path is too long");
  }
  c.flags = flags;
  c.connection = connection;
  c.sequence = sequence;
  c.used = true;
  uint32_t step = 0;
  int done = launch_container(index, plan, step);
  if (done < 0) {
    const char* detail = step == kStepLog ? log_path : step == kStepCgroup ? cgroup : "";
    forget(index);
    reply(connection, sequence, -done, step, 0, detail);
  }
}

void on_container_sync(int index) {
  Container& c = containers[index];
  for (;;) {
    SyncMessage message{};
    int fds[1];
    int fd_count = 0;
    long got = receive_frame(c.sync, &message, sizeof message, fds, 1, fd_count);
    if (got == -kEAGAIN) return;
    if (got == static_cast<long>(sizeof message) && message.kind == kSyncTerminal && fd_count == 1) {
      c.streams[0] = fds[0];
      set_nonblocking(c.streams[0]);
      watch(c.streams[0], kEventStdout, index, kEpollIn);
      continue;
    }
    close_and_clear(c.sync);
    if (got == static_cast<long>(sizeof message)) {
      message.detail[sizeof message.detail - 1] = 0;
      c.failed = true;
      reply(c.connection, c.sequence, message.error, message.step, 0, message.detail);
      return;
    }
    c.state = kStateRunning;
    c.started = now_wall();
    write_state(index);
    reply(c.connection, c.sequence, 0, 0, 0, "", &c.pidfd, 1, c.started);
    return;
  }
}

void start_exec(int connection, uint32_t sequence, Cursor frame, int* fds, int fd_count) {
  const char* id = frame.str();
  uint32_t number = frame.u32();
  MappedPlan plan;
  if (frame.bad || (fd_count != 1 && fd_count != 4) || !plan.open(fds[0])) {
    return reply(connection, sequence, kEPROTO, kStepBadPlan, 0, "bad launch plan");
  }
  PlanHeader header;
  __builtin_memcpy(&header, plan.data, sizeof header);
  int owner = find_container(id);
  if (owner < 0 || containers[owner].state != kStateRunning || containers[owner].reaped ||
      (header.flags & kPlanExec) == 0) {
    return reply(connection, sequence, kENOENT, kStepNoSuchContainer, 0, id);
  }
  int index = 0;
  while (index < kMaxExecs && execs[index].used) ++index;
  if (index == kMaxExecs)
    return reply(connection, sequence, kEAGAIN, kStepLimit, 0, "too many processes exec'd at once");
  Exec& e = execs[index];
  __builtin_memset(&e, 0, sizeof e);
  e.terminal = e.pidfd = e.sync = -1;
  int cgroup = openat(AT_FDCWD, containers[owner].cgroup, O_RDONLY | O_DIRECTORY);
  int sync[2] = {-1, -1};
  int done = cgroup < 0 ? cgroup : make_sync(sync);
  if (done < 0) {
    close(cgroup);
    return reply(connection, sequence, -done, kStepCgroup, 0, containers[owner].cgroup);
  }
  Launch launch;
  launch.plan = plan.data;
  if (fd_count == 4) {
    launch.in = fds[1];
    launch.out = fds[2];
    launch.err = fds[3];
  }
  launch.sync = sync[1];
  launch.target = containers[owner].pidfd;
  launch.join = kJoin;
  long pid = spawn(0, cgroup, containers[owner].pidfd, e.pidfd);
  if (pid == 0) run_child(launch);
  close(cgroup);
  close(sync[1]);
  if (pid < 0) {
    close(sync[0]);
    return reply(connection, sequence, static_cast<int>(-pid), kStepClone, 0, id);
  }
  e.used = true;
  e.number = number;
  e.container = owner;
  e.pid = static_cast<int>(pid);
  e.sync = sync[0];
  e.connection = connection;
  e.sequence = sequence;
  watch(e.sync, kEventExecSync, index, kEpollIn);
}

void on_exec_sync(int index) {
  Exec& e = execs[index];
  for (;;) {
    SyncMessage message{};
    int fds[1];
    int fd_count = 0;
    long got = receive_frame(e.sync, &message, sizeof message, fds, 1, fd_count);
    if (got == -kEAGAIN) return;
    if (got == static_cast<long>(sizeof message) && message.kind == kSyncTerminal && fd_count == 1) {
      close(e.terminal);
      e.terminal = fds[0];
      continue;
    }
    close_and_clear(e.sync);
    if (got == static_cast<long>(sizeof message)) {
      message.detail[sizeof message.detail - 1] = 0;
      e.failed = true;
      reply(e.connection, e.sequence, message.error, message.step, 0, message.detail);
    } else {
      e.running = true;
      int out[2] = {e.pidfd, e.terminal};
      reply(e.connection, e.sequence, 0, 0, 0, "", out, e.terminal >= 0 ? 2 : 1);
    }
    close_and_clear(e.terminal);  // the daemon holds it now; its end hangs the program up
    return;
  }
}

int make_pod_init() {
  int pidfd = -1;
  long pid = spawn(CLONE_NEWPID | CLONE_NEWNS, -1, -1, pidfd);
  if (pid != 0) {
    if (pid < 0) return static_cast<int>(pid);
    pod_init = pidfd;
    return 0;
  }
  // Children that nobody waits for are reaped by the kernel when SIGCHLD is ignored. The containers can see this
  // process, so it keeps nothing: no files, no capabilities, an empty root.
  struct {
    long handler = 1 /* SIG_IGN */, flags = 0, restorer = 0;
    uint64_t mask = 0;
  } ignore;
  call(__NR_rt_sigaction, kSigChld, &ignore, nullptr, 8);
  call(__NR_prctl, PR_SET_PDEATHSIG, kSigKill, 0, 0, 0);
  call(__NR_prctl, PR_SET_NAME, "pod-init", 0, 0, 0);
  mount_attr attributes{};
  attributes.propagation = 1U << 18;  // MS_PRIVATE
  call(__NR_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &attributes, sizeof attributes);
  bool alone = false;
  long context = call(__NR_fsopen, "tmpfs", FSOPEN_CLOEXEC);
  if (context >= 0 && call(__NR_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0) {
    long mount = call(__NR_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
    alone = mount >= 0 && call(__NR_move_mount, mount, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) == 0 &&
            call(__NR_fchdir, mount) == 0 && call(__NR_pivot_root, ".", ".") == 0 &&
            call(__NR_umount2, ".", 2 /* MNT_DETACH */) == 0;
  }
  if (!alone) exit_now(1);
  call(__NR_setsid);
  call(__NR_close_range, 0, ~0U, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2]{};
  call(__NR_capset, &header, none);
  call(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
  for (;;) call(__NR_ppoll, nullptr, 0, nullptr, nullptr, 0);
}

}  // namespace brume::shim
