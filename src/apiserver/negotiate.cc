#include "negotiate.h"

#include <cstdlib>
#include <utility>

#include "brume/base/strings.h"

namespace brume::apiserver {

std::vector<MediaRange> parse_accept(std::string_view header) {
  std::vector<MediaRange> ranges;
  for (const std::string_view item : split(header, ',')) {
    const auto parts = split(item, ';');
    MediaRange range;
    range.type = to_lower(trim(parts[0]));
    if (range.type.empty()) continue;
    for (std::size_t i = 1; i < parts.size(); ++i) {
      const std::string_view parameter = trim(parts[i]);
      const std::size_t equals = parameter.find('=');
      if (equals == std::string_view::npos) continue;
      const std::string_view name = parameter.substr(0, equals);
      const std::string value(parameter.substr(equals + 1));
      if (name == "as") range.as = value;
      if (name == "g") range.group = value;
      if (name == "v") range.version = value;
      if (name == "q") range.quality = std::strtod(value.c_str(), nullptr);
    }
    ranges.push_back(std::move(range));
  }
  // Few and nearly always sorted: insertion keeps equals in their order.
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    for (std::size_t j = i; j > 0 && ranges[j].quality > ranges[j - 1].quality; --j)
      std::swap(ranges[j], ranges[j - 1]);
  }
  return ranges;
}

Result<Format> negotiate(std::string_view accept, Offer offer) {
  if (accept.empty() || accept == "application/json" || accept == "*/*") return Format{};
  for (const MediaRange& range : parse_accept(accept)) {
    Format format;
    format.yaml = offer.yaml && range.type == "application/yaml";
    if (range.type != "application/json" && range.type != "*/*" && range.type != "application/*" && !format.yaml)
      continue;
    if (!range.as.empty()) {
      if (!offer.shapes || range.group != "meta.k8s.io" || (range.version != "v1" && range.version != "v1beta1"))
        continue;
      format.meta_version = range.version;
      if (range.as == "Table") {
        format.shape = Shape::kTable;
      } else if (range.as == "PartialObjectMetadata" || range.as == "PartialObjectMetadataList") {
        format.shape = Shape::kPartial;
      } else {
        continue;
      }
    }
    return format;
  }
  return fail(Code::kNotAcceptable, std::string("only the following media types are accepted: application/json") +
                                        (offer.yaml ? ", application/yaml" : ";stream=watch"));
}

}  // namespace brume::apiserver
