#include <algorithm>
#include <array>

#include "plugins.h"

namespace brume::apiserver {
namespace {

constexpr std::array<std::string_view, 3> kImmortal = {"default", "kube-system", "kube-public"};

class NamespaceLifecycle : public AdmissionPlugin {
 public:
  explicit NamespaceLifecycle(const ObjectSource& objects) : objects_(objects) {}

  Status mutate(AdmissionRequest& request) const override {
    if (request.operation == Operation::kDelete) {
      if (!is_for(request, "namespaces") || std::ranges::find(kImmortal, request.name) == kImmortal.end()) return {};
      return forbid(request, "this namespace may not be deleted");
    }
    if (!request.resource->namespaced || request.operation == Operation::kConnect) return {};
    // Asking about a namespace that is not there is a question like any other.
    if (request.resource->group == "authorization.k8s.io") return {};
    const auto ns = objects_.find(api::res("namespaces"), "", request.ns);
    if (!ns) return fail(Code::kNotFound, "namespaces \"" + request.ns + "\" not found");
    if (request.operation != Operation::kCreate || !ns->deleting()) return {};
    auto refusal =
        forbid(request, "unable to create new content in namespace " + request.ns + " because it is being terminated");
    refusal.error().causes.push_back(
        {"NamespaceTerminating", "namespace " + request.ns + " is being terminated", "metadata.namespace"});
    return refusal;
  }

 private:
  const ObjectSource& objects_;
};

}  // namespace

PluginPtr namespace_lifecycle(const ObjectSource& objects) { return std::make_unique<NamespaceLifecycle>(objects); }

}  // namespace brume::apiserver
