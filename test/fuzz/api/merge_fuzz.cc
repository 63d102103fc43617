// Patches: the input is a document and a patch with a zero byte between, tried as each kind of patch.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "brume/api/patch.h"
#include "brume/api/resources.h"
#include "brume/base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace brume;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto cut = text.find('\0');
  if (cut == std::string_view::npos) return 0;
  auto doc = parse_json(text.substr(0, cut));
  auto patch = parse_json(text.substr(cut + 1));
  if (!doc || !patch) return 0;
  const auto& type = *api::find_type("io.k8s.api.core.v1.PodSpec");
  if (auto merged = api::strategic_merge_patch(type, *doc, *patch)) static_cast<void>(dump_json(*merged));
  if (auto patched = api::json_patch(*doc, *patch)) static_cast<void>(dump_json(*patched));
  static_cast<void>(dump_json(api::merge_patch(*doc, *patch)));
  return 0;
}
