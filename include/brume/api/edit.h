// Changes of a few members of an object's JSON text, without a DOM of all of it.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace brume::api {

/// One member's change.
struct MemberEdit {
  std::string_view path;  ///< dotted names of members: "spec.nodeName"
  std::string value;      ///< canonical JSON text; "" takes the member away
};

/// The canonical text of an object with the members changed, or put where the order of keys has them; objects on the
/// way to a new member are made. What no path names is copied as it is. Text that is no JSON object gives "".
[[nodiscard]] std::string edit_members(std::string_view json, std::span<const MemberEdit> edits);

}  // namespace brume::api
