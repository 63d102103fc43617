// Taints and tolerations as values: what scheduler, node controllers and node agent agree on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/json_fwd.h"
#include "brume/base/time.h"

namespace brume::client {

/// core/v1 Taint. `effect` is NoSchedule, PreferNoSchedule or NoExecute.
struct Taint {
  std::string key;
  std::string value = {};
  std::string effect;
  std::optional<WallTime> added = {};
};

/// core/v1 Toleration.
struct Toleration {
  std::string key = {};  ///< empty with Exists: every key
  std::string value = {};
  std::string effect = {};  ///< empty: every effect
  bool exists = false;      ///< operator Exists; else Equal
  std::optional<std::int64_t> seconds = {};

  [[nodiscard]] bool tolerates(const Taint& taint) const;
};

[[nodiscard]] std::vector<Taint> decode_taints(const Json& taints);
[[nodiscard]] std::vector<Toleration> decode_tolerations(const Json& tolerations);
[[nodiscard]] bool tolerated(const Taint& taint, const std::vector<Toleration>& tolerations);

inline constexpr std::string_view kTaintNotReady = "node.kubernetes.io/not-ready";
inline constexpr std::string_view kTaintUnreachable = "node.kubernetes.io/unreachable";
inline constexpr std::string_view kTaintUnschedulable = "node.kubernetes.io/unschedulable";
inline constexpr std::string_view kNoSchedule = "NoSchedule";
inline constexpr std::string_view kPreferNoSchedule = "PreferNoSchedule";
inline constexpr std::string_view kNoExecute = "NoExecute";

}  // namespace brume::client
