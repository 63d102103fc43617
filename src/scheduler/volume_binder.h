// VolumeBinder: which volumes a pod's claims could have on which node, promised in memory first and written then.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "brume/base/task.h"
#include "brume/client/fresh_objects.h"
#include "brume/client/volumes.h"
#include "handle.h"

namespace brume::scheduler {

/// A claim of the pod that has its volume.
struct BoundClaim {
  ObjectPtr claim;
  ObjectPtr volume;  ///< null: it is not there
  client::VolumeView view = {};
};

/// A claim whose class waits for its first consumer.
struct OpenClaim {
  ObjectPtr claim;
  client::ClaimView view;
  client::ClassView storage_class;
};

/// What a pod's claims are to have on one node.
struct VolumePlan {
  struct Binding {
    ObjectPtr volume, claim;
  };
  std::vector<Binding> bindings = {};      ///< with volumes that are there
  std::vector<ObjectPtr> provisions = {};  ///< claims for which a volume is to be made
  [[nodiscard]] bool empty() const { return bindings.empty() && provisions.empty(); }
};

/// A pod's claims, looked up once.
struct PodClaims {
  std::vector<BoundClaim> bound = {};
  std::vector<OpenClaim> open = {};  ///< the smallest first
  bool immediate = false;            ///< some are not bound whose class does not wait
  /// Of the classes of open claims. Views are kept by `views`.
  std::vector<client::VolumeChoice> choices = {};
  std::vector<std::unique_ptr<client::VolumeView>> views = {};
  std::map<std::string, VolumePlan> plans = {};  ///< by node
};

/// Why a node does not do.
struct VolumeReasons {
  bool node_conflict = false;  ///< a bound volume is not within its reach
  bool no_volume = false;      ///< neither a volume nor somebody who makes one
  bool no_space = false;
  bool volume_gone = false;
  [[nodiscard]] bool none() const { return !node_conflict && !no_volume && !no_space && !volume_gone; }
};

/// Owner: the scheduler's loop.
class VolumeBinder {
 public:
  VolumeBinder(Handle& handle, std::chrono::seconds timeout);

  /// An error in kube-scheduler's words when a claim cannot be used (yet).
  [[nodiscard]] Result<PodClaims> look_up(const PodInfo& pod);
  /// Makes the node's plan, when there is no reason against it.
  [[nodiscard]] VolumeReasons find(PodClaims& claims, const NodeInfo& node) const;
  /// Counts the plan as done, so that the next pod is promised nothing of it.
  void assume(VolumePlan& plan, const std::string& node);
  void revert(const VolumePlan& plan);
  /// Writes the plan and waits until the controllers have done their part.
  Task<Status> bind(VolumePlan plan, PodPtr pod, std::string node);

 private:
  struct Waiter {
    Event woken;
    std::chrono::steady_clock::time_point until;
  };

  Task<Status> write(VolumePlan& plan);
  /// Whether all is bound; an error when it never will be.
  [[nodiscard]] Result<bool> done(const VolumePlan& plan, const PodInfo& pod, const std::string& node) const;
  [[nodiscard]] Result<bool> binding_done(const VolumePlan::Binding& binding, const NodeInfo& node) const;
  [[nodiscard]] Result<bool> provision_done(const ObjectPtr& claim, const NodeInfo& node) const;
  [[nodiscard]] bool has_space(const OpenClaim& claim, const std::string& class_name, const NodeInfo& node) const;
  void gather_choices(PodClaims& claims);
  void wake();
  void arm();
  Task<void> expire();

  Handle& handle_;
  std::chrono::seconds timeout_;
  client::Informer& volumes_;
  client::Informer& claims_;
  client::Informer& classes_;
  client::Informer& drivers_;
  client::Informer& capacities_;
  client::FreshObjects fresh_volumes_;
  client::FreshObjects fresh_claims_;
  client::Projection<client::VolumeView> volume_views_;
  std::map<std::uint64_t, Waiter*> waiters_;
  std::uint64_t next_waiter_ = 0;
  bool armed_ = false;
};

}  // namespace brume::scheduler
