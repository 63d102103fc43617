// Defaults of the smaller groups that depend on other fields.
#include "api/defaults/defaults_impl.h"
#include "brume/base/strings.h"

namespace brume::api::defaults {

void networking(std::string_view kind, Json& object) {
  Json* spec = object_in(object, "spec");
  if (kind != "NetworkPolicy" || spec == nullptr || !is_empty(*spec, "policyTypes")) return;
  // A policy says something about incoming traffic even if it lists no rule for it.
  Json types = Json::array({"Ingress"});
  if (!is_empty(*spec, "egress")) types.push_back("Egress");
  (*spec)["policyTypes"] = std::move(types);
}

void rbac(std::string_view kind, Json& object) {
  if (kind != "RoleBinding" && kind != "ClusterRoleBinding") return;
  Json* subjects = array_in(object, "subjects");
  if (subjects == nullptr) return;
  for (Json& subject : *subjects) {
    auto subject_kind = str(subject, "kind");
    if (subject_kind == "User" || subject_kind == "Group") set_empty(subject, "apiGroup", "rbac.authorization.k8s.io");
  }
}

void device_requests(Json& value) {
  if (!value.is_structured()) return;
  if (value.is_object() && str(value, "allocationMode") == "ExactCount") set_empty(value, "count", 1);
  for (Json& item : value) device_requests(item);
}

void custom_resource_definition(Json& object) {
  Json* spec = object_in(object, "spec");
  if (spec == nullptr) return;
  if (Json* names = object_in(*spec, "names")) {
    auto kind = std::string(str(*names, "kind"));
    set_empty(*names, "singular", to_lower(kind));
    if (!kind.empty()) set_empty(*names, "listKind", kind + "List");
  }
  set_absent(*spec, "conversion", Json{{"strategy", "None"}});
  Json* versions = array_in(*spec, "versions");
  Json* status = object_in(object, "status");
  if (versions == nullptr || status == nullptr || !is_empty(*status, "storedVersions")) return;
  for (const Json& version : *versions) {
    if (!flag(version, "storage")) continue;
    (*status)["storedVersions"] = Json::array({at(version, "name")});
    return;
  }
}

}  // namespace brume::api::defaults
