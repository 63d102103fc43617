#include "mount_options.h"

#include <linux/mount.h>

#include <string_view>

#include "brume/base/json.h"

namespace brume::runtime {
namespace {

constexpr std::uint32_t kPrivate = 1U << 18, kSlave = 1U << 19, kShared = 1U << 20, kUnbindable = 1U << 17;

struct Flag {
  std::string_view name;
  std::uint64_t set;
  std::uint64_t clear;
};

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

// The "r" forms (rro, rnosuid...) are the same names with an r before them (OCI runtime spec, config.md).
constexpr Flag kFlags[] = {
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"atime", 0, MOUNT_ATTR__ATIME},
    {"relatime", 0, MOUNT_ATTR__ATIME},
    {"norelatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"nostrictatime", 0, MOUNT_ATTR__ATIME},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
    {"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
};

struct Propagation {
  std::string_view name;
  std::uint32_t flag;
};
constexpr Propagation kPropagations[] = {
    {"private", kPrivate}, {"rprivate", kPrivate}, {"slave", kSlave},           {"rslave", kSlave},
    {"shared", kShared},   {"rshared", kShared},   {"unbindable", kUnbindable}, {"runbindable", kUnbindable},
};

// Options that mount(8) knows and the mount API has no word for, or that this runtime does not do.
constexpr std::string_view kRefused[] = {"remount", "sync",   "async", "dirsync", "mand",     "nomand",    "tmpcopyup",
                                         "idmap",   "ridmap", "acl",   "noacl",   "iversion", "noiversion"};

bool take_flag(std::string_view option, MountOptions& out) {
  for (const Flag& flag : kFlags) {
    if (option == flag.name) {
      out.set = (out.set & ~flag.clear) | flag.set;
      out.clear |= flag.clear;
      return true;
    }
    if (option.size() == flag.name.size() + 1 && option[0] == 'r' && option.substr(1) == flag.name) {
      out.set_all = (out.set_all & ~flag.clear) | flag.set;
      out.clear_all |= flag.clear;
      return true;
    }
  }
  return false;
}

bool take_propagation(std::string_view option, MountOptions& out) {
  for (const Propagation& item : kPropagations) {
    if (option != item.name) continue;
    out.propagation = item.flag;
    return true;
  }
  return false;
}

}  // namespace

Result<MountOptions> parse_mount_options(const Json& options, const std::string& where) {
  MountOptions out;
  if (options.is_null()) return out;
  if (!options.is_array()) return fail(Code::kInvalid, where + ".options: must be a list");
  for (const Json& item : options) {
    std::string_view option = str(item);
    if (option.empty() || option.find('\0') != option.npos) return fail(Code::kInvalid, where + ".options: bad option");
    if (option == "defaults") continue;
    if (option == "bind" || option == "rbind") {
      out.bind = true;
      out.recursive_bind = out.recursive_bind || option == "rbind";
      continue;
    }
    for (std::string_view refused : kRefused) {
      if (option == refused) {
        return fail(Code::kInvalid, where + ".options: " + std::string(option) + " is not supported");
      }
    }
    if (take_flag(option, out) || take_propagation(option, out)) continue;
    if (option.starts_with("x-subpath=")) {
      out.subpath = option.substr(10);
    } else {
      out.data.emplace_back(option);
    }
  }
  if (out.bind && !out.data.empty()) {
    return fail(Code::kInvalid, where + ".options: " + out.data.front() + " does not apply to a bind mount");
  }
  return out;
}

}  // namespace brume::runtime
