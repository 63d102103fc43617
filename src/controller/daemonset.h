// The DaemonSet controller, split over daemonset.cc (what to look at, history) and daemonset_sync.cc (pods and status).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "daemonset_util.h"
#include "history.h"

namespace brume::controller {

class DaemonSetController final : public Controller {
 public:
  explicit DaemonSetController(Context& context);

 private:
  struct View {
    api::LabelSelector selector;
    DaemonPlacement placement;
  };
  /// What one reconcile works on.
  struct World {
    ObjectPtr object;
    Json value;
    Revision current;
    Revisions old;
    std::int64_t collisions = 0;
    std::vector<std::string> claimed = {};  // keys of the pods
    std::map<std::string, DaemonVerdict> verdicts = {};

    [[nodiscard]] const Json& spec() const { return at(value, "spec"); }
    [[nodiscard]] std::string hash() const { return std::string(current.object->label(kRevisionLabel)); }
    [[nodiscard]] std::int64_t desired() const;
  };

  // daemonset.cc
  Task<Status> reconcile(std::string key) override;
  Task<Status> find_revisions(World& world, api::LabelSelector selector);
  Task<Status> find_pods(World& world, api::LabelSelector selector);
  Task<Status> keep_one(World& world, Revisions same);
  Task<Status> clean_history(const World& world);
  void node_changed(const ObjectPtr& old, const ObjectPtr& now);
  void enqueue_all();
  static View decode(const Object& set);

  // daemonset_sync.cc
  [[nodiscard]] DaemonPods pods_of(const World& world);
  Task<Status> manage(World& world);
  void plan_present(const World& world, const std::string& node, const std::vector<DaemonPod>& pods, DaemonPlan& plan);
  Task<Status> roll(World& world);
  Task<Status> carry_out(const World& world, DaemonPlan plan);
  Task<Status> report(const World& world, bool processed);
  void look_again(const World& world);

  Informer& sets_;
  Informer& pods_;
  Informer& nodes_;
  client::Projection<View> views_;
  client::Projection<std::string> targets_;
  client::Projection<std::vector<client::Taint>> taints_;
  PodControl control_;
  History history_;
  Expectations own_writes_;
  FailureBackoff failures_;
};

}  // namespace brume::controller
