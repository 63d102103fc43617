#include "volumes/volumes.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "brume/api/quantity.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "brume/linux/fd.h"
#include "brume/linux/mount.h"
#include "volumes/local_path.h"
#include "volumes/payload.h"

namespace brume::node {

namespace {

using linux_os::Fd;

constexpr long kTmpfsMagic = 0x01021994;  // statfs(2)

Status own_directory(const std::string& path, std::optional<std::uint32_t> group, mode_t mode) {
  BRUME_CHECK(linux_os::make_dirs(path, 0755));
  BRUME_TRY(Fd fd, linux_os::open_fd(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (group) {
    if (::fchown(fd.get(), static_cast<uid_t>(-1), *group) != 0) return fail_errno(errno, "chown " + path);
    mode |= S_ISGID;
  }
  if (::fchmod(fd.get(), mode) != 0) return fail_errno(errno, "chmod " + path);
  return {};
}

Status check_host_path(const VolumePlan& plan) {
  const std::string& type = plan.host_type;
  struct stat st = {};
  bool there = ::stat(plan.path.c_str(), &st) == 0;
  // No type, no check; but what is missing becomes a directory, as container runtimes make the source of a bind mount.
  if (type.empty()) return there ? Status() : linux_os::make_dirs(plan.path, 0755);
  const auto bad = [&](const char* what) {
    return fail(Code::kInvalid, "hostPath type check failed: " + plan.path + " is not a " + what);
  };
  if (!there && type == "DirectoryOrCreate") {
    BRUME_CHECK(linux_os::make_dirs(plan.path, 0755));
    there = ::stat(plan.path.c_str(), &st) == 0;
  }
  if (!there && type == "FileOrCreate") {
    BRUME_TRY(Fd fd, linux_os::open_fd(plan.path, O_RDONLY | O_CREAT, 0644));
    there = ::stat(plan.path.c_str(), &st) == 0;
  }
  if (type == "Directory" || type == "DirectoryOrCreate")
    return there && S_ISDIR(st.st_mode) ? Status() : bad("directory");
  if (type == "File" || type == "FileOrCreate") return there && S_ISREG(st.st_mode) ? Status() : bad("file");
  if (type == "Socket") return there && S_ISSOCK(st.st_mode) ? Status() : bad("socket file");
  if (type == "CharDevice") return there && S_ISCHR(st.st_mode) ? Status() : bad("character device");
  if (type == "BlockDevice") return there && S_ISBLK(st.st_mode) ? Status() : bad("block device");
  return fail(Code::kInvalid, type + " is an invalid volume type");
}

int open_beneath(int dir, const char* path, std::uint64_t flags) {
  struct open_how how = {};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(::syscall(SYS_openat2, dir, path, &how, sizeof how));
}

// Opens root/sub_path; parts that do not exist are made as directories with the volume's permission bits.
Result<Fd> open_sub_path(const std::string& volume_path, const std::string& sub_path) {
  BRUME_TRY(Fd root, linux_os::open_fd(volume_path, O_PATH | O_DIRECTORY));
  struct stat st = {};
  if (::fstat(root.get(), &st) != 0) return fail_errno(errno, "stat " + volume_path);
  std::string so_far;
  for (const std::string_view part : split(sub_path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return fail(Code::kInvalid, "subPath must not contain '..': " + sub_path);
    const std::string parent = so_far.empty() ? "." : so_far;
    so_far += (so_far.empty() ? "" : "/") + std::string(part);
    Fd found(open_beneath(root.get(), so_far.c_str(), O_PATH));
    if (found.valid()) continue;
    if (errno != ENOENT) return fail_errno(errno, "subPath " + sub_path + " in " + volume_path);
    Fd dir(open_beneath(root.get(), parent.c_str(), O_PATH | O_DIRECTORY));
    if (!dir.valid()) return fail_errno(errno, "subPath " + sub_path + " in " + volume_path);
    const std::string name(part);
    if (::mkdirat(dir.get(), name.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno(errno, "mkdir " + so_far);
    Fd made(open_beneath(root.get(), so_far.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    if (!made.valid()) return fail_errno(errno, "open " + so_far);
    if (::fchown(made.get(), st.st_uid, st.st_gid) != 0) return fail_errno(errno, "chown " + so_far);
    if (::fchmod(made.get(), st.st_mode & 07777) != 0) return fail_errno(errno, "chmod " + so_far);
  }
  Fd found(open_beneath(root.get(), so_far.empty() ? "." : so_far.c_str(), O_PATH));
  if (!found.valid()) return fail_errno(errno, "subPath " + sub_path + " in " + volume_path);
  return found;
}

std::string volume_dir(const std::string& pod_dir, const char* plugin, std::string_view name) {
  return pod_dir + "/volumes/kubernetes.io~" + plugin + "/" + std::string(name);
}

// What the claim is bound to: a directory, a device or a host path.
Result<VolumePlan> plan_claim(VolumePlan plan, const Json& pod, const ClaimVolume& bound) {
  const Json& spec = at(bound.volume, "spec");
  plan.shown = bound.name();
  plan.read_only = bound.read_only;
  plan.on_mismatch = str(at(pod, "spec", "securityContext"), "fsGroupChangePolicy") == "OnRootMismatch";
  for (const Json& option : at(spec, "mountOptions")) plan.mount_options.emplace_back(str(option));
  const Json& host = at(spec, "hostPath");
  const Json& local = at(spec, "local");
  if (!host.is_object() && !local.is_object()) {
    std::string type = "unknown";
    for (const auto& [key, value] : spec.items()) {
      if (value.is_object() && key != "capacity" && key != "claimRef" && key != "nodeAffinity") type = key;
    }
    return fail(Code::kInvalid, "volume type " + type + " is not supported yet by this node");
  }
  plan.path = str(host.is_object() ? host : local, "path");
  if (bound.block()) {
    plan.kind = VolumePlan::Kind::kDevice;
    return plan;
  }
  if (host.is_object()) {
    if (!plan.mount_options.empty()) {
      return fail(Code::kInvalid, "Mount options are not supported for this volume type");
    }
    plan.kind = VolumePlan::Kind::kHostPath;
    plan.host_type = str(host, "type");
    return plan;
  }
  plan.kind = VolumePlan::Kind::kLocal;
  plan.storage_dir = bound.storage_dir;
  if (!plan.storage_dir.empty()) plan.path = plan.storage_dir + plan.path.substr(plan.path.rfind('/'));
  return plan;
}

}  // namespace

Result<VolumePlan> plan_volume(const Json& pod, const Json& volume, const std::string& pod_dir,
                               const ClaimVolumes& claims) {
  VolumePlan plan;
  plan.name = str(volume, "name");
  plan.shown = plan.name;
  if (const Json& group = at(pod, "spec", "securityContext", "fsGroup"); group.is_number()) {
    plan.group = group.get<std::uint32_t>();
  }
  if (volume.contains("persistentVolumeClaim") || volume.contains("ephemeral")) {
    const auto bound = claims.find(plan.name);
    if (bound == claims.end()) return fail(Code::kServiceUnavailable, "PVC is not bound");
    return plan_claim(std::move(plan), pod, bound->second);
  }
  if (const Json& host = at(volume, "hostPath"); host.is_object()) {
    plan.kind = VolumePlan::Kind::kHostPath;
    plan.path = str(host, "path");
    plan.host_type = str(host, "type");
    return plan;
  }
  if (volume.contains("emptyDir")) {
    const Json& empty = at(volume, "emptyDir");
    const std::string_view medium = str(empty, "medium");
    if (!medium.empty() && medium != "Memory")
      return fail(Code::kInvalid, "emptyDir medium " + std::string(medium) + " is not supported");
    plan.kind = medium == "Memory" ? VolumePlan::Kind::kMemory : VolumePlan::Kind::kDirectory;
    const Json& limit = at(empty, "sizeLimit");
    plan.size_limit = api::quantity_or_zero(limit.is_number() ? limit.dump() : std::string(str(limit))).value();
    plan.path = volume_dir(pod_dir, "empty-dir", plan.name);
    return plan;
  }
  if (has_payload(volume)) {
    plan.kind = VolumePlan::Kind::kFiles;
    const char* plugin = volume.contains("configMap")     ? "configmap"
                         : volume.contains("secret")      ? "secret"
                         : volume.contains("downwardAPI") ? "downward-api"
                                                          : "projected";
    plan.path = volume_dir(pod_dir, plugin, plan.name);
    return plan;
  }
  std::string type = "unknown";
  for (const auto& [key, value] : volume.items()) {
    if (key != "name") type = key;
  }
  return fail(Code::kInvalid, "volume type " + type + " is not supported yet by this node");
}

Result<std::optional<std::string>> read_in_volume(const std::string& volume_path, const std::string& path) {
  BRUME_TRY(Fd root, linux_os::open_fd(volume_path, O_PATH | O_DIRECTORY));
  // Neither a pipe nor a device that a container put there is waited for.
  auto file = linux_os::open_in_root(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!file && file.error().code == Code::kNotFound) return std::optional<std::string>();
  if (!file) return fail(std::move(file).error());
  struct stat st = {};
  if (::fstat(file->get(), &st) != 0) return fail_errno(errno, "stat " + path);
  if (!S_ISREG(st.st_mode)) return fail(Code::kInvalid, path + " is no regular file");
  BRUME_TRY(std::string text, linux_os::read_file("/proc/self/fd/" + std::to_string(file->get())));
  return std::optional(std::move(text));
}

Status mount_tmpfs(const std::string& path, std::int64_t size, unsigned mode) {
  BRUME_CHECK(linux_os::make_dirs(path, 0755));
  struct statfs fs = {};
  struct stat here = {};
  struct stat above = {};
  if (::statfs(path.c_str(), &fs) != 0) return fail_errno(errno, "statfs " + path);
  if (::stat(path.c_str(), &here) != 0 || ::stat((path + "/..").c_str(), &above) != 0)
    return fail_errno(errno, "stat " + path);
  if (fs.f_type == kTmpfsMagic && here.st_dev != above.st_dev) return {};
  char options[80];
  if (size > 0) {
    std::snprintf(options, sizeof options, "mode=%o,size=%lld", mode, static_cast<long long>(size));
  } else {
    std::snprintf(options, sizeof options, "mode=%o", mode);
  }
  if (::mount("tmpfs", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options) != 0)
    return fail_errno(errno, "mount tmpfs on " + path);
  return {};
}

namespace {

Status set_up_local(const VolumePlan& plan) {
  if (!plan.storage_dir.empty()) {
    BRUME_CHECK(make_local_path(plan.storage_dir, plan.path.substr(plan.path.rfind('/') + 1)));
  }
  struct stat st = {};
  if (::stat(plan.path.c_str(), &st) != 0) {
    if (errno == ENOENT) return fail(Code::kNotFound, "path \"" + plan.path + "\" does not exist");
    return fail_errno(errno, "stat " + plan.path);
  }
  if (S_ISBLK(st.st_mode)) {
    return fail(Code::kInvalid, "\"" + plan.path +
                                    "\" is a block device: this node mounts directories only; format and mount it, and "
                                    "let the volume name the mount point, or use volumeMode Block");
  }
  if (!S_ISDIR(st.st_mode)) return fail(Code::kInvalid, "only directory and block device are supported");
  if (!plan.group || plan.read_only || plan.shared) return {};
  return give_to_group(plan.path, *plan.group, plan.on_mismatch);
}

Status check_device(const VolumePlan& plan) {
  struct stat st = {};
  if (::stat(plan.path.c_str(), &st) != 0) return fail_errno(errno, "stat " + plan.path);
  if (S_ISBLK(st.st_mode)) return {};
  return fail(Code::kInvalid, "\"" + plan.path + "\" is no block device");
}

}  // namespace

std::optional<std::string> group_conflict(const VolumePlan& plan) {
  struct stat st = {};
  if (!plan.shared || !plan.group || ::stat(plan.path.c_str(), &st) != 0 || st.st_gid == *plan.group) return {};
  return "The requested fsGroup is " + std::to_string(*plan.group) + ", but the volume " + plan.shown + " has GID " +
         std::to_string(st.st_gid) + ". The volume may not be shareable.";
}

Status set_up_volume(const VolumePlan& plan) {
  switch (plan.kind) {
    case VolumePlan::Kind::kLocal: return set_up_local(plan);
    case VolumePlan::Kind::kDevice: return check_device(plan);
    case VolumePlan::Kind::kHostPath: return check_host_path(plan);
    case VolumePlan::Kind::kDirectory: return own_directory(plan.path, plan.group, 0777);
    case VolumePlan::Kind::kMemory:  // the mode of a tmpfs that is mounted without one
      BRUME_CHECK(mount_tmpfs(plan.path, plan.size_limit, 01777));
      return own_directory(plan.path, plan.group, 01777);
    case VolumePlan::Kind::kFiles: {
      auto written = write_payload(plan.path, plan.files, plan.group);
      if (!written) return fail(written.error());
      return {};
    }
  }
  return {};
}

Status bind_sub_path(const std::string& volume_path, const std::string& sub_path, const std::string& target) {
  BRUME_TRY(Fd source, open_sub_path(volume_path, sub_path));
  struct stat st = {};
  if (::fstat(source.get(), &st) != 0) return fail_errno(errno, "stat subPath " + sub_path);
  // A bind of an earlier attempt is taken away; the target may be the wrong kind of file now.
  ::umount2(target.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  if (S_ISDIR(st.st_mode)) {
    ::unlink(target.c_str());
    BRUME_CHECK(linux_os::make_dirs(target, 0750));
  } else {
    BRUME_CHECK(linux_os::make_dirs(target.substr(0, target.rfind('/')), 0750));
    ::rmdir(target.c_str());
    BRUME_TRY(Fd file, linux_os::open_fd(target, O_WRONLY | O_CREAT | O_NOFOLLOW, 0640));
  }
  const std::string by_fd = "/proc/self/fd/" + std::to_string(source.get());
  if (::mount(by_fd.c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) {
    return fail_errno(errno, "bind subPath " + sub_path + " on " + target);
  }
  return {};
}

Status remove_with_mounts(const std::string& dir) {
  BRUME_TRY(std::vector<linux_os::MountInfo> mounts, linux_os::read_mountinfo());
  const std::string prefix = dir + "/";
  // Later lines are mounted on top of earlier ones.
  std::reverse(mounts.begin(), mounts.end());
  for (const auto& mount : mounts) {
    if (!mount.mount_point.starts_with(prefix)) continue;
    BRUME_CHECK(linux_os::detach_mount(mount.mount_point));
  }
  return linux_os::remove_tree(dir);
}

}  // namespace brume::node
