#include "strategy.h"

#include <map>

namespace brume::apiserver {

namespace {

// Kinds that differ from most only in facts. Sources: the strategies of Kubernetes' registries.
const Strategy* plain_kind(std::string_view name) {
  static const Strategy generic{{}};
  static const Strategy generation{{.generation = true}};
  static const Strategy conditional{{.unconditional_update = false}};
  static const Strategy conditional_generation{{.generation = true, .unconditional_update = false}};
  static const Strategy create_on_update{{.create_on_update = true}};
  static const Strategy returned{{.returns_deleted = true}};
  static const Strategy conditional_returned{{.unconditional_update = false, .returns_deleted = true}};
  static const Strategy lease{{.create_on_update = true, .unconditional_update = false, .is_volatile = true}};
  static const Strategy event{{.create_on_update = true, .garbage = GarbageDefault::kUnsupported}};
  static const Strategy runtime_class{{.create_on_update = true, .unconditional_update = false}};
  static const std::map<std::string_view, const Strategy*> kinds = {
      {"leases.coordination.k8s.io", &lease},
      {"events", &event},
      {"events.events.k8s.io", &event},
      {"endpoints", &create_on_update},
      {"limitranges", &create_on_update},
      {"roles.rbac.authorization.k8s.io", &create_on_update},
      {"rolebindings.rbac.authorization.k8s.io", &create_on_update},
      {"clusterroles.rbac.authorization.k8s.io", &create_on_update},
      {"clusterrolebindings.rbac.authorization.k8s.io", &create_on_update},
      {"runtimeclasses.node.k8s.io", &runtime_class},
      {"networkpolicies.networking.k8s.io", &generation},
      {"ingresses.networking.k8s.io", &generation},
      {"ingressclasses.networking.k8s.io", &generation},
      {"priorityclasses.scheduling.k8s.io", &generation},
      {"poddisruptionbudgets.policy", &conditional_generation},
      {"customresourcedefinitions.apiextensions.k8s.io", &conditional_generation},
      {"mutatingwebhookconfigurations.admissionregistration.k8s.io", &conditional_generation},
      {"validatingwebhookconfigurations.admissionregistration.k8s.io", &conditional_generation},
      {"validatingadmissionpolicies.admissionregistration.k8s.io", &conditional_generation},
      {"validatingadmissionpolicybindings.admissionregistration.k8s.io", &conditional_generation},
      {"mutatingadmissionpolicies.admissionregistration.k8s.io", &conditional_generation},
      {"mutatingadmissionpolicybindings.admissionregistration.k8s.io", &conditional_generation},
      {"flowschemas.flowcontrol.apiserver.k8s.io", &generation},
      {"prioritylevelconfigurations.flowcontrol.apiserver.k8s.io", &generation},
      {"resourceslices.resource.k8s.io", &generation},
      {"serviceaccounts", &returned},
      {"podtemplates", &generation},
      {"resourcequotas", &returned},
      {"storageclasses.storage.k8s.io", &returned},
      {"csidrivers.storage.k8s.io", &conditional_returned},
      {"csinodes.storage.k8s.io", &conditional_returned},
      {"csistoragecapacities.storage.k8s.io", &conditional},
      {"volumeattachments.storage.k8s.io", &conditional_returned},
      {"volumeattributesclasses.storage.k8s.io", &returned},
      {"resourceclaims.resource.k8s.io", &returned},
      {"resourceclaimtemplates.resource.k8s.io", &returned},
      {"deviceclasses.resource.k8s.io", &returned},
  };
  const auto it = kinds.find(name);
  return it == kinds.end() ? &generic : it->second;
}

}  // namespace

Status Strategy::prepare_create(Json& /*object*/, StrategyContext& /*context*/) const { return {}; }
Status Strategy::prepare_update(Json& /*object*/, const Json& /*old*/, StrategyContext& /*context*/) const {
  return {};
}
Status Strategy::prepare_subresource(std::string_view /*subresource*/, Json& /*object*/, const Json& /*old*/,
                                     StrategyContext& /*context*/) const {
  return {};
}
void Strategy::prepare_removal(const Json& /*old*/, StrategyContext& /*context*/) const {}

bool Strategy::new_generation(const Json& object, const Json& old) const {
  if (object.contains("spec") || old.contains("spec")) return at(object, "spec") != at(old, "spec");
  Json a = object, b = old;
  for (const char* key : {"metadata", "status", "apiVersion", "kind"}) {
    a.erase(key);
    b.erase(key);
  }
  return a != b;
}

bool Strategy::may_go(const Json& /*object*/) const { return true; }

const Strategy& strategy_of(const api::Resource& resource) {
  const std::string name = resource.group_resource();
  if (const Strategy* strategy = strategies::pod_kind(name)) return *strategy;
  if (const Strategy* strategy = strategies::service_kind(name)) return *strategy;
  if (const Strategy* strategy = strategies::workload_kind(name)) return *strategy;
  if (const Strategy* strategy = strategies::storage_kind(name)) return *strategy;
  if (const Strategy* strategy = strategies::core_kind(name)) return *strategy;
  return *plain_kind(name);
}

void set_condition(Json& status, std::string_view type, std::string_view value, std::string_view reason,
                   std::string_view message, WallTime now) {
  Json& conditions = status["conditions"];
  if (!conditions.is_array()) conditions = Json::array();
  Json* found = nullptr;
  for (Json& condition : conditions) {
    if (str(condition, "type") == type) found = &condition;
  }
  if (found == nullptr) found = &conditions.emplace_back(Json{{"type", type}, {"lastProbeTime", nullptr}});
  if (str(*found, "status") != value) (*found)["lastTransitionTime"] = format_rfc3339(now);
  (*found)["status"] = value;
  for (const auto& [key, text] : {std::pair("reason", reason), std::pair("message", message)}) {
    if (text.empty()) {
      found->erase(key);
    } else {
      (*found)[key] = text;
    }
  }
}

}  // namespace brume::apiserver
