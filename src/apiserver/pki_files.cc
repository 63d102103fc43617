// How key material reaches the disk, and the kubeconfig text.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "brume/apiserver/pki.h"
#include "brume/base/random.h"
#include "brume/base/strings.h"

namespace brume::apiserver {
namespace {

/// An open file descriptor's one owner.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

Status write_new_file(const std::string& path, std::string_view content, unsigned mode) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (file.get() < 0) return fail_errno(errno, "creating " + path);
  if (::fchmod(file.get(), mode) != 0)
    return fail_errno(errno, "setting the mode of " + path);  // whatever the umask is
  while (!content.empty()) {
    const ssize_t wrote = ::write(file.get(), content.data(), content.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail_errno(errno, "writing " + path);
    content.remove_prefix(static_cast<std::size_t>(wrote));
  }
  if (::fsync(file.get()) != 0) return fail_errno(errno, "syncing " + path);
  return {};
}

}  // namespace

Status write_file_atomically(const std::filesystem::path& path, std::string_view content, unsigned mode) {
  const std::string temporary = path.string() + "." + random_suffix(8) + ".tmp";
  auto done = write_new_file(temporary, content, mode);
  if (done && ::rename(temporary.c_str(), path.c_str()) != 0) {
    done = fail_errno(errno, "renaming " + temporary + " to " + path.string());
  }
  if (!done) {
    ::unlink(temporary.c_str());
    return done;
  }
  const std::string parent = path.has_parent_path() ? path.parent_path().string() : ".";
  const Fd directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0) return fail_errno(errno, "syncing " + parent);
  return {};
}

std::string kubeconfig(const KubeconfigOptions& options) {
  const auto quoted = [](std::string_view text) {
    std::string out;
    append_json_string(out, text);  // a JSON string is a YAML scalar, whatever it holds
    return out;
  };
  const std::string name = quoted(options.name);
  std::string out = "apiVersion: v1\nkind: Config\nclusters:\n- name: " + name + "\n  cluster:\n";
  out += "    server: " + quoted(options.server) + "\n";
  out += "    certificate-authority-data: " + base64_encode(options.server_ca_pem) + "\n";
  out += "users:\n- name: " + name + "\n  user:\n";
  out += "    client-certificate-data: " + base64_encode(options.client.certificate_pem) + "\n";
  out += "    client-key-data: " + base64_encode(options.client.private_key_pem) + "\n";
  out += "contexts:\n- name: " + name + "\n  context:\n    cluster: " + name + "\n    user: " + name + "\n";
  out += "current-context: " + name + "\n";
  return out;
}

}  // namespace brume::apiserver
