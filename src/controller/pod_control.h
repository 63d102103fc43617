// Creating, deleting and claiming pods on behalf of an owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "brume/api/selector.h"
#include "controller.h"

namespace brume::controller {

/// What an owner's pods were told to be, until the pod informer shows it: without it, a reconcile on an old copy would
/// create or delete the same pods again. Creations are awaited by revision (the copy must have reached it), deletions
/// by uid.
class Expectations {
 public:
  explicit Expectations(Informer& informer) : informer_(informer) {}

  void created(const std::string& owner, std::int64_t revision);
  void deleting(const std::string& owner, const ObjectPtr& object);
  /// Nothing is outstanding.
  bool satisfied(const std::string& owner);
  void forget(const std::string& owner) { waiting_.erase(owner); }
  [[nodiscard]] std::size_t owners() const { return waiting_.size(); }

 private:
  struct Waiting {
    std::int64_t revision = 0;
    std::unordered_map<std::string, std::string> deleting;  // uid to key
  };
  Informer& informer_;
  std::unordered_map<std::string, Waiting> waiting_;
};

/// The name of the informer index that objects without controller are found by, and its value for a namespace; objects
/// with a controller are under its uid.
inline constexpr std::string_view kByController = "controller";
std::string orphans_of(std::string_view ns);
void index_by_controller(const Object& object, std::vector<std::string>& values);

/// Whose changes concern which owners.
struct DependentWatch {
  Informer& owners;
  Informer& dependents;
  std::function<bool(const ObjectPtr& owner, const ObjectPtr& dependent)> selects;
  std::function<void(const ObjectPtr& owner)> enqueue;
};
/// From now on calls `enqueue` when a dependent changes: for its controller, for the one that it had before and, when
/// it has none, for each owner that selects (and may adopt) it.
void watch_dependents(DependentWatch watch);

/// Does `one` for 0 ... count - 1 in batches that double (1, 2, 4 ... 500), so that something that cannot be done
/// (quota, admission) costs a few calls and not hundreds: it stops after a batch with a failure, and gives the first.
Task<Status> slow_start(std::size_t count, std::function<Task<Status>(std::size_t)> one);

/// Creates and deletes pods for owners: tells of it by events about the owner, and keeps the expectations.
class PodControl {
 public:
  PodControl(client::Client& client, Informer& pods, client::EventRecorder& events)
      : client_(client), pods_(pods), events_(events), expectations_(pods) {}

  [[nodiscard]] Expectations& expectations() { return expectations_; }
  /// A namespace that is being terminated, where nothing can be created, is no failure.
  Task<Status> create(ObjectPtr owner, Json pod);
  Task<Status> remove(ObjectPtr owner, ObjectPtr pod);
  Task<Status> remove_all(ObjectPtr owner, std::vector<ObjectPtr> pods);  ///< at the same time; the first failure

 private:
  client::Client& client_;
  Informer& pods_;
  client::EventRecorder& events_;
  Expectations expectations_;
};

/// A pod from a pod template, owned by `owner`, with a generated name.
Json pod_from_template(const Object& owner, const Json& pod_template);

/// Gives `object` to `owner`, or takes it away, by a patch that demands the object's uid. `finalizer`, when there is
/// one, comes and goes with the owner.
Task<Status> adopt(client::Client& client, const api::Resource& resource, ObjectPtr object, ObjectPtr owner,
                   std::string finalizer = {});
Task<Status> release(client::Client& client, const api::Resource& resource, ObjectPtr object, std::string owner_uid,
                     std::string finalizer = {});

/// Which of the objects (of `resource`, from `informer`, which has the index kByController) belong to `owner`: those it
/// controls and its selector matches; it adopts matching orphans and releases what no longer matches. Only objects for
/// which `wanted` holds are adopted or released. The owner is read anew before the first adoption. `finalizer` is as
/// for adopt().
Task<Result<std::vector<ObjectPtr>>> claim(client::Client& client, Informer& informer, const api::Resource& owners,
                                           ObjectPtr owner, api::LabelSelector selector,
                                           std::function<bool(const ObjectPtr&)> wanted, std::string finalizer = {});

}  // namespace brume::controller
