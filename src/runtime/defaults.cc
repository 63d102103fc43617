#include "brume/runtime/defaults.h"

#include "brume/base/json.h"
#include "brume/linux/process.h"

namespace brume::runtime {
namespace {

Json mount(const char* destination, const char* type, const char* source, std::vector<std::string> options) {
  return Json{{"destination", destination}, {"type", type}, {"source", source}, {"options", std::move(options)}};
}

}  // namespace

const std::vector<std::string>& default_capabilities() {
  static const std::vector<std::string> list = {
      "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
      "CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
      "CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
      "CAP_KILL",    "CAP_AUDIT_WRITE"};
  return list;
}

std::vector<std::string> all_capabilities() {
  std::vector<std::string> out;
  std::uint64_t held = linux_os::effective_capabilities();
  for (unsigned number = 0; !linux_os::capability_name(number).empty(); ++number) {
    if ((held >> number & 1) != 0) out.push_back(linux_os::capability_name(number));
  }
  return out;
}

const std::vector<std::string>& default_masked_paths() {
  static const std::vector<std::string> list = {
      "/proc/asound",      "/proc/acpi",          "/proc/interrupts", "/proc/kcore",
      "/proc/keys",        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
      "/proc/sched_debug", "/proc/scsi",          "/sys/firmware",    "/sys/devices/virtual/powercap"};
  return list;
}

const std::vector<std::string>& default_readonly_paths() {
  static const std::vector<std::string> list = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                                "/proc/sysrq-trigger"};
  return list;
}

Json default_mounts() {
  return Json::array({
      mount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}),
      mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
      mount("/dev/pts", "devpts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}),
      mount("/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}),
      mount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}),
      mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}),
      mount("/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", "ro"}),
  });
}

Json default_device_rules() {
  const auto allow = [](const char* type, int major, int minor, const char* access) {
    Json rule{{"allow", true}, {"type", type}, {"access", access}};
    if (major >= 0) rule["major"] = major;
    if (minor >= 0) rule["minor"] = minor;
    return rule;
  };
  // Numbers: the kernel's Documentation/admin-guide/devices.txt.
  return Json::array({{{"allow", false}, {"access", "rwm"}},
                      allow("c", -1, -1, "m"),
                      allow("b", -1, -1, "m"),
                      allow("c", 1, 3, "rwm"),       // null
                      allow("c", 1, 5, "rwm"),       // zero
                      allow("c", 1, 7, "rwm"),       // full
                      allow("c", 1, 8, "rwm"),       // random
                      allow("c", 1, 9, "rwm"),       // urandom
                      allow("c", 5, 0, "rwm"),       // tty
                      allow("c", 5, 1, "rwm"),       // console
                      allow("c", 5, 2, "rwm"),       // ptmx
                      allow("c", 136, -1, "rwm")});  // pts
}

Json default_spec() {
  Json caps = default_capabilities();
  Json spec;
  spec["ociVersion"] = "1.2.0";
  spec["process"] = {{"cwd", "/"},
                     {"user", {{"uid", 0}, {"gid", 0}}},
                     {"capabilities", {{"bounding", caps}, {"effective", caps}, {"permitted", caps}}}};
  spec["mounts"] = default_mounts();
  spec["linux"] = {{"maskedPaths", default_masked_paths()},
                   {"readonlyPaths", default_readonly_paths()},
                   {"seccomp", default_seccomp(default_capabilities())},
                   {"namespaces", Json::array({{{"type", "mount"}}, {{"type", "pid"}}, {{"type", "cgroup"}}})}};
  return spec;
}

}  // namespace brume::runtime
