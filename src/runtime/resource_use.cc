#include "resource_use.h"

#include <string>
#include <string_view>

#include "brume/base/clock.h"
#include "brume/base/strings.h"
#include "brume/linux/fd.h"

namespace brume::runtime {

namespace {

constexpr std::uint64_t kNanosecondsPerMicrosecond = 1000;

// A "Name:   123 kB" line of a file in /proc, in bytes.
std::uint64_t kilobytes(std::string_view text, std::string_view name) {
  for (const std::string_view line : split(text, '\n')) {
    if (!line.starts_with(name) || line.size() <= name.size() || line[name.size()] != ':') continue;
    std::string_view value = trim(line.substr(name.size() + 1));
    value = value.substr(0, value.find(' '));
    return static_cast<std::uint64_t>(parse_int(value).value_or(0)) * 1024;
  }
  return 0;
}

// Pages that several processes share count for each by its share (proc(5), smaps_rollup).
std::optional<MemoryUse> sum_processes(const linux_os::Cgroup& cgroup) {
  const auto processes = cgroup.all_processes();
  if (processes.empty()) return std::nullopt;
  MemoryUse out;
  for (const int pid : processes) {
    const auto text = linux_os::read_file("/proc/" + std::to_string(pid) + "/smaps_rollup");
    if (!text) continue;  // it has ended
    out.usage += kilobytes(*text, "Pss");
    out.rss += kilobytes(*text, "Pss_Anon");
  }
  out.working_set = out.usage;
  return out;
}

}  // namespace

Result<std::optional<MemoryUse>> read_memory_use(const linux_os::Cgroup& cgroup) {
  if (!cgroup.has("memory.current")) return std::nullopt;
  BRUME_TRY(const std::string text, cgroup.read("memory.current"));
  const auto bytes = parse_int(trim(text));
  if (!bytes) return fail(Code::kIo, "memory.current of " + cgroup.path() + " is no number");
  const auto usage = static_cast<std::uint64_t>(*bytes);
  const std::uint64_t files = cgroup.counter("memory.stat", "inactive_file");
  return MemoryUse{usage, usage > files ? usage - files : 0, cgroup.counter("memory.stat", "anon")};
}

ResourceUse read_resource_use(const linux_os::Cgroup& cgroup) {
  ResourceUse out;
  out.at = system_clock().now();
  // cpu.stat is there without the cpu controller too.
  if (cgroup.has("cpu.stat")) {
    out.cpu_nanoseconds = cgroup.counter("cpu.stat", "usage_usec") * kNanosecondsPerMicrosecond;
  }
  const auto counted = read_memory_use(cgroup);
  out.memory = counted && *counted ? *counted : sum_processes(cgroup);
  return out;
}

}  // namespace brume::runtime
