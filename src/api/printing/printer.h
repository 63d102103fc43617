// How one resource becomes a table row: shared pieces and the list of printers.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "brume/api/table.h"
#include "brume/base/json.h"

namespace brume::api::printing {

/// A resource's columns and the function that fills a row of them.
struct Printer {
  std::string_view group, plural;
  std::span<const TableColumn> columns;
  void (*row)(Json& cells, const Json& object, WallTime now) = nullptr;
};

// The printers of each file.
[[nodiscard]] std::span<const Printer> pod_printers();
[[nodiscard]] std::span<const Printer> workload_printers();
[[nodiscard]] std::span<const Printer> core_printers();
[[nodiscard]] std::span<const Printer> network_printers();
[[nodiscard]] std::span<const Printer> storage_printers();
[[nodiscard]] std::span<const Printer> policy_printers();

/// Whole seconds as people read them, in two or three digits: 5s, 2m3s, 5h, 3d4h, 2y10d; "<invalid>" for what lies
/// more than a second ahead.
[[nodiscard]] std::string human_duration(std::int64_t seconds);
/// The age of an RFC 3339 time; "<unknown>" when there is none.
[[nodiscard]] std::string age_since(std::string_view time, WallTime now);
[[nodiscard]] std::string age_of(const Json& object, WallTime now);

[[nodiscard]] std::string_view name_of(const Json& object);
/// Text, or `fallback` when it is empty.
[[nodiscard]] std::string or_else(std::string_view text, std::string_view fallback);
/// a=b,c=d, or <none>.
[[nodiscard]] std::string labels_text(const Json& map);
/// A metav1.LabelSelector in the form that -l takes, or <none>.
[[nodiscard]] std::string selector_text(const Json& selector);
/// The items of a list; none for anything else.
[[nodiscard]] const Json::array_t& list_of(const Json& value);
/// Strings of a list, joined.
[[nodiscard]] std::string joined(const Json& list, std::string_view separator = ",");
/// A whole JSON number or a string as text, "" for anything else.
[[nodiscard]] std::string number_text(const Json& value);
/// Names and images of a pod template's containers, comma-separated.
[[nodiscard]] std::string container_names(const Json& pod_spec);
[[nodiscard]] std::string container_images(const Json& pod_spec);

/// A column of text that is always shown.
constexpr TableColumn col(std::string_view name, std::string_view description) {
  return {name, "string", "", description, 0};
}
/// A column of whole numbers.
constexpr TableColumn number_col(std::string_view name, std::string_view description) {
  return {name, "integer", "", description, 0};
}
constexpr TableColumn bool_col(std::string_view name, std::string_view description) {
  return {name, "boolean", "", description, 0};
}
/// A column of text that only -o wide shows.
constexpr TableColumn wide_col(std::string_view name, std::string_view description) {
  return {name, "string", "", description, 1};
}

/// Appends the cells of a row.
template <typename... Values>
void add_cells(Json& cells, Values&&... values) {
  (cells.push_back(Json(std::forward<Values>(values))), ...);
}

inline constexpr TableColumn kNameColumn{"Name", "string", "name", "Unique within its namespace."};
inline constexpr TableColumn kAgeColumn{"Age", "string", "", "Time since the object was created."};

}  // namespace brume::api::printing
