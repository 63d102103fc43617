// The StatefulSet controller, split over statefulset.cc (what to look at), statefulset_sync.cc (order, scaling, updates
// and status) and statefulset_pods.cc (single pods and their claims).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "history.h"
#include "statefulset_claims.h"
#include "statefulset_util.h"

namespace brume::controller {

class StatefulSetController final : public Controller {
 public:
  explicit StatefulSetController(Context& context);

 private:
  /// What one reconcile works on.
  struct World {
    StatefulSet set;
    Revisions revisions;
    Revision current;
    Revision update;
    std::int64_t collisions = 0;
    WallTime now;
    std::vector<ObjectPtr> pods = {};
    std::vector<Member> replicas = {};   // by ordinal, from the first
    std::vector<Member> condemned = {};  // outside the range of ordinals, the highest first
    std::vector<Member> beyond = {};     // wanted, but not in this round: too many before them lack
    std::int64_t deleted_for_update = 0;

    [[nodiscard]] const Member* first_unavailable() const;
  };
  struct View {
    api::LabelSelector selector;
    std::vector<std::string> claims;  // names of the claim templates
  };
  /// Whether the round ends here.
  using Step = std::function<Task<Result<bool>>(std::size_t)>;

  // statefulset.cc
  Task<Status> reconcile(std::string key) override;
  [[nodiscard]] bool settled(const std::string& key);
  Task<Result<std::vector<ObjectPtr>>> pods_of(ObjectPtr set, api::LabelSelector selector);
  Task<Status> find_revisions(World& world);
  Task<Status> find_update(World& world);
  Task<Status> truncate_history(const World& world);
  void pod_deleted(const ObjectPtr& pod);
  void claim_changed(const ObjectPtr& claim);
  static View decode(const Object& set);

  // statefulset_sync.cc
  Task<Status> sync(World& world);
  void refresh(World& world);
  void sort_members(World& world);
  Task<Result<bool>> run(const World& world, std::size_t count, Step step);
  Task<Status> move(World& world);
  Task<Result<bool>> keep_replica(World& world, std::size_t i);
  Task<Result<bool>> drop_condemned(World& world, std::size_t i);
  Task<Status> report(const World& world);
  void look_again(World& world);

  // statefulset_pods.cc
  Task<Status> create_pod(const World& world, const Member& member);
  Task<Status> repair_pod(const StatefulSet& set, const Member& member);
  Task<Status> delete_pod(const StatefulSet& set, const Member& member);
  Task<Status> create_claims(const StatefulSet& set, const Member& member);
  Task<Status> own_claims(const StatefulSet& set, const Member& member);
  [[nodiscard]] bool claims_owned(const StatefulSet& set, const Member& member) const;
  [[nodiscard]] bool claims_stale(const StatefulSet& set, const Member& member) const;
  [[nodiscard]] std::vector<ObjectPtr> claims_of(const StatefulSet& set, const Member& member) const;
  void pod_event(const StatefulSet& set, std::string_view verb, const std::string& pod, const Status& done);

  Informer& sets_;
  Informer& pods_;
  Informer& claims_;
  client::Projection<View> views_;
  client::Projection<PodClaims> pod_claims_;
  History history_;
  Expectations pod_writes_;
  Expectations claim_writes_;
  Expectations own_writes_;
};

}  // namespace brume::controller
