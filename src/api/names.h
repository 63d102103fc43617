// Checks of label keys and values, shared by selectors and patches. Rules: Kubernetes' "Object Names and IDs" and
// "Labels and Selectors" pages.
#pragma once

#include <string>
#include <string_view>

namespace brume::api {

/// What is wrong with a qualified name (a label key), "" if nothing.
[[nodiscard]] std::string check_qualified_name(std::string_view name);
/// What is wrong with a label value, "" if nothing.
[[nodiscard]] std::string check_label_value(std::string_view value);

}  // namespace brume::api
