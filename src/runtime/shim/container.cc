// Running containers: their output, attached clients, their end.
#include "shim.h"

namespace brume::shim {

Container containers[kMaxContainers];
Exec execs[kMaxExecs];

namespace {

constexpr uint32_t kEpollIn = 1, kEpollOut = 4;
constexpr uint64_t kSecond = 1000000000U;
constexpr uint64_t kOutputGrace = kSecond / 2;  // for output of processes that outlive the container's first one
constexpr uint64_t kAttachPatience = 10 * kSecond;

char input[kLogLineMax];
char unsent[kMaxContainers][kLogLineMax];

void watch_streams(int index, uint32_t events) {
  Container& c = containers[index];
  if (c.streams[0] >= 0) rewatch(c.streams[0], kEventStdout, index, events);
  if (c.streams[1] >= 0) rewatch(c.streams[1], kEventStderr, index, events);
}

// Gives output to the attached client. What it does not take at once waits, and so does the container.
void send_attached(int index, int stream, const char* data, size_t size) {
  Container& c = containers[index];
  int fd = c.attached[stream];
  if (fd < 0 || size == 0) return;
  long put = write(fd, data, size);
  if (put == -kEAGAIN) put = 0;
  if (put < 0) return detach(index);
  size_t left = size - static_cast<size_t>(put);
  if (left == 0) return;
  __builtin_memcpy(unsent[index], data + put, left);
  c.pending = static_cast<uint32_t>(left);
  c.pending_to = stream;
  c.blocked = true;
  c.deadline = now_monotonic() + kAttachPatience;
  rewatch(fd, stream == 0 ? kEventAttached0 : kEventAttached1, index, kEpollOut);
  watch_streams(index, 0);
}

void unblock(int index) {
  Container& c = containers[index];
  if (!c.blocked) return;
  c.blocked = false;
  c.pending = 0;
  c.deadline = c.reaped ? now_monotonic() + kOutputGrace : 0;
  watch_streams(index, kEpollIn);
}

void close_stream(int index, int stream) {
  Container& c = containers[index];
  log_flush(index, stream);
  if (c.terminal && !c.reaped && stream == 0) {
    unwatch(c.streams[0]);  // a terminal hangs up while nobody has it open; it may be opened again
    return;
  }
  close_and_clear(c.streams[stream]);
}

void kill_cgroup(const Container& c) {
  int dir = openat(AT_FDCWD, c.cgroup, O_PATH | O_DIRECTORY);
  if (dir < 0) return;
  int fd = openat(dir, "cgroup.kill", O_WRONLY);
  if (fd >= 0) write(fd, "1", 1);
  close(fd);
  close(dir);
}

void report_exit(int index) {
  Container& c = containers[index];
  for (int stream = 0; stream < 2; ++stream) {
    log_flush(index, stream);
    close_and_clear(c.streams[stream]);
  }
  detach(index);
  close_and_clear(c.input);
  close_and_clear(c.log);
  close_and_clear(c.pidfd);
  c.deadline = 0;
  c.state = kStateExited;
  log_release(index);
  write_state(index);
  send_container(-1, kFrameExited, index);
}

void finish_if_drained(int index) {
  Container& c = containers[index];
  if (!c.reaped || c.state == kStateExited || c.blocked) return;
  if (c.streams[0] < 0 && c.streams[1] < 0) {
    report_exit(index);
  } else if (c.deadline == 0) {
    c.deadline = now_monotonic() + kOutputGrace;
  }
}

void decode_status(uint32_t status, uint32_t& code, uint32_t& signal) {
  signal = status & 0x7f;
  code = signal != 0 ? 128 + signal : (status >> 8) & 0xff;
}

// The fields of frames 65 and 66: docs/formats/shim-plan.md.
void describe(Frame& frame, const Container& c) {
  frame.str(c.id);
  frame.u32(c.state);
  frame.u32(c.code);
  frame.u32(c.signal);
  frame.u64(c.started);
  frame.u64(c.finished);
  frame.u32(c.flags);
}

}  // namespace

void on_output(int index, int stream) {
  Container& c = containers[index];
  for (int round = 0; round < 8 && c.streams[stream] >= 0 && !c.blocked; ++round) {
    long got = read(c.streams[stream], input, sizeof input);
    if (got == -kEINTR) continue;
    if (got == -kEAGAIN) return;
    if (got <= 0) {  // the end; EIO on a terminal
      close_stream(index, stream);
      break;
    }
    log_output(index, stream, input, static_cast<size_t>(got));
    send_attached(index, stream, input, static_cast<size_t>(got));
  }
  finish_if_drained(index);
}

void on_reaped(int pid, uint32_t status) {
  for (int i = 0; i < kMaxContainers; ++i) {
    Container& c = containers[i];
    if (!c.used || c.reaped || c.pid != pid) continue;
    if (c.sync >= 0) on_container_sync(i);
    if (c.sync >= 0) {  // died before exec and without a word
      c.failed = true;
      reply(c.connection, c.sequence, kEINTR, kStepClone, 0, "the process ended during its setup");
    }
    c.reaped = true;
    if (c.failed) return forget(i);
    decode_status(status, c.code, c.signal);
    c.finished = now_wall();
    kill_cgroup(c);
    for (int stream = 0; stream < 2; ++stream) {
      // Not in one go: a slow attached client may block in between.
      for (int round = 0; round < 64 && c.streams[stream] >= 0 && !c.blocked; ++round) {
        long got = read(c.streams[stream], input, sizeof input);
        if (got == -kEINTR) continue;
        if (got == -kEAGAIN) break;
        if (got <= 0) {
          close_stream(i, stream);
          break;
        }
        log_output(i, stream, input, static_cast<size_t>(got));
        send_attached(i, stream, input, static_cast<size_t>(got));
      }
    }
    return finish_if_drained(i);
  }
  for (int i = 0; i < kMaxExecs; ++i) {
    Exec& e = execs[i];
    if (!e.used || e.pid != pid) continue;
    if (e.sync >= 0) on_exec_sync(i);
    if (e.sync >= 0) {
      close_and_clear(e.sync);
      e.failed = true;
      reply(e.connection, e.sequence, kEINTR, kStepClone, 0, "the process ended during its setup");
    }
    decode_status(status, e.code, e.signal);
    if (!e.failed) {
      Frame frame(kFrameExecExited, 0);
      frame.u32(e.number);
      frame.u32(e.code);
      frame.u32(e.signal);
      send_to_all(frame.bytes, frame.size);
    }
    close_and_clear(e.pidfd);
    close_and_clear(e.terminal);
    e.used = false;
    return;
  }
}

void on_attached_event(int index, int stream, uint32_t events) {
  Container& c = containers[index];
  if (c.attached[stream] < 0) return;
  if ((events & ~kEpollOut) != 0) {  // EPOLLERR: the reader is gone
    detach(index);
    return finish_if_drained(index);
  }
  if (!c.blocked || c.pending_to != stream) return;
  long put = write(c.attached[stream], unsent[index], c.pending);
  if (put == -kEAGAIN) return;
  if (put < 0) {
    detach(index);
    return finish_if_drained(index);
  }
  c.deadline = now_monotonic() + kAttachPatience;
  c.pending -= static_cast<uint32_t>(put);
  for (uint32_t i = 0; i < c.pending; ++i) unsent[index][i] = unsent[index][i + static_cast<uint32_t>(put)];
  if (c.pending > 0) return;
  rewatch(c.attached[stream], stream == 0 ? kEventAttached0 : kEventAttached1, index, 0);
  unblock(index);
}

void detach(int index) {
  Container& c = containers[index];
  bool was = c.attached[0] >= 0 || c.attached[1] >= 0;
  close_and_clear(c.attached[0]);
  close_and_clear(c.attached[1]);
  if (was && (c.flags & kStartStdinOnce) != 0) close_and_clear(c.input);
  unblock(index);
}

void check_deadlines(uint64_t now) {
  for (int i = 0; i < kMaxContainers; ++i) {
    Container& c = containers[i];
    if (!c.used || c.deadline == 0 || c.deadline > now) continue;
    c.deadline = 0;
    if (c.blocked) {
      detach(i);
      finish_if_drained(i);
    } else if (c.reaped && c.state != kStateExited) {
      report_exit(i);
    }
  }
}

uint64_t next_deadline() {
  uint64_t next = 0;
  for (const Container& c : containers) {
    if (c.used && c.deadline != 0 && (next == 0 || c.deadline < next)) next = c.deadline;
  }
  return next;
}

void forget(int index) {
  Container& c = containers[index];
  close(c.sync);
  close(c.pidfd);
  close(c.input);
  close(c.log);
  for (int fd : c.streams) close(fd);
  for (int fd : c.attached) close(fd);
  char name[kIdMax + 8];
  copy(name, sizeof name, c.id);
  copy(name + length(name), 7, ".state");
  call(__NR_unlinkat, kStateFd, name, 0);
  c.used = false;
  log_release(index);
}

void send_container(int connection, uint16_t type, int index) {
  const Container& c = containers[index];
  Frame frame(type, 0);
  describe(frame, c);
  if (connection < 0) return send_to_all(frame.bytes, frame.size);
  send_to(connection, frame.bytes, frame.size, &c.pidfd, c.pidfd >= 0 ? 1 : 0);
}

void write_state(int index) {
  const Container& c = containers[index];
  char name[kIdMax + 8];
  char fresh[kIdMax + 8];
  copy(name, sizeof name, c.id);
  copy(name + length(name), 7, ".state");
  copy(fresh, sizeof fresh, c.id);
  copy(fresh + length(fresh), 7, ".fresh");
  int fd = openat(kStateFd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
  if (fd < 0) return;
  Frame frame(kFrameContainer, 0);
  describe(frame, c);
  write(fd, frame.bytes, frame.size);
  close(fd);
  call(__NR_renameat2, kStateFd, fresh, kStateFd, name, 0);
}

}  // namespace brume::shim
