// Which pods stand behind a Service: what EndpointSlices and Endpoints have in common.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "brume/api/selector.h"
#include "controller.h"

namespace brume::controller {

struct ServicePort {
  std::string name;
  std::string protocol;
  std::string app_protocol;
  int target = 0;           ///< pod port; 0 when it is named
  std::string target_name;  ///< of a container port

  /// The pod's port, or nothing when the pod has no port of that name.
  [[nodiscard]] std::optional<int> resolve(const PodView& pod) const;
};

struct ServiceView {
  bool selects = false;  ///< has a selector, and is no ExternalName
  api::LabelSelector selector = {};
  bool headless = false;
  bool publish_not_ready = false;
  std::vector<std::string> families = {};  ///< IPv4, IPv6
  std::vector<ServicePort> ports = {};
};

ServiceView decode_service(const Object& service);

/// An endpoint port of a slice (metav1 names): name, port, protocol, appProtocol.
Json endpoint_port(const ServicePort& port, int number);
/// core/v1 ObjectReference of a pod as endpoints carry it.
Json pod_target(const Object& pod);
/// Whether pod addresses of this family (IPv4, IPv6) have the form of `ip`.
bool is_family(std::string_view ip, std::string_view family);

/// A controller keyed by Service: a key is added when the Service or a pod that it selects changes in what endpoints
/// show.
class ServiceController : public Controller {
 protected:
  ServiceController(Context& context, std::string name);

  /// The Service's pods that have an address and have not finished.
  [[nodiscard]] std::vector<ObjectPtr> pods_of(const ObjectPtr& service);
  [[nodiscard]] const ServiceView& view(const ObjectPtr& service) { return services_views_.of(service); }

  Informer& services_;
  Informer& pods_;

 private:
  void pod_changed(const ObjectPtr& old, const ObjectPtr& now);
  [[nodiscard]] bool selected(const Object& old, const Object& now);
  void enqueue_for(const ObjectPtr& pod);
  client::Projection<ServiceView> services_views_;
};

}  // namespace brume::controller
