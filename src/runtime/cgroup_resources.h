// OCI linux.resources to cgroup v2 files.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"
#include "brume/linux/cgroup.h"

namespace brume::runtime {

struct CgroupSetting {
  std::string controller;
  std::string file;
  std::string value;
};

/// The files to write, in order (unified entries last). kInvalid names a field that cgroup v2 has no word for.
Result<std::vector<CgroupSetting>> cgroup_settings(const Json& resources);

/// Writes them. A setting whose controller this machine does not have is left out (Runtime::limitations tells so).
/// Device rules are attached as a program, unless the kernel does not permit that.
Status apply_resources(const linux_os::Cgroup& cgroup, const Json& resources, bool devices_permitted);

}  // namespace brume::runtime
