// The two ways to mount an overlay, on whichever kernel runs the test: a kernel without lowerdir+ is played by what it
// answers.
#include "shim/overlay.h"

#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <string>
#include <string_view>
#include <vector>

#include "brume/runtime/overlay.h"
#include "catch.h"
#include "overlay_calls.h"

namespace brume::runtime {
namespace {

enum class Plays { kThisKernel, kRefusesOption, kRefusesMount };

/// Linux 6.5 refuses lowerdir+ at once, with EINVAL; older ones take it in and refuse the mount, which here lacks its
/// lower directories for the same reason.
struct OldKernel : OverlayCalls {
  Plays plays;
  explicit OldKernel(Plays p) : plays(p) {}
  int set(int context, const char* key, const char* value) const {
    if (std::string_view(key) == "lowerdir+" && plays == Plays::kRefusesOption) return -EINVAL;
    if (std::string_view(key) == "lowerdir+" && plays == Plays::kRefusesMount) return 0;
    return OverlayCalls::set(context, key, value);
  }
};

struct Layers {
  const std::vector<std::string>* paths;
  std::size_t next = 0;
  const char* str() { return (*paths)[next++].c_str(); }
};

struct Outcome {
  int error = 0;
  char detail[64] = {};
  bool joined = false;
  bool whole = false;     // each layer's own file is seen
  bool highest = false;   // a file that all layers have is the highest layer's
  bool writable = false;  // files go and come
};

void touch(const std::string& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  (void)!::write(fd, text.data(), text.size());
  ::close(fd);
}

Outcome mount_layers(Plays plays, int count, bool writable) {
  Outcome out;
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", "/tmp", "tmpfs", 0, nullptr) != 0) {
    out.error = -errno;
    return out;
  }
  std::vector<std::string> layers;
  for (int i = 0; i < count; ++i) {
    layers.push_back("/tmp/layer " + std::to_string(i) + ",with:odd\\characters");
    ::mkdir(layers.back().c_str(), 0700);
    touch(layers.back() + "/own-" + std::to_string(i), "");
    touch(layers.back() + "/same", std::to_string(i));
  }
  for (const char* dir : {"/tmp/upper", "/tmp/work", "/tmp/root"}) ::mkdir(dir, 0700);
  OldKernel kernel(plays);
  const char* detail = "";
  const shim::OverlayPaths paths{writable ? "/tmp/upper" : "", writable ? "/tmp/work" : "", "/tmp/root"};
  const int root =
      shim::mount_overlay(kernel, paths, Layers{&layers}, static_cast<std::uint32_t>(count), out.joined, detail);
  std::string_view(detail).copy(out.detail, sizeof out.detail - 1);
  if (root < 0) {
    out.error = root;
    return out;
  }
  out.whole = true;
  for (int i = 0; i < count; ++i) {
    out.whole = out.whole && ::faccessat(root, ("own-" + std::to_string(i)).c_str(), F_OK, 0) == 0 &&
                ::access(("/tmp/root/own-" + std::to_string(i)).c_str(), F_OK) == 0;
  }
  char text[8] = {};
  const int same = ::openat(root, "same", O_RDONLY | O_CLOEXEC);
  out.highest = ::read(same, text, sizeof text) == 1 && text[0] == '0';
  out.writable = ::unlinkat(root, "own-0", 0) == 0 && ::faccessat(root, "own-0", F_OK, 0) != 0 &&
                 ::mkdirat(root, "new", 0700) == 0;
  return out;
}

/// mount_layers() in a child, whose mounts vanish with it.
Outcome in_child(Plays plays, int count, bool writable = true) {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const Outcome out = mount_layers(plays, count, writable);
    (void)!::write(ends[1], &out, sizeof out);
    ::_exit(0);
  }
  ::close(ends[1]);
  Outcome out;
  CHECK(::read(ends[0], &out, sizeof out) == sizeof out);
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return out;
}

}  // namespace

TEST_CASE("an overlay of many layers is mounted on kernels with lowerdir+ and without", "[overlay]") {
  if (::geteuid() != 0) return;
  for (const Plays plays : {Plays::kThisKernel, Plays::kRefusesOption, Plays::kRefusesMount}) {
    for (const int count : {1, 2, 16, 130}) {
      CAPTURE(static_cast<int>(plays), count);
      const Outcome out = in_child(plays, count);
      CAPTURE(out.detail);
      CHECK(out.error == 0);
      CHECK(out.whole);
      CHECK(out.highest);
      CHECK(out.writable);
      if (plays != Plays::kThisKernel) CHECK(out.joined);
    }
    const Outcome read_only = in_child(plays, 3, false);
    CHECK(read_only.error == 0);
    CHECK(read_only.whole);
    CHECK_FALSE(read_only.writable);
  }
}

TEST_CASE("an overlay that cannot be mounted says of what", "[overlay]") {
  if (::geteuid() != 0) return;
  const Outcome many = in_child(Plays::kRefusesOption, 400);
  CHECK(many.error == -E2BIG);
  CHECK(std::string(many.detail) == "too many layers for this kernel");
}

TEST_CASE("the probe for overlays works where pods run", "[overlay]") {
  if (::geteuid() != 0) return;
  const auto way = probe_overlay();
  REQUIRE((way ? "" : way.error().message) == "");
}

}  // namespace brume::runtime
