#include "brume/apiserver/filter.h"

namespace brume::apiserver {

Result<Filter> Filter::parse(const api::Resource& resource, std::string ns, std::string_view label_selector,
                             std::string_view field_selector) {
  Filter filter;
  filter.ns_ = std::move(ns);
  if (!label_selector.empty()) {
    auto labels = api::LabelSelector::parse(label_selector);
    if (!labels) return fail(wrap(std::move(labels).error(), "unable to parse label selector"));
    filter.labels_ = std::move(*labels);
  }
  if (!field_selector.empty()) {
    BRUME_TRY(filter.fields_, api::FieldSelector::parse(resource, field_selector));
  }
  return filter;
}

bool Filter::matches(const api::Object& object) const {
  if (!ns_.empty() && object.ns() != ns_) return false;
  return (labels_.empty() || labels_.matches(object.labels())) && (fields_.empty() || fields_.matches(object));
}

}  // namespace brume::apiserver
