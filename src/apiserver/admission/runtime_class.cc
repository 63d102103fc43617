#include <algorithm>

#include "plugins.h"

namespace brume::apiserver {
namespace {

class RuntimeClass : public AdmissionPlugin {
 public:
  explicit RuntimeClass(const ObjectSource& objects) : objects_(objects) {}

  Status mutate(AdmissionRequest& request) const override {
    if (!creates(request, "pods")) return {};
    Json& spec = spec_of(*request.object);
    const std::string name(str(spec, "runtimeClassName"));
    if (name.empty()) {
      if (at(spec, "overhead").is_object() && !spec["overhead"].empty()) {
        return forbid(request, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
      }
      return {};
    }
    const auto object = objects_.find(api::res("runtimeclasses.node.k8s.io"), "", name);
    if (!object) return forbid(request, "pod rejected: RuntimeClass \"" + name + "\" not found");
    const Json json = object->parse();
    BRUME_CHECK(set_overhead(request, spec, at(json, "overhead", "podFixed")));
    return set_scheduling(request, spec, at(json, "scheduling"));
  }

 private:
  static Status set_overhead(const AdmissionRequest& request, Json& spec, const Json& fixed) {
    const bool given = at(spec, "overhead").is_object() && !spec["overhead"].empty();
    if (given && !fixed.is_object()) {
      return forbid(request, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
    }
    if (given && spec["overhead"] != fixed) {
      return forbid(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
    }
    if (fixed.is_object()) spec["overhead"] = fixed;
    return {};
  }

  static Status set_scheduling(const AdmissionRequest& request, Json& spec, const Json& scheduling) {
    for (const auto& [key, value] : at(scheduling, "nodeSelector").items()) {
      const Json& own = at(spec, "nodeSelector", key);
      if (!own.is_null() && own != value) {
        return forbid(request, "conflict: runtimeClass.scheduling.nodeSelector[" + key +
                                   "] = " + std::string(str(value)) + "; pod.spec.nodeSelector[" + key +
                                   "] = " + std::string(str(own)));
      }
      spec["nodeSelector"][key] = value;
    }
    for (const auto& toleration : at(scheduling, "tolerations")) {
      Json& tolerations = array_in(spec, "tolerations");
      if (std::ranges::find(tolerations, toleration) == tolerations.end()) tolerations.push_back(toleration);
    }
    return {};
  }

  const ObjectSource& objects_;
};

}  // namespace

PluginPtr runtime_class(const ObjectSource& objects) { return std::make_unique<RuntimeClass>(objects); }

}  // namespace brume::apiserver
