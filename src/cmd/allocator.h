// The heap of brume's processes.
//
// Release builds link gperftools' tcmalloc instead of the C library's allocator; sanitized builds keep their own, and
// then these do nothing. docs/design/decisions.md says why.
#pragma once

#include <cstddef>

namespace brume::cmd {

/// Bounds what all threads together keep of freed small blocks, in bytes. Before there are threads.
void bound_thread_caches(std::size_t bytes);

/// Gives the pages that nothing lives on back to the kernel, if they are at least `from` bytes. From any thread.
void release_free_memory(std::size_t from = 0);

}  // namespace brume::cmd
