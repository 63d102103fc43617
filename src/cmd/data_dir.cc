#include "cmd/data_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "brume/base/strings.h"

namespace brume::cmd {

Result<linux_os::Fd> lock_data_dir(const std::string& path) {
  BRUME_CHECK(linux_os::make_dirs(path, 0700));
  const std::string file = path + "/lock";
  auto fd = linux_os::open_fd(file, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  const bool writable = fd.has_value();
  if (!writable) {
    // A lock needs no file that is open for writing: a disk that is read-only keeps no server from showing what is
    // there.
    auto existing = linux_os::open_fd(file, O_RDONLY | O_NOFOLLOW);
    if (!existing) return fail(wrap(fd.error(), "--data-dir"));
    fd = std::move(existing);
  }
  if (::flock(fd->get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail_errno(errno, file);
    // On a read-only disk it names an earlier holder; on a disk that was full then it is empty.
    const std::string owner(writable ? trim(linux_os::read_file(file).value_or("")) : "");
    return fail(Code::kConflict, "data dir " + path + " is in use by another brume (pid " +
                                     (owner.empty() ? "unknown" : owner) + "); stop it, or give --data-dir");
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  // For the message above only: a disk that is full keeps no server from starting.
  if (::ftruncate(fd->get(), 0) == 0) (void)!::write(fd->get(), pid.data(), pid.size());
  return fd;
}

}  // namespace brume::cmd
