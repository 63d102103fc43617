// Ends pods that use more local disk than they may, and pods on a node that runs out of memory or disk.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/eviction.h"
#include "agent/machine.h"
#include "brume/base/clock.h"
#include "brume/base/task.h"
#include "brume/client/events.h"
#include "brume/runtime/runtime.h"
#include "worker/pod_worker.h"

namespace brume::node {

struct EvictorParts {
  runtime::Runtime& runtime;
  Clock& clock;
  client::EventRecorder& events;
  client::ObjectReference node;
  std::function<std::vector<PodWorker*>()> pods;  ///< at this moment
  std::function<Task<void>()> remove_images;      ///< all that nobody uses
  std::function<Pressure()> read_pressure;        ///< called on blocking threads
};

/// Owner: the node loop. As the kubelet's eviction manager with hard thresholds: at most one pod at a time for the
/// node's sake, and the next only when the last has been taken down.
class Evictor {
 public:
  Evictor(EvictorParts parts, const Executor& executor) : parts_(std::move(parts)), group_(executor) {}
  /// To be called every ten seconds, with the pressure of that moment.
  void check(const Pressure& pressure);
  Task<void> stop();

 private:
  Task<void> pass(Pressure pressure);
  Task<bool> enforce_limits();
  Task<void> relieve(Shortage shortage);
  Task<std::vector<Candidate>> disk_candidates(std::string resource);
  Task<std::vector<Candidate>> memory_candidates();
  PodWorker* find(const std::string& uid) const;
  bool waits_for_the_last() const;

  EvictorParts parts_;
  TaskGroup group_;
  bool busy_ = false;
  std::shared_ptr<std::atomic<bool>> stopped_ = std::make_shared<std::atomic<bool>>(false);  ///< ends measuring
  std::map<std::string, std::chrono::steady_clock::time_point> measure_after_;               ///< by pod
  std::string told_;     ///< the shortage that an event told of
  std::string leaving_;  ///< the pod that was evicted for the node's sake last
  std::chrono::steady_clock::time_point leaving_until_;
};

}  // namespace brume::node
