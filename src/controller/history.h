// ControllerRevisions: what the pod templates of a StatefulSet or DaemonSet were, so that it can go back to one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "pod_control.h"

namespace brume::controller {

/// Watches dependents that the owners' selectors find; a view has the `selector` of its owner.
template <typename View>
DependentWatch selected_dependents(Informer& owners, Informer& dependents, client::Projection<View>& views,
                                   std::function<void(const ObjectPtr& owner)> enqueue) {
  return {.owners = owners,
          .dependents = dependents,
          .selects = [&views](const ObjectPtr& owner,
                              const ObjectPtr& object) { return views.of(owner).selector.matches(object->labels()); },
          .enqueue = std::move(enqueue)};
}

/// A pod's label that says which revision it is of.
inline constexpr std::string_view kRevisionLabel = "controller-revision-hash";

struct Revision {
  ObjectPtr object;
  std::int64_t number = 0;
  std::string data;  ///< canonical bytes of revision_data()

  [[nodiscard]] const std::string& name() const { return object->name(); }
  [[nodiscard]] Json pod_template() const;
};
using Revisions = std::vector<Revision>;  ///< by number, then age, then name

/// What a revision keeps of its owner: the strategic merge patch that puts the pod template back.
Json revision_data(const Json& pod_template);
Revision decode_revision(const ObjectPtr& object);
/// One above the highest.
std::int64_t next_number(const Revisions& revisions);
/// The oldest of `revisions` above `limit` that are not live. A negative limit keeps all.
Revisions surplus(const Revisions& revisions, std::int64_t limit, const std::function<bool(const Revision&)>& live);

/// The revisions of one controller's owners.
class History {
 public:
  /// `watch`: whose revisions, and what to do when one changed. `hash_label`: where a revision's own hash stands.
  History(client::Client& client, DependentWatch watch, std::string hash_label);

  /// All that was written has come back to the copy.
  [[nodiscard]] bool settled(const std::string& owner) { return writes_.satisfied(owner); }
  void forget(const std::string& owner) { writes_.forget(owner); }

  /// The owner's revisions; orphans that the selector matches are adopted.
  Task<Result<Revisions>> of(ObjectPtr owner, api::LabelSelector selector);
  /// Makes a revision of the template; it has the template's labels and the owner's annotations. `collisions` is raised
  /// when the name is taken by another template.
  Task<Result<Revision>> create(ObjectPtr owner, Json pod_template, std::int64_t number, std::int64_t& collisions);
  Task<Result<Revision>> renumber(ObjectPtr owner, Revision revision, std::int64_t number);
  /// Gives a revision of an earlier release its hash label.
  Task<Result<Revision>> label(ObjectPtr owner, Revision revision, std::string hash);
  Task<Status> remove(ObjectPtr owner, Revisions doomed);

 private:
  Task<Result<Revision>> patch(ObjectPtr owner, Revision revision, Json patch);

  client::Client& client_;
  Informer& revisions_;
  Informer& owners_;
  std::string hash_label_;
  Expectations writes_;
};

}  // namespace brume::controller
