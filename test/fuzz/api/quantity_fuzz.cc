// Quantities: what parses prints, and reads back as the same number.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "brume/api/quantity.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using brume::api::Quantity;
  auto quantity = Quantity::parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!quantity) return 0;
  auto back = Quantity::parse(quantity->to_string());
  if (!back || *back != *quantity) std::abort();
  static_cast<void>((*quantity + *back - *quantity).milli_value());
  return 0;
}
