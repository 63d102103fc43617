// What controllers read of a pod, decoded once per version.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "brume/api/object.h"
#include "brume/base/time.h"
#include "brume/client/informer.h"

namespace brume::controller {

enum class PodPhase : std::uint8_t { kPending, kUnknown, kRunning, kSucceeded, kFailed };

struct ContainerPort {
  std::string name;
  std::string protocol;
  int port = 0;
};

struct PodView {
  PodPhase phase = PodPhase::kPending;
  bool ready = false;         ///< condition Ready is True
  WallTime ready_since = {};  ///< its lastTransitionTime
  WallTime created = {};
  int restarts = 0;       ///< most of any container
  int deletion_cost = 0;  ///< annotation controller.kubernetes.io/pod-deletion-cost
  bool host_network = false;
  std::string node_name = {};
  std::string hostname = {};
  std::string subdomain = {};
  std::vector<std::string> ips = {};
  std::vector<ContainerPort> ports = {};  ///< named ones only, of containers and restartable init containers

  [[nodiscard]] bool finished() const { return phase == PodPhase::kSucceeded || phase == PodPhase::kFailed; }
  [[nodiscard]] bool available(std::int64_t min_ready_seconds, WallTime now) const;
};

PodView decode_pod(const api::Object& pod);

/// The pod informer's index of spec.nodeName.
inline constexpr std::string_view kByNode = "node";
void index_by_node(const api::Object& pod, std::vector<std::string>& values);

using PodViews = client::Projection<PodView>;

/// Neither finished nor being deleted.
inline bool is_active(const api::Object& pod, const PodView& view) { return !view.finished() && !pod.deleting(); }

/// A pod that a controller may delete to scale down.
struct Candidate {
  api::ObjectPtr pod = {};
  const PodView* view = nullptr;
  int rank = 0;  ///< related pods on its node
};

/// Whether `a` is to go before `b`, as Kubernetes' ActivePodsWithRanks orders: unassigned, pending, not ready, cheaper
/// to delete, more crowded, ready for a shorter time, more restarts, younger.
bool delete_before(const Candidate& a, const Candidate& b, WallTime now);

}  // namespace brume::controller
