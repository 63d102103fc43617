// What a container gets where its OCI spec says nothing: mounts, capabilities, masked paths, seccomp profile.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "brume/base/json_fwd.h"

namespace brume::runtime {

/// The capabilities that Kubernetes' runtimes leave a container by default (CAP_CHOWN...).
const std::vector<std::string>& default_capabilities();
/// Every capability this process holds, for privileged containers.
std::vector<std::string> all_capabilities();
const std::vector<std::string>& default_masked_paths();
const std::vector<std::string>& default_readonly_paths();
/// OCI mounts: /proc, /dev (tmpfs), /dev/pts, /dev/shm, /dev/mqueue, /sys and /sys/fs/cgroup read-only.
Json default_mounts();
/// OCI linux.resources.devices: nothing but making nodes, and using null, zero, full, random, urandom, tty, console and
/// terminals: the devices that the OCI runtime spec says every container has.
Json default_device_rules();
/// OCI linux.seccomp: Kubernetes' RuntimeDefault, an allow-list that depends on the container's capabilities.
Json default_seccomp(std::span<const std::string> capabilities);
/// A spec with all of the above, to be completed: process.args, env, cwd, user, mounts.
Json default_spec();

}  // namespace brume::runtime
