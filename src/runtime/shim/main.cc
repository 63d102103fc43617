// The shim: one process a pod. It holds the pod's namespaces, starts its containers by launch plans, reaps them, writes
// their logs and serves the daemon on a socket. It outlives the daemon. Freestanding: no C library, no allocation.
#include <linux/eventpoll.h>
#include <linux/if.h>
#include <linux/prctl.h>
#include <linux/signalfd.h>
#include <linux/sockios.h>

#include "shim.h"

namespace brume::shim {
namespace {

constexpr uint64_t kSigChldBit = 1U << 16;

int epoll = -1;
int signals = -1;
int connections[kMaxConnections];

struct Timespec {
  int64_t seconds;
  int64_t nanos;
};

uint64_t clock(int which) {
  Timespec time{};
  call(__NR_clock_gettime, which, &time);
  return static_cast<uint64_t>(time.seconds) * 1000000000U + static_cast<uint64_t>(time.nanos);
}

void control(int op, int fd, EventKind kind, int index, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data = static_cast<uint64_t>(kind) << 32 | static_cast<uint32_t>(index);
  call(__NR_epoll_ctl, epoll, op, fd, &event);
}

void drop(int connection) { close_and_clear(connections[connection]); }

void accept_connections() {
  for (;;) {
    long fd = call(__NR_accept4, kListenFd, nullptr, nullptr, O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return;
    int slot = 0;
    while (slot < kMaxConnections && connections[slot] >= 0) ++slot;
    if (slot == kMaxConnections) {  // the oldest is of a daemon that is gone or confused
      slot = 0;
      drop(slot);
    }
    connections[slot] = static_cast<int>(fd);
    watch(connections[slot], kEventConnection, slot, EPOLLIN);
  }
}

int bring_up_loopback() {
  long fd = call(__NR_socket, 2 /* AF_INET */, 2 /* SOCK_DGRAM */ | O_CLOEXEC, 0);
  if (fd < 0) return static_cast<int>(fd);
  struct {
    char name[16];
    short flags;
    char rest[22];
  } request{};
  copy(request.name, sizeof request.name, "lo");
  request.flags = IFF_UP;
  long done = call(__NR_ioctl, fd, SIOCSIFFLAGS, &request);
  close(static_cast<int>(fd));
  return static_cast<int>(done);
}

void setup(int connection, uint32_t sequence, Cursor frame) {
  bool loopback = frame.u32() != 0;
  bool share_pid = frame.u32() != 0;
  const char* name = frame.str();
  uint32_t count = frame.u32();
  int done = 0;
  if (loopback) done = bring_up_loopback();
  if (done < 0) return reply(connection, sequence, -done, kStepNone, 0, "lo");
  if (name[0] != 0) done = static_cast<int>(call(__NR_sethostname, name, length(name)));
  if (done < 0) return reply(connection, sequence, -done, kStepNone, 0, "hostname");
  for (uint32_t i = 0; i + 1 < count && !frame.bad; i += 2) {
    const char* key = frame.str();
    const char* value = frame.str();
    done = write_sysctl(key, value);
    if (done < 0) return reply(connection, sequence, -done, kStepNone, 0, key);
  }
  if (share_pid) done = make_pod_init();
  reply(connection, sequence, frame.bad ? kEPROTO : -done, kStepNone, 0, done < 0 ? "pod init" : "");
}

void signal_process(int connection, uint32_t sequence, Cursor frame) {
  const char* id = frame.str();
  uint32_t number = frame.u32();
  uint32_t signal = frame.u32();
  long done = -kENOENT;
  if (number == 0) {
    int index = find_container(id);
    if (index >= 0 && !containers[index].reaped) {
      done = call(__NR_pidfd_send_signal, containers[index].pidfd, signal, nullptr, 0);
    }
  } else {
    for (Exec& e : execs) {
      if (e.used && e.number == number) done = call(__NR_pidfd_send_signal, e.pidfd, signal, nullptr, 0);
    }
  }
  reply(connection, sequence, done < 0 ? static_cast<int>(-done) : 0, kStepNone, 0, id);
}

void attach(int connection, uint32_t sequence, int index, int* fds, int fd_count) {
  Container& c = containers[index];
  if (fd_count != 2 || c.state != kStateRunning || c.reaped) {
    return reply(connection, sequence, kENOENT, kStepNoSuchContainer, 0, c.id);
  }
  uint32_t flags = c.flags;
  c.flags &= ~static_cast<uint32_t>(kStartStdinOnce);  // taking over from another client does not end stdin
  detach(index);
  c.flags = flags;
  for (int stream = 0; stream < 2; ++stream) {
    c.attached[stream] = fds[stream];
    fds[stream] = -1;
    call(__NR_fcntl, c.attached[stream], 4 /* F_SETFL */, O_NONBLOCK | O_WRONLY);
    watch(c.attached[stream], stream == 0 ? kEventAttached0 : kEventAttached1, index, 0);
  }
  int in = c.terminal ? c.streams[0] : c.input;
  reply(connection, sequence, 0, kStepNone, c.terminal ? 1 : 0, "", &in, in >= 0 ? 1 : 0);
}

void reopen_log(int connection, uint32_t sequence, int index) {
  Container& c = containers[index];
  if (c.state == kStateExited) return reply(connection, sequence, 0, kStepNone, 0, "");
  int fd = open_log(c);
  if (fd < 0) return reply(connection, sequence, -fd, kStepLog, 0, c.log_path);
  close(c.log);
  c.log = fd;
  reply(connection, sequence, 0, kStepNone, 0, "");
}

void shutdown(int connection, uint32_t sequence) {
  for (const Container& c : containers) {
    if (c.used && c.state != kStateExited) return reply(connection, sequence, kEBUSY, kStepNone, 0, c.id);
  }
  reply(connection, sequence, 0, kStepNone, 0, "");
  exit_now(0);
}

// Requests that name one container.
void container_request(uint16_t type, int connection, uint32_t sequence, Cursor frame, int* fds, int fd_count) {
  const char* id = frame.str();
  int index = find_container(id);
  if (index < 0) return reply(connection, sequence, kENOENT, kStepNoSuchContainer, 0, id);
  Container& c = containers[index];
  switch (type) {
    case kFrameAttach: return attach(connection, sequence, index, fds, fd_count);
    case kFrameReopenLog: return reopen_log(connection, sequence, index);
    case kFrameCloseStdin:
      if ((c.flags & kStartStdinOnce) != 0) close_and_clear(c.input);
      return reply(connection, sequence, 0, kStepNone, 0, "");
    default:  // kFrameForget
      if (c.state != kStateExited) return reply(connection, sequence, kEBUSY, kStepNone, 0, id);
      forget(index);
      return reply(connection, sequence, 0, kStepNone, 0, "");
  }
}

void dispatch(int connection, const FrameHeader& header, Cursor frame, int* fds, int fd_count) {
  switch (header.type) {
    case kFrameSetup: return setup(connection, header.sequence, frame);
    case kFrameStart: return start_container(connection, header.sequence, frame, fds, fd_count);
    case kFrameExec: return start_exec(connection, header.sequence, frame, fds, fd_count);
    case kFrameSignal: return signal_process(connection, header.sequence, frame);
    case kFrameStatus: {
      for (int i = 0; i < kMaxContainers; ++i) {
        if (containers[i].used && !containers[i].failed && containers[i].state != kStateStarting) {
          send_container(connection, kFrameContainer, i);
        }
      }
      int self = static_cast<int>(call(__NR_pidfd_open, call(__NR_getpid), 0));
      reply(connection, header.sequence, 0, kStepNone, 0, "", &self, self >= 0 ? 1 : 0);
      close(self);
      return;
    }
    case kFrameAttach:
    case kFrameCloseStdin:
    case kFrameReopenLog:
    case kFrameForget: return container_request(header.type, connection, header.sequence, frame, fds, fd_count);
    case kFrameShutdown: return shutdown(connection, header.sequence);
    default: return reply(connection, header.sequence, kEINVAL, kStepNone, 0, "unknown request");
  }
}

void on_connection(int connection) {
  alignas(8) static uint8_t frame[kFrameMax];
  for (int round = 0; round < 16 && connections[connection] >= 0; ++round) {
    int fds[8];
    int fd_count = 0;
    long got = receive_frame(connections[connection], frame, sizeof frame, fds, 8, fd_count);
    if (got == -kEAGAIN) return;
    if (got < static_cast<long>(sizeof(FrameHeader))) return drop(connection);
    FrameHeader header;
    __builtin_memcpy(&header, frame, sizeof header);
    dispatch(connection, header, Cursor{frame + sizeof header, frame + got}, fds, fd_count);
    for (int i = 0; i < fd_count; ++i) close(fds[i]);
  }
}

void on_signal() {
  signalfd_siginfo info[8];
  while (read(signals, info, sizeof info) > 0) {
  }
  for (;;) {
    uint32_t status = 0;
    long pid = call(__NR_wait4, -1, &status, 1 /* WNOHANG */ | 0x40000000 /* __WALL */, nullptr);
    if (pid <= 0) return;
    on_reaped(static_cast<int>(pid), status);
  }
}

void on_event(const epoll_event& event) {
  auto kind = static_cast<uint32_t>(event.data >> 32);
  int index = static_cast<int>(event.data & 0xffffffffU);
  bool live = kind == kEventConnection || kind <= kEventSignal || kind == kEventExecSync || containers[index].used;
  if (!live) return;
  switch (kind) {
    case kEventListen: return accept_connections();
    case kEventSignal: return on_signal();
    case kEventConnection: return on_connection(index);
    case kEventSync:
      if (containers[index].sync >= 0) on_container_sync(index);
      return;
    case kEventExecSync:
      if (execs[index].used && execs[index].sync >= 0) on_exec_sync(index);
      return;
    case kEventStdout:
    case kEventStderr: {
      int stream = kind == kEventStdout ? 0 : 1;
      if (containers[index].blocked) {  // hang-ups are told even to those who do not ask
        unwatch(containers[index].streams[stream]);
        watch(containers[index].streams[stream], static_cast<EventKind>(kind), index, EPOLLET);
        return;
      }
      return on_output(index, stream);
    }
    case kEventAttached0:
    case kEventAttached1: return on_attached_event(index, kind == kEventAttached0 ? 0 : 1, event.events);
    default: return;
  }
}

void prepare() {
  uint64_t all = ~0ULL;
  call(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, nullptr, 8);
  call(__NR_close_range, kStateFd + 1, ~0U, 0);
  for (int& fd : connections) fd = -1;
  call(__NR_setsid);
  call(__NR_chdir, "/");
  call(__NR_umask, 0077);
  call(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  call(__NR_prctl, PR_SET_NAME, "brume-shim", 0, 0, 0);
  call(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
  int score = openat(AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY);
  if (score >= 0) write(score, "-998", 4);  // as Kubernetes' own daemons; refused without CAP_SYS_RESOURCE
  close(score);
  call(__NR_fcntl, kListenFd, 2 /* F_SETFD */, 1);
  call(__NR_fcntl, kStateFd, 2 /* F_SETFD */, 1);
  call(__NR_fcntl, kListenFd, 4 /* F_SETFL */, O_NONBLOCK);
  open_own_namespaces();
  epoll = static_cast<int>(call(__NR_epoll_create1, O_CLOEXEC));
  uint64_t children = kSigChldBit;
  signals = static_cast<int>(call(__NR_signalfd4, -1, &children, 8, O_CLOEXEC | O_NONBLOCK));
  watch(kListenFd, kEventListen, 0, EPOLLIN);
  watch(signals, kEventSignal, 0, EPOLLIN);
}

int wait_time() {
  uint64_t deadline = next_deadline();
  if (deadline == 0) return -1;
  uint64_t now = now_monotonic();
  return deadline <= now ? 0 : static_cast<int>((deadline - now) / 1000000 + 1);
}

}  // namespace

int watch(int fd, EventKind kind, int index, uint32_t events) {
  control(EPOLL_CTL_ADD, fd, kind, index, events);
  return 0;
}
void rewatch(int fd, EventKind kind, int index, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data = static_cast<uint64_t>(kind) << 32 | static_cast<uint32_t>(index);
  if (call(__NR_epoll_ctl, epoll, EPOLL_CTL_MOD, fd, &event) == -kENOENT) watch(fd, kind, index, events);
}
void unwatch(int fd) { control(EPOLL_CTL_DEL, fd, kEventListen, 0, 0); }
uint64_t now_wall() { return clock(0); }
uint64_t now_monotonic() { return clock(1); }

void send_to(int connection, const void* data, size_t size, const int* fds, int fd_count) {
  if (connection < 0 || connections[connection] < 0) return;
  // A daemon that does not read is cut off; it comes back and asks for the status.
  if (send_frame(connections[connection], data, size, fds, fd_count) < 0) drop(connection);
}

void send_to_all(const void* data, size_t size) {
  for (int i = 0; i < kMaxConnections; ++i) send_to(i, data, size, nullptr, 0);
}

void reply(int connection, uint32_t sequence, int error, uint32_t step, uint32_t value, const char* detail,
           const int* fds, int fd_count, uint64_t time) {
  Frame frame(kFrameReply, sequence);
  frame.u32(static_cast<uint32_t>(error));
  frame.u32(step);
  frame.u32(value);
  frame.str(detail);
  frame.u64(time);
  send_to(connection, frame.bytes, frame.size, fds, fd_count);
}

[[noreturn]] void serve() {
  prepare();
  for (;;) {
    epoll_event events[16];
    long count = call(__NR_epoll_pwait, epoll, events, 16, wait_time(), nullptr, 8);
    for (long i = 0; i < count; ++i) on_event(events[i]);
    if (next_deadline() != 0) check_deadlines(now_monotonic());
  }
}

}  // namespace brume::shim

extern "C" [[noreturn]] void shim_main(long*) { brume::shim::serve(); }
