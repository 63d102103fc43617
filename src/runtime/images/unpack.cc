// Wraps libarchive. Every path is resolved by descriptor below the target directory (openat2, RESOLVE_IN_ROOT).
#include "runtime/images/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "brume/base/strings.h"
#include "brume/linux/fd.h"
#include "brume/linux/mount.h"

namespace brume::runtime {

namespace {

using linux_os::Fd;

constexpr std::string_view kWhiteoutPrefix = ".wh.";        // OCI image spec, layer.md
constexpr std::string_view kOpaqueMarker = ".wh..wh..opq";  // same
constexpr const char* kOverlayOpaque = "trusted.overlay.opaque";

using Archive = std::unique_ptr<archive, int (*)(archive*)>;

/// What libarchive's read callback works on.
struct Feed {
  Decompressor& source;
  std::optional<Error> error;
};

la_ssize_t feed_archive(archive* a, void* data, const void** buffer) {
  auto& feed = *static_cast<Feed*>(data);
  auto bytes = feed.source.read();
  if (!bytes) {
    feed.error = bytes.error();
    archive_set_error(a, EIO, "%s", bytes.error().message.c_str());
    return ARCHIVE_FATAL;
  }
  *buffer = bytes->data();
  return static_cast<la_ssize_t>(bytes->size());
}

Result<Archive> open_tar(Feed& feed) {
  Archive tar(archive_read_new(), &archive_read_free);
  archive_read_support_format_tar(tar.get());
  archive_read_support_format_empty(tar.get());
  if (archive_read_open(tar.get(), &feed, nullptr, feed_archive, nullptr) != ARCHIVE_OK) {
    if (feed.error) return fail(*feed.error);
    return fail(Code::kCorrupt, std::string("not a tar archive: ") + archive_error_string(tar.get()));
  }
  return tar;
}

// The next entry; null at the end.
Result<archive_entry*> next_entry(archive* tar, const Feed& feed) {
  archive_entry* entry = nullptr;
  const int code = archive_read_next_header(tar, &entry);
  if (code == ARCHIVE_EOF) return static_cast<archive_entry*>(nullptr);
  if (code == ARCHIVE_OK || code == ARCHIVE_WARN) return entry;
  if (feed.error) return fail(*feed.error);
  return fail(Code::kCorrupt, std::string("the archive is damaged: ") + archive_error_string(tar));
}

// The archive may end before the stream does (padding); the digest must cover all of it.
Status drain(Feed& feed) {
  while (true) {
    BRUME_TRY(const auto bytes, feed.source.read());
    if (bytes.empty()) return {};
  }
}

struct Name {
  std::string parent;  ///< "" is the root
  std::string base;    ///< "" for the root itself
};

// Splits an entry's path; ".." parts are refused, "." and empty ones dropped.
Result<Name> split_name(const char* text) {
  if (text == nullptr) return fail(Code::kCorrupt, "an entry has no name");
  std::vector<std::string> parts;
  for (const auto part : split(text, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return fail(Code::kCorrupt, std::string("an entry's name leads out of the layer: ") + text);
    parts.emplace_back(part);
  }
  if (parts.empty()) return Name{};
  Name name{.parent = {}, .base = parts.back()};
  parts.pop_back();
  name.parent = join(parts, "/");
  return name;
}

/// Unpacks entries into one directory.
class Unpacker {
 public:
  Unpacker(archive* tar, Fd root) : tar_(tar), root_(std::move(root)) {}

  Status entry(archive_entry* entry);
  /// Sets what could not be set while directories were being filled.
  Status finish();
  [[nodiscard]] std::uint64_t written() const { return written_; }

 private:
  Result<Fd> open_parent(const std::string& path);
  Status whiteout(const Fd& parent, const std::string& base);
  Status make(const Fd& parent, const std::string& base, archive_entry* entry);
  Status make_directory(const Fd& parent, const std::string& base, archive_entry* entry);
  Status make_file(const Fd& parent, const std::string& base, archive_entry* entry);
  Status make_hard_link(const Fd& parent, const std::string& base, const char* target);
  Status write_content(const Fd& file);
  Status set_attributes(const Fd& parent, const std::string& base, archive_entry* entry);
  Status set_xattrs(const Fd& node, archive_entry* entry);

  archive* tar_;
  Fd root_;
  std::uint64_t written_ = 0;
  std::map<std::string, std::array<timespec, 2>> directory_times_;
};

// Opens a directory below the root; missing ones are made, and symlinks stay inside the root.
Result<Fd> Unpacker::open_parent(const std::string& path) {
  constexpr int kFlags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  if (path.empty()) return linux_os::open_in_root(root_, ".", kFlags);
  auto found = linux_os::open_in_root(root_, path, kFlags);
  if (found || found.error().code != Code::kNotFound) return found;
  const auto slash = path.rfind('/');
  BRUME_TRY(const auto parent, open_parent(slash == std::string::npos ? "" : path.substr(0, slash)));
  const std::string base = slash == std::string::npos ? path : path.substr(slash + 1);
  if (::mkdirat(parent.get(), base.c_str(), 0755) != 0 && errno != EEXIST) return fail_errno(errno, "mkdir " + path);
  return linux_os::open_in_root(root_, path, kFlags);
}

// Removes what stands at the name, so that the new entry replaces it and writes through no symlink.
Status clear_name(const Fd& parent, const std::string& base) {
  if (::unlinkat(parent.get(), base.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR) return fail_errno(errno, "replacing " + base);
  const std::string path = "/proc/self/fd/" + std::to_string(parent.get()) + "/" + base;
  return linux_os::remove_tree(path);
}

Status Unpacker::whiteout(const Fd& parent, const std::string& base) {
  if (base == kOpaqueMarker) {
    const std::string path = "/proc/self/fd/" + std::to_string(parent.get());
    if (::setxattr(path.c_str(), kOverlayOpaque, "y", 1, 0) != 0)
      return fail_errno(errno, "marking a directory opaque");
    return {};
  }
  if (base.starts_with(".wh..wh.")) return {};  // aufs' own files
  const std::string hidden = base.substr(kWhiteoutPrefix.size());
  if (hidden.empty() || hidden == "." || hidden == "..") return fail(Code::kCorrupt, "a whiteout names nothing");
  BRUME_CHECK(clear_name(parent, hidden));
  // overlayfs.rst: a whiteout is a character device 0/0.
  if (::mknodat(parent.get(), hidden.c_str(), S_IFCHR, makedev(0, 0)) != 0)
    return fail_errno(errno, "whiteout " + hidden);
  return {};
}

Status Unpacker::entry(archive_entry* entry) {
  BRUME_TRY(const auto name, split_name(archive_entry_pathname(entry)));
  if (name.base.empty()) {  // the root: its mode and owner count
    BRUME_TRY(const auto root, linux_os::open_in_root(root_, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
    return set_attributes(root, ".", entry);
  }
  BRUME_TRY(const auto parent, open_parent(name.parent));
  if (name.base.starts_with(kWhiteoutPrefix)) return whiteout(parent, name.base);
  if (const char* target = archive_entry_hardlink(entry); target != nullptr) {
    return make_hard_link(parent, name.base, target);
  }
  BRUME_CHECK(make(parent, name.base, entry));
  BRUME_CHECK(set_attributes(parent, name.base, entry));
  if (archive_entry_filetype(entry) == AE_IFDIR) {
    const std::string path = name.parent.empty() ? name.base : name.parent + "/" + name.base;
    directory_times_[path] = {timespec{archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)},
                              timespec{archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)}};
  }
  return {};
}

Status Unpacker::make(const Fd& parent, const std::string& base, archive_entry* entry) {
  const auto type = archive_entry_filetype(entry);
  if (type == AE_IFDIR) return make_directory(parent, base, entry);
  BRUME_CHECK(clear_name(parent, base));
  switch (type) {
    case AE_IFREG: return make_file(parent, base, entry);
    case AE_IFLNK: {
      const char* target = archive_entry_symlink(entry);
      if (target == nullptr || ::symlinkat(target, parent.get(), base.c_str()) != 0)
        return fail_errno(errno, "symlink " + base);
      return {};
    }
    case AE_IFCHR:
    case AE_IFBLK:
    case AE_IFIFO: {
      const mode_t kind = type == AE_IFCHR ? S_IFCHR : type == AE_IFBLK ? S_IFBLK : S_IFIFO;
      if (::mknodat(parent.get(), base.c_str(), kind | 0600, archive_entry_rdev(entry)) != 0) {
        return fail_errno(errno, "mknod " + base);
      }
      return {};
    }
    default: return fail(Code::kCorrupt, "an entry of unknown type: " + base);
  }
}

Status Unpacker::make_directory(const Fd& parent, const std::string& base, archive_entry* entry) {
  if (::mkdirat(parent.get(), base.c_str(), 0700) == 0) return {};
  if (errno != EEXIST) return fail_errno(errno, "mkdir " + base);
  struct stat found{};
  if (::fstatat(parent.get(), base.c_str(), &found, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno(errno, base);
  if (S_ISDIR(found.st_mode)) return {};
  BRUME_CHECK(clear_name(parent, base));
  return make_directory(parent, base, entry);
}

Status Unpacker::make_file(const Fd& parent, const std::string& base, archive_entry* /*entry*/) {
  const Fd file(::openat(parent.get(), base.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.valid()) return fail_errno(errno, "creating " + base);
  return write_content(file);
}

Status Unpacker::write_content(const Fd& file) {
  const void* data = nullptr;
  std::size_t size = 0;
  la_int64_t offset = 0;
  la_int64_t end = 0;
  while (true) {
    const int code = archive_read_data_block(tar_, &data, &size, &offset);
    if (code == ARCHIVE_EOF) break;
    if (code != ARCHIVE_OK)
      return fail(Code::kCorrupt, std::string("the archive is damaged: ") + archive_error_string(tar_));
    std::string_view bytes(static_cast<const char*>(data), size);
    end = offset + static_cast<la_int64_t>(size);
    while (!bytes.empty()) {
      const ssize_t put = ::pwrite(file.get(), bytes.data(), bytes.size(), offset);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return fail_errno(errno, "writing a layer's file");
      bytes.remove_prefix(static_cast<std::size_t>(put));
      offset += put;
    }
    written_ += size;
  }
  // A sparse file may end in a hole.
  if (::ftruncate(file.get(), end) != 0) return fail_errno(errno, "writing a layer's file");
  return {};
}

Status Unpacker::make_hard_link(const Fd& parent, const std::string& base, const char* target) {
  BRUME_TRY(const auto name, split_name(target));
  if (name.base.empty()) return fail(Code::kCorrupt, "a hard link to the root");
  BRUME_TRY(const auto from, open_parent(name.parent));
  struct stat found{};
  if (::fstatat(from.get(), name.base.c_str(), &found, AT_SYMLINK_NOFOLLOW) != 0) {
    return fail(Code::kCorrupt, std::string("a hard link to an absent file: ") + target);
  }
  struct stat there{};
  if (::fstatat(parent.get(), base.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_ino == found.st_ino)
    return {};
  BRUME_CHECK(clear_name(parent, base));
  if (::linkat(from.get(), name.base.c_str(), parent.get(), base.c_str(), 0) != 0)
    return fail_errno(errno, "link " + base);
  return {};
}

Status Unpacker::set_attributes(const Fd& parent, const std::string& base, archive_entry* entry) {
  const auto uid = static_cast<uid_t>(archive_entry_uid(entry));
  const auto gid = static_cast<gid_t>(archive_entry_gid(entry));
  if (::fchownat(parent.get(), base.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno(errno, "chown " + base);
  const bool is_link = archive_entry_filetype(entry) == AE_IFLNK;
  // After chown, which clears set-id bits. Symlinks have no mode.
  if (!is_link && ::fchmodat(parent.get(), base.c_str(), archive_entry_perm(entry), 0) != 0) {
    return fail_errno(errno, "chmod " + base);
  }
  if (!is_link) {
    const Fd node(::openat(parent.get(), base.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!node.valid()) return fail_errno(errno, base);
    BRUME_CHECK(set_xattrs(node, entry));
  }
  const timespec time{archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)};
  const timespec times[2] = {time, time};
  if (::utimensat(parent.get(), base.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno(errno, "utimes " + base);
  return {};
}

Status Unpacker::set_xattrs(const Fd& node, archive_entry* entry) {
  archive_entry_xattr_reset(entry);
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  const std::string path = "/proc/self/fd/" + std::to_string(node.get());
  while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
    const std::string_view key(name);
    // trusted.* would let a layer speak to overlayfs; security.capability and user.* are what images carry.
    if (key != "security.capability" && !key.starts_with("user.")) continue;
    if (::setxattr(path.c_str(), name, value, size, 0) != 0 && errno != ENOTSUP)
      return fail_errno(errno, "xattr of a layer's file");
  }
  return {};
}

Status Unpacker::finish() {
  for (const auto& [path, times] : directory_times_) {
    const auto directory = linux_os::open_in_root(root_, path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (!directory) continue;  // replaced by a later entry
    const std::string name = "/proc/self/fd/" + std::to_string(directory->get());
    ::utimensat(AT_FDCWD, name.c_str(), times.data(), 0);
  }
  return {};
}

}  // namespace

Result<std::uint64_t> unpack_layer(Decompressor& source, const std::string& directory) {
  BRUME_TRY(auto root, linux_os::open_fd(directory, O_PATH | O_DIRECTORY));
  Feed feed{source, {}};
  BRUME_TRY(const auto tar, open_tar(feed));
  Unpacker unpacker(tar.get(), std::move(root));
  while (true) {
    BRUME_TRY(auto* const entry, next_entry(tar.get(), feed));
    if (entry == nullptr) break;
    BRUME_CHECK(unpacker.entry(entry));
  }
  BRUME_CHECK(unpacker.finish());
  BRUME_CHECK(drain(feed));
  return unpacker.written();
}

Status unpack_archive(Decompressor& source, const std::string& directory) {
  BRUME_TRY(auto root, linux_os::open_fd(directory, O_PATH | O_DIRECTORY));
  Feed feed{source, {}};
  BRUME_TRY(const auto tar, open_tar(feed));
  Unpacker unpacker(tar.get(), std::move(root));
  while (true) {
    BRUME_TRY(auto* const entry, next_entry(tar.get(), feed));
    if (entry == nullptr) return drain(feed);
    const auto type = archive_entry_filetype(entry);
    // `docker save` links equal layers to each other.
    if (type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK && archive_entry_hardlink(entry) == nullptr) continue;
    archive_entry_set_uid(entry, ::geteuid());
    archive_entry_set_gid(entry, ::getegid());
    archive_entry_set_perm(entry, type == AE_IFDIR ? 0700 : 0600);
    BRUME_CHECK(unpacker.entry(entry));
  }
}

}  // namespace brume::runtime
