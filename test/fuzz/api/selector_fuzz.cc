// Label and field selectors: what parses prints in a form that parses to the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "brume/api/selector.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace brume::api;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (auto labels = LabelSelector::parse(text)) {
    auto back = LabelSelector::parse(labels->to_string());
    if (!back || back->to_string() != labels->to_string()) std::abort();
    static_cast<void>(labels->matches({{"a", "b"}, {"app", "5"}}));
  }
  if (auto fields = FieldSelector::parse(res("pods"), text)) {
    auto back = FieldSelector::parse(res("pods"), fields->to_string());
    if (!back || back->to_string() != fields->to_string()) std::abort();
  }
  return 0;
}
