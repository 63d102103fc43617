// Label and field selectors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "brume/api/object.h"
#include "brume/api/resources.h"
#include "brume/base/json_fwd.h"
#include "brume/base/result.h"

namespace brume::api {

/// A conjunction of requirements on labels. A value; empty matches everything.
class LabelSelector {
 public:
  enum class Op : std::uint8_t { kIn, kNotIn, kExists, kDoesNotExist, kEquals, kNotEquals, kGreaterThan, kLessThan };
  struct Requirement {
    std::string key;
    Op op = Op::kExists;
    std::vector<std::string> values;  ///< sorted
  };

  /// Everything.
  LabelSelector() = default;
  /// Nothing (what a null metav1.LabelSelector means).
  static LabelSelector nothing();
  /// "a=b,c!=d,e in (x,y),!f"; kBadRequest with Kubernetes' text.
  static Result<LabelSelector> parse(std::string_view text);
  /// From metav1.LabelSelector (matchLabels, matchExpressions): null selects nothing, an empty object everything.
  static Result<LabelSelector> from_json(const Json& selector);
  /// From a plain map, as Services and ReplicationControllers have: every pair must match; null or empty selects
  /// everything.
  static LabelSelector from_map(const Json& map);

  [[nodiscard]] bool matches(const StringMap& labels) const;
  /// Of a JSON object of strings (metadata.labels); anything else counts as no labels.
  [[nodiscard]] bool matches_json(const Json& labels) const;
  [[nodiscard]] bool empty() const { return !nothing_ && requirements_.empty(); }
  [[nodiscard]] bool selects_nothing() const { return nothing_; }
  [[nodiscard]] const std::vector<Requirement>& requirements() const { return requirements_; }
  /// The text form that parse() takes, sorted by key.
  [[nodiscard]] std::string to_string() const;

 private:
  std::vector<Requirement> requirements_;
  bool nothing_ = false;
};

/// A conjunction of requirements on the fields that a resource lets clients select by.
class FieldSelector {
 public:
  struct Requirement {
    std::string field;
    std::string value;
    bool negate = false;
    std::string path;         ///< where the field stands in the object
    std::string second_path;  ///< where it stands when the first place is empty; may be ""
    std::string absent;       ///< what an absent field compares as
  };

  FieldSelector() = default;
  /// "metadata.name=x,status.phase!=Running" with \\ , and = escaped by a backslash. kBadRequest for bad syntax or, as
  /// `field label not supported: x`, for a field that the resource does not offer.
  static Result<FieldSelector> parse(const Resource& resource, std::string_view text);
  /// The same with `extra_fields` (a CRD's selectableFields, without the leading dot) offered too.
  static Result<FieldSelector> parse(const Resource& resource, std::string_view text,
                                     const std::vector<std::string>& extra_fields);

  /// Reads the object's bytes only as far as the fields need; metadata comes from the header.
  [[nodiscard]] bool matches(const Object& object) const;
  [[nodiscard]] bool empty() const { return requirements_.empty(); }
  [[nodiscard]] const std::vector<Requirement>& requirements() const { return requirements_; }
  /// The value that the field must equal, or "" (for index look-ups such as spec.nodeName and metadata.name).
  [[nodiscard]] std::string_view required_value(std::string_view field) const;
  [[nodiscard]] std::string to_string() const;

 private:
  std::vector<Requirement> requirements_;
};

/// The fields that the resource lets clients select by, metadata.name and metadata.namespace among them.
[[nodiscard]] std::vector<std::string_view> selectable_fields(const Resource& resource);
/// The value at a dotted path of canonical bytes as selectors compare it: a string as it is, numbers and booleans as
/// text, "" when absent. No DOM is made.
[[nodiscard]] std::string field_value(std::string_view bytes, std::string_view path);
/// The same of an object, whose spec and status are found at once.
[[nodiscard]] std::string field_value(const Object& object, std::string_view path);

}  // namespace brume::api
