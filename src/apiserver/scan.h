// Reads single members out of canonical JSON bytes without building a DOM.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace brume::apiserver {

/// The raw JSON text of the member at `path`, a view into `json`; empty when absent. `json` is a valid JSON object
/// without white space, as api::Object::bytes() holds it.
[[nodiscard]] std::string_view scan_raw(std::string_view json, std::initializer_list<std::string_view> path);

}  // namespace brume::apiserver
