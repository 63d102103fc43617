// Request bodies in Kubernetes' protobuf encoding, read by the schema's field numbers.
#pragma once

#include <string_view>

#include "brume/base/json.h"
#include "brume/base/result.h"

namespace brume::apiserver {

inline constexpr std::string_view kProtobufMedia = "application/vnd.kubernetes.protobuf";

/// The object in `body`: the magic "k8s\0" and a runtime.Unknown that names apiVersion and kind. kBadRequest when it is
/// broken or names a kind that is not known. Unknown fields are skipped, as protobuf does.
[[nodiscard]] Result<Json> decode_protobuf(std::string_view body);

}  // namespace brume::apiserver
