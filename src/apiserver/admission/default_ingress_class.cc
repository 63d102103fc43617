// An Ingress that names no class gets the cluster's default one, whoever serves it.
#include "plugins.h"

namespace brume::apiserver {
namespace {

bool is_default(const Json& ingress_class) {
  return annotation(ingress_class, "ingressclass.kubernetes.io/is-default-class") == "true";
}

class DefaultIngressClass : public AdmissionPlugin {
 public:
  explicit DefaultIngressClass(const ObjectSource& objects) : objects_(objects) {}

  Status mutate(AdmissionRequest& request) const override {
    // The annotation came before the field, and names a class too.
    if (!creates(request, "ingresses.networking.k8s.io") ||
        has_annotation(*request.object, "kubernetes.io/ingress.class")) {
      return {};
    }
    Json& spec = spec_of(*request.object);
    if (!at(spec, "ingressClassName").is_null()) return {};
    const auto chosen = newest_default(objects_, api::res("ingressclasses.networking.k8s.io"), is_default);
    if (chosen) spec["ingressClassName"] = chosen->name();
    return {};
  }

 private:
  const ObjectSource& objects_;
};

}  // namespace

PluginPtr default_ingress_class(const ObjectSource& objects) { return std::make_unique<DefaultIngressClass>(objects); }

}  // namespace brume::apiserver
