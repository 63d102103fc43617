// The scheduler: gives each pod that waits for it a node.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "brume/base/clock.h"
#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/client/client.h"
#include "brume/client/informer.h"

namespace brume::scheduler {

struct Config;

/// From the text of a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1, YAML or JSON). kInvalid or
/// kBadRequest, in one line, for what it may not say; arguments of plugins are checked by Scheduler::create().
Result<std::shared_ptr<const Config>> read_config(std::string_view text);

struct Options {
  /// From read_config(); null: the profiles default-scheduler (spreads) and bin-packing.
  std::shared_ptr<const Config> config = nullptr;
  std::string name = "default-scheduler";  ///< who reports events
  std::size_t max_bindings = 512;          ///< bindings that are written at a time
};

/// Watches nodes and pods, filters and scores in one synchronous step a pod, and binds in the background while the pod
/// counts as placed already. A pod's spec.schedulerName names its profile; pods of other schedulers are left alone.
/// Owner: the loop of `informers`; every call on it.
class Scheduler {
 public:
  /// kInvalid, in one line, for a configuration whose plugins or arguments are wrong.
  static Result<std::unique_ptr<Scheduler>> create(client::InformerFactory& informers, Options options);
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
  explicit Scheduler(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace brume::scheduler
