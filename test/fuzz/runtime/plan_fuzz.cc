// Fuzzes the parser that the shim runs on launch plans and frames. Build with -fsanitize=fuzzer,address.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "../../../src/runtime/shim/plan.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace brume::shim;
  auto* copy = static_cast<std::uint8_t*>(std::malloc(size == 0 ? 1 : size));  // aligned, and its end is guarded
  std::memcpy(copy, data, size);
  if (check_plan(copy, size)) {
    // What was accepted must be readable to its end exactly as the shim reads it.
    PlanHeader header;
    std::memcpy(&header, copy, sizeof header);
    const std::uint8_t* at = copy + sizeof header;
    for (std::uint32_t i = 0; i < header.op_count; ++i) {
      OpHeader op;
      std::memcpy(&op, at, sizeof op);
      at += sizeof op;
      if (!check_payload(op_layout(op.op), Cursor{at, at + op.size})) std::abort();
      at += op.size;
    }
    if (at != copy + size) std::abort();
  }
  Cursor frame{copy, copy + size};
  (void)frame.str();
  (void)frame.str();
  (void)frame.u32();
  (void)frame.u64();
  std::free(copy);
  return 0;
}
