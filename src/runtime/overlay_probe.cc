#include <sched.h>
#include <sys/stat.h>

#include <array>

#include "brume/linux/process.h"
#include "brume/runtime/overlay.h"
#include "overlay_calls.h"
#include "shim/overlay.h"

namespace brume::runtime {

namespace {

// What the child tells by its exit status; anything else is an errno.
constexpr int kByAppending = 0;
constexpr int kByJoining = 255;

struct Layers {
  int next = 0;
  const char* str() {
    static constexpr std::array<const char*, 2> kPaths{"/tmp/upper-layer", "/tmp/lower-layer"};
    return kPaths[static_cast<std::size_t>(next++)];
  }
};

// For run_in_child().
int mount_one() {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return errno;
  if (::mount("tmpfs", "/tmp", "tmpfs", 0, nullptr) != 0) return errno;
  for (const char* dir : {"/tmp/upper-layer", "/tmp/lower-layer", "/tmp/upper", "/tmp/work", "/tmp/root"}) {
    if (::mkdir(dir, 0700) != 0) return errno;
  }
  if (::mkdir("/tmp/lower-layer/file", 0700) != 0) return errno;
  OverlayCalls kernel;
  bool joined = false;
  const char* detail = nullptr;
  const int root = shim::mount_overlay(kernel, {"/tmp/upper", "/tmp/work", "/tmp/root"}, Layers{}, 2, joined, detail);
  if (root < 0) return -root;
  if (::unlinkat(root, "file", AT_REMOVEDIR) != 0 || ::mkdirat(root, "file", 0700) != 0) return errno;
  return joined ? kByJoining : kByAppending;
}

}  // namespace

Result<OverlayWay> probe_overlay() {
  BRUME_TRY(const int told, linux_os::run_in_child(mount_one));
  if (told == kByAppending) return OverlayWay::kAppended;
  if (told == kByJoining) return OverlayWay::kJoined;
  return fail_errno(told, "mount an overlay");
}

}  // namespace brume::runtime
