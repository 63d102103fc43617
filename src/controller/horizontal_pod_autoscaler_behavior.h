// How fast a HorizontalPodAutoscaler may scale: stabilisation, policies and bounds, as pure functions on what it
// remembers.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "brume/base/json_fwd.h"

namespace brume::controller {

using SteadyTime = std::chrono::steady_clock::time_point;

/// What one autoscaler did lately. It is in memory alone, as Kubernetes has it.
struct ScalingMemory {
  struct Recommendation {
    std::int64_t replicas = 0;
    SteadyTime at;
  };
  struct Change {
    std::int64_t replicas = 0;  ///< how many came or went
    SteadyTime at;
  };
  std::vector<Recommendation> recommendations;  ///< before stabilisation
  std::vector<Change> ups, downs;
};

/// autoscaling/v2 HPAScalingRules, with the defaults put in.
struct ScalingRules {
  enum class Select : std::uint8_t { kMax, kMin, kDisabled };
  struct Policy {
    bool percent = false;  ///< else a number of pods
    std::int64_t value = 0;
    std::chrono::seconds period{};
  };
  Select select = Select::kMax;
  std::vector<Policy> policies;
  std::chrono::seconds stabilization{};
  std::optional<double> tolerance;
};
struct ScalingBehavior {
  ScalingRules up, down;
};
/// Of spec.behavior. `down_window` is the stabilisation of scaling down where it says nothing.
ScalingBehavior decode_behavior(const Json& behavior, std::chrono::seconds down_window);

/// A number of replicas, with the reason and message of the condition that tells of it.
struct Bounded {
  std::int64_t replicas = 0;
  std::string_view reason;
  std::string_view message;
};

/// Without spec.behavior: the highest recommendation within the window, `desired` included, which is remembered.
std::int64_t stabilize(ScalingMemory& memory, std::int64_t desired, std::chrono::seconds window, SteadyTime now);
/// ... and within `least` and `most`, at most twice as many pods, or four.
Bounded bound(std::int64_t current, std::int64_t desired, std::int64_t least, std::int64_t most);

/// With spec.behavior: within the lowest recommendation of the one window and the highest of the other; `desired` is
/// remembered. The reason is that of a result other than `desired`.
Bounded stabilize(ScalingMemory& memory, const ScalingBehavior& behavior, std::int64_t current, std::int64_t desired,
                  SteadyTime now);
/// ... and within `least`, `most` and what the policies allow in their periods.
Bounded bound(const ScalingMemory& memory, const ScalingBehavior& behavior, std::int64_t current, std::int64_t desired,
              std::int64_t least, std::int64_t most, SteadyTime now);
/// Keeps the change for the policies' sake.
void remember_change(ScalingMemory& memory, const ScalingBehavior& behavior, std::int64_t before, std::int64_t after,
                     SteadyTime now);

}  // namespace brume::controller
