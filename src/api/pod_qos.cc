#include "brume/api/pod_qos.h"

#include <map>

#include "brume/api/quantity.h"
#include "brume/base/json.h"

namespace brume::api {

namespace {

using Amounts = std::map<std::string_view, Quantity>;

// cpu and memory of one requests or limits map, zeroes left out.
Amounts amounts_of(const Json& map) {
  Amounts out;
  if (!map.is_object()) return out;
  for (const std::string_view name : {"cpu", "memory"}) {
    const auto it = map.find(name);
    if (it == map.end()) continue;
    const auto amount = Quantity::parse(it->is_string() ? std::string(str(*it)) : it->dump());
    if (amount && !amount->is_zero()) out[name] = *amount;
  }
  return out;
}

struct Resources {
  Amounts requests, limits;
};

Resources resources_of(const Json& resources) {
  Resources out{amounts_of(at(resources, "requests")), amounts_of(at(resources, "limits"))};
  const Json& asked = at(resources, "requests");
  for (const auto& [name, limit] : out.limits) {
    if (!asked.is_object() || !asked.contains(name)) out.requests[name] = limit;
  }
  return out;
}

std::string_view class_of(const Resources& whole, bool all_limited) {
  if (whole.requests.empty() && whole.limits.empty()) return "BestEffort";
  return all_limited && whole.limits.size() == 2 && whole.requests == whole.limits ? "Guaranteed" : "Burstable";
}

}  // namespace

std::string_view pod_qos_class(const Json& spec) {
  const Resources pod = resources_of(at(spec, "resources"));
  if (!pod.requests.empty() || !pod.limits.empty()) return class_of(pod, pod.limits.size() == 2);
  Resources sum;
  bool all_limited = true;
  for (const char* list : {"containers", "initContainers"}) {
    for (const Json& container : at(spec, list)) {
      const Resources own = resources_of(at(container, "resources"));
      for (const auto& [name, amount] : own.requests) sum.requests[name] += amount;
      for (const auto& [name, amount] : own.limits) sum.limits[name] += amount;
      all_limited = all_limited && own.limits.size() == 2;
    }
  }
  return class_of(sum, all_limited);
}

}  // namespace brume::api
