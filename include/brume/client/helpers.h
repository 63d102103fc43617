// What every loop does with objects: references, conditions, changes that survive conflicts.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "brume/api/object.h"
#include "brume/base/json_fwd.h"
#include "brume/base/time.h"
#include "brume/client/client.h"

namespace brume::client {

/// core/v1 ObjectReference.
struct ObjectReference {
  std::string api_version;
  std::string kind;
  std::string ns;
  std::string name;
  std::string uid;
  std::string resource_version;
  std::string field_path;  ///< such as spec.containers{web}

  static ObjectReference to(const api::Object& object);
  [[nodiscard]] Json to_json() const;
};

/// The metav1.OwnerReference of an owner that controls: controller and blockOwnerDeletion are true.
[[nodiscard]] Json controller_reference(const api::Object& owner);
/// The metav1.OwnerReference as JSON.
[[nodiscard]] Json to_json(const api::OwnerReference& owner);
/// Whether the object's controller has this uid.
[[nodiscard]] bool controlled_by(const api::Object& object, std::string_view uid);

/// The condition of this type in `status.conditions`, or null.
[[nodiscard]] const Json& find_condition(const Json& status, std::string_view type);
/// Whether that condition's status is "True".
[[nodiscard]] bool condition_true(const Json& status, std::string_view type);
/// Puts `condition` (type, status, reason, message...) among the conditions; lastTransitionTime becomes `now` when the
/// status differs from before and is kept otherwise. False when nothing changed.
bool set_condition(Json& status, Json condition, WallTime now);
void remove_condition(Json& status, std::string_view type);

/// Reads the object, lets `change` edit it and writes it with the revision read; again after a conflict, five times in
/// all. `change` gives false when nothing is to be written (then the object read is the answer).
Task<Result<ObjectPtr>> retry_on_conflict(Client& client, const api::Resource& resource, std::string ns,
                                          std::string name, std::function<bool(Json&)> change,
                                          WriteOptions options = {});

/// Reads a whole collection page by page.
Task<Result<List>> list_all(Client& client, const api::Resource& resource, ListOptions options);

}  // namespace brume::client
