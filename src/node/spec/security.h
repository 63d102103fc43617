// Security contexts as OCI: capabilities, masked and read-only paths, seccomp, no_new_privs.
#pragma once

#include <string>
#include <vector>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"

namespace brume::node {

/// Kubernetes' default set (what containerd and CRI-O give), with add and drop applied: CAP_* names, sorted.
[[nodiscard]] std::vector<std::string> container_capabilities(const Json& container);
[[nodiscard]] bool is_privileged(const Json& container);
/// allowPrivilegeEscalation is false.
[[nodiscard]] bool no_new_privileges(const Json& container);
/// The OCI linux.seccomp of the container; null for Unconfined and privileged. Absent profiles mean RuntimeDefault.
/// `profile_dir` holds Localhost profiles. Blocks when it reads one.
[[nodiscard]] Result<Json> seccomp_profile(const Json& pod, const Json& container,
                                           const std::vector<std::string>& capabilities,
                                           const std::string& profile_dir);

}  // namespace brume::node
