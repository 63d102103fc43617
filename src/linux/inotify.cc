#include "brume/linux/inotify.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace brume::linux_os {

Result<Inotify> Inotify::create() {
  Fd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!fd.valid()) return fail_errno(errno, "inotify_init1");
  return Inotify(std::move(fd));
}

Result<int> Inotify::add(const std::string& path, std::uint32_t mask) {
  int watch = ::inotify_add_watch(fd_.get(), path.c_str(), mask);
  if (watch < 0) return fail_errno(errno, "inotify_add_watch " + path);
  return watch;
}

void Inotify::remove(int watch) { ::inotify_rm_watch(fd_.get(), watch); }

Result<std::vector<Inotify::Event>> Inotify::read_events() {
  std::vector<Event> events;
  alignas(inotify_event) char buffer[8192];
  for (;;) {
    ssize_t got = ::read(fd_.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return events;
    if (got < 0) return fail_errno(errno, "read inotify");
    for (ssize_t at = 0; at < got;) {
      inotify_event header;
      std::memcpy(&header, buffer + at, sizeof header);
      const char* name = buffer + at + sizeof header;
      events.push_back({header.wd, header.mask, header.len > 0 ? std::string(name) : std::string()});
      at += static_cast<ssize_t>(sizeof header + header.len);
    }
  }
}

}  // namespace brume::linux_os
