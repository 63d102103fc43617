#include "spec/users.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>

#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "pod/pod.h"

namespace brume::node {

namespace {

int open_in_root(int dir, const std::string& path, std::uint64_t flags) {
  struct open_how how = {};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(::syscall(SYS_openat2, dir, path.c_str(), &how, sizeof how));
}

// Whether the directory hides what lower layers have below it (overlayfs documentation, "opaque").
bool is_opaque(int layer, const std::string& dir) {
  const int fd = open_in_root(layer, dir, O_RDONLY | O_DIRECTORY);
  if (fd < 0) return false;
  char value = 0;
  const bool opaque = (::fgetxattr(fd, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y') ||
                      (::fgetxattr(fd, "user.overlay.opaque", &value, 1) == 1 && value == 'y');
  ::close(fd);
  return opaque;
}

std::optional<std::string> read_all(int fd, std::size_t limit) {
  std::string text;
  char buffer[16384];
  while (true) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0) return std::nullopt;
    if (n == 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > limit) return std::nullopt;
  }
}

struct PasswdEntry {
  std::string name;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string home;
};

std::optional<std::uint32_t> parse_id(std::string_view text) {
  const auto value = parse_int(text);
  if (!value || *value < 0 || *value > 0xfffffffeLL) return std::nullopt;
  return static_cast<std::uint32_t>(*value);
}

std::optional<PasswdEntry> find_passwd(std::string_view passwd, std::string_view name,
                                       std::optional<std::uint32_t> uid) {
  for (const std::string_view line : split(passwd, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() < 4) continue;
    const auto line_uid = parse_id(fields[2]);
    const auto line_gid = parse_id(fields[3]);
    if (!line_uid || !line_gid) continue;
    if ((!name.empty() && fields[0] == name) || (uid && *line_uid == *uid)) {
      return PasswdEntry{std::string(fields[0]), *line_uid, *line_gid, fields.size() > 5 ? std::string(fields[5]) : ""};
    }
  }
  return std::nullopt;
}

std::optional<std::uint32_t> find_group(std::string_view group, std::string_view name) {
  for (const std::string_view line : split(group, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() >= 3 && fields[0] == name) return parse_id(fields[2]);
  }
  return std::nullopt;
}

void add_member_groups(std::vector<std::uint32_t>& out, std::string_view group, std::string_view user) {
  for (const std::string_view line : split(group, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() < 4) continue;
    for (const std::string_view member : split(fields[3], ',')) {
      if (member != user) continue;
      if (auto gid = parse_id(fields[2])) out.push_back(*gid);
    }
  }
}

const Json& either(const Json& container_context, const Json& pod_context, std::string_view key) {
  const Json& own = at(container_context, key);
  return own.is_null() ? at(pod_context, key) : own;
}

std::string quoted_pod(const Json& pod, const Json& container) {
  return " (pod: \"" + pod_text(pod) + "\", container: " + std::string(str(container, "name")) + ")";
}

Status check_non_root(const Json& pod, const Json& container, const Json& run_as_user, std::string_view image_user) {
  if (run_as_user.is_number()) {
    if (run_as_user.get<std::int64_t>() == 0) {
      return fail(Code::kInvalid, "container's runAsUser breaks non-root policy" + quoted_pod(pod, container));
    }
    return {};
  }
  const std::string_view user = image_user.substr(0, image_user.find(':'));
  const auto uid = parse_id(user);
  if (user.empty() || (uid && *uid == 0)) {
    return fail(Code::kInvalid, "container has runAsNonRoot and image will run as root" + quoted_pod(pod, container));
  }
  if (!uid) {
    return fail(Code::kInvalid, "container has runAsNonRoot and image has non-numeric user (" + std::string(user) +
                                    "), cannot verify user is non-root" + quoted_pod(pod, container));
  }
  return {};
}

}  // namespace

std::optional<std::string> read_image_file(const std::vector<std::string>& layers, std::string_view path,
                                           std::size_t limit) {
  const std::string relative(path.starts_with('/') ? path.substr(1) : path);
  const auto slash = relative.rfind('/');
  for (auto it = layers.rbegin(); it != layers.rend(); ++it) {
    const int layer = ::open(it->c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (layer < 0) continue;
    const int fd = open_in_root(layer, relative, O_PATH);
    struct stat st = {};
    std::optional<std::string> text;
    bool decided = false;
    if (fd >= 0 && ::fstat(fd, &st) == 0) {
      decided = true;  // a whiteout is a character device 0:0 and decides too: the file is gone
      if (S_ISREG(st.st_mode)) {
        const int readable = open_in_root(layer, relative, O_RDONLY | O_NONBLOCK | O_NOCTTY);
        struct stat again = {};
        if (readable >= 0 && ::fstat(readable, &again) == 0 && S_ISREG(again.st_mode)) text = read_all(readable, limit);
        if (readable >= 0) ::close(readable);
      }
    } else if (slash != std::string::npos && is_opaque(layer, relative.substr(0, slash))) {
      decided = true;
    }
    if (fd >= 0) ::close(fd);
    ::close(layer);
    if (decided) return text;
  }
  return std::nullopt;
}

UserFiles read_user_files(const std::vector<std::string>& layers) {
  return {read_image_file(layers, "etc/passwd").value_or(""), read_image_file(layers, "etc/group").value_or("")};
}

std::shared_ptr<const UserFiles> UserFilesCache::find(const std::string& image) const {
  const auto it = files_.find(image);
  return it == files_.end() ? nullptr : it->second;
}

std::shared_ptr<const UserFiles> UserFilesCache::add(const std::string& image, UserFiles files) {
  if (files_.size() >= kMost) files_.clear();
  return files_[image] = std::make_shared<const UserFiles>(std::move(files));
}

Result<ProcessUser> resolve_user(const Json& pod, const Json& container, std::string_view image_user,
                                 const UserFiles& files) {
  const Json& pod_context = at(pod, "spec", "securityContext");
  const Json& own = at(container, "securityContext");
  const Json& run_as_user = either(own, pod_context, "runAsUser");
  const Json& run_as_group = either(own, pod_context, "runAsGroup");
  const Json& non_root = either(own, pod_context, "runAsNonRoot");
  if (non_root.is_boolean() && non_root.get<bool>()) {
    BRUME_CHECK(check_non_root(pod, container, run_as_user, image_user));
  }
  std::string user(run_as_user.is_number() ? std::to_string(run_as_user.get<std::int64_t>())
                                           : image_user.substr(0, image_user.find(':')));
  std::string group;
  if (!run_as_user.is_number() && image_user.find(':') != std::string_view::npos) {
    group = image_user.substr(image_user.find(':') + 1);
  }
  if (user.empty()) user = "0";
  ProcessUser out;
  out.home = "/";
  const auto uid = parse_id(user);
  const auto entry = uid ? find_passwd(files.passwd, "", uid) : find_passwd(files.passwd, user, std::nullopt);
  if (!uid && !entry)
    return fail(Code::kInvalid, "unable to find user " + user + ": no matching entries in passwd file");
  out.uid = uid ? *uid : entry->uid;
  if (entry) {
    out.gid = entry->gid;
    if (!entry->home.empty()) out.home = entry->home;
  }
  if (run_as_group.is_number()) {
    out.gid = static_cast<std::uint32_t>(run_as_group.get<std::int64_t>());
  } else if (!group.empty()) {
    auto gid = parse_id(group);
    if (!gid) gid = find_group(files.group, group);
    if (!gid) return fail(Code::kInvalid, "unable to find group " + group + ": no matching entries in group file");
    out.gid = *gid;
  }
  if (str(pod_context, "supplementalGroupsPolicy") != "Strict" && entry) {
    add_member_groups(out.groups, files.group, entry->name);
  }
  for (const Json& gid : at(pod_context, "supplementalGroups")) {
    if (gid.is_number()) out.groups.push_back(gid.get<std::uint32_t>());
  }
  if (const Json& fs_group = at(pod_context, "fsGroup"); fs_group.is_number()) {
    out.groups.push_back(fs_group.get<std::uint32_t>());
  }
  std::sort(out.groups.begin(), out.groups.end());
  out.groups.erase(std::unique(out.groups.begin(), out.groups.end()), out.groups.end());
  return out;
}

}  // namespace brume::node
