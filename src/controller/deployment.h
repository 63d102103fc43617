// The Deployment controller, split over deployment.cc (what to look at), deployment_sync.cc (revisions, scaling,
// clean-up), deployment_rollout.cc (strategies) and deployment_status.cc.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "deployment_util.h"
#include "pod_control.h"

namespace brume::controller {

class DeploymentController final : public Controller {
 public:
  explicit DeploymentController(Context& context);

 private:
  /// What one reconcile works on. `fresh` is the index in `sets` of the set with the Deployment's template, or -1.
  struct World {
    DeploymentState deployment;
    ReplicaSets sets;  // oldest first
    int fresh = -1;

    [[nodiscard]] ReplicaSet* newest() { return fresh < 0 ? nullptr : &sets[static_cast<std::size_t>(fresh)]; }
    [[nodiscard]] bool is_old(const ReplicaSet& set) const {
      return fresh < 0 || set.object->uid() != sets[static_cast<std::size_t>(fresh)].object->uid();
    }
    [[nodiscard]] ReplicaSets old() const;
  };
  struct View {
    api::LabelSelector selector;
    bool recreate = false;
  };

  // deployment.cc
  Task<Status> reconcile(std::string key) override;
  Task<Result<World>> observe(ObjectPtr object);
  Task<Status> steer(World& world);
  void pod_gone(const ObjectPtr& pod);
  void note_pause(World& world);
  static View decode(const Object& deployment);

  // deployment_sync.cc
  Task<Status> find_or_create_new(World& world, bool create);
  Task<Status> refresh_new(World& world);
  Task<Status> create_new(World& world, std::int64_t revision);
  Task<Status> name_taken(World& world, std::string name, const Json& wanted);
  void record_revision(World& world, std::int64_t revision);
  Task<Status> write_annotations(World& world);
  [[nodiscard]] bool rescaled(const World& world) const;
  Task<Status> sync_scale(World& world);
  Task<Status> scale_all(World& world);
  Task<Status> scale_proportionally(World& world);
  Task<Result<bool>> scale(World& world, std::string name, std::int64_t size);
  Task<Status> cleanup(World& world);

  // deployment_rollback.cc
  [[nodiscard]] static std::optional<std::int64_t> rollback_revision(const World& world);
  Task<Status> roll_back(World& world);
  Task<Status> end_rollback(World& world, Json value);

  // deployment_rollout.cc
  Task<Status> roll(World& world);
  Task<Status> recreate(World& world);
  Task<Result<bool>> grow_new(World& world);
  Task<Result<bool>> shrink_old(World& world);
  Task<Result<std::int64_t>> drop_unhealthy(World& world, std::int64_t limit);
  Task<Result<std::int64_t>> drop_available(World& world);
  [[nodiscard]] bool old_pods_run(const World& world);

  // deployment_status.cc
  [[nodiscard]] Json count_status(const World& world) const;
  Task<Status> report_counts(World& world);
  Task<Status> report_rollout(World& world);
  Task<Status> write(World& world, Json status);
  void look_again(const World& world, const Json& status);

  Informer& deployments_;
  Informer& sets_;
  Informer& pods_;
  client::Projection<View> views_;
  Expectations set_writes_;
  Expectations own_writes_;
};

}  // namespace brume::controller
