// The shim's program, as a file that nobody can change.
#pragma once

#include "brume/base/result.h"
#include "brume/linux/fd.h"

namespace brume::runtime {

/// A sealed memfd with the shim's program: what a container could reach through /proc/<shim>/exe cannot be written.
Result<linux_os::Fd> shim_image();

}  // namespace brume::runtime
