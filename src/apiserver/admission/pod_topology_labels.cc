// A pod learns where it runs: the zone and region of its node become labels of the pod (KEP-4742).
#include "plugins.h"

namespace brume::apiserver {
namespace {

constexpr const char* kTopologyLabels[] = {"topology.kubernetes.io/zone", "topology.kubernetes.io/region"};

class PodTopologyLabels : public AdmissionPlugin {
 public:
  explicit PodTopologyLabels(const ObjectSource& objects) : objects_(objects) {}

  Status mutate(AdmissionRequest& request) const override {
    if (creates(request, "pods")) {
      label(*request.object, str(at(*request.object, "spec"), "nodeName"));
    } else if (request.subresource == "binding" && request.object != nullptr) {
      // What a Binding has of labels its pod gets.
      label(*request.object, str(at(*request.object, "target"), "name"));
    }
    return {};
  }

 private:
  void label(Json& object, std::string_view node_name) const {
    if (node_name.empty()) return;
    const auto node = objects_.find(api::res("nodes"), "", std::string(node_name));
    if (!node) return;
    for (const char* key : kTopologyLabels) {
      if (const auto value = node->label(key); !value.empty()) object["metadata"]["labels"][key] = value;
    }
  }

  const ObjectSource& objects_;
};

}  // namespace

PluginPtr pod_topology_labels(const ObjectSource& objects) { return std::make_unique<PodTopologyLabels>(objects); }

}  // namespace brume::apiserver
