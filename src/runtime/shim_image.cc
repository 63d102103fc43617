#include "shim_image.h"

#include <string_view>

#include "brume/linux/process.h"
#include "shim_bytes.inc"

namespace brume::runtime {

Result<linux_os::Fd> shim_image() {
  return linux_os::sealed_memfd("brume-shim", {reinterpret_cast<const char*>(kShimBytes), sizeof kShimBytes}, true);
}

}  // namespace brume::runtime
