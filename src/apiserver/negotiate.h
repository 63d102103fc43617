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
};

/// What an answer can be had as.
struct Offer {
  bool shapes = true;  ///< tables and metadata; what is not stored (reviews, bindings) has none but its own
  bool yaml = true;    ///< a watch cannot: its frames are lines of JSON
};

/// The first range that is served; kNotAcceptable as Kubernetes words it when there is none.
[[nodiscard]] Result<Format> negotiate(std::string_view accept, Offer offer = {});

}  // namespace brume::apiserver
