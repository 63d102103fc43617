// OpenAPI documents made from the tables, for kubectl and other clients.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "brume/api/resources.h"
#include "brume/base/json_fwd.h"

namespace brume::api {

/// A served custom resource and its schema (the CRD's openAPIV3Schema; null for none).
struct CustomResource {
  const Resource* resource = nullptr;
  const Json* schema = nullptr;
};

/// The /openapi/v3 index: {"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=..."}}}. Made anew each
/// call; callers cache.
[[nodiscard]] std::string openapi_v3_paths(std::span<const CustomResource> custom = {});
/// /openapi/v3/api/v1 is ("", "v1"); apis/apps/v1 is ("apps", "v1"). Empty when nothing of that group and version is
/// served.
[[nodiscard]] std::string openapi_v3(std::string_view group, std::string_view version,
                                     std::span<const CustomResource> custom = {});
/// The whole API as Swagger 2.0 JSON.
[[nodiscard]] std::string openapi_v2_json(std::span<const CustomResource> custom = {});
/// The same as a gnostic openapi.v2.Document message (application/com.github.proto-openapi.spec.v2@v1.0+protobuf).
[[nodiscard]] std::string openapi_v2_protobuf(std::span<const CustomResource> custom = {});
/// A strong tag of a document, fit for ETag and the hash parameter.
[[nodiscard]] std::string openapi_hash(std::string_view document);

}  // namespace brume::api
