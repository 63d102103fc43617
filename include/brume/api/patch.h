// The three client patches. Server-side apply lives with the API server.
#pragma once

#include <cstddef>

#include "brume/api/schema.h"
#include "brume/base/json_fwd.h"
#include "brume/base/result.h"

namespace brume::api {

/// Bounds on one JSON patch.
struct JsonPatchLimits {
  std::size_t max_operations = 10'000;
  std::size_t max_copied_bytes = 3 * 1024 * 1024;  ///< what `copy` may add in all
};

/// RFC 6902. kBadRequest for a malformed patch; kInvalid for one that does not fit the document (a missing path, a
/// failed test), which Kubernetes answers with 422; kRequestEntityTooLarge above the limits.
[[nodiscard]] Result<Json> json_patch(Json doc, const Json& patch, const JsonPatchLimits& limits = {});

/// RFC 7386.
[[nodiscard]] Json merge_patch(Json doc, const Json& patch);

/// Kubernetes' strategic merge patch with its directives ($patch, $deleteFromPrimitiveList, $setElementOrder,
/// $retainKeys). kBadRequest for a malformed patch.
[[nodiscard]] Result<Json> strategic_merge_patch(const Type& type, Json doc, const Json& patch);

}  // namespace brume::api
