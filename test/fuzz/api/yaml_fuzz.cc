// YAML and JSON decoding: any bytes, then checked against a big type.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "brume/api/decode.h"
#include "brume/api/defaults.h"
#include "brume/api/resources.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace brume::api;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  for (auto media : {MediaType::kJson, MediaType::kYaml}) {
    auto decoded = decode(text, media);
    if (!decoded) continue;
    const auto& pods = res("pods");
    static_cast<void>(unknown_fields(*pods.type, decoded->value));
    if (!coerce(*pods.type, decoded->value)) continue;
    // What coerce made is stable, and defaults never fail on it.
    auto again = decoded->value;
    if (!coerce(*pods.type, again) || again != decoded->value) std::abort();
    apply_defaults(pods, again);
    if (!coerce(*pods.type, again)) std::abort();
  }
  return 0;
}
