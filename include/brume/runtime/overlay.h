// Whether and how this kernel mounts the overlay of a container's layers.
#pragma once

#include <cstdint>

#include "brume/base/result.h"

namespace brume::runtime {

/// kAppended: each layer by an option of its own (lowerdir+); kJoined: all in the options of mount(2).
enum class OverlayWay : std::uint8_t { kAppended, kJoined };

/// Mounts an overlay as the shim does, in a child process with a mount namespace of its own, and changes a file in it.
/// Blocks for a moment. kIo: it cannot be done.
Result<OverlayWay> probe_overlay();

}  // namespace brume::runtime
