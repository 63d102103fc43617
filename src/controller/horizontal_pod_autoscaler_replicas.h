// How many replicas a metric asks for: the arithmetic of HorizontalPodAutoscalers, as pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "brume/api/object.h"
#include "brume/api/pod_resources.h"
#include "brume/base/result.h"
#include "brume/base/time.h"
#include "pod_view.h"

namespace brume::controller {

/// How far usage may be off its target before anything is scaled, as parts of the target.
struct Tolerances {
  double down = 0.1;
  double up = 0.1;
  [[nodiscard]] bool within(double ratio) const { return 1.0 - down <= ratio && ratio <= 1.0 + up; }
};

/// What an autoscaler reads of a pod.
struct ScaledPod {
  struct Container {
    std::string name;
    api::Amounts requests;
  };
  std::string name;
  bool deleting = false;
  PodPhase phase = PodPhase::kPending;
  std::string ready;  ///< status of the condition Ready; empty: there is none
  WallTime ready_since;
  std::optional<WallTime> started;
  std::vector<Container> containers;           ///< sidecars among them, after the others
  std::optional<api::Amounts> pod_level = {};  ///< requests of a pod that has some as a whole (KEP-2837)
};
ScaledPod decode_scaled_pod(const api::Object& pod);

/// One pod's metric, in thousandths.
struct PodMetric {
  WallTime at;
  std::chrono::nanoseconds window{};
  std::int64_t value = 0;
};
using PodMetrics = std::map<std::string, PodMetric>;  ///< by name

/// When a pod's processor time counts: a pod that starts burns more than it will later.
struct Readiness {
  std::chrono::seconds cpu_initialization_period{300};
  std::chrono::seconds initial_readiness_delay{30};
  WallTime now;
};

struct Proposal {
  std::int64_t replicas = 0;
  std::int64_t utilization = 0;  ///< percent of the requests; of utilization_replicas()
  std::int64_t average = 0;      ///< of each pod, in thousandths
};

/// What a calculation is about. `pods` are all that the target's selector matches.
struct PodSet {
  std::vector<const ScaledPod*> pods;
  std::string_view resource;  ///< cpu, memory ...; empty for metrics that are no resource's
  Readiness readiness;
};

/// Each pod's request of the resource, in thousandths; of one container where that is named.
Result<std::map<std::string, std::int64_t>> requests_of(const PodSet& set, std::string_view container);

/// For a target that is a percentage of what pods request.
Result<Proposal> utilization_replicas(const PodSet& set, PodMetrics metrics, std::string_view container,
                                      std::int64_t current, std::int64_t target, Tolerances tolerances);
/// For a target that is an amount for each pod.
Result<Proposal> average_replicas(const PodSet& set, PodMetrics metrics, std::int64_t current, std::int64_t target,
                                  Tolerances tolerances);

/// For one value of the whole, against a target for the whole.
Result<std::int64_t> value_replicas(const std::vector<const ScaledPod*>& pods, std::int64_t current, std::int64_t usage,
                                    std::int64_t target, Tolerances tolerances);
/// For one value of the whole, against a target for each of `current` pods.
Proposal value_per_pod_replicas(std::int64_t current, std::int64_t usage, std::int64_t target, Tolerances tolerances);

/// A sum that stays at the largest number instead of running over.
std::int64_t saturating_sum(const std::vector<std::int64_t>& values);

}  // namespace brume::controller
