// The scanner of stored objects: any bytes; what is JSON must come out as JSON with the revision in it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "brume/api/object.h"
#include "brume/api/selector.h"
#include "brume/base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace brume;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  static_cast<void>(api::field_value(text, "spec.nodeName"));
  auto object = api::Object::from_stored(text, 7);
  if (!object) return 0;
  // Canonical bytes (as the store holds them) must splice into canonical bytes.
  auto json = parse_json(text);
  if (!json || dump_json(*json) != text) return 0;
  auto spliced = parse_json((*object)->bytes());
  if (!spliced || str(at(*spliced, "metadata"), "resourceVersion") != "7") std::abort();
  if (dump_json(*spliced) != (*object)->bytes()) std::abort();
  return 0;
}
