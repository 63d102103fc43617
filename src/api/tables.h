// The generated constant data, as the rest of the module reaches it.
#pragma once

#include <span>
#include <string_view>

#include "brume/api/resources.h"
#include "brume/api/schema.h"

namespace brume::api::tables {

extern constinit const std::span<const Type> kAllTypes;          ///< sorted by full name
extern constinit const std::span<const Resource> kAllResources;  ///< in discovery order
extern constinit const std::string_view kFingerprint;            ///< a digest of the tables' text

}  // namespace brume::api::tables
