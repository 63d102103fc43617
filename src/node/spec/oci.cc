#include "spec/oci.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "brume/base/json.h"
#include "brume/runtime/defaults.h"
#include "spec/resources.h"
#include "spec/security.h"

namespace brume::node {

namespace {

constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::vector<std::string> strings(const Json& list) {
  std::vector<std::string> out;
  for (const Json& item : list) out.emplace_back(str(item));
  return out;
}

Result<std::vector<std::string>> make_args(const OciInputs& in) {
  const Json& image = image_process(in.image_config);
  const CommandLine line = make_command(in.container, in.env);
  std::vector<std::string> args = line.command;
  if (args.empty()) {
    args = strings(at(image, "Entrypoint"));
    const auto rest = line.args.empty() ? strings(at(image, "Cmd")) : line.args;
    args.insert(args.end(), rest.begin(), rest.end());
  } else {
    args.insert(args.end(), line.args.begin(), line.args.end());
  }
  if (args.empty()) return fail(Code::kInvalid, "no command specified");
  return args;
}

Json make_env_json(const OciInputs& in) {
  std::vector<std::pair<std::string, std::string>> all;
  const auto set = [&](const std::string& name, const std::string& value) {
    for (auto& [have, old] : all) {
      if (have == name) {
        old = value;
        return;
      }
    }
    all.emplace_back(name, value);
  };
  set("PATH", kDefaultPath);
  set("HOSTNAME", in.hostname);
  if (flag(in.container, "tty")) set("TERM", "xterm");
  set("HOME", in.user.home);
  for (const Json& pair : at(image_process(in.image_config), "Env")) {
    const std::string text(str(pair));
    const auto equals = text.find('=');
    set(text.substr(0, equals), equals == std::string::npos ? "" : text.substr(equals + 1));
  }
  for (const auto& [name, value] : in.env) set(name, value);
  Json out = Json::array();
  for (const auto& [name, value] : all) out.push_back(name + "=" + value);
  return out;
}

Json mount_json(const std::string& destination, const std::string& type, const std::string& source,
                std::vector<std::string> options) {
  return {{"destination", destination}, {"type", type}, {"source", source}, {"options", std::move(options)}};
}

Json bind_json(const ContainerMount& mount) {
  std::vector<std::string> options{"rbind"};
  options.emplace_back(mount.propagation == "Bidirectional"     ? "rshared"
                       : mount.propagation == "HostToContainer" ? "rslave"
                                                                : "rprivate");
  options.emplace_back(mount.recursive_read_only ? "rro" : mount.read_only ? "ro" : "rw");
  options.insert(options.end(), mount.options.begin(), mount.options.end());
  return mount_json(mount.destination, "bind", mount.source, std::move(options));
}

std::size_t depth(const Json& mount) {
  const std::string_view path = str(mount, "destination");
  return static_cast<std::size_t>(std::count(path.begin(), path.end(), '/'));
}

bool mounts_at(const OciInputs& in, std::string_view path) {
  return std::any_of(in.volumes.begin(), in.volumes.end(),
                     [&](const ContainerMount& m) { return m.destination == path; });
}

Json make_mounts(const OciInputs& in) {
  const bool privileged = is_privileged(in.container);
  const std::string access = privileged ? "rw" : "ro";
  const bool read_only_root = flag(at(in.container, "securityContext"), "readOnlyRootFilesystem");
  Json mounts = Json::array();
  mounts.push_back(mount_json("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}));
  mounts.push_back(mount_json("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}));
  mounts.push_back(mount_json("/dev/pts", "devpts", "devpts",
                              {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}));
  mounts.push_back(mount_json("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}));
  mounts.push_back(mount_json("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", access}));
  mounts.push_back(mount_json("/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", access}));
  const auto bind_file = [&](const std::string& destination, const std::string& source, bool read_only) {
    if (!source.empty() && !mounts_at(in, destination)) {
      mounts.push_back(bind_json({destination, source, read_only, false, ""}));
    }
  };
  bind_file("/dev/shm", in.host_ipc ? "/dev/shm" : in.shm, false);
  bind_file("/etc/hosts", in.hosts, read_only_root);
  bind_file("/etc/resolv.conf", in.resolv_conf, read_only_root);
  bind_file("/etc/hostname", in.hostname_file, read_only_root);
  std::string termination(str(in.container, "terminationMessagePath"));
  if (termination.empty()) termination = "/dev/termination-log";
  bind_file(termination, in.termination_log, false);
  for (const ContainerMount& volume : in.volumes) mounts.push_back(bind_json(volume));
  // Shallow first, so that a mount below another one is not hidden by it.
  std::multimap<std::size_t, Json> by_depth;
  for (Json& mount : mounts) by_depth.emplace(depth(mount), std::move(mount));
  Json sorted = Json::array();
  for (auto& [level, mount] : by_depth) sorted.push_back(std::move(mount));
  return sorted;
}

Json make_linux(const OciInputs& in) {
  Json namespaces = Json::array();
  for (const char* type : {"mount", "cgroup", "pid", "ipc", "uts", "network"}) {
    const std::string_view t(type);
    if (t == "pid" && in.host_pid) continue;
    if (t == "ipc" && in.host_ipc) continue;
    if ((t == "uts" || t == "network") && in.host_network) continue;
    if (t == "cgroup" && is_privileged(in.container)) continue;
    namespaces.push_back({{"type", type}});
  }
  Json resources = container_resources(in.pod, in.container);
  const bool privileged = is_privileged(in.container);
  resources["devices"] =
      privileged ? Json::array({{{"allow", true}, {"access", "rwm"}}}) : runtime::default_device_rules();
  Json out = {
      {"namespaces", std::move(namespaces)}, {"cgroupsPath", in.cgroup_path}, {"resources", std::move(resources)}};
  const bool unmasked = str(at(in.container, "securityContext"), "procMount") == "Unmasked";
  if (!privileged && !unmasked) {
    out["maskedPaths"] = runtime::default_masked_paths();
    out["readonlyPaths"] = runtime::default_readonly_paths();
  }
  if (!in.seccomp.is_null()) out["seccomp"] = in.seccomp;
  if (privileged && in.devices.is_array()) out["devices"] = in.devices;
  for (Json device : in.volume_devices) {
    if (!privileged) {
      out["resources"]["devices"].push_back({{"allow", true},
                                             {"type", "b"},
                                             {"major", device["major"]},
                                             {"minor", device["minor"]},
                                             {"access", device["access"]}});
    }
    device.erase("access");
    out["devices"].push_back(std::move(device));
  }
  std::string propagation;
  for (const ContainerMount& volume : in.volumes) {
    if (volume.propagation == "Bidirectional") propagation = "rshared";
    if (volume.propagation == "HostToContainer" && propagation.empty()) propagation = "rslave";
  }
  if (!propagation.empty()) out["rootfsPropagation"] = propagation;
  return out;
}

}  // namespace

const Json& image_process(const Json& image_config) {
  const Json& inner = at(image_config, "config");
  return inner.is_object() ? inner : image_config;
}

Result<Json> make_oci_spec(const OciInputs& in) {
  BRUME_TRY(std::vector<std::string> args, make_args(in));
  for (const ContainerMount& volume : in.volumes) {
    if (!volume.destination.starts_with('/') || volume.destination.find("/../") != std::string::npos) {
      return fail(Code::kInvalid, "mountPath \"" + volume.destination + "\" is not an absolute path");
    }
  }
  std::string cwd(str(in.container, "workingDir"));
  if (cwd.empty()) cwd = str(image_process(in.image_config), "WorkingDir");
  if (cwd.empty()) cwd = "/";
  const auto capabilities = container_capabilities(in.container);
  Json user = {{"uid", in.user.uid}, {"gid", in.user.gid}};
  if (!in.user.groups.empty()) user["additionalGids"] = in.user.groups;
  Json process = {
      {"terminal", flag(in.container, "tty")},
      {"user", std::move(user)},
      {"args", std::move(args)},
      {"env", make_env_json(in)},
      {"cwd", std::move(cwd)},
      {"capabilities", {{"bounding", capabilities}, {"effective", capabilities}, {"permitted", capabilities}}},
      {"noNewPrivileges", no_new_privileges(in.container)},
      {"oomScoreAdj", in.oom_score}};
  const bool read_only_root = flag(at(in.container, "securityContext"), "readOnlyRootFilesystem");
  Json spec = {{"ociVersion", "1.2.0"},
               {"process", std::move(process)},
               {"root", {{"path", "rootfs"}, {"readonly", read_only_root}}},
               {"mounts", make_mounts(in)},
               {"linux", make_linux(in)}};
  if (!in.host_network) spec["hostname"] = in.hostname;
  return spec;
}

Result<Json> block_device(const VolumeDevice& device) {
  struct stat st = {};
  if (::stat(device.host_path.c_str(), &st) != 0) return fail_errno(errno, "stat " + device.host_path);
  if (!S_ISBLK(st.st_mode)) return fail(Code::kInvalid, "\"" + device.host_path + "\" is no block device");
  return Json{{"path", device.path},
              {"type", "b"},
              {"major", major(st.st_rdev)},
              {"minor", minor(st.st_rdev)},
              {"fileMode", st.st_mode & 07777},
              {"uid", st.st_uid},
              {"gid", st.st_gid},
              {"access", device.read_only ? "rm" : "rwm"}};
}

Json host_devices() {
  namespace fs = std::filesystem;
  Json out = Json::array();
  std::error_code ec;
  for (auto it = fs::recursive_directory_iterator("/dev", fs::directory_options::skip_permission_denied, ec);
       !ec && it != fs::recursive_directory_iterator(); it.increment(ec)) {
    const std::string path = it->path().string();
    if (it->is_symlink(ec)) continue;
    if (it->is_directory(ec)) {
      const std::string name = it->path().filename().string();
      if (name == "pts" || name == "shm" || name == "fd" || name == "mqueue") it.disable_recursion_pending();
      continue;
    }
    struct stat st = {};
    if (::lstat(path.c_str(), &st) != 0 || path == "/dev/console") continue;
    if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)) continue;
    out.push_back({{"path", path},
                   {"type", S_ISCHR(st.st_mode) ? "c" : "b"},
                   {"major", major(st.st_rdev)},
                   {"minor", minor(st.st_rdev)},
                   {"fileMode", st.st_mode & 07777},
                   {"uid", st.st_uid},
                   {"gid", st.st_gid}});
  }
  return out;
}

}  // namespace brume::node
