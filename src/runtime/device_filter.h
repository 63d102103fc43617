// Access to devices by a cgroup program, in place of cgroup v1's devices controller.
#pragma once

#include <string>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"

namespace brume::runtime {

/// Attaches a BPF_PROG_TYPE_CGROUP_DEVICE program that does what OCI linux.resources.devices says (the last matching
/// rule counts; nothing matched: refused). kForbidden when the kernel does not let us.
Status attach_device_filter(const std::string& cgroup, const Json& devices);
/// Whether this kernel lets us load such programs.
Status probe_device_filter();

}  // namespace brume::runtime
