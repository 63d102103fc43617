// The data directory: one server at a time.
#pragma once

#include <string>

#include "brume/base/result.h"
#include "brume/linux/fd.h"

namespace brume::cmd {

/// Makes the directory (mode 0700) and locks it for the life of the returned descriptor. kConflict when another brume
/// holds it; the message names its pid.
Result<linux_os::Fd> lock_data_dir(const std::string& path);

}  // namespace brume::cmd
