#include <array>

#include "api/printing/printer.h"
#include "brume/base/strings.h"

namespace brume::api::printing {

namespace {

constexpr std::array kBindingColumns = {kNameColumn,
                                        col("Role", "What it grants."),
                                        kAgeColumn,
                                        wide_col("Users", "Users it grants that to."),
                                        wide_col("Groups", "Groups it grants that to."),
                                        wide_col("ServiceAccounts", "Service accounts it grants that to.")};
constexpr std::array kRoleColumns = {kNameColumn,
                                     TableColumn{"Created At", "date", "", "When the object was created."}};
constexpr std::array kPriorityColumns = {kNameColumn, number_col("Value", "Higher goes first."),
                                         bool_col("Global-Default", "For pods that name no class."), kAgeColumn,
                                         wide_col("PreemptionPolicy", "Whether its pods push others out.")};
constexpr std::array kRuntimeClassColumns = {kNameColumn, col("Handler", "The runtime's name for it."), kAgeColumn};
constexpr std::array kLeaseColumns = {kNameColumn, col("Holder", "Who holds it."), kAgeColumn};
constexpr std::array kRequestColumns = {kNameColumn,
                                        kAgeColumn,
                                        col("SignerName", "Who is to sign."),
                                        col("Requestor", "Who asked."),
                                        col("RequestedDuration", "For how long."),
                                        col("Condition", "How the request stands.")};
constexpr std::array kBundleColumns = {kNameColumn, col("SignerName", "Whose roots these are.")};
constexpr std::array kDefinitionColumns = {kNameColumn,
                                           TableColumn{"Created At", "date", "", "When the object was created."}};
constexpr std::array kWebhookColumns = {kNameColumn, number_col("Webhooks", "How many it names."), kAgeColumn};
constexpr std::array kPolicyColumns = {kNameColumn, number_col("Validations", "How many it has."),
                                       col("ParamKind", "The kind of its parameters."), kAgeColumn};
constexpr std::array kMutatingPolicyColumns = {kNameColumn, number_col("Mutations", "How many it has."),
                                               col("ParamKind", "The kind of its parameters."), kAgeColumn};
constexpr std::array kPolicyBindingColumns = {kNameColumn, col("PolicyName", "Which policy it binds."),
                                              col("ParamRef", "Its parameters."), kAgeColumn};
constexpr std::array kFlowSchemaColumns = {kNameColumn,
                                           col("PriorityLevel", "Its priority level."),
                                           col("MatchingPrecedence", "Lower is tried first."),
                                           col("DistinguisherMethod", "How flows are told apart."),
                                           kAgeColumn,
                                           col("MissingPL", "Whether its level is missing.")};
constexpr std::array kLevelColumns = {kNameColumn,
                                      col("Type", "Limited or Exempt."),
                                      col("NominalConcurrencyShares", "Its share of the seats."),
                                      col("Queues", "How many queues."),
                                      col("HandSize", "Queues a flow may use."),
                                      col("QueueLengthLimit", "Room in a queue."),
                                      kAgeColumn};
constexpr std::array kPlainColumns = {kNameColumn, kAgeColumn};
constexpr std::array kClaimColumns = {kNameColumn, col("State", "How the claim stands."), kAgeColumn};
constexpr std::array kSliceColumns = {kNameColumn, col("Node", "Where the devices are."),
                                      col("Driver", "Their driver."), col("Pool", "Their pool."), kAgeColumn};
constexpr std::array kServiceColumns = {kNameColumn, col("Service", "Who serves the group, or Local."),
                                        col("Available", "Whether it answers."), kAgeColumn};

void binding_row(Json& cells, const Json& object, WallTime now) {
  const Json& role = at(object, "roleRef");
  std::string users, groups, accounts;
  const auto append = [](std::string& out, const std::string& name) { out += (out.empty() ? "" : ", ") + name; };
  for (const Json& subject : list_of(at(object, "subjects"))) {
    const std::string name(str(subject, "name"));
    const auto kind = str(subject, "kind");
    if (kind == "User") append(users, name);
    if (kind == "Group") append(groups, name);
    if (kind == "ServiceAccount") append(accounts, std::string(str(subject, "namespace")) + "/" + name);
  }
  add_cells(cells, name_of(object), std::string(str(role, "kind")) + "/" + std::string(str(role, "name")),
            age_of(object, now), users, groups, accounts);
}

void created_row(Json& cells, const Json& object, WallTime /*now*/) {
  add_cells(cells, name_of(object), str(at(object, "metadata"), "creationTimestamp"));
}
void plain_row(Json& cells, const Json& object, WallTime now) {
  add_cells(cells, name_of(object), age_of(object, now));
}

void priority_row(Json& cells, const Json& object, WallTime now) {
  add_cells(cells, name_of(object), num(object, "value"), flag(object, "globalDefault"), age_of(object, now),
            str(object, "preemptionPolicy"));
}

void runtime_class_row(Json& cells, const Json& object, WallTime now) {
  add_cells(cells, name_of(object), str(object, "handler"), age_of(object, now));
}

void lease_row(Json& cells, const Json& object, WallTime now) {
  add_cells(cells, name_of(object), str(at(object, "spec"), "holderIdentity"), age_of(object, now));
}

std::string request_condition(const Json& object) {
  bool approved = false, denied = false, failed = false;
  for (const Json& condition : list_of(at(object, "status", "conditions"))) {
    approved |= str(condition, "type") == "Approved";
    denied |= str(condition, "type") == "Denied";
    failed |= str(condition, "type") == "Failed";
  }
  std::string out = denied ? "Denied" : approved ? "Approved" : "Pending";
  if (failed) out += ",Failed";
  if (!str(at(object, "status"), "certificate").empty()) out += ",Issued";
  return out;
}

void request_row(Json& cells, const Json& object, WallTime now) {
  const Json& spec = at(object, "spec");
  const Json& seconds = at(spec, "expirationSeconds");
  add_cells(cells, name_of(object), age_of(object, now), or_else(str(spec, "signerName"), "<none>"),
            str(spec, "username"),
            seconds.is_number() ? human_duration(seconds.get<std::int64_t>()) : std::string("<none>"),
            request_condition(object));
}

void bundle_row(Json& cells, const Json& object, WallTime /*now*/) {
  add_cells(cells, name_of(object), str(at(object, "spec"), "signerName"));
}

void webhook_row(Json& cells, const Json& object, WallTime now) {
  add_cells(cells, name_of(object), list_of(at(object, "webhooks")).size(), age_of(object, now));
}

void admission_policy(Json& cells, const Json& object, WallTime now, std::string_view rules) {
  const Json& kind = at(object, "spec", "paramKind");
  add_cells(cells, name_of(object), list_of(at(at(object, "spec"), rules)).size(),
            kind.is_object() ? std::string(str(kind, "apiVersion")) + "/" + std::string(str(kind, "kind"))
                             : std::string("<unset>"),
            age_of(object, now));
}
void policy_row(Json& cells, const Json& object, WallTime now) { admission_policy(cells, object, now, "validations"); }
void mutating_policy_row(Json& cells, const Json& object, WallTime now) {
  admission_policy(cells, object, now, "mutations");
}

void policy_binding_row(Json& cells, const Json& object, WallTime now) {
  const Json& param = at(object, "spec", "paramRef");
  std::string text = "<unset>";
  if (const auto name = str(param, "name"); !name.empty()) {
    text = or_else(str(param, "namespace"), "*") + "/" + std::string(name);
  } else if (at(param, "selector").is_object()) {
    text = selector_text(at(param, "selector"));
  }
  add_cells(cells, name_of(object), str(at(object, "spec"), "policyName"), text, age_of(object, now));
}

void flow_schema_row(Json& cells, const Json& object, WallTime now) {
  const Json& spec = at(object, "spec");
  std::string dangling = "?";
  for (const Json& condition : list_of(at(object, "status", "conditions"))) {
    if (str(condition, "type") == "Dangling") dangling = str(condition, "status");
  }
  add_cells(cells, name_of(object), str(at(spec, "priorityLevelConfiguration"), "name"),
            num(spec, "matchingPrecedence"), or_else(str(at(spec, "distinguisherMethod"), "type"), "<none>"),
            age_of(object, now), dangling);
}

void level_row(Json& cells, const Json& object, WallTime now) {
  const Json& limited = at(object, "spec", "limited");
  const Json& queuing = at(limited, "limitResponse", "queuing");
  const auto cell = [](const Json& from, std::string_view key) {
    return from.is_object() ? Json(num(from, key)) : Json("<none>");
  };
  add_cells(cells, name_of(object), str(at(object, "spec"), "type"), cell(limited, "nominalConcurrencyShares"),
            cell(queuing, "queues"), cell(queuing, "handSize"), cell(queuing, "queueLengthLimit"), age_of(object, now));
}

void claim_row(Json& cells, const Json& object, WallTime now) {
  const bool deleted = !str(at(object, "metadata"), "deletionTimestamp").empty();
  std::string state = deleted ? "deleted" : "";
  if (!at(object, "status", "allocation").is_object()) {
    if (!deleted) state = "pending";
  } else {
    state += deleted ? ",allocated" : "allocated";
    if (!list_of(at(object, "status", "reservedFor")).empty()) state += ",reserved";
  }
  add_cells(cells, name_of(object), state, age_of(object, now));
}

void slice_row(Json& cells, const Json& object, WallTime now) {
  const Json& spec = at(object, "spec");
  add_cells(cells, name_of(object), str(spec, "nodeName"), str(spec, "driver"), str(at(spec, "pool"), "name"),
            age_of(object, now));
}

void api_service_row(Json& cells, const Json& object, WallTime now) {
  const Json& service = at(object, "spec", "service");
  std::string available = "Unknown";
  for (const Json& condition : list_of(at(object, "status", "conditions"))) {
    if (str(condition, "type") != "Available") continue;
    available = str(condition, "status");
    if (available != "True") available.append(" (").append(str(condition, "reason")).append(")");
  }
  add_cells(cells, name_of(object),
            service.is_object() ? std::string(str(service, "namespace")) + "/" + std::string(str(service, "name"))
                                : std::string("Local"),
            available, age_of(object, now));
}

constexpr std::string_view kRbac = "rbac.authorization.k8s.io";
constexpr std::string_view kAdmission = "admissionregistration.k8s.io";
constexpr std::string_view kFlow = "flowcontrol.apiserver.k8s.io";
constexpr std::string_view kResource = "resource.k8s.io";

constexpr std::array kPrinters = {
    Printer{kRbac, "roles", kRoleColumns, created_row},
    Printer{kRbac, "clusterroles", kRoleColumns, created_row},
    Printer{kRbac, "rolebindings", kBindingColumns, binding_row},
    Printer{kRbac, "clusterrolebindings", kBindingColumns, binding_row},
    Printer{"scheduling.k8s.io", "priorityclasses", kPriorityColumns, priority_row},
    Printer{"node.k8s.io", "runtimeclasses", kRuntimeClassColumns, runtime_class_row},
    Printer{"coordination.k8s.io", "leases", kLeaseColumns, lease_row},
    Printer{"certificates.k8s.io", "certificatesigningrequests", kRequestColumns, request_row},
    Printer{"certificates.k8s.io", "clustertrustbundles", kBundleColumns, bundle_row},
    Printer{"apiextensions.k8s.io", "customresourcedefinitions", kDefinitionColumns, created_row},
    Printer{"apiregistration.k8s.io", "apiservices", kServiceColumns, api_service_row},
    Printer{kAdmission, "mutatingwebhookconfigurations", kWebhookColumns, webhook_row},
    Printer{kAdmission, "validatingwebhookconfigurations", kWebhookColumns, webhook_row},
    Printer{kAdmission, "validatingadmissionpolicies", kPolicyColumns, policy_row},
    Printer{kAdmission, "mutatingadmissionpolicies", kMutatingPolicyColumns, mutating_policy_row},
    Printer{kAdmission, "validatingadmissionpolicybindings", kPolicyBindingColumns, policy_binding_row},
    Printer{kAdmission, "mutatingadmissionpolicybindings", kPolicyBindingColumns, policy_binding_row},
    Printer{kFlow, "flowschemas", kFlowSchemaColumns, flow_schema_row},
    Printer{kFlow, "prioritylevelconfigurations", kLevelColumns, level_row},
    Printer{kResource, "deviceclasses", kPlainColumns, plain_row},
    Printer{kResource, "resourceclaims", kClaimColumns, claim_row},
    Printer{kResource, "resourceclaimtemplates", kPlainColumns, plain_row},
    Printer{kResource, "resourceslices", kSliceColumns, slice_row},
};

}  // namespace

std::span<const Printer> policy_printers() { return kPrinters; }

}  // namespace brume::api::printing
