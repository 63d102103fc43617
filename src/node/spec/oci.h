// One container as an OCI runtime spec: everything decided, nothing left for the runtime to guess.
#pragma once

#include <string>
#include <vector>

#include "brume/base/json.h"
#include "brume/base/result.h"
#include "spec/env.h"
#include "spec/users.h"

namespace brume::node {

/// A bind mount of a host path into a container.
struct ContainerMount {
  std::string destination;  ///< absolute path in the container
  std::string source;       ///< absolute path on the host
  bool read_only = false;
  bool recursive_read_only = false;
  std::string propagation;                ///< None (or empty), HostToContainer, Bidirectional
  std::vector<std::string> options = {};  ///< more of mount(8), such as noexec
};

struct OciInputs {
  const Json& pod;
  const Json& container;
  const Json& image_config;  ///< OCI image configuration; its `config` member counts
  ProcessUser user;
  EnvList env;
  std::string hostname;
  std::vector<ContainerMount> volumes;
  std::string resolv_conf, hosts, hostname_file, termination_log, shm;  ///< host paths; empty: not mounted
  std::string cgroup_path;                                              ///< below the cgroup2 mount
  int oom_score = 0;
  Json seccomp;              ///< OCI linux.seccomp or null
  Json devices;              ///< OCI linux.devices of a privileged container, or null
  Json volume_devices = {};  ///< of volumes with volumeMode Block: block_device()'s
  bool host_network = false;
  bool host_pid = false;
  bool host_ipc = false;
  bool share_pid = false;
};

/// kInvalid when there is nothing to run ("no command specified") or a mount path is bad.
[[nodiscard]] Result<Json> make_oci_spec(const OciInputs& in);
/// The image's `config` object, from either form of image configuration.
[[nodiscard]] const Json& image_process(const Json& image_config);
/// A block device of the machine that a container sees under another name.
struct VolumeDevice {
  std::string host_path, path;
  bool read_only = false;
};
/// It as an OCI linux.devices entry, with `access` beside. kInvalid when it is no block device. Blocks.
[[nodiscard]] Result<Json> block_device(const VolumeDevice& device);
/// Every device node of the machine's /dev as OCI linux.devices, without pts, shm, fd and mqueue. Blocks.
[[nodiscard]] Json host_devices();

}  // namespace brume::node
