// Several calls at a time within one task.
#pragma once

#include <cstddef>
#include <functional>

#include "brume/base/task_fwd.h"

namespace brume {

/// Runs body(0) ... body(count - 1) at the same time on the caller's loop, at most `limit` of them at once (0: all),
/// and returns when all have ended. `body` is kept until then, so it may be a capturing lambda. When the caller is
/// cancelled all are cancelled and awaited.
Task<void> for_each_parallel(std::size_t count, std::function<Task<void>(std::size_t)> body, std::size_t limit = 0);

}  // namespace brume
