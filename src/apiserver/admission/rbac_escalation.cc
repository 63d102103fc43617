// Nobody hands out more than he holds.
#include "brume/base/strings.h"
#include "plugins.h"

namespace brume::apiserver {
namespace {

constexpr std::string_view kGroup = "rbac.authorization.k8s.io";

class RbacEscalation : public AdmissionPlugin {
 public:
  explicit RbacEscalation(const ChainAuthorizer& authorizer) : authorizer_(authorizer) {}

  Status validate(const AdmissionRequest& request) const override {
    const bool write = request.operation == Operation::kCreate || request.operation == Operation::kUpdate;
    if (!write || request.resource->group != kGroup || request.object == nullptr || request.user == nullptr) return {};
    if (request.user->in_group("system:masters")) return {};
    const bool binding = request.resource->plural.ends_with("bindings");
    return binding ? check_binding(request) : check_role(request);
  }

 private:
  [[nodiscard]] bool may(const AdmissionRequest& request, std::string verb, std::string resource, std::string ns,
                         std::string name) const {
    Attributes wish;
    wish.user = *request.user;
    wish.verb = std::move(verb);
    wish.group = kGroup;
    wish.version = "v1";
    wish.resource = std::move(resource);
    wish.ns = std::move(ns);
    wish.name = std::move(name);
    return authorizer_.authorize(wish).allowed;
  }

  [[nodiscard]] Status check_rules(const AdmissionRequest& request, const PolicyRules& wanted) const {
    const auto missing = missing_rules(authorizer_.rules_for(*request.user, request.ns), wanted);
    if (missing.empty()) return {};
    std::string why = "user \"" + request.user->name + "\" (groups=[";
    for (std::size_t i = 0; i < request.user->groups.size(); ++i) {
      why += (i > 0 ? " \"" : "\"") + request.user->groups[i] + "\"";
    }
    why += "]) is attempting to grant RBAC permissions not currently held:";
    for (const auto& rule : missing) why += "\n" + rule.text();
    return forbid(request, why);
  }

  [[nodiscard]] Status check_role(const AdmissionRequest& request) const {
    const Json& now = *request.object;
    if (request.old_object != nullptr && at(now, "rules") == at(*request.old_object, "rules") &&
        at(now, "aggregationRule") == at(*request.old_object, "aggregationRule")) {
      return {};
    }
    if (may(request, "escalate", std::string(request.resource->plural), request.ns, shown_name(request))) return {};
    if (at(now, "aggregationRule").is_object()) {
      // Whoever aggregates takes in whatever will be labelled later: only who holds all can hold that.
      const PolicyRules all = {
          {.verbs = {"*"}, .api_groups = {"*"}, .resources = {"*"}, .resource_names = {}, .non_resource_urls = {}},
          {.verbs = {"*"}, .api_groups = {}, .resources = {}, .resource_names = {}, .non_resource_urls = {"*"}}};
      if (!missing_rules(authorizer_.rules_for(*request.user, ""), all).empty()) {
        return forbid(request, "must have cluster-admin privileges to use the aggregationRule");
      }
    }
    return check_rules(request, parse_rules(at(now, "rules")));
  }

  [[nodiscard]] Status check_binding(const AdmissionRequest& request) const {
    const Json& now = *request.object;
    if (request.old_object != nullptr && at(now, "subjects") == at(*request.old_object, "subjects") &&
        at(now, "roleRef") == at(*request.old_object, "roleRef")) {
      return {};
    }
    const bool cluster_role = str(at(now, "roleRef"), "kind") == "ClusterRole";
    const std::string role(str(at(now, "roleRef"), "name"));
    if (may(request, "bind", cluster_role ? "clusterroles" : "roles", request.ns, role)) return {};
    const auto rules = authorizer_.rbac().role_rules(cluster_role ? "" : request.ns, role);
    if (!rules) {
      return fail(Code::kNotFound, std::string(cluster_role ? "clusterroles." : "roles.") + std::string(kGroup) +
                                       " \"" + role + "\" not found");
    }
    return check_rules(request, *rules);
  }

  const ChainAuthorizer& authorizer_;
};

}  // namespace

PluginPtr rbac_escalation(const ChainAuthorizer& authorizer) { return std::make_unique<RbacEscalation>(authorizer); }

}  // namespace brume::apiserver
