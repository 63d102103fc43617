// How an overlay of a container's layers is mounted: by the shim, and in the same way by `brume check` and the tests.
// Nothing of a C library is needed; the system calls come from the caller.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace brume::shim {

struct OverlayPaths {
  const char* upper;  // "": read-only
  const char* work;
  const char* target;
};

// One page of mount(2), and how many directories fit in it when they are named by descriptor.
constexpr size_t kOverlayOptions = 4096;
constexpr size_t kOverlayDescriptors = 256;

struct OverlayOptions {
  char text[kOverlayOptions] = {};
  size_t size = 0;
  bool full = false;
  void add(const char* part) {
    for (; *part != 0; ++part) {
      if (size + 1 >= sizeof text) full = true;
      if (!full) text[size++] = *part;
    }
    text[size] = 0;
  }
  void add_descriptor(const char* before, int fd) {
    char digits[12];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    do {
      digits[--at] = static_cast<char>('0' + fd % 10);
      fd /= 10;
    } while (fd > 0);
    add(before);
    add("/proc/self/fd/");
    add(digits + at);
  }
};

// One lower directory an option. The overlay's root, mounted at the target, or -errno.
template <typename Kernel, typename Lowers>
int mount_appended(Kernel& kernel, const OverlayPaths& paths, Lowers lowers, uint32_t count, const char*& detail) {
  detail = "overlay";
  const int context = kernel.open_context();
  if (context < 0) return context;
  int done = 0;
  for (uint32_t i = 0; done >= 0 && i < count; ++i) {
    detail = lowers.str();
    done = kernel.set(context, "lowerdir+", detail);
  }
  if (done >= 0 && paths.upper[0] != 0) {
    detail = paths.upper;
    done = kernel.set(context, "upperdir", paths.upper);
    if (done >= 0) {
      detail = paths.work;
      done = kernel.set(context, "workdir", paths.work);
    }
    // A container's writable layer never outlives a crash of the machine: no need to sync it on unmount.
    kernel.set(context, "volatile", nullptr);
  }
  if (done >= 0) {
    detail = "overlay";
    done = kernel.make(context);
  }
  kernel.close(context);
  if (done < 0) return done;
  detail = paths.target;
  const int moved = kernel.move(done, paths.target);
  if (moved >= 0) return done;  // the descriptor of a moved mount stays usable
  kernel.close(done);
  return moved;
}

// All directories in the options of mount(2), named by descriptor to stay short: fsconfig(2) takes no value above 255
// bytes.
template <typename Kernel, typename Lowers>
int mount_joined(Kernel& kernel, const OverlayPaths& paths, Lowers lowers, uint32_t count, const char*& detail) {
  static constinit OverlayOptions options;
  static int descriptors[kOverlayDescriptors];
  size_t open = 0;
  int done = 0;
  options.size = 0;
  options.full = false;
  const auto add = [&](const char* before, const char* path) {
    if (done < 0) return;
    detail = path;
    const int fd = kernel.open_directory(path);
    if (fd < 0) {
      done = fd;
      return;
    }
    if (open < kOverlayDescriptors) {
      descriptors[open++] = fd;
      options.add_descriptor(before, fd);
    } else {
      kernel.close(fd);
      options.full = true;
    }
  };
  for (uint32_t i = 0; i < count; ++i) add(i == 0 ? "lowerdir=" : ":", lowers.str());
  if (paths.upper[0] != 0) {
    add(",upperdir=", paths.upper);
    add(",workdir=", paths.work);
    options.add(",volatile");
  }
  if (done >= 0) {
    detail = options.full ? "too many layers for this kernel" : "overlay";
    constexpr int kTooBig = 7;  // E2BIG
    done = options.full ? -kTooBig : kernel.mount(paths.target, options.text);
  }
  while (open > 0) kernel.close(descriptors[--open]);
  if (done < 0) return done;
  detail = paths.target;
  return kernel.open_directory(paths.target);
}

// Mounts the overlay of `count` lower directories, highest first, at the target: its root's descriptor, or -errno and
// in `detail` of what. `joined` tells which way the kernel took.
//
// lowerdir+ came with Linux 6.7 and to some of its stable ancestors, so versions say nothing. Kernels without it,
// from 6.5 on, refuse the option with EINVAL; older ones keep any option and refuse the mount, with EINVAL too. So any
// EINVAL leads to the second way, which every kernel has; whether that was the reason, its own answer tells.
template <typename Kernel, typename Lowers>
int mount_overlay(Kernel& kernel, const OverlayPaths& paths, Lowers lowers, uint32_t count, bool& joined,
                  const char*& detail) {
  constexpr int kInvalid = 22;  // EINVAL
  const int root = mount_appended(kernel, paths, lowers, count, detail);
  joined = root == -kInvalid;
  return joined ? mount_joined(kernel, paths, lowers, count, detail) : root;
}

}  // namespace brume::shim
