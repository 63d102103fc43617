// The image that this binary makes of itself, for add-ons that run as pods.
#pragma once

#include <string>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/runtime/images.h"

namespace brume::cmd {

/// brume.local/brume:<version>
std::string own_image_name();

/// Makes the image unless it is there from this very build (by the linker's build id), and removes those of other
/// builds that no container uses. Owner: the node loop.
Task<Status> import_own_image(runtime::Images& images);

}  // namespace brume::cmd
