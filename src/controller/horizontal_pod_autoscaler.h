// Inside of the HorizontalPodAutoscaler controller, shared by the files that implement it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "brume/api/selector.h"
#include "controller.h"
#include "horizontal_pod_autoscaler_behavior.h"
#include "horizontal_pod_autoscaler_metrics.h"
#include "horizontal_pod_autoscaler_replicas.h"

namespace brume::controller {

/// Scales whatever has a scale sub-resource by its load. Each autoscaler is looked at once a period; there is nothing
/// to do while there are none.
class HorizontalPodAutoscalerController final : public Controller {
 public:
  explicit HorizontalPodAutoscalerController(Context& context);

 private:
  /// One autoscaler in one reconcile.
  struct World {
    ObjectPtr object;
    Json value;
    Json status;  ///< what will be written
    const api::Resource* target = nullptr;
    Json scale;
    api::LabelSelector selector = {};
    std::string selector_text = {};
    ScalingBehavior behavior = {};

    [[nodiscard]] const Json& spec() const { return at(value, "spec"); }
    [[nodiscard]] bool has_behavior() const { return at(spec(), "behavior").is_object(); }
    [[nodiscard]] std::string target_name() const { return std::string(str(at(spec(), "scaleTargetRef"), "name")); }
    [[nodiscard]] std::int64_t current() const { return num(at(scale, "spec"), "replicas"); }
    [[nodiscard]] std::int64_t actual() const { return num(at(scale, "status"), "replicas"); }
    [[nodiscard]] std::int64_t least() const { return num(spec(), "minReplicas", 1); }
    [[nodiscard]] std::int64_t most() const { return num(spec(), "maxReplicas"); }
    [[nodiscard]] Tolerances tolerances(double fallback) const {
      return {behavior.down.tolerance.value_or(fallback), behavior.up.tolerance.value_or(fallback)};
    }
  };

  /// What one metric asks for, or why it cannot be told.
  struct Wish {
    std::int64_t replicas = 0;
    std::string metric;            ///< how events and conditions call it
    Json status = {{"type", ""}};  ///< its MetricStatus; as Go writes one that was never filled in
    std::string reason;            ///< of a failure; "" otherwise
    std::string condition;         ///< ... the condition's message
    std::string error;             ///< ... the event's message
  };
  /// What all metrics together ask for.
  struct Wishes {
    std::int64_t replicas = -1;  ///< -1: nothing is to be done
    std::string metric;
    Json statuses;  ///< null: none was read
    std::string error;
  };

  // horizontal_pod_autoscaler.cc
  Task<Status> reconcile(std::string key) override;
  Task<void> autoscale(World& world, std::string key);
  Task<bool> read_scale(World& world);
  Task<bool> rescale(World& world, std::int64_t wanted, std::string reason);
  std::int64_t normalize(World& world, const std::string& key, std::int64_t desired);
  Result<const api::Resource*> find_target(const World& world) const;
  void enqueue_next(const std::string& key);
  void condition(World& world, std::string_view type, bool holds, std::string_view reason, std::string message);
  void set_status(World& world, std::int64_t desired, Json metrics, bool scaled);
  Task<void> write(World& world);

  // horizontal_pod_autoscaler_sources.cc
  Task<Wishes> wishes(World& world, std::string key);
  bool check_selector(World& world, const std::string& key, std::string& error);
  Task<Wish> wish(World& world, Json metric);
  Task<Wish> resource_wish(World& world, Json source, bool of_container);
  Task<Wish> pods_wish(World& world, Json source);
  Task<Wish> object_wish(World& world, Json source);
  Task<Wish> external_wish(World& world, Json source);
  Wish failed(World& world, std::string_view reason, const std::string& message, std::string error);
  [[nodiscard]] PodSet pod_set(const World& world, std::string_view resource);

  Informer& autoscalers_;
  Informer& pods_;
  client::Projection<ScaledPod> views_;
  MetricsClient metrics_;
  std::map<std::string, ScalingMemory> memory_;          ///< by key
  std::map<std::string, api::LabelSelector> selectors_;  ///< by key: those that were seen last
};

/// A metav1.LabelSelector as Go prints it in messages; "nil" where there is none.
std::string go_selector_text(const Json& selector);
/// Whether `after` is worth a write: a status whose figures alone moved, and by little, is not.
bool worth_writing(const Json& before, const Json& after);

}  // namespace brume::controller
