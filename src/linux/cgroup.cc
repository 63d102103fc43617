#include "brume/linux/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <thread>

#include "brume/base/strings.h"
#include "brume/linux/mount.h"
#include "brume/linux/process.h"

namespace brume::linux_os {
namespace {

std::vector<std::string> subdirectories(const std::string& path) {
  std::vector<std::string> out;
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(path.c_str()), ::closedir);
  if (!dir) return out;
  while (dirent* entry = ::readdir(dir.get())) {
    std::string_view name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") out.push_back(path + "/" + std::string(name));
  }
  return out;
}

// Children first: the kernel removes only leaves.
Status remove_directories(const std::string& path) {
  for (const std::string& sub : subdirectories(path)) BRUME_CHECK(remove_directories(sub));
  if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return {};
  return fail_errno(errno, "rmdir " + path);
}

void signal_all(const std::string& path) {
  for (const int pid : Cgroup(path).all_processes()) {
    if (auto pidfd = open_pidfd(pid)) (void)send_signal(*pidfd, SIGKILL);
  }
}

}  // namespace

Result<std::string> find_cgroup2_mount() {
  BRUME_TRY(auto mounts, read_mountinfo());
  for (const MountInfo& mount : mounts) {
    if (mount.fstype == "cgroup2") return mount.mount_point;
  }
  return fail(Code::kNotFound, "no cgroup2 filesystem is mounted; mount one at /sys/fs/cgroup");
}

bool Cgroup::exists() const { return ::access(path_.c_str(), F_OK) == 0; }

Result<Cgroup> Cgroup::create(const std::string& root, std::string_view relative) {
  Cgroup at(root);
  for (std::string_view part : split(relative, '/')) {
    if (part.empty()) continue;
    if (part == "." || part == "..") return fail(Code::kInvalid, "bad cgroup path " + std::string(relative));
    at.enable_controllers();
    at = at.child(part);
    if (::mkdir(at.path().c_str(), 0755) != 0 && errno != EEXIST) return fail_errno(errno, "mkdir " + at.path());
  }
  return at;
}

std::set<std::string> Cgroup::controllers() const {
  std::set<std::string> out;
  if (auto text = read("cgroup.controllers")) {
    for (std::string_view name : split(trim(*text), ' ')) {
      if (!name.empty()) out.emplace(name);
    }
  }
  return out;
}

void Cgroup::enable_controllers() const {
  auto wanted = controllers();
  if (wanted.empty()) return;
  if (auto text = read("cgroup.subtree_control")) {
    for (std::string_view name : split(trim(*text), ' ')) wanted.erase(std::string(name));
  }
  // One at a time: a refused one must not take the others with it.
  for (const std::string& name : wanted) (void)write("cgroup.subtree_control", "+" + name);
}

Status Cgroup::write(std::string_view file, std::string_view value) const {
  return write_file(path_ + "/" + std::string(file), value);
}

Result<std::string> Cgroup::read(std::string_view file) const { return read_file(path_ + "/" + std::string(file)); }

Result<std::vector<int>> Cgroup::processes() const {
  BRUME_TRY(std::string text, read("cgroup.procs"));
  std::vector<int> out;
  for (std::string_view line : split(text, '\n')) {
    auto pid = parse_int(line);
    if (pid && *pid > 0) out.push_back(static_cast<int>(*pid));
  }
  return out;
}

std::vector<int> Cgroup::all_processes() const {
  std::vector<int> out = processes().value_or(std::vector<int>());
  for (const std::string& sub : subdirectories(path_)) {
    for (const int pid : Cgroup(sub).all_processes()) out.push_back(pid);
  }
  return out;
}

Result<Fd> Cgroup::open() const { return open_fd(path_, O_RDONLY | O_DIRECTORY); }

bool Cgroup::has(std::string_view file) const { return ::access((path_ + "/" + std::string(file)).c_str(), F_OK) == 0; }

std::uint64_t Cgroup::counter(std::string_view file, std::string_view key) const {
  auto text = read(file);
  if (!text) return 0;
  for (std::string_view line : split(*text, '\n')) {
    std::size_t space = line.find(' ');
    if (space == std::string_view::npos || line.substr(0, space) != key) continue;
    return static_cast<std::uint64_t>(parse_int(line.substr(space + 1)).value_or(0));
  }
  return 0;
}

Status Cgroup::kill() const {
  Status done = write("cgroup.kill", "1");
  if (done || !exists()) return {};
  if (done.error().code != Code::kNotFound) return done;
  for (int round = 0; round < 5; ++round) signal_all(path_);  // no cgroup.kill: forks may race with a round
  return {};
}

Result<bool> Cgroup::wait_empty(std::chrono::milliseconds timeout) const {
  auto until = std::chrono::steady_clock::now() + timeout;
  auto events = open_fd(path_ + "/cgroup.events", O_RDONLY);
  if (!events) {
    if (events.error().code == Code::kNotFound) return true;
    return std::unexpected(events.error());
  }
  for (;;) {
    if (counter("cgroup.events", "populated") == 0) return true;
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    if (left <= 0) return false;
    char byte;
    (void)!::pread(events->get(), &byte, 1, 0);
    if (counter("cgroup.events", "populated") == 0) return true;  // between the first look and arming the poll
    pollfd item{events->get(), POLLPRI, 0};
    // The notification is rate-limited by the kernel to one in 10 ms: look again soon in any case.
    (void)::poll(&item, 1, static_cast<int>(std::min<long long>(left, 5)));
  }
}

Status Cgroup::remove(std::chrono::milliseconds timeout) const {
  if (!exists()) return {};
  BRUME_CHECK(kill());
  BRUME_TRY(bool empty, wait_empty(timeout));
  if (!empty) return fail(Code::kTimeout, "processes in " + path_ + " did not end");
  Status removed;
  for (int attempt = 0; attempt < 20; ++attempt) {  // EBUSY while the last task is on its way out
    removed = remove_directories(path_);
    if (removed) return removed;
    std::this_thread::sleep_for(std::chrono::milliseconds(1 << std::min(attempt, 5)));
  }
  return removed;
}

}  // namespace brume::linux_os
