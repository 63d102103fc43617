// The scheduler: gives each pod that waits for it a node.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "brume/base/clock.h"
#include "brume/base/task_fwd.h"
#include "brume/client/client.h"
#include "brume/client/informer.h"

namespace brume::scheduler {

enum class Strategy : std::uint8_t {
  kLeastAllocated,  ///< spread: nodes with most left come first
  kMostAllocated,   ///< pack: nodes with least left come first
};

struct Options {
  std::string name = "default-scheduler";  ///< pods whose spec.schedulerName is this, and who reports events
  Strategy strategy = Strategy::kLeastAllocated;
  /// Of large clusters, how many percent of the nodes must be found feasible before scoring begins; 0: upstream's
  /// formula (50 percent less one for each 125 nodes, at least 5 percent and 100 nodes).
  int percentage_of_nodes_to_score = 0;
  std::size_t max_bindings = 512;  ///< bindings that are written at a time
};

/// Watches nodes and pods, filters and scores in one synchronous step a pod, and binds in the background while the pod
/// counts as placed already. Owner: the loop of `informers`; every call on it.
class Scheduler {
 public:
  Scheduler(client::InformerFactory& informers, Options options);
  ~Scheduler();  ///< after stop(), or when never started
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// Returns at once; scheduling begins when nodes and pods have been listed.
  void start();
  Task<void> stop();

  /// Pods that wait: ready to be tried, backing off, unschedulable and gated.
  [[nodiscard]] std::size_t pending() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace brume::scheduler
