// metrics.k8s.io/v1beta1: what pods and nodes use, asked of the nodes when a client asks.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "access.h"
#include "brume/apiserver/registry.h"
#include "brume/base/clock.h"
#include "brume/base/json_fwd.h"
#include "brume/base/rate_history.h"

namespace brume::apiserver {

/// Thread-safe. Nothing is sampled while nobody asks: a request fetches its nodes' /stats/summary, and rates are those
/// since the samples of earlier requests (RateHistory). The first request after a while finds none; it then waits a
/// second for another sample.
class ResourceMetrics final : public Computed {
 public:
  /// Gives the Summary of the node of that name.
  using Fetch = std::function<Task<Result<Json>>(std::string node)>;

  ResourceMetrics(const ObjectSource& objects, Clock& clock, Fetch fetch);

  [[nodiscard]] bool serves(const api::Resource& resource) const override;
  Task<Result<api::ObjectPtr>> get(const api::Resource& resource, std::string ns, std::string name) override;
  Task<Result<ListPage>> list(const api::Resource& resource, ListQuery query) override;

 private:
  struct Use {
    std::string name;  ///< of a container
    WallTime at;
    std::chrono::nanoseconds window{};
    std::int64_t nanocores = 0;
    std::int64_t bytes = 0;
  };
  /// One sample of a node with its rates. A pod of which a container lacks a figure is not in it.
  struct Sample {
    std::optional<Use> node;
    std::map<std::string, std::vector<Use>> pods;  ///< by uid
    bool complete = true;                          ///< nothing waits for another sample
  };
  using SamplePtr = std::shared_ptr<const Sample>;
  using Steady = std::chrono::steady_clock::time_point;
  struct NodeState {
    RateHistory history;
    SamplePtr last;  ///< null: the node did not answer
    Steady taken;
    std::optional<Steady> next;  ///< not to be asked before
    bool asking = false;         ///< a request waits for its answer; others wait for that request
  };
  using Samples = std::map<std::string, SamplePtr>;  ///< by node

  Task<Result<std::vector<api::ObjectPtr>>> all(const api::Resource& resource, std::vector<api::ObjectPtr> objects);
  /// May this request ask? If not, `known` is the answer, or (when it is null) to come.
  struct Turn {
    bool mine = false;
    std::optional<SamplePtr> known;
  };
  Turn take_turn(const std::string& node);
  void end_turn(const std::string& node);
  Task<SamplePtr> sample(std::string node);
  Task<SamplePtr> ask(std::string node);
  SamplePtr digest(RateHistory& history, const Json& summary);
  void forget_idle(Steady now);
  [[nodiscard]] bool is_ready(std::string_view node) const;

  const ObjectSource& objects_;
  Clock& clock_;
  Fetch fetch_;
  std::mutex mutex_;  // guards what follows; never held across a wait
  std::map<std::string, NodeState> nodes_;
};

}  // namespace brume::apiserver
