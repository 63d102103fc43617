// Image archives: `docker save` tars and OCI layouts.
#pragma once

#include <string>
#include <vector>

#include "brume/runtime/images.h"
#include "runtime/images/image_store.h"

namespace brume::runtime {

/// Imports every image of the archive at `path`, pinned. Blocks. kInvalid when it is no image archive.
Result<std::vector<ImagePtr>> import_image_archive(ImageStore& store, const std::string& path);

}  // namespace brume::runtime
