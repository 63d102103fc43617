// Descriptors, processes, mounts, cgroups and inotify.
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <algorithm>
#include "brume/linux/cgroup.h"
#include "brume/linux/fd.h"
#include "brume/linux/inotify.h"
#include "brume/linux/mount.h"
#include "brume/linux/process.h"
#include "brume/linux/usage.h"
#include "catch.h"

namespace brume::linux_os {
namespace {

struct TempDir {
  std::string path;
  TempDir() {
    char name[] = "/tmp/brume-linux-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

}  // namespace

TEST_CASE("files are replaced whole and trees are removed without following links", "[linux]") {
  TempDir dir;
  CHECK(replace_file(dir.path + "/f", "one", 0600).has_value());
  CHECK(replace_file(dir.path + "/f", "two", 0600).has_value());
  CHECK(*read_file(dir.path + "/f") == "two");
  const auto mask = ::umask(0027);
  CHECK(replace_file(dir.path + "/open", "", 0666).has_value());
  ::umask(mask);
  struct stat status{};
  CHECK(::stat((dir.path + "/open").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0666);
  CHECK(read_file(dir.path + "/f", 2).error().code == Code::kInvalid);
  CHECK(read_file(dir.path + "/none").error().code == Code::kNotFound);
  CHECK(make_dirs(dir.path + "/a/b/c", 0700).has_value());
  CHECK(make_dirs(dir.path + "/a/b/c", 0700).has_value());
  CHECK(!make_dirs(dir.path + "/f/x", 0700).has_value());
  CHECK(::symlink(dir.path.c_str(), (dir.path + "/a/b/up").c_str()) == 0);
  CHECK(remove_tree(dir.path + "/a").has_value());
  CHECK(remove_tree(dir.path + "/a").has_value());
  CHECK(*read_file(dir.path + "/f") == "two");
}

TEST_CASE("a tree deeper than there are descriptors, with paths longer than PATH_MAX, is removed") {
  TempDir dir;
  constexpr int kDepth = 600;
  constexpr const char* kName = "a-directory-in-a-directory";
  Fd at(::open(dir.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < kDepth; ++i) {
    REQUIRE(::mkdirat(at.get(), kName, 0700) == 0);
    at = Fd(::openat(at.get(), kName, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (i % 100 == 0) REQUIRE(Fd(::openat(at.get(), "file", O_CREAT | O_CLOEXEC, 0600)).valid());
  }
  at.reset();
  struct rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  struct rlimit few = before;
  few.rlim_cur = std::min<rlim_t>(before.rlim_cur, 256);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  const auto removed = remove_tree(dir.path + "/" + kName);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(removed.has_value());
  CHECK(!std::filesystem::exists(dir.path + "/" + kName));
}

TEST_CASE("what is mounted in a tree outlives its removal") {
  if (::geteuid() != 0) return;
  TempDir dir;
  REQUIRE(make_dirs(dir.path + "/tree/mounted", 0700).has_value());
  REQUIRE(make_dirs(dir.path + "/data/deep", 0700).has_value());
  REQUIRE(replace_file(dir.path + "/data/deep/kept", "precious", 0600).has_value());
  const pid_t child = ::fork();
  if (child == 0) {  // mounts of its own
    const bool mounted =
        ::unshare(CLONE_NEWNS) == 0 && ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
        ::mount((dir.path + "/data").c_str(), (dir.path + "/tree/mounted").c_str(), nullptr, MS_BIND, nullptr) == 0;
    ::_exit(!mounted ? 2 : remove_tree(dir.path + "/tree").has_value() ? 1 : 0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(read_file(dir.path + "/data/deep/kept").value_or("") == "precious");
  CHECK(remove_tree(dir.path + "/tree").has_value());
}

TEST_CASE("a chroot is seen") {
  if (::geteuid() != 0) return;
  const auto here = is_chrooted();
  REQUIRE(here.has_value());
  CHECK_FALSE(*here);
  const auto there = run_in_child([] {
    if (::mkdir("/tmp/brume-chroot", 0700) != 0 && errno != EEXIST) return 2;
    if (::chroot("/tmp/brume-chroot") != 0 || ::chdir("/") != 0) return 2;
    const auto chrooted = is_chrooted();
    return chrooted ? static_cast<int>(*chrooted) : 2;
  });
  CHECK(there == 1);
  ::rmdir("/tmp/brume-chroot");
}

TEST_CASE("a probe in a child tells by its exit status, or that it cannot") {
  CHECK(run_in_child([] { return 0; }) == 0);
  CHECK(run_in_child([] { return EPERM; }) == EPERM);
  CHECK_FALSE(run_in_child([] { return ::raise(SIGKILL); }));
  const auto before = ::signal(SIGCHLD, SIG_IGN);
  CHECK_FALSE(run_in_child([] { return 0; }));
  ::signal(SIGCHLD, before);
}

TEST_CASE("a pidfd names one process", "[linux]") {
  auto child = clone_process({});
  REQUIRE(child.has_value());
  if (child->pid == 0) {
    ::pause();
    ::_exit(0);
  }
  CHECK(*pid_of(child->pidfd) == child->pid);
  CHECK(*wait_ended(child->pidfd, std::chrono::milliseconds(0)) == false);
  CHECK(send_signal(child->pidfd, SIGKILL).has_value());
  CHECK(*wait_ended(child->pidfd, std::chrono::milliseconds(2000)) == true);
  reap(child->pidfd);
  CHECK(send_signal(child->pidfd, SIGKILL).error().code == Code::kNotFound);
  CHECK(pid_of(child->pidfd).error().code == Code::kNotFound);
  CHECK(!open_pidfd(child->pid).has_value());
}

TEST_CASE("a sealed memfd cannot be changed", "[linux]") {
  auto fd = sealed_memfd("t", "bytes", false);
  REQUIRE(fd.has_value());
  CHECK(::pwrite(fd->get(), "x", 1, 0) == -1);
  CHECK(::ftruncate(fd->get(), 0) == -1);
}

TEST_CASE("capabilities by name", "[linux]") {
  CHECK(capability_number("CAP_CHOWN") == 0U);
  CHECK(capability_number("CAP_SYS_ADMIN") == 21U);
  CHECK(capability_number("CAP_CHECKPOINT_RESTORE") == 40U);
  CHECK(!capability_number("CHOWN").has_value());
  CHECK(last_capability() >= 40);
}

TEST_CASE("mountinfo", "[linux]") {
  auto mounts = parse_mountinfo(
      "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\nbroken line\n");
  REQUIRE(mounts.size() == 2);
  CHECK(mounts[0].mount_point == "/mnt 2");
  CHECK(mounts[0].root == "/mnt1");
  CHECK(mounts[0].optional == "master:1 shared:2");
  CHECK(mounts[0].fstype == "ext3");
  CHECK(mounts[0].super_options == "rw,errors=continue");
  CHECK(mounts[1].fstype == "cgroup2");
  auto own = read_mountinfo();
  REQUIRE(own.has_value());
  CHECK(!own->empty());
}

TEST_CASE("paths are resolved inside a root", "[linux]") {
  TempDir dir;
  CHECK(make_dirs(dir.path + "/root/etc", 0700).has_value());
  CHECK(::symlink("/etc", (dir.path + "/root/link").c_str()) == 0);
  CHECK(::symlink("../../outside", (dir.path + "/root/etc/up").c_str()) == 0);
  CHECK(replace_file(dir.path + "/outside", "x", 0600).has_value());
  CHECK(replace_file(dir.path + "/root/etc/f", "inside", 0600).has_value());
  auto root = open_fd(dir.path + "/root", O_PATH | O_DIRECTORY);
  REQUIRE(root.has_value());
  CHECK(open_in_root(*root, "/link/f", O_RDONLY).has_value());
  CHECK(open_in_root(*root, "/etc/up", O_RDONLY).error().code == Code::kNotFound);
  CHECK(open_in_root(*root, "../../../../etc/passwd", O_RDONLY).error().code == Code::kNotFound);
  CHECK(open_beneath(*root, "etc/f", O_RDONLY).has_value());
  CHECK(!open_beneath(*root, "etc/up", O_RDONLY).has_value());
  CHECK(!open_beneath(*root, "link/f", O_RDONLY).has_value());
}

TEST_CASE("a detached tmpfs is configured, attached and detached in a mount namespace of its own", "[linux]") {
  if (::geteuid() != 0) return;
  TempDir dir;
  CloneOptions options;
  options.flags = CLONE_NEWNS;
  auto child = clone_process(options);
  REQUIRE(child.has_value());
  if (child->pid == 0) {
    auto steps = [&]() -> Status {
      BRUME_TRY(Fd slash, clone_tree("/tmp", true));
      BRUME_CHECK(set_mount_attributes(slash, 0, 0, 1U << 18, true));
      BRUME_TRY(Fd context, fs_open("tmpfs"));
      BRUME_CHECK(fs_set(context, "mode", "0700"));
      BRUME_TRY(Fd mount, fs_mount(context, MOUNT_ATTR_NOSUID));
      BRUME_CHECK(attach_mount(mount, dir.path));
      BRUME_CHECK(set_mount_attributes(mount, MOUNT_ATTR_RDONLY, 0, 0, false));
      if (replace_file(dir.path + "/x", "x", 0600)) return fail(Code::kInternal, "written to a read-only mount");
      return detach_mount(dir.path);
    };
    ::_exit(steps() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child->pid, &status, 0);
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("a cgroup tree is made, filled, killed and removed", "[linux]") {
  auto mount = find_cgroup2_mount();
  if (::geteuid() != 0 || !mount) return;
  std::string name = "brume-linux-" + std::to_string(::getpid());
  auto leaf = Cgroup::create(*mount, name + "/a/b");
  REQUIRE((leaf ? "" : leaf.error().message) == "");
  CHECK(!Cgroup::create(*mount, name + "/../x").has_value());
  Cgroup top(*mount + "/" + name);
  CHECK(*top.wait_empty(std::chrono::milliseconds(0)));
  auto fd = leaf->open();
  REQUIRE(fd.has_value());
  CloneOptions options;
  options.cgroup_fd = fd->get();
  auto child = clone_process(options);
  REQUIRE(child.has_value());
  if (child->pid == 0) {
    ::pause();
    ::_exit(0);
  }
  CHECK(*leaf->processes() == std::vector<int>{child->pid});
  CHECK(leaf->counter("cgroup.events", "populated") == 1);
  CHECK(!*top.wait_empty(std::chrono::milliseconds(5)));
  CHECK(top.remove(std::chrono::milliseconds(5000)).has_value());
  CHECK(!top.exists());
  CHECK(top.remove(std::chrono::milliseconds(100)).has_value());
  ::waitpid(child->pid, nullptr, 0);
}

TEST_CASE("a tree is counted by its blocks, hard links once, without links and however deep", "[linux]") {
  TempDir dir;
  CHECK(tree_usage(dir.path + "/absent")->inodes == 0);
  const std::string bytes(100 << 10, 'x');
  REQUIRE(replace_file(dir.path + "/file", bytes, 0600).has_value());
  const auto one = tree_usage(dir.path);
  REQUIRE(one.has_value());
  CHECK(one->inodes == 2);
  CHECK(one->bytes >= 100 << 10);
  CHECK(one->bytes < 200 << 10);
  std::filesystem::create_hard_link(dir.path + "/file", dir.path + "/again");
  std::filesystem::create_symlink("/usr", dir.path + "/link");
  CHECK(tree_usage(dir.path)->inodes == 3);  // the symlink itself
  CHECK(tree_usage(dir.path)->bytes <= one->bytes + 4096);
  std::filesystem::resize_file(dir.path + "/file", 100 << 20);  // a hole
  CHECK(tree_usage(dir.path)->bytes <= one->bytes + 8192);

  constexpr int kDeep = 300;
  std::string deep = dir.path;
  for (int i = 0; i < kDeep; ++i) {
    deep += "/d";
    std::filesystem::create_directory(deep);
    std::ofstream(deep + "/f") << "x";
    for (const char* side : {"/a", "/b", "/z"}) std::filesystem::create_directory(deep + side);
  }
  CHECK(tree_usage(dir.path)->inodes == 3 + 5 * kDeep);
}

TEST_CASE("inotify tells of changes", "[linux]") {
  TempDir dir;
  auto inotify = Inotify::create();
  REQUIRE(inotify.has_value());
  auto watch = inotify->add(dir.path, IN_CREATE);
  REQUIRE(watch.has_value());
  CHECK(inotify->read_events()->empty());
  CHECK(replace_file(dir.path + "/f", "x", 0600).has_value());
  auto events = inotify->read_events();
  REQUIRE(events.has_value());
  REQUIRE(!events->empty());
  CHECK((*events)[0].watch == *watch);
  CHECK((*events)[0].name.substr(0, 2) == "f.");
  CHECK(!inotify->add(dir.path + "/none", IN_CREATE).has_value());
}

}  // namespace brume::linux_os
