// The shim's state: one process a pod, one thread, everything in static memory.
#pragma once

#include <stdint.h>

#include "child.h"
#include "plan.h"
#include "sys.h"

namespace brume::shim {

constexpr int kMaxContainers = 128;
constexpr int kMaxExecs = 128;
constexpr int kMaxConnections = 8;
constexpr int kListenFd = 3;  // given by the daemon
constexpr int kStateFd = 4;   // the pod's state directory
constexpr uint32_t kLogLineMax = 16384;

struct Container {
  bool used;
  bool failed;  // the launch failed; the record goes when the process was reaped
  bool reaped;
  bool blocked;  // an attached client is slow: output is not read for a while
  char id[kIdMax + 1];
  char log_path[kPathMax + 1];
  char cgroup[kPathMax + 1];
  uint32_t state;
  uint32_t flags;
  uint32_t code;
  uint32_t signal;
  uint64_t started;
  uint64_t finished;
  uint64_t deadline;  // when to stop waiting, of blocked or of output after the end; monotonic ns
  int pid;
  int pidfd;
  int sync;
  int streams[2];  // stdout (or the terminal), stderr
  int input;       // write end of stdin
  int log;
  int attached[2];
  uint32_t pending;  // bytes that the attached client has not taken
  int pending_to;
  uint32_t partial[2];  // bytes of an unfinished line
  bool terminal;
  int connection;  // who waits for the start
  uint32_t sequence;
};

struct Exec {
  bool used;
  bool failed;
  bool running;
  bool ended;
  uint32_t number;
  uint32_t code;
  uint32_t signal;
  int container;
  int pid;
  int pidfd;
  int sync;
  int terminal;
  int connection;
  uint32_t sequence;
};

enum EventKind : uint32_t {
  kEventListen,
  kEventSignal,
  kEventConnection,
  kEventSync,
  kEventStdout,
  kEventStderr,
  kEventExecSync,
  kEventAttached0,
  kEventAttached1,
};

extern Container containers[kMaxContainers];
extern Exec execs[kMaxExecs];

// ---- main.cc
int watch(int fd, EventKind kind, int index, uint32_t events);
void rewatch(int fd, EventKind kind, int index, uint32_t events);
void unwatch(int fd);
uint64_t now_wall();
uint64_t now_monotonic();
void send_to(int connection, const void* data, size_t size, const int* fds, int fd_count);
void send_to_all(const void* data, size_t size);
void reply(int connection, uint32_t sequence, int error, uint32_t step, uint32_t value, const char* detail,
           const int* fds = nullptr, int fd_count = 0, uint64_t time = 0);

// ---- log.cc
int open_log(Container& c);
void log_output(int index, int stream, const char* data, size_t size);
void log_flush(int index, int stream);  // writes an unfinished last line
void log_release(int index);            // gives the line buffers' memory back

// ---- launch.cc
void start_container(int connection, uint32_t sequence, Cursor frame, int* fds, int fd_count);
void start_exec(int connection, uint32_t sequence, Cursor frame, int* fds, int fd_count);
void on_container_sync(int index);
void on_exec_sync(int index);
int make_pod_init();  // the first process of a PID namespace that the pod's containers share
int open_own_namespaces();
int find_container(const char* id);

// ---- container.cc
void on_output(int index, int stream);
void on_reaped(int pid, uint32_t status);
void on_attached_event(int index, int stream, uint32_t events);
void detach(int index);
void check_deadlines(uint64_t now);
uint64_t next_deadline();
void forget(int index);
void send_container(int connection, uint16_t type, int index);
void write_state(int index);

// Writes a frame's fields.
struct Frame {
  alignas(8) uint8_t bytes[kFrameMax];
  size_t size = 0;
  Frame(uint16_t type, uint32_t sequence) {
    FrameHeader header{type, 1, sequence};
    __builtin_memcpy(bytes, &header, sizeof header);
    size = sizeof header;
  }
  void u32(uint32_t value) {
    if (size + 4 > sizeof bytes) return;
    __builtin_memcpy(bytes + size, &value, 4);
    size += 4;
  }
  void u64(uint64_t value) {
    u32(static_cast<uint32_t>(value));
    u32(static_cast<uint32_t>(value >> 32));
  }
  void str(const char* text) {
    size_t n = length(text) + 1;
    size_t padded = (n + 3) & ~static_cast<size_t>(3);
    if (size + 4 + padded > sizeof bytes) return;
    u32(static_cast<uint32_t>(n));
    __builtin_memcpy(bytes + size, text, n);
    for (size_t i = n; i < padded; ++i) bytes[size + i] = 0;
    size += padded;
  }
};

}  // namespace brume::shim
