// What a list or a watch wants to see of a resource.
#pragma once

#include <string>
#include <string_view>

#include "brume/api/object.h"
#include "brume/api/resources.h"
#include "brume/api/selector.h"
#include "brume/base/result.h"

namespace brume::apiserver {

/// A namespace and two selectors. A value.
class Filter {
 public:
  Filter() = default;
  /// kBadRequest with Kubernetes' text for a selector that does not parse.
  static Result<Filter> parse(const api::Resource& resource, std::string ns, std::string_view label_selector,
                              std::string_view field_selector);

  [[nodiscard]] bool matches(const api::Object& object) const;
  [[nodiscard]] const std::string& ns() const { return ns_; }
  /// Whether every object of the namespace matches.
  [[nodiscard]] bool plain() const { return labels_.empty() && fields_.empty(); }
  /// The one name that can match, or "".
  [[nodiscard]] std::string_view name() const { return fields_.required_value("metadata.name"); }

 private:
  std::string ns_;
  api::LabelSelector labels_;
  api::FieldSelector fields_;
};

}  // namespace brume::apiserver
