#include "agent/machine.h"

#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <sstream>

#include "brume/api/quantity.h"
#include "brume/base/strings.h"
#include "brume/linux/fd.h"

namespace brume::node {

namespace {

/// How much of something there is, and is left. None of it: not known, or not counted here.
struct Stock {
  std::int64_t capacity = 0;
  std::int64_t available = 0;

  [[nodiscard]] bool below(const EvictionThreshold& threshold) const {
    return capacity > 0 && available < threshold.least(capacity);
  }
};

std::string first_line(const std::string& path) {
  const std::string text = linux_os::read_file(path).value_or("");
  return std::string(trim(text.substr(0, text.find('\n'))));
}

// A "Name:   123 kB" line of /proc/meminfo in bytes (or the bare number when there is no unit).
std::int64_t meminfo(const std::string& text, std::string_view name) {
  for (const std::string_view line : split(text, '\n')) {
    if (!line.starts_with(name) || line.size() <= name.size() || line[name.size()] != ':') continue;
    std::istringstream in{std::string(line.substr(name.size() + 1))};
    std::int64_t value = 0;
    std::string unit;
    in >> value >> unit;
    return unit == "kB" ? value * 1024 : value;
  }
  return 0;
}

std::string os_release(std::string_view key) {
  const std::string text = linux_os::read_file("/etc/os-release").value_or("");
  for (const std::string_view line : split(text, '\n')) {
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != '=') continue;
    std::string_view value = line.substr(key.size() + 1);
    if (value.size() >= 2 && value.front() == '"') value = value.substr(1, value.size() - 2);
    return std::string(value);
  }
  return {};
}

std::string go_architecture(std::string_view machine) {
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  if (machine.starts_with("armv")) return "arm";
  if (machine == "i686") return "386";
  return std::string(machine);
}

Stock process_ids() {
  // loadavg's fourth field is running/total tasks.
  const std::string load = linux_os::read_file("/proc/loadavg").value_or("");
  const auto fields = split(load, ' ');
  const auto limit = parse_int(first_line("/proc/sys/kernel/pid_max"));
  if (fields.size() < 4 || !limit) return {};
  const auto tasks = parse_int(fields[3].substr(fields[3].find('/') + 1));
  return tasks ? Stock{*limit, *limit - *tasks} : Stock();
}

std::int64_t huge_pages(const char* folder, std::int64_t size) {
  const auto count = parse_int(first_line(std::string("/sys/kernel/mm/hugepages/") + folder + "/nr_hugepages"));
  return count.value_or(0) * size;
}

}  // namespace

std::string bytes_text(std::int64_t bytes) {
  return api::Quantity(bytes, api::Quantity::Format::kBinarySi).to_string();
}

Machine read_machine(const std::string& data_dir) {
  Machine out;
  out.cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
  const std::string memory = linux_os::read_file("/proc/meminfo").value_or("");
  out.memory_bytes = meminfo(memory, "MemTotal");
  struct statvfs fs = {};
  if (::statvfs(data_dir.c_str(), &fs) == 0)
    out.disk_bytes = static_cast<std::int64_t>(fs.f_blocks) * static_cast<std::int64_t>(fs.f_frsize);
  out.hugepages_2mi = huge_pages("hugepages-2048kB", 2LL << 20);
  out.hugepages_1gi = huge_pages("hugepages-1048576kB", 1LL << 30);
  out.machine_id = first_line("/etc/machine-id");
  out.system_uuid = first_line("/sys/class/dmi/id/product_uuid");
  out.boot_id = first_line("/proc/sys/kernel/random/boot_id");
  // A machine without these (a container, a bare root) still needs an identity that stays for this boot.
  if (out.machine_id.empty()) out.machine_id = out.boot_id;
  if (out.system_uuid.empty()) out.system_uuid = out.machine_id;
  struct utsname names = {};
  if (::uname(&names) == 0) {
    out.kernel_version = names.release;
    out.architecture = go_architecture(names.machine);
  }
  out.os_image = os_release("PRETTY_NAME");
  if (out.os_image.empty()) out.os_image = "Linux";
  return out;
}

Pressure read_pressure(const std::string& data_dir, const std::vector<EvictionThreshold>& thresholds) {
  Pressure out;
  const std::string memory = linux_os::read_file("/proc/meminfo").value_or("");
  Stock bytes{meminfo(memory, "MemTotal"), meminfo(memory, "MemAvailable")};
  Stock disk, inodes;
  struct statvfs fs = {};
  if (::statvfs(data_dir.c_str(), &fs) == 0 && fs.f_blocks > 0) {
    const auto block = static_cast<std::int64_t>(fs.f_frsize);
    disk = {static_cast<std::int64_t>(fs.f_blocks) * block, static_cast<std::int64_t>(fs.f_bavail) * block};
    inodes = {static_cast<std::int64_t>(fs.f_files), static_cast<std::int64_t>(fs.f_favail)};
    out.disk_used_percent =
        static_cast<int>(100 - static_cast<std::int64_t>(fs.f_bavail) * 100 / static_cast<std::int64_t>(fs.f_blocks));
  }
  const Stock pids = process_ids();
  for (const EvictionThreshold& threshold : thresholds) {
    if (threshold.signal == "memory.available" && bytes.below(threshold)) {
      out.memory = true;
      out.memory_short = Shortage{"memory", bytes_text(threshold.least(bytes.capacity)), bytes_text(bytes.available)};
      out.memory_message = std::to_string(bytes.available >> 20) + " MiB of memory are available";
    } else if (threshold.signal == "nodefs.available" && disk.below(threshold)) {
      out.disk = true;
      out.disk_short =
          Shortage{"ephemeral-storage", bytes_text(threshold.least(disk.capacity)), bytes_text(disk.available)};
      out.disk_message = std::to_string(disk.available * 100 / disk.capacity) + " % of the disk is available";
    } else if (threshold.signal == "nodefs.inodesFree" && !out.disk && inodes.below(threshold)) {
      out.disk = true;
      out.disk_short =
          Shortage{"inodes", std::to_string(threshold.least(inodes.capacity)), std::to_string(inodes.available)};
      out.disk_message = std::to_string(inodes.available) + " inodes are available";
    } else if (threshold.signal == "pid.available" && pids.below(threshold)) {
      out.pid = true;
      out.pid_message = std::to_string(pids.capacity - pids.available) + " of " + std::to_string(pids.capacity) +
                        " process ids are in use";
    }
  }
  return out;
}

}  // namespace brume::node
