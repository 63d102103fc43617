// Container output in the CRI log format: "<RFC 3339 time with nanoseconds> stdout|stderr F|P <line>".
#include "shim.h"

namespace brume::shim {
namespace {

char lines[kMaxContainers][2][kLogLineMax];
char out[2 * kLogLineMax + 512];
size_t out_size = 0;

void write_out(int fd) {
  size_t at = 0;
  while (at < out_size && fd >= 0) {
    long put = write(fd, out + at, out_size - at);
    if (put == -kEINTR) continue;
    if (put <= 0) break;  // a full disk loses lines; it never blocks a container
    at += static_cast<size_t>(put);
  }
  out_size = 0;
}

void two_digits(char* at, uint64_t value) {
  at[0] = static_cast<char>('0' + value / 10);
  at[1] = static_cast<char>('0' + value % 10);
}

// Days since 1970 to a date of the proleptic Gregorian calendar, by 400-year cycles that begin in March.
void append_time(uint64_t wall) {
  uint64_t seconds = wall / 1000000000U;
  uint64_t nanos = wall % 1000000000U;
  uint64_t days = seconds / 86400 + 719468;
  uint64_t cycle = days / 146097;
  uint64_t day_of_cycle = days % 146097;
  uint64_t year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36524 - day_of_cycle / 146096) / 365;
  uint64_t day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
  uint64_t month = (5 * day_of_year + 2) / 153;
  uint64_t day = day_of_year - (153 * month + 2) / 5 + 1;
  month = month < 10 ? month + 3 : month - 9;
  uint64_t year = year_of_cycle + cycle * 400 + (month <= 2 ? 1 : 0);
  char* at = out + out_size;
  two_digits(at, year / 100);
  two_digits(at + 2, year % 100);
  at[4] = '-';
  two_digits(at + 5, month);
  at[7] = '-';
  two_digits(at + 8, day);
  at[10] = 'T';
  uint64_t second_of_day = seconds % 86400;
  two_digits(at + 11, second_of_day / 3600);
  at[13] = ':';
  two_digits(at + 14, second_of_day / 60 % 60);
  at[16] = ':';
  two_digits(at + 17, second_of_day % 60);
  at[19] = '.';
  for (int i = 28; i >= 20; --i) {
    at[i] = static_cast<char>('0' + nanos % 10);
    nanos /= 10;
  }
  at[29] = 'Z';
  out_size += 30;
}

void append(const char* data, size_t size) {
  __builtin_memcpy(out + out_size, data, size);
  out_size += size;
}

void emit(int fd, int stream, bool full, const char* data, size_t size, uint64_t wall) {
  if (out_size + size + 64 > sizeof out) write_out(fd);
  append_time(wall);
  append(stream == 0 ? " stdout " : " stderr ", 8);
  append(full ? "F " : "P ", 2);
  append(data, size);
  append("\n", 1);
}

}  // namespace

int open_log(Container& c) {
  if (c.log_path[0] == 0) return -1;
  return openat(AT_FDCWD, c.log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, 0640);
}

void log_output(int index, int stream, const char* data, size_t size) {
  Container& c = containers[index];
  char* line = lines[index][stream];
  uint32_t& held = c.partial[stream];
  uint64_t wall = now_wall();
  while (size > 0) {
    size_t n = 0;
    size_t room = kLogLineMax - held;
    while (n < size && n < room && data[n] != '\n') ++n;
    bool ends = n < size && data[n] == '\n';
    if (!ends && held + n < kLogLineMax) {  // the rest of the line is still to come
      __builtin_memcpy(line + held, data, n);
      held += static_cast<uint32_t>(n);
      break;
    }
    if (held == 0) {
      emit(c.log, stream, ends, data, n, wall);
    } else {
      __builtin_memcpy(line + held, data, n);
      emit(c.log, stream, ends, line, held + n, wall);
      held = 0;
    }
    n += ends ? 1 : 0;
    data += n;
    size -= n;
  }
  write_out(c.log);
}

void log_flush(int index, int stream) {
  Container& c = containers[index];
  if (c.partial[stream] == 0) return;
  // No newline ended it, so it is partial, as containerd and CRI-O write it.
  emit(c.log, stream, false, lines[index][stream], c.partial[stream], now_wall());
  c.partial[stream] = 0;
  write_out(c.log);
}

void log_release(int index) {
  // Whole pages inside the buffers only; a neighbour may share the first and the last.
  auto start = (reinterpret_cast<uintptr_t>(lines[index]) + 4095) & ~static_cast<uintptr_t>(4095);
  auto end = (reinterpret_cast<uintptr_t>(lines[index]) + sizeof lines[index]) & ~static_cast<uintptr_t>(4095);
  if (end > start) call(__NR_madvise, start, end - start, 4 /* MADV_DONTNEED */);
}

}  // namespace brume::shim
