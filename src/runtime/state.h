// The pod's folder below the state directory: what a new process needs to take over. docs/formats/shim-plan.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"
#include "brume/runtime/runtime.h"

namespace brume::runtime {

/// Whether `id` may name a folder, a cgroup and a shim's record: letters, digits, "-", "_", "."; 120 characters.
Status check_id(std::string_view id, std::string_view what);

Json sandbox_to_json(const SandboxSpec& spec);
SandboxSpec sandbox_from_json(const Json& value);
/// With the whole OCI spec: exec needs its environment, user and limits later.
Json container_to_json(const ContainerSpec& spec);
ContainerSpec container_from_json(const Json& value);

/// <state dir>/<pod>: sandbox.json, shim.sock, <container>.json, <container>.state (the shim's)
struct PodFolder {
  std::string path;
  [[nodiscard]] std::string sandbox_file() const { return path + "/sandbox.json"; }
  [[nodiscard]] std::string socket_file() const { return path + "/shim.sock"; }
  [[nodiscard]] std::string container_file(std::string_view id) const { return path + "/" + std::string(id) + ".json"; }
  /// Where a container's root is mounted, in its own mount namespace only.
  [[nodiscard]] std::string root_dir() const { return path + "/root"; }
  [[nodiscard]] std::vector<ContainerSpec> containers() const;
};

}  // namespace brume::runtime
