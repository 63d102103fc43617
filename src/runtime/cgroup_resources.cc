#include "cgroup_resources.h"

#include <algorithm>

#include "brume/base/json.h"
#include "device_filter.h"

namespace brume::runtime {
namespace {

std::string limit(std::int64_t value) { return value < 0 ? "max" : std::to_string(value); }

const std::set<std::string, std::less<>>& known_fields() {
  static const std::set<std::string, std::less<>> fields = {"memory",  "cpu",     "pids",   "hugepageLimits",
                                                            "unified", "devices", "blockIO"};
  return fields;
}

Status memory_settings(const Json& memory, std::vector<CgroupSetting>& out) {
  for (const auto& [key, value] : memory.items()) {
    if (key != "limit" && key != "reservation" && key != "swap" && key != "disableOOMKiller" && key != "swappiness" &&
        key != "checkBeforeUpdate" && key != "kernel" && key != "kernelTCP" && key != "useHierarchy") {
      return fail(Code::kInvalid, "linux.resources.memory." + key + ": not supported");
    }
  }
  if (flag(memory, "disableOOMKiller")) {
    return fail(Code::kInvalid, "linux.resources.memory.disableOOMKiller: cgroup v2 has no such setting");
  }
  std::int64_t bytes = num(memory, "limit", 0);
  if (bytes != 0) out.push_back({"memory", "memory.max", limit(bytes)});
  // OCI counts memory and swap together, cgroup v2 counts them apart.
  std::int64_t swap = num(memory, "swap", 0);
  if (swap != 0) {
    if (swap > 0 && bytes <= 0) return fail(Code::kInvalid, "linux.resources.memory.swap: needs memory.limit");
    if (swap > 0 && swap < bytes) return fail(Code::kInvalid, "linux.resources.memory.swap: less than memory.limit");
    out.push_back({"memory", "memory.swap.max", swap < 0 ? "max" : std::to_string(swap - bytes)});
  }
  if (std::int64_t low = num(memory, "reservation", 0); low != 0) out.push_back({"memory", "memory.low", limit(low)});
  return {};
}

Status cpu_settings(const Json& cpu, std::vector<CgroupSetting>& out) {
  for (const auto& [key, value] : cpu.items()) {
    static const std::set<std::string, std::less<>> kKnown = {"shares", "quota", "period", "burst",
                                                              "cpus",   "mems",  "idle"};
    if (!kKnown.contains(key)) return fail(Code::kInvalid, "linux.resources.cpu." + key + ": not supported");
  }
  if (num(cpu, "idle", 0) != 0) out.push_back({"cpu", "cpu.idle", std::to_string(num(cpu, "idle"))});
  if (std::int64_t shares = num(cpu, "shares", 0); shares > 0) {
    // [2, 262144] of v1 onto [1, 10000] of v2 (KEP-2254).
    std::int64_t weight = 1 + (std::clamp<std::int64_t>(shares, 2, 262144) - 2) * 9999 / 262142;
    out.push_back({"cpu", "cpu.weight", std::to_string(weight)});
  }
  std::int64_t quota = num(cpu, "quota", 0);
  std::int64_t period = num(cpu, "period", 0);
  if (quota != 0 || period != 0) {
    out.push_back({"cpu", "cpu.max",
                   (quota > 0 ? std::to_string(quota) : "max") + " " + std::to_string(period > 0 ? period : 100000)});
  }
  if (num(cpu, "burst", 0) > 0) out.push_back({"cpu", "cpu.max.burst", std::to_string(num(cpu, "burst"))});
  if (!str(cpu, "cpus").empty()) out.push_back({"cpuset", "cpuset.cpus", std::string(str(cpu, "cpus"))});
  if (!str(cpu, "mems").empty()) out.push_back({"cpuset", "cpuset.mems", std::string(str(cpu, "mems"))});
  return {};
}

}  // namespace

Result<std::vector<CgroupSetting>> cgroup_settings(const Json& resources) {
  std::vector<CgroupSetting> out;
  if (resources.is_null()) return out;
  for (const auto& [key, value] : resources.items()) {
    if (!known_fields().contains(key)) return fail(Code::kInvalid, "linux.resources." + key + ": not supported");
  }
  BRUME_CHECK(memory_settings(at(resources, "memory"), out));
  BRUME_CHECK(cpu_settings(at(resources, "cpu"), out));
  if (std::int64_t pids = num(resources, "pids", 0); pids != 0) out.push_back({"pids", "pids.max", limit(pids)});
  if (std::int64_t pids = num(at(resources, "pids"), "limit", 0); pids != 0) {
    out.push_back({"pids", "pids.max", limit(pids)});
  }
  for (const Json& page : at(resources, "hugepageLimits")) {
    out.push_back({"hugetlb", "hugetlb." + std::string(str(page, "pageSize")) + ".max", limit(num(page, "limit"))});
  }
  for (const auto& [key, value] : at(resources, "blockIO").items()) {
    if (key != "weight") return fail(Code::kInvalid, "linux.resources.blockIO." + key + ": not supported");
    out.push_back({"io", "io.weight", std::to_string(num(at(resources, "blockIO"), "weight"))});
  }
  for (const auto& [file, value] : at(resources, "unified").items()) {
    if (file.find('/') != std::string::npos || file.find('.') == std::string::npos || file.starts_with("cgroup.")) {
      return fail(Code::kInvalid, "linux.resources.unified." + file + ": not a controller's file");
    }
    out.push_back({file.substr(0, file.find('.')), file, std::string(str(value))});
  }
  return out;
}

Status apply_resources(const linux_os::Cgroup& cgroup, const Json& resources, bool devices_permitted) {
  BRUME_TRY(auto settings, cgroup_settings(resources));
  auto controllers = settings.empty() ? std::set<std::string>() : cgroup.controllers();
  for (const CgroupSetting& setting : settings) {
    if (!controllers.contains(setting.controller)) continue;
    // A kernel without swap accounting has no such file, and nothing to limit.
    if (setting.file == "memory.swap.max" && !cgroup.has(setting.file)) continue;
    BRUME_CHECK(cgroup.write(setting.file, setting.value));
  }
  const Json& devices = at(resources, "devices");
  if (devices_permitted && devices.is_array() && !devices.empty()) {
    BRUME_CHECK(attach_device_filter(cgroup.path(), devices));
  }
  return {};
}

}  // namespace brume::runtime
