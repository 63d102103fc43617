// Content negotiation: what of the Accept header is served.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/result.h"

namespace brume::apiserver {

/// One media range of an Accept header, best first.
struct MediaRange {
  std::string type;                ///< application/json
  std::string as, group, version;  ///< parameters as, g, v
  double quality = 1;
};
[[nodiscard]] std::vector<MediaRange> parse_accept(std::string_view header);

enum class Shape : std::uint8_t { kObject, kTable, kPartial };

/// How an answer is to be written.
struct Format {
  Shape shape = Shape::kObject;
  bool yaml = false;
  std::string meta_version = "v1";  ///< of Table and PartialObjectMetadata
  [[nodiscard]] std::string_view content_type() const { return yaml ? "application/yaml" : "application/json"; }
};

/// The first range that is served; kNotAcceptable as Kubernetes words it when there is none. What is not stored
/// (reviews, bindings) has no `shapes` but its own.
[[nodiscard]] Result<Format> negotiate(std::string_view accept, bool shapes = true);

}  // namespace brume::apiserver
