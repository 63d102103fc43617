// Validation of whole objects, as Kubernetes' strategies do it: after decoding and defaulting.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "brume/api/resources.h"
#include "brume/base/json_fwd.h"
#include "brume/base/result.h"

namespace brume::api {

/// Every violation, with Kubernetes' reason (FieldValueRequired, FieldValueInvalid, FieldValueNotSupported, ...), field
/// path and message; empty when the object is valid. Metadata rules are included. Kinds without rules of their own get
/// the metadata rules.
[[nodiscard]] std::vector<Cause> validate_create(const Resource& resource, const Json& object);
/// As validate_create on the new object, plus what may not change. `subresource` is what was written to ("" for the
/// object itself): a pod's "ephemeralcontainers" and "resize" may change what the pod itself may not.
[[nodiscard]] std::vector<Cause> validate_update(const Resource& resource, const Json& object, const Json& old,
                                                 std::string_view subresource = {});
/// A write to the status sub-resource.
[[nodiscard]] std::vector<Cause> validate_status_update(const Resource& resource, const Json& object, const Json& old);

/// The Invalid error that Kubernetes answers: `Kind.group "name" is invalid: field: message` with its causes.
[[nodiscard]] Error invalid_error(const Resource& resource, std::string_view name, std::vector<Cause> causes);

/// What keeps a name from being a DNS label (RFC 1123); empty when it is one.
[[nodiscard]] std::vector<std::string> dns_label_faults(std::string_view name);

}  // namespace brume::api
