// System calls for the freestanding shim: each answers a value, or -errno. No C library is linked.
#pragma once

#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <stddef.h>
#include <stdint.h>

namespace brume::shim {

inline long syscall6(long n, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
#if defined(__x86_64__)
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 asm("x8") = n;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
#else
#error "the shim knows x86_64 and aarch64"
#endif
}

template <typename T>
long word(T value) {
  if constexpr (__is_same(T, decltype(nullptr))) {
    return 0;
  } else if constexpr (__is_pointer(T)) {
    return reinterpret_cast<long>(value);
  } else {
    return static_cast<long>(value);
  }
}
template <typename... Args>
long call(long number, Args... args) {
  return syscall6(number, word(args)...);
}

constexpr int kEPERM = 1, kENOENT = 2, kEINTR = 4, kEIO = 5, kEAGAIN = 11, kEACCES = 13, kEBUSY = 16, kEEXIST = 17,
              kENOTDIR = 20, kEINVAL = 22, kENAMETOOLONG = 36, kELOOP = 40, kEPROTO = 71, kEMSGSIZE = 90;

inline int close(int fd) { return fd < 0 ? 0 : static_cast<int>(call(__NR_close, fd)); }
inline void close_and_clear(int& fd) {
  close(fd);
  fd = -1;
}
inline int openat(int dir, const char* path, int flags, unsigned mode = 0) {
  return static_cast<int>(call(__NR_openat, dir, path, flags | O_CLOEXEC | O_LARGEFILE, mode));
}
inline long read(int fd, void* data, size_t size) { return call(__NR_read, fd, data, size); }
inline long write(int fd, const void* data, size_t size) { return call(__NR_write, fd, data, size); }
[[noreturn]] inline void exit_now(int code) {
  for (;;) call(__NR_exit_group, code);
}

inline size_t length(const char* text) {
  size_t n = 0;
  while (text[n] != 0) ++n;
  return n;
}
inline bool equal(const char* a, const char* b) {
  while (*a != 0 && *a == *b) ++a, ++b;
  return *a == *b;
}
// Copies with the NUL; false when it does not fit.
inline bool copy(char* to, size_t size, const char* from) {
  size_t n = length(from);
  if (n + 1 > size) return false;
  __builtin_memcpy(to, from, n + 1);
  return true;
}

// What statx(2) tells of a descriptor, cut to what is needed.
struct FileInfo {
  uint32_t mode = 0;
  uint32_t rdev_major = 0;
  uint32_t rdev_minor = 0;
};
int file_info(int dir, const char* path, int flags, FileInfo& info);
constexpr uint32_t kTypeMask = 0170000, kTypeDir = 0040000, kTypeChar = 0020000;

// Sends bytes and descriptors as one message; -errno on failure. Never blocks.
int send_frame(int socket, const void* data, size_t size, const int* fds, int fd_count);
// Receives one message; its size, 0 at the end of the stream, -errno. Received descriptors are close-on-exec.
long receive_frame(int socket, void* data, size_t size, int* fds, int fd_capacity, int& fd_count);

}  // namespace brume::shim
