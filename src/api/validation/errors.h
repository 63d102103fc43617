// Field paths and the list of violations: how every rule of this folder reports.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "brume/base/json.h"
#include "brume/base/result.h"

namespace brume::api::validation {

/// Where a field stands: spec.containers[0].env[1].name. A value of fixed size that makes no allocation until it is
/// printed, since nearly every path that a check builds is thrown away. Names are kept as views: they live as long as
/// the object that is checked.
class Path {
 public:
  Path() = default;
  explicit Path(std::string_view name) { push(name, kName); }
  [[nodiscard]] Path operator/(std::string_view name) const { return with(name, kName); }
  [[nodiscard]] Path operator[](std::size_t index) const { return with({}, static_cast<std::int32_t>(index)); }
  [[nodiscard]] Path key(std::string_view key) const { return with(key, kKey); }
  [[nodiscard]] std::string to_string() const;

 private:
  static constexpr std::int32_t kName = -1;
  static constexpr std::int32_t kKey = -2;
  struct Segment {
    std::string_view text;
    std::int32_t index = kName;
  };
  void push(std::string_view text, std::int32_t index) {
    if (depth_ < segments_.size()) segments_[depth_++] = {text, index};
  }
  [[nodiscard]] Path with(std::string_view text, std::int32_t index) const {
    Path out = *this;
    out.push(text, index);
    return out;
  }
  std::array<Segment, 18> segments_;  // the deepest path of a built-in type has fifteen
  std::uint32_t depth_ = 0;
};

/// What is wrong with a value, one entry a fault; empty when it is right.
using Messages = std::vector<std::string>;

/// The violations found so far, in Kubernetes' words.
class Errors {
 public:
  void required(const Path& path, std::string_view detail = {}) {
    add("FieldValueRequired", "Required value", path, detail);
  }
  void forbidden(const Path& path, std::string_view detail) { add("FieldValueForbidden", "Forbidden", path, detail); }
  void internal(const Path& path, std::string_view detail) { add("InternalError", "Internal error", path, detail); }
  void invalid(const Path& path, std::string_view value, std::string_view detail);
  void invalid(const Path& path, const char* value, std::string_view detail) {
    invalid(path, std::string_view(value), detail);
  }
  void invalid(const Path& path, const std::string& value, std::string_view detail) {
    invalid(path, std::string_view(value), detail);
  }
  void invalid(const Path& path, std::int64_t value, std::string_view detail);
  void invalid(const Path& path, int value, std::string_view detail) {
    invalid(path, static_cast<std::int64_t>(value), detail);
  }
  /// Any JSON: strings quoted, everything else as JSON.
  void invalid(const Path& path, const Json& value, std::string_view detail);
  /// Without the value, where it is of no use.
  void invalid(const Path& path, std::string_view detail) { add("FieldValueInvalid", "Invalid value", path, detail); }
  void invalid_each(const Path& path, std::string_view value, const Messages& messages) {
    for (const auto& message : messages) invalid(path, value, message);
  }
  void not_supported(const Path& path, std::string_view value, std::span<const std::string_view> supported);
  void not_supported(const Path& path, std::string_view value, std::initializer_list<std::string_view> supported) {
    not_supported(path, value, std::span(supported.begin(), supported.size()));
  }
  void duplicate(const Path& path, std::string_view value);
  void duplicate(const Path& path, const std::string& value) { duplicate(path, std::string_view(value)); }
  void duplicate(const Path& path, const Json& value);
  void not_found(const Path& path, std::string_view value);
  void too_long(const Path& path, std::size_t limit);
  void too_many(const Path& path, std::size_t actual, std::size_t limit);
  void add(std::string_view reason, std::string_view words, const Path& path, std::string_view detail);

  void append(Cause cause) { causes_.push_back(std::move(cause)); }

  [[nodiscard]] bool empty() const { return causes_.empty(); }
  [[nodiscard]] std::size_t size() const { return causes_.size(); }
  [[nodiscard]] std::vector<Cause> take() { return std::move(causes_); }

 private:
  std::vector<Cause> causes_;
};

/// Go's %q: what Kubernetes puts around a bad string.
[[nodiscard]] std::string quote(std::string_view text);
/// JSON as Kubernetes prints a bad value.
[[nodiscard]] std::string shown(const Json& value);

// Shorthands that nearly every rule needs.
inline constexpr std::string_view kImmutable = "field is immutable";
inline constexpr std::string_view kNotNegative = "must be greater than or equal to 0";

/// Absent, null, "", [], {} are all the same to Go's zero values (a number or a boolean is not empty).
[[nodiscard]] bool blank(const Json& value);
/// Equal, where absent and empty are the same at every depth.
[[nodiscard]] bool same(const Json& a, const Json& b);
/// A copy with the empty members of objects dropped, at every depth.
[[nodiscard]] Json pruned(const Json& value);
/// The items of a list; an empty span for anything else.
[[nodiscard]] const Json::array_t& items(const Json& value);
[[nodiscard]] bool has(const Json& value, std::string_view key);

void check_not_negative(Errors& errors, const Path& path, const Json& value);
/// `field is immutable` where the two differ.
void check_immutable(Errors& errors, const Path& path, const Json& next, const Json& old);
/// One of `supported`, else Unsupported value.
void check_enum(Errors& errors, const Path& path, std::string_view value,
                std::initializer_list<std::string_view> supported);

}  // namespace brume::api::validation
