#include "api/printing/printer.h"

#include <array>
#include <chrono>

#include "brume/api/selector.h"

namespace brume::api::printing {

namespace {

// Go's zero time, which clients write for none.
constexpr std::string_view kNoTime = "0001-01-01T00:00:00Z";

}  // namespace

std::string human_duration(std::int64_t seconds) {
  constexpr std::int64_t kMinute = 60, kHour = 3600, kDay = 86400, kYear = 365 * kDay;
  const auto one = [](std::int64_t n, char unit) { return std::to_string(n) + unit; };
  const auto two = [&](std::int64_t n, char unit, std::int64_t rest, char small) {
    return rest == 0 ? one(n, unit) : one(n, unit) + one(rest, small);
  };
  if (seconds < -1) return "<invalid>";
  if (seconds < 0) return "0s";
  if (seconds < 2 * kMinute) return one(seconds, 's');
  if (seconds < 10 * kMinute) return two(seconds / kMinute, 'm', seconds % kMinute, 's');
  if (seconds < 3 * kHour) return one(seconds / kMinute, 'm');
  if (seconds < 8 * kHour) return two(seconds / kHour, 'h', seconds % kHour / kMinute, 'm');
  if (seconds < 2 * kDay) return one(seconds / kHour, 'h');
  if (seconds < 8 * kDay) return two(seconds / kDay, 'd', seconds % kDay / kHour, 'h');
  if (seconds < 2 * kYear) return one(seconds / kDay, 'd');
  if (seconds < 8 * kYear) return two(seconds / kYear, 'y', seconds % kYear / kDay, 'd');
  return one(seconds / kYear, 'y');
}

std::string age_since(std::string_view time, WallTime now) {
  const auto then = parse_rfc3339(time);
  if (!then || time == kNoTime) return "<unknown>";
  // Go cuts toward zero, and so does duration_cast.
  return human_duration(std::chrono::duration_cast<std::chrono::seconds>(now - *then).count());
}

std::string age_of(const Json& object, WallTime now) {
  return age_since(str(at(object, "metadata"), "creationTimestamp"), now);
}

std::string_view name_of(const Json& object) { return str(at(object, "metadata"), "name"); }

std::string or_else(std::string_view text, std::string_view fallback) {
  return std::string(text.empty() ? fallback : text);
}

std::string labels_text(const Json& map) {
  std::string out;
  if (map.is_object()) {
    for (const auto& [key, value] : map.items()) {
      if (!out.empty()) out += ',';
      out.append(key).append("=").append(str(value));
    }
  }
  return or_else(out, "<none>");
}

std::string selector_text(const Json& selector) {
  const auto parsed = LabelSelector::from_json(selector);
  if (!parsed) return "<error>";
  return or_else(parsed->to_string(), "<none>");
}

const Json::array_t& list_of(const Json& value) {
  static const Json::array_t kNone;
  return value.is_array() ? value.get_ref<const Json::array_t&>() : kNone;
}

std::string joined(const Json& list, std::string_view separator) {
  std::string out;
  for (const Json& item : list_of(list)) {
    if (!out.empty()) out += separator;
    out += str(item);
  }
  return out;
}

std::string number_text(const Json& value) {
  if (value.is_string()) return std::string(str(value));
  return value.is_number() ? std::to_string(value.get<std::int64_t>()) : std::string();
}

std::string container_names(const Json& pod_spec) {
  std::string out;
  for (const Json& container : list_of(at(pod_spec, "containers"))) {
    out.append(out.empty() ? "" : ",").append(str(container, "name"));
  }
  return out;
}

std::string container_images(const Json& pod_spec) {
  std::string out;
  for (const Json& container : list_of(at(pod_spec, "containers"))) {
    out.append(out.empty() ? "" : ",").append(str(container, "image"));
  }
  return out;
}

}  // namespace brume::api::printing
