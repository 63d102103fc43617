// The garbage collector by owner references, split over garbage_collector.cc (the graph and what to look at) and
// garbage_collector_actions.cc (what is done with one object).
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "controller.h"

namespace brume::controller {

/// Deletes objects whose owners are all gone, and carries out foreground and orphan deletion. It keeps no copy of its
/// own: dependents are found by an index of owner uids over all informers; owners are always read live before anything
/// is deleted.
class GarbageCollector final : public Controller {
 public:
  explicit GarbageCollector(Context& context);

 private:
  /// One object as a queue key: resource, namespace, name, uid.
  struct Item {
    const api::Resource* resource = nullptr;
    std::string ns;
    std::string name;
    std::string uid;
    [[nodiscard]] std::string key() const;
    static Item parse(std::string_view key);
  };
  using Items = std::unordered_map<std::string, Item>;  // by uid
  /// An object's owners, sorted by what they are.
  struct Owners {
    std::vector<api::OwnerReference> solid, dangling, waiting;
  };
  enum class OwnerState { kSolid, kDangling, kWaiting };

  // garbage_collector.cc
  void attach(const api::Resource& resource);
  void added(const api::Resource& resource, const ObjectPtr& now);
  void updated(const api::Resource& resource, const ObjectPtr& old, const ObjectPtr& now);
  void deleted(const api::Resource& resource, const ObjectPtr& last);
  void consider(const api::Resource& resource, const ObjectPtr& now);
  void link(const api::Resource& resource, const Object& object);
  void unlink(const Object& object);
  void look(const api::Resource& resource, const Object& object);
  void look_at_owners(const ObjectPtr& object);
  [[nodiscard]] ObjectPtr owner_in_copy(const Object& object, const api::OwnerReference& owner) const;
  [[nodiscard]] std::vector<Item> dependents(const std::string& uid) const;
  [[nodiscard]] ObjectPtr in_copy(const Item& item) const;

  // garbage_collector_actions.cc
  Task<Status> reconcile(std::string key) override;
  Task<Status> delete_dependents_first(Item item, ObjectPtr object);
  Task<Status> orphan(Item item, ObjectPtr object);
  Task<Status> collect(Item item, ObjectPtr object);
  Task<Result<Owners>> classify(Item item, ObjectPtr object);
  Task<Result<OwnerState>> owner_state(Item item, api::OwnerReference owner);
  Task<Status> remove_owners(Item item, std::vector<std::string> uids);
  Task<Status> remove_finalizer(Item item, std::string finalizer);
  Task<Status> unblock(Item item);
  Task<Status> remove(Item item, ObjectPtr object, std::string policy);
  void remember_absent(const std::string& place);

  std::unordered_map<std::string, Items> dependents_;  // by owner uid
  std::unordered_set<std::string> absent_;             // owners known to be gone for good, as owner_state names them
  std::deque<std::string> absent_order_;
};

inline constexpr std::string_view kForeground = "foregroundDeletion";
inline constexpr std::string_view kOrphan = "orphan";

bool has_finalizer(const Object& object, std::string_view finalizer);
/// Deleted in the foreground: it waits for its dependents.
inline bool waits_for_dependents(const Object& object) {
  return object.deleting() && has_finalizer(object, kForeground);
}

}  // namespace brume::controller
