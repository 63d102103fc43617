#include "volumes/atomic_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>

#include "brume/base/random.h"
#include "brume/base/strings.h"
#include "brume/linux/fd.h"

namespace brume::node {

namespace {

constexpr const char* kData = "..data";
constexpr const char* kNewData = "..data_tmp";

std::string link_target(const std::string& path) {
  char buffer[4096];
  const ssize_t n = ::readlink(path.c_str(), buffer, sizeof buffer);
  return n <= 0 ? std::string() : std::string(buffer, static_cast<std::size_t>(n));
}

unsigned effective_mode(const VolumeFile& file, std::optional<std::uint32_t> group) {
  return group ? file.mode | 0440U : file.mode;
}

bool same_file(const std::string& path, const VolumeFile& file, std::optional<std::uint32_t> group) {
  struct stat st = {};
  if (::lstat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) return false;
  if ((st.st_mode & 07777) != effective_mode(file, group)) return false;
  if (static_cast<std::size_t>(st.st_size) != file.data.size()) return false;
  const auto text = linux_os::read_file(path, file.data.size() + 1);
  return text && *text == file.data;
}

bool unchanged(const std::string& current, const Payload& payload, std::optional<std::uint32_t> group) {
  std::error_code ec;
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(current, ec)) {
    if (!entry.is_directory(ec)) ++files;
  }
  if (ec || files != payload.size()) return false;
  for (const auto& [path, file] : payload) {
    if (!same_file(current + "/" + path, file, group)) return false;
  }
  return true;
}

Status give(int fd, const std::string& path, std::optional<std::uint32_t> owner, std::optional<std::uint32_t> group) {
  if (!owner && !group) return {};
  const uid_t uid = owner ? *owner : static_cast<uid_t>(-1);
  const gid_t gid = group ? *group : static_cast<gid_t>(-1);
  if (::fchown(fd, uid, gid) != 0) return fail_errno(errno, "chown " + path);
  return {};
}

Status make_folder(const std::string& path, std::optional<std::uint32_t> group) {
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return fail_errno(errno, "mkdir " + path);
  BRUME_TRY(linux_os::Fd fd, linux_os::open_fd(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  BRUME_CHECK(give(fd.get(), path, std::nullopt, group));
  const mode_t mode = group ? 02775 : 0755;
  if (::fchmod(fd.get(), mode) != 0) return fail_errno(errno, "chmod " + path);
  return {};
}

Status write_one(const std::string& root, const std::string& relative, const VolumeFile& file,
                 std::optional<std::uint32_t> group) {
  for (auto slash = relative.find('/'); slash != std::string::npos; slash = relative.find('/', slash + 1)) {
    BRUME_CHECK(make_folder(root + "/" + relative.substr(0, slash), group));
  }
  const std::string path = root + "/" + relative;
  BRUME_TRY(linux_os::Fd fd, linux_os::open_fd(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  std::string_view rest = file.data;
  while (!rest.empty()) {
    const ssize_t n = ::write(fd.get(), rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "write " + path);
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
  BRUME_CHECK(give(fd.get(), path, file.owner, group));
  if (::fchmod(fd.get(), effective_mode(file, group)) != 0) return fail_errno(errno, "chmod " + path);
  return {};
}

std::string first_part(const std::string& path) { return path.substr(0, path.find('/')); }

Status link_names(const std::string& dir, const Payload& payload) {
  std::set<std::string> wanted;
  for (const auto& [path, file] : payload) wanted.insert(first_part(path));
  for (const std::string& name : wanted) {
    const std::string link = dir + "/" + name;
    const std::string target = std::string(kData) + "/" + name;
    if (link_target(link) == target) continue;
    ::unlink(link.c_str());
    if (::symlink(target.c_str(), link.c_str()) != 0) return fail_errno(errno, "symlink " + link);
  }
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(dir, ec)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("..") || wanted.contains(name)) continue;
    if (entry.is_symlink(ec)) ::unlink(entry.path().c_str());
  }
  return {};
}

}  // namespace

Status check_payload(const Payload& payload) {
  for (const auto& [path, file] : payload) {
    if (path.empty() || path.starts_with('/'))
      return fail(Code::kInvalid, "invalid path: must be relative path: " + path);
    if (path.starts_with("..")) return fail(Code::kInvalid, "invalid path: must not start with '..': " + path);
    for (const std::string_view part : split(path, '/')) {
      if (part == "..") return fail(Code::kInvalid, "invalid path: must not contain '..': " + path);
      if (part.empty() || part == ".") return fail(Code::kInvalid, "invalid path: " + path);
    }
  }
  return {};
}

Result<bool> write_payload(const std::string& dir, const Payload& payload, std::optional<std::uint32_t> group) {
  BRUME_CHECK(check_payload(payload));
  BRUME_CHECK(linux_os::make_dirs(dir, 0755));
  BRUME_CHECK(make_folder(dir, group));
  const std::string data_link = dir + "/" + kData;
  const std::string old = link_target(data_link);
  if (!old.empty() && unchanged(dir + "/" + old, payload, group)) {
    BRUME_CHECK(link_names(dir, payload));
    return false;
  }
  const std::string fresh = "..v" + random_suffix(10);
  BRUME_CHECK(make_folder(dir + "/" + fresh, group));
  for (const auto& [path, file] : payload) BRUME_CHECK(write_one(dir + "/" + fresh, path, file, group));
  const std::string next = dir + "/" + kNewData;
  ::unlink(next.c_str());
  if (::symlink(fresh.c_str(), next.c_str()) != 0) return fail_errno(errno, "symlink " + next);
  if (::rename(next.c_str(), data_link.c_str()) != 0) return fail_errno(errno, "rename " + next);
  BRUME_CHECK(link_names(dir, payload));
  // Only now does no name lead to the old files; what a crash left behind goes too.
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(dir, ec)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("..") && name != kData && name != fresh) {
      if (auto removed = linux_os::remove_tree(entry.path().string()); !removed) return fail(removed.error());
    }
  }
  return true;
}

}  // namespace brume::node
