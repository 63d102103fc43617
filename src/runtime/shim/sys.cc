// The pieces of a C runtime that the shim needs: memory functions, message passing, entry point.
#include "sys.h"

#include <linux/socket.h>
#include <linux/stat.h>

extern "C" {
void* memcpy(void* to, const void* from, size_t n) {
  char* t = static_cast<char*>(to);
  const char* f = static_cast<const char*>(from);
  for (size_t i = 0; i < n; ++i) t[i] = f[i];
  return to;
}
void* memmove(void* to, const void* from, size_t n) {
  char* t = static_cast<char*>(to);
  const char* f = static_cast<const char*>(from);
  if (t < f) return memcpy(to, from, n);
  for (size_t i = n; i > 0; --i) t[i - 1] = f[i - 1];
  return to;
}
void* memset(void* to, int value, size_t n) {
  char* t = static_cast<char*>(to);
  for (size_t i = 0; i < n; ++i) t[i] = static_cast<char>(value);
  return to;
}
}

#if defined(__x86_64__)
asm(".globl _start\n_start:\n  xor %ebp, %ebp\n  mov %rsp, %rdi\n  and $-16, %rsp\n  call shim_main\n  hlt\n");
#elif defined(__aarch64__)
asm(".globl _start\n_start:\n  mov x29, #0\n  mov x30, #0\n  mov x0, sp\n  bl shim_main\n  brk #0\n");
#endif

namespace brume::shim {
namespace {

// The kernel's own layout of msghdr and cmsghdr on 64-bit machines.
struct Vector {
  void* data;
  size_t size;
};
struct Message {
  void* name;
  int name_size;
  int pad1;
  Vector* parts;
  size_t part_count;
  void* control;
  size_t control_size;
  int flags;
  int pad2;
};
struct Control {
  size_t size;
  int level;
  int type;
};
constexpr int kSolSocket = 1, kScmRights = 1;
constexpr int kMsgDontWait = 0x40, kMsgNoSignal = 0x4000, kMsgCloexec = 0x40000000, kMsgTrunc = 0x20, kMsgCtrunc = 8;
constexpr int kMaxFds = 8;

}  // namespace

int file_info(int dir, const char* path, int flags, FileInfo& info) {
  struct statx data;
  long done = call(__NR_statx, dir, path, flags, STATX_TYPE | STATX_MODE, &data);
  if (done < 0) return static_cast<int>(done);
  info = {data.stx_mode, data.stx_rdev_major, data.stx_rdev_minor};
  return 0;
}

int send_frame(int socket, const void* data, size_t size, const int* fds, int fd_count) {
  alignas(8) char control[sizeof(Control) + sizeof(int) * kMaxFds];
  Vector part{const_cast<void*>(data), size};
  Message message{};
  message.parts = &part;
  message.part_count = 1;
  if (fd_count > 0) {
    Control header{sizeof(Control) + sizeof(int) * static_cast<size_t>(fd_count), kSolSocket, kScmRights};
    memcpy(control, &header, sizeof header);
    memcpy(control + sizeof header, fds, sizeof(int) * static_cast<size_t>(fd_count));
    message.control = control;
    message.control_size = (header.size + 7) & ~static_cast<size_t>(7);
    if (message.control_size > sizeof control) message.control_size = header.size;
  }
  long done;
  do {
    done = call(__NR_sendmsg, socket, &message, kMsgDontWait | kMsgNoSignal);
  } while (done == -kEINTR);
  return done < 0 ? static_cast<int>(done) : 0;
}

long receive_frame(int socket, void* data, size_t size, int* fds, int fd_capacity, int& fd_count) {
  alignas(8) char control[sizeof(Control) + sizeof(int) * kMaxFds];
  Vector part{data, size};
  Message message{};
  message.parts = &part;
  message.part_count = 1;
  message.control = control;
  message.control_size = sizeof control;
  fd_count = 0;
  long got;
  do {
    got = call(__NR_recvmsg, socket, &message, kMsgDontWait | kMsgCloexec);
  } while (got == -kEINTR);
  if (got < 0) return got;
  if (message.control_size >= sizeof(Control)) {
    Control header;
    memcpy(&header, control, sizeof header);
    if (header.level == kSolSocket && header.type == kScmRights) {
      int count = static_cast<int>((header.size - sizeof header) / sizeof(int));
      for (int i = 0; i < count; ++i) {
        int fd;
        memcpy(&fd, control + sizeof header + sizeof(int) * static_cast<size_t>(i), sizeof fd);
        if (fd_count < fd_capacity) {
          fds[fd_count++] = fd;
        } else {
          close(fd);
        }
      }
    }
  }
  if ((message.flags & (kMsgTrunc | kMsgCtrunc)) != 0) {
    for (int i = 0; i < fd_count; ++i) close(fds[i]);
    fd_count = 0;
    return -kEMSGSIZE;
  }
  return got;
}

}  // namespace brume::shim
