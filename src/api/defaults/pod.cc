// Defaults of pods and pod templates.
#include <algorithm>
#include <array>

#include "api/defaults/defaults_impl.h"
#include "brume/api/pod_resources.h"

namespace brume::api::defaults {

namespace {

constexpr std::array<std::string_view, 3> kContainerLists = {"containers", "initContainers", "ephemeralContainers"};

template <typename F>
void each_container(Json& spec, std::size_t lists, F apply) {
  for (std::size_t i = 0; i < lists; ++i) {
    if (Json* list = array_in(spec, kContainerLists[i])) {
      for (Json& container : *list) {
        if (container.is_object()) apply(container);
      }
    }
  }
}

void volume(Json& volume) {
  // A volume with a name only is an emptyDir.
  if (volume.size() == (volume.contains("name") ? 1 : 0)) volume["emptyDir"] = Json::object();
  if (Json* image = object_in(volume, "image"))
    set_empty(*image, "pullPolicy", pull_policy_of(str(*image, "reference")));
}

void requests_from_limits(Json& container) {
  Json* resources = object_in(container, "resources");
  Json* limits = resources == nullptr ? nullptr : object_in(*resources, "limits");
  if (limits == nullptr || limits->empty()) return;
  Json& requests = (*resources)["requests"];
  if (!requests.is_object()) requests = Json::object();
  for (const auto& [name, value] : limits->items()) {
    if (!requests.contains(name)) requests[name] = value;
  }
}

void host_network_ports(Json& container) {
  if (Json* ports = array_in(container, "ports")) {
    for (Json& port : *ports) {
      if (port.is_object() && is_empty(port, "hostPort")) port["hostPort"] = at(port, "containerPort");
    }
  }
}

bool is_huge_page(std::string_view name) { return name.starts_with("hugepages-"); }

// Pod-level resources (KEP-2837): huge page limits and missing requests follow from the containers.
void pod_level_resources(Json& spec) {
  Json* resources = object_in(spec, "resources");
  if (resources == nullptr || (is_empty(*resources, "limits") && is_empty(*resources, "requests"))) return;
  for (const auto& [name, amount] : container_amounts(spec, "limits")) {
    if (!is_huge_page(name) || !at(*resources, "requests", name).is_null()) continue;
    set_absent(*resources, "limits", Json::object());
    set_absent((*resources)["limits"], name, amount.to_string());
  }
  const Json limits = at(*resources, "limits");
  if (!limits.is_object() || limits.empty()) return;
  Json requests = at(*resources, "requests").is_object() ? at(*resources, "requests") : Json::object();
  for (const auto& [name, amount] : container_amounts(spec, "requests")) {
    if (is_pod_level_resource(name) && !is_huge_page(name)) set_absent(requests, name, amount.to_string());
  }
  for (const auto& [name, value] : limits.items()) {
    if (is_pod_level_resource(name)) set_absent(requests, name, value);
  }
  if (!requests.empty()) (*resources)["requests"] = std::move(requests);
}

}  // namespace

std::string_view pull_policy_of(std::string_view image) {
  auto name = image.substr(0, image.find('@'));
  bool digest = name.size() != image.size();
  auto slash = name.rfind('/');
  auto last = slash == std::string_view::npos ? name : name.substr(slash + 1);
  auto colon = last.find(':');
  auto tag = colon == std::string_view::npos ? std::string_view() : last.substr(colon + 1);
  bool latest = tag == "latest" || (colon == std::string_view::npos && !digest && !image.empty());
  return latest ? "Always" : "IfNotPresent";
}

void pod_spec(Json& spec) {
  if (!spec.is_object()) return;
  each_container(spec, 3, [](Json& container) {
    set_empty(container, "imagePullPolicy", pull_policy_of(str(container, "image")));
  });
  if (Json* volumes = array_in(spec, "volumes")) {
    for (Json& item : *volumes) {
      if (item.is_object()) volume(item);
    }
  }
  // The old name of the field follows the new one; either may be given.
  if (!is_empty(spec, "serviceAccountName")) {
    spec["serviceAccount"] = spec["serviceAccountName"];
  } else if (!is_empty(spec, "serviceAccount")) {
    spec["serviceAccountName"] = spec["serviceAccount"];
  }
}

void pod(Json& object) {
  Json* spec = object_in(object, "spec");
  if (spec == nullptr) return;
  each_container(*spec, 2, requests_from_limits);
  pod_level_resources(*spec);
  set_absent(*spec, "enableServiceLinks", true);
  // Of pods alone: templates keep what they say (Kubernetes' conversion of a v1 Pod).
  if (num(*spec, "terminationGracePeriodSeconds") < 0) (*spec)["terminationGracePeriodSeconds"] = 1;
  if (flag(*spec, "hostNetwork")) each_container(*spec, 2, host_network_ports);
}

}  // namespace brume::api::defaults
