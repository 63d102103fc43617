#include "brume/api/pod_resources.h"

#include "brume/base/json.h"

namespace brume::api {

namespace {

void add_to(Amounts& sum, const Amounts& more) {
  for (const auto& [name, amount] : more) sum[name] += amount;
}

void raise_to(Amounts& top, const Amounts& other) {
  for (const auto& [name, amount] : other) {
    if (top[name] < amount) top[name] = amount;
  }
}

}  // namespace

bool is_pod_level_resource(std::string_view name) {
  return name == "cpu" || name == "memory" || name.starts_with("hugepages-");
}

Quantity amount_of(const Json& amounts, std::string_view name) {
  const Json& value = at(amounts, name);
  return value.is_number() ? quantity_or_zero(value.dump()) : quantity_or_zero(str(value));
}

Amounts amounts_of(const Json& list) {
  Amounts out;
  if (!list.is_object()) return out;
  for (const auto& [name, value] : list.items()) out[name] = amount_of(list, name);
  return out;
}

Json amounts_json(const Amounts& amounts) {
  Json out = Json::object();
  for (const auto& [name, amount] : amounts) out[name] = amount.to_string();
  return out;
}

Amounts container_amounts(const Json& pod_spec, std::string_view which) {
  Amounts running, starting, sidecars;
  for (const Json& container : at(pod_spec, "initContainers")) {
    Amounts amounts = amounts_of(at(container, "resources", which));
    if (str(container, "restartPolicy") == "Always") {
      add_to(sidecars, amounts);
      raise_to(starting, sidecars);
    } else {
      add_to(amounts, sidecars);
      raise_to(starting, amounts);
    }
  }
  running = sidecars;
  for (const Json& container : at(pod_spec, "containers")) {
    add_to(running, amounts_of(at(container, "resources", which)));
  }
  raise_to(running, starting);
  return running;
}

Amounts pod_amounts(const Json& pod_spec, std::string_view which) {
  Amounts out = container_amounts(pod_spec, which);
  for (const auto& [name, amount] : amounts_of(at(pod_spec, "resources", which))) {
    if (is_pod_level_resource(name)) out[name] = amount;
  }
  return out;
}

Amounts pod_requests(const Json& pod_spec) {
  Amounts out = pod_amounts(pod_spec, "requests");
  add_to(out, amounts_of(at(pod_spec, "overhead")));
  return out;
}

Amounts pod_limits(const Json& pod_spec) {
  Amounts out = pod_amounts(pod_spec, "limits");
  for (const auto& [name, amount] : amounts_of(at(pod_spec, "overhead"))) {
    const auto limit = out.find(name);
    if (limit != out.end() && !limit->second.is_zero()) limit->second += amount;  // none stays none
  }
  return out;
}

}  // namespace brume::api
