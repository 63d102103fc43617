// What the node reads from a Pod's JSON: names, container kinds, QoS, and how Kubernetes writes pods and durations in
// messages.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/json_fwd.h"

namespace brume::node {

enum class ContainerKind : std::uint8_t { kInit, kApp, kEphemeral };

/// One container of a pod's spec, by kind.
struct ContainerEntry {
  const Json* spec = nullptr;
  ContainerKind kind = ContainerKind::kApp;
  bool sidecar = false;  ///< an init container with restartPolicy Always (KEP-753)
};

/// Init containers, then app containers, then ephemeral ones, in the spec's order. Pointers go into `pod`.
[[nodiscard]] std::vector<ContainerEntry> containers_of(const Json& pod);
/// Null when the pod has no such container.
[[nodiscard]] const Json* find_container(const Json& pod, std::string_view name);

/// Guaranteed, Burstable or BestEffort: api::pod_qos_class() of its spec.
[[nodiscard]] std::string qos_class(const Json& pod);
/// name_namespace(uid), as the kubelet names pods in messages.
[[nodiscard]] std::string pod_text(const Json& pod);
/// Go's time.Duration text for whole seconds: 10s, 1m20s, 5m0s.
[[nodiscard]] std::string duration_text(std::chrono::seconds duration);
/// The same with milliseconds, as in "1.2s" or "340ms".
[[nodiscard]] std::string duration_text_ms(std::chrono::milliseconds duration);
/// <root>/<ns>_<name>_<uid>: where a pod's container logs are.
[[nodiscard]] std::string pod_log_dir(std::string_view root, std::string_view ns, std::string_view name,
                                      std::string_view uid);
/// Whether status.phase is Succeeded or Failed.
[[nodiscard]] bool is_terminal_phase(std::string_view phase);

}  // namespace brume::node
