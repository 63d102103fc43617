#include "brume/api/pod_resources.h"
#include "plugins.h"

namespace brume::apiserver {
namespace {

class PodResizeValidator : public AdmissionPlugin {
 public:
  explicit PodResizeValidator(const ObjectSource& objects) : objects_(objects) {}

  Status validate(const AdmissionRequest& request) const override {
    if (request.operation != Operation::kUpdate || request.subresource != "resize") return {};
    if (request.resource->group_resource() != "pods" || request.object == nullptr) return {};
    const Json& spec = at(*request.object, "spec");
    const std::string node_name(str(spec, "nodeName"));
    const auto generation = [](const Json& pod) { return num(at(pod, "metadata"), "generation"); };
    if (node_name.empty() || generation(*request.object) == generation(*request.old_object)) return {};
    const auto node = objects_.find(api::res("nodes"), "", node_name);
    if (!node) return forbid(request, "node \"" + node_name + "\" not found");
    const Json json = node->parse();
    if (const auto os = str(at(json, "metadata", "labels"), "kubernetes.io/os"); !os.empty() && os != "linux") {
      return refuse(
          request, "UnsupportedPlatform",
          "pod resize is only supported on linux nodes, node \"" + node_name + "\" is \"" + std::string(os) + "\"");
    }
    std::string lacking = lacking_of(spec, at(json, "status", "allocatable"));
    if (lacking.empty()) return {};
    return refuse(request, "NodeCapacity", "node didn't have enough allocatable resources: " + lacking);
  }

 private:
  static std::string lacking_of(const Json& spec, const Json& allocatable) {
    std::string out;
    api::Amounts asked = api::pod_requests(spec);
    for (const char* name : {"cpu", "memory"}) {
      const api::Quantity offered = api::amount_of(allocatable, name);
      if (asked[name] <= offered) continue;
      const auto number = [&](const api::Quantity& amount) {
        return std::to_string(name == std::string_view("cpu") ? amount.milli_value() : amount.value());
      };
      if (!out.empty()) out += "; ";
      out += std::string(name) + ", requested: " + number(asked[name]) + ", allocatable: " + number(offered);
    }
    return out;
  }

  static std::unexpected<Error> refuse(const AdmissionRequest& request, const char* cause, const std::string& why) {
    auto refused = forbid(request, why);
    refused.error().causes.push_back({cause, "", ""});
    return refused;
  }

  const ObjectSource& objects_;
};

}  // namespace

PluginPtr pod_resize_validator(const ObjectSource& objects) { return std::make_unique<PodResizeValidator>(objects); }

}  // namespace brume::apiserver
