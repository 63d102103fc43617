#include <algorithm>

#include "plugins.h"

namespace brume::apiserver {
namespace {

constexpr int kSeconds = 300;

/// Whether the pod says already what happens on a node with this NoExecute taint.
bool decided(const Json& tolerations, std::string_view taint) {
  return std::ranges::any_of(tolerations, [&](const Json& toleration) {
    const auto key = str(toleration, "key");
    const auto effect = str(toleration, "effect");
    return (key.empty() || key == taint) && (effect.empty() || effect == "NoExecute");
  });
}

class DefaultTolerationSeconds : public AdmissionPlugin {
 public:
  Status mutate(AdmissionRequest& request) const override {
    const bool write = request.operation == Operation::kCreate || request.operation == Operation::kUpdate;
    if (!write || !is_for(request, "pods") || request.object == nullptr) return {};
    Json& tolerations = array_in(spec_of(*request.object), "tolerations");
    for (const auto* taint : {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}) {
      if (decided(tolerations, taint)) continue;
      static const Json kToleration{{"operator", "Exists"}, {"effect", "NoExecute"}, {"tolerationSeconds", kSeconds}};
      tolerations.push_back(kToleration);  // a copy is quicker made than such a list
      tolerations.back()["key"] = taint;
    }
    if (tolerations.empty()) request.object->at("spec").erase("tolerations");
    return {};
  }
};

}  // namespace

PluginPtr default_toleration_seconds() { return std::make_unique<DefaultTolerationSeconds>(); }

}  // namespace brume::apiserver
