#include "spec/fields.h"

#include "brume/api/quantity.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "pod/pod.h"
#include "spec/allocation.h"

namespace brume::node {

namespace {

// A map as the downward API writes it: key="value" lines sorted by key, the value quoted as Go's %q does.
std::string format_map(const Json& map) {
  std::string out;
  if (!map.is_object()) return out;
  for (const auto& [key, value] : map.items()) {
    if (!out.empty()) out += '\n';
    out += key + "=";
    append_json_string(out, str(value));
  }
  return out;
}

std::string number_text(api::Quantity::Int value) { return std::to_string(static_cast<std::int64_t>(value)); }

}  // namespace

Result<std::string> pod_field(const Json& pod, std::string_view path, const PodRuntimeInfo& info) {
  const Json& meta = at(pod, "metadata");
  if (const auto open = path.find("['"); open != std::string_view::npos && path.ends_with("']")) {
    const std::string_view field = path.substr(0, open);
    const std::string_view key = path.substr(open + 2, path.size() - open - 4);
    if (field == "metadata.labels") return std::string(str(at(meta, "labels"), key));
    if (field == "metadata.annotations") return std::string(str(at(meta, "annotations"), key));
    return fail(Code::kInvalid, "invalid path " + std::string(path) + ": does not support subscript");
  }
  if (path == "metadata.annotations") return format_map(at(meta, "annotations"));
  if (path == "metadata.labels") return format_map(at(meta, "labels"));
  if (path == "metadata.name") return std::string(str(meta, "name"));
  if (path == "metadata.namespace") return std::string(str(meta, "namespace"));
  if (path == "metadata.uid") return std::string(str(meta, "uid"));
  if (path == "spec.nodeName") return info.node_name;
  if (path == "spec.serviceAccountName") return std::string(str(at(pod, "spec"), "serviceAccountName"));
  if (path == "status.hostIP") return info.host_ips.empty() ? std::string() : info.host_ips.front();
  if (path == "status.hostIPs") return join(info.host_ips, ",");
  if (path == "status.podIP") return info.pod_ips.empty() ? std::string() : info.pod_ips.front();
  if (path == "status.podIPs") return join(info.pod_ips, ",");
  return fail(Code::kInvalid, "unsupported fieldPath: " + std::string(path));
}

Result<std::string> resource_field(const Json& pod, const Json& container, const Json& ref,
                                   const PodRuntimeInfo& info) {
  const Json* target = &container;
  if (const auto name = str(ref, "containerName"); !name.empty()) {
    target = find_container(pod, name);
    if (target == nullptr) return fail(Code::kInvalid, "container " + std::string(name) + " not found");
  }
  const std::string_view resource = str(ref, "resource");
  const auto dot = resource.find('.');
  if (dot == std::string_view::npos)
    return fail(Code::kInvalid, "unsupported container resource : " + std::string(resource));
  const std::string_view list = resource.substr(0, dot);
  const std::string_view name = resource.substr(dot + 1);
  if (list != "limits" && list != "requests") {
    return fail(Code::kInvalid, "unsupported container resource : " + std::string(resource));
  }
  const Json resources = effective_resources(pod, at(*target, "resources"));
  const Json& value = at(at(resources, list), name);
  api::Quantity quantity = api::quantity_or_zero(value.is_number() ? value.dump() : std::string(str(value)));
  if (list == "limits" && quantity.is_zero()) {
    // No limit means what the node can give.
    if (name == "cpu") quantity = api::Quantity::from_milli(info.allocatable_milli_cpu);
    if (name == "memory") quantity = api::Quantity(info.allocatable_memory);
    if (name == "ephemeral-storage") quantity = api::Quantity(info.allocatable_ephemeral);
  } else if (list == "requests" && value.is_null()) {
    quantity = api::quantity_or_zero(str(at(resources, "limits"), name));
  }
  const Json& divisor_json = at(ref, "divisor");
  api::Quantity divisor =
      api::quantity_or_zero(divisor_json.is_number() ? divisor_json.dump() : std::string(str(divisor_json)));
  if (divisor.is_zero()) divisor = api::Quantity(1);
  const auto up = (quantity.nano_value() + divisor.nano_value() - 1) / divisor.nano_value();
  return number_text(up);
}

}  // namespace brume::node
