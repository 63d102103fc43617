#include "cmd/allocator.h"

#ifdef BRUME_TCMALLOC
#include <gperftools/malloc_extension_c.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace {

/// Above this it is cheaper to let the kernel give zeroed pages once they are touched.
constexpr std::size_t kZeroByKernel = 256U << 10;

}  // namespace

/// tcmalloc's memset (src/cmd/meson.build). All that it fills is private anonymous memory. What it fills first is a
/// leaf of its page map: 2 MiB, of which a process of brume uses a few pages; written, they cost each process 2 MiB and
/// 10 ms.
extern "C" void* brume_tcmalloc_memset(void* to, int byte, std::size_t size) {
  if (byte != 0 || size < kZeroByKernel) return std::memset(to, byte, size);
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(to);
  const auto end = begin + size;
  const auto first = (begin + page - 1) / page * page;
  const auto last = end / page * page;
  if (::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED) != 0) return std::memset(to, 0, size);
  std::memset(to, 0, first - begin);
  std::memset(reinterpret_cast<void*>(last), 0, end - last);
  return to;
}

namespace brume::cmd {

void bound_thread_caches(std::size_t bytes) {
  MallocExtension_SetNumericProperty("tcmalloc.max_total_thread_cache_bytes", bytes);
}

void release_free_memory(std::size_t from) {
  std::size_t free = 0;
  if (MallocExtension_GetNumericProperty("tcmalloc.pageheap_free_bytes", &free) != 0 && free >= from)
    MallocExtension_ReleaseFreeMemory();
}

}  // namespace brume::cmd

#else

namespace brume::cmd {

void bound_thread_caches(std::size_t /*bytes*/) {}
void release_free_memory(std::size_t /*from*/) {}

}  // namespace brume::cmd

#endif
