#include "service_pods.h"

#include <algorithm>

namespace brume::controller {

std::optional<int> ServicePort::resolve(const PodView& pod) const {
  if (target_name.empty()) return target;
  for (const auto& port : pod.ports) {
    if (port.name == target_name && port.protocol == protocol) return port.port;
  }
  return std::nullopt;
}

namespace {

ServicePort decode_port(const Json& port) {
  ServicePort out{.name = std::string(str(port, "name")),
                  .protocol = std::string(str(port, "protocol")),
                  .app_protocol = std::string(str(port, "appProtocol")),
                  .target = 0,
                  .target_name = {}};
  if (out.protocol.empty()) out.protocol = "TCP";
  const auto& target = at(port, "targetPort");
  if (target.is_string() && !str(target).empty()) {
    out.target_name = str(target);
  } else {
    const auto number = num(port, "targetPort");
    out.target = static_cast<int>(number != 0 ? number : num(port, "port"));
  }
  return out;
}

}  // namespace

ServiceView decode_service(const Object& service) {
  const Json value = service.parse();
  const auto& spec = at(value, "spec");
  ServiceView view;
  const auto& selector = at(spec, "selector");
  view.selects = selector.is_object() && !selector.empty() && str(spec, "type") != "ExternalName";
  if (view.selects) view.selector = api::LabelSelector::from_map(selector);
  view.headless = str(spec, "clusterIP") == "None";
  view.publish_not_ready = flag(spec, "publishNotReadyAddresses");
  const auto& families = at(spec, "ipFamilies");
  if (families.is_array()) {
    for (const auto& family : families) view.families.emplace_back(str(family));
  }
  if (view.families.empty()) view.families.emplace_back("IPv4");
  const auto& ports = at(spec, "ports");
  if (ports.is_array()) {
    for (const auto& port : ports) view.ports.push_back(decode_port(port));
  }
  return view;
}

Json endpoint_port(const ServicePort& port, int number) {
  Json out = {{"name", port.name}, {"port", number}, {"protocol", port.protocol}};
  if (!port.app_protocol.empty()) out["appProtocol"] = port.app_protocol;
  return out;
}

Json pod_target(const Object& pod) {
  return {{"kind", "Pod"}, {"namespace", pod.ns()}, {"name", pod.name()}, {"uid", pod.uid()}};
}

bool is_family(std::string_view ip, std::string_view family) {
  const bool six = ip.find(':') != std::string_view::npos;
  return six == (family == "IPv6");
}

ServiceController::ServiceController(Context& context, std::string name)
    : Controller(context, std::move(name)),
      services_(watch("services")),
      pods_(use("pods")),
      services_views_(services_, decode_service) {
  pods_.add_handler({.added = [this](const ObjectPtr& now) { enqueue_for(now); },
                     .updated = [this](const ObjectPtr& old, const ObjectPtr& now) { pod_changed(old, now); },
                     .deleted = [this](const ObjectPtr& last) { enqueue_for(last); }});
}

// Whether any service selects the pod as it was or is: what changed need not be decoded for others.
bool ServiceController::selected(const Object& old, const Object& now) {
  const auto services = services_.list(now.ns());
  return std::any_of(services.begin(), services.end(), [&](const ObjectPtr& service) {
    const auto& view = services_views_.of(service);
    return view.selects && (view.selector.matches(now.labels()) || view.selector.matches(old.labels()));
  });
}

void ServiceController::enqueue_for(const ObjectPtr& pod) {
  for (const auto& service : services_.list(pod->ns())) {
    const auto& view = services_views_.of(service);
    if (view.selects && view.selector.matches(pod->labels())) enqueue(service);
  }
}

void ServiceController::pod_changed(const ObjectPtr& old, const ObjectPtr& now) {
  if (!selected(*old, *now)) return;
  // The old version's view is dropped by now: decode it aside.
  const PodView before = context_.pods.decode(*old);
  const PodView& after = context_.pods.of(now);
  const bool relabeled = old->labels() != now->labels();
  if (!relabeled && before.ready == after.ready && before.ips == after.ips && before.node_name == after.node_name &&
      before.finished() == after.finished() && old->deleting() == now->deleting()) {
    return;
  }
  if (relabeled) enqueue_for(old);
  enqueue_for(now);
}

std::vector<ObjectPtr> ServiceController::pods_of(const ObjectPtr& service) {
  std::vector<ObjectPtr> out;
  const auto& view = services_views_.of(service);
  if (!view.selects) return out;
  for (const auto& pod : pods_.list(service->ns())) {
    if (!view.selector.matches(pod->labels())) continue;
    const auto& pod_view = context_.pods.of(pod);
    if (!pod_view.finished() && !pod_view.ips.empty()) out.push_back(pod);
  }
  return out;
}

}  // namespace brume::controller
