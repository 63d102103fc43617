#include "spec/allocation.h"

#include <algorithm>

#include "brume/api/pod_resources.h"
#include "brume/base/json.h"
#include "pod/pod.h"

namespace brume::node {

namespace {

struct Amount {
  const char* side;
  const char* name;
};
constexpr Amount kAmounts[] = {{"limits", "cpu"}, {"limits", "memory"}, {"requests", "cpu"}, {"requests", "memory"}};

bool differs(const Json& a, const Json& b, const Amount& amount) {
  return api::amount_of(at(a, amount.side), amount.name) != api::amount_of(at(b, amount.side), amount.name);
}

Json* find_container_in(Json& pod, std::string_view name) {
  for (const char* list : {"initContainers", "containers"}) {
    if (!at(pod, "spec", list).is_array()) continue;
    for (Json& container : pod["spec"][list]) {
      if (str(container, "name") == name) return &container;
    }
  }
  return nullptr;
}

// The larger of two limits, where none is the largest.
void widen(Json& out, const Json& a, const Json& b, const char* group, const char* key) {
  const Json& first = at(a, group, key);
  const Json& second = at(b, group, key);
  if (first.is_null() || second.is_null()) {
    if (out.contains(group)) out[group].erase(key);
    if (at(out, group).is_object() && out[group].empty()) out.erase(group);
  } else {
    out[group][key] = std::max(first.get<std::int64_t>(), second.get<std::int64_t>());
  }
}

std::string container_list(const Json& pod, const char* list) {
  Json out = Json::array();
  for (const Json& container : at(pod, "spec", list)) {
    const Json& resources = at(container, "resources");
    out.push_back({{"name", str(container, "name")}, {"resources", resources.is_null() ? Json::object() : resources}});
  }
  return out.empty() ? std::string() : "\"" + std::string(list) + "\":" + dump_json(out) + ",";
}

}  // namespace

Allocation allocation_of(const Json& pod) {
  Allocation out;
  for (const ContainerEntry& entry : containers_of(pod)) {
    if (entry.kind == ContainerKind::kEphemeral) continue;
    const Json& resources = at(*entry.spec, "resources");
    out.emplace(str(*entry.spec, "name"), resources.is_object() ? resources : Json::object());
  }
  if (const Json& whole = at(pod, "spec", "resources"); whole.is_object()) out.emplace("", whole);
  return out;
}

void put_allocation(Json& pod, const Allocation& allocation) {
  for (const auto& [name, resources] : allocation) {
    Json* holder = name.empty() ? &pod["spec"] : find_container_in(pod, name);
    if (holder != nullptr && at(*holder, "resources") != resources) (*holder)["resources"] = resources;
  }
  if (!allocation.contains("") && at(pod, "spec", "resources").is_object()) pod["spec"].erase("resources");
}

bool same_amounts(const Json& a, const Json& b) {
  return a == b || std::ranges::none_of(kAmounts, [&](const Amount& amount) { return differs(a, b, amount); });
}

bool same_amounts(const Allocation& a, const Allocation& b) {
  const auto covers = [](const Allocation& all, const Allocation& other) {
    return std::ranges::all_of(other, [&](const auto& item) {
      const auto it = all.find(item.first);
      return it != all.end() && same_amounts(it->second, item.second);
    });
  };
  return covers(a, b) && covers(b, a);
}

Json effective_resources(const Json& pod, const Json& resources) {
  Json out = resources.is_object() ? resources : Json::object();
  for (const char* name : {"cpu", "memory"}) {
    const Json& whole = at(pod, "spec", "resources", "limits", name);
    if (!whole.is_null() && api::amount_of(at(out, "limits"), name).is_zero()) out["limits"][name] = whole;
  }
  return out;
}

bool resize_restarts(const Json& container, const Json& from, const Json& to) {
  return std::ranges::any_of(kAmounts, [&](const Amount& amount) {
    if (!differs(from, to, amount)) return false;
    for (const Json& policy : at(container, "resizePolicy")) {
      if (str(policy, "resourceName") == amount.name) return str(policy, "restartPolicy") == "RestartContainer";
    }
    return false;
  });
}

Json wider_resources(const Json& a, const Json& b) {
  if (!a.is_object()) return b;
  Json out = b;
  widen(out, a, b, "cpu", "shares");
  widen(out, a, b, "cpu", "quota");
  widen(out, a, b, "cpu", "period");
  widen(out, a, b, "memory", "limit");
  return out;
}

Json with_no_limits(Json oci_resources) {
  if (at(oci_resources, "cpu", "quota").is_null()) oci_resources["cpu"]["quota"] = -1;
  if (at(oci_resources, "memory", "limit").is_null()) oci_resources["memory"]["limit"] = -1;
  return oci_resources;
}

std::string resize_summary(const Json& pod, std::int64_t generation, std::string_view error) {
  std::string out = "{" + container_list(pod, "initContainers") + container_list(pod, "containers");
  out += "\"generation\":" + std::to_string(generation);
  if (!error.empty()) out += ",\"error\":" + dump_json(Json(error));
  return out + "}";
}

}  // namespace brume::node
