// One step of admission, and what steps share.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../access.h"
#include "brume/base/json.h"

namespace brume::apiserver {

/// Stateless but for references to caches; thread-safe. Steps answer at once: what must be waited for, the chain waits
/// for.
class AdmissionPlugin {
 public:
  virtual ~AdmissionPlugin() = default;
  virtual Status mutate(AdmissionRequest&) const { return {}; }
  virtual Status validate(const AdmissionRequest&) const { return {}; }
};

using Operation = AdmissionRequest::Operation;

/// Whether the request is for `group_resource` ("pods", "deployments.apps") itself, not for a sub-resource of it.
[[nodiscard]] bool is_for(const AdmissionRequest& request, std::string_view group_resource);
/// ... and creates it.
[[nodiscard]] bool creates(const AdmissionRequest& request, std::string_view group_resource);
/// The name that errors show: of the URL, of the object, or its generateName.
[[nodiscard]] std::string shown_name(const AdmissionRequest& request);
/// kForbidden: pods "x" is forbidden: why.
[[nodiscard]] std::unexpected<Error> forbid(const AdmissionRequest& request, const std::string& why);
/// spec as an object, made if absent.
[[nodiscard]] Json& spec_of(Json& object);
[[nodiscard]] std::string_view annotation(const Json& object, std::string_view key);
[[nodiscard]] bool has_annotation(const Json& object, std::string_view key);
/// An array member, made if absent.
[[nodiscard]] Json& array_in(Json& object, std::string_view key);

/// Of the objects that `is_default` marks as default the newest; of the same second, the first by name. Null: none.
[[nodiscard]] api::ObjectPtr newest_default(const ObjectSource& objects, const api::Resource& resource,
                                            bool (*is_default)(const Json& object));

constexpr std::string_view kMirrorAnnotation = "kubernetes.io/config.mirror";

}  // namespace brume::apiserver
