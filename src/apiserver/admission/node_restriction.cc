#include "node_restriction.h"

#include <algorithm>
#include <array>
#include <set>

#include "brume/api/local_path.h"
#include "brume/base/strings.h"
#include "plugins.h"

namespace brume::apiserver {
namespace {

std::string node_text(std::string_view node) { return "node \"" + std::string(node) + "\" "; }

std::string_view label_namespace(std::string_view key) {
  const auto slash = key.find('/');
  return slash == std::string_view::npos ? "" : key.substr(0, slash);
}

bool within(std::string_view ns, std::string_view domain) {
  return ns == domain ||
         (ns.ends_with(domain) && ns.size() > domain.size() && ns[ns.size() - domain.size() - 1] == '.');
}

/// Labels of Kubernetes' own domains that a node agent sets on itself (kubelet's well-known labels).
bool is_agent_label(std::string_view key) {
  constexpr std::array<std::string_view, 14> kKnown = {"kubernetes.io/hostname",
                                                       "topology.kubernetes.io/zone",
                                                       "topology.kubernetes.io/region",
                                                       "failure-domain.beta.kubernetes.io/zone",
                                                       "failure-domain.beta.kubernetes.io/region",
                                                       "failure-domain.kubernetes.io/zone",
                                                       "failure-domain.kubernetes.io/region",
                                                       "node.kubernetes.io/instance-type",
                                                       "beta.kubernetes.io/instance-type",
                                                       "kubernetes.io/os",
                                                       "kubernetes.io/arch",
                                                       "beta.kubernetes.io/os",
                                                       "beta.kubernetes.io/arch",
                                                       "node.kubernetes.io/windows-build"};
  if (std::ranges::find(kKnown, key) != kKnown.end()) return true;
  const auto ns = label_namespace(key);
  return within(ns, "kubelet.kubernetes.io") || within(ns, "node.kubernetes.io");
}

bool is_forbidden_label(std::string_view key) {
  const auto ns = label_namespace(key);
  if (within(ns, "node-restriction.kubernetes.io")) return true;
  return (within(ns, "kubernetes.io") || within(ns, "k8s.io")) && !is_agent_label(key);
}

/// Forbidden labels that differ between two label maps, comma-separated.
std::string changed_forbidden_labels(const Json& labels, const Json& old) {
  std::set<std::string> changed;
  const auto compare = [&](const Json& a, const Json& b) {
    for (const auto& [key, value] : a.items()) {
      if (at(b, key) != value && is_forbidden_label(key)) changed.insert(key);
    }
  };
  compare(labels, old);
  compare(old, labels);
  const std::vector<std::string> list(changed.begin(), changed.end());
  return join(list, ", ");
}

bool refers_to_api_objects(const Json& spec) {
  if (!str(spec, "serviceAccountName").empty()) return true;
  for (const auto& volume : at(spec, "volumes")) {
    for (const auto* plugin : {"secret", "configMap", "persistentVolumeClaim", "projected", "ephemeral", "csi"}) {
      if (volume.contains(plugin)) return true;
    }
  }
  for (const auto* kind : {"initContainers", "containers", "ephemeralContainers"}) {
    for (const auto& container : at(spec, kind)) {
      if (at(container, "envFrom").is_array() && !at(container, "envFrom").empty()) return true;
      for (const auto& env : at(container, "env")) {
        if (at(env, "valueFrom", "secretKeyRef").is_object() || at(env, "valueFrom", "configMapKeyRef").is_object())
          return true;
      }
    }
  }
  return at(spec, "imagePullSecrets").is_array() && !at(spec, "imagePullSecrets").empty();
}

class NodeRestriction : public AdmissionPlugin {
 public:
  explicit NodeRestriction(const ObjectSource& objects) : objects_(objects) {}

  Status validate(const AdmissionRequest& request) const override {
    if (request.user == nullptr || request.operation == Operation::kConnect) return {};
    const std::string_view node = node_name_of(*request.user);
    if (node.empty()) {
      if (!request.user->in_group("system:nodes")) return {};
      return forbid(request, "could not determine node from user \"" + request.user->name + "\"");
    }
    const auto& resource = *request.resource;
    if (resource.group.empty() && resource.plural == "pods") return check_pod(node, request);
    if (resource.group.empty() && resource.plural == "nodes") return check_node(node, request);
    if (resource.group.empty() && resource.plural == "persistentvolumeclaims") return check_claim(node, request);
    if (resource.group.empty() && resource.plural == "persistentvolumes") return check_volume(node, request);
    if (resource.group.empty() && resource.plural == "serviceaccounts" && request.subresource == "token") {
      return request.object == nullptr ? Status{}
                                       : check_node_token_request(*request.user, request.ns, *request.object, objects_);
    }
    if (is_for(request, "leases.coordination.k8s.io")) return check_lease(node, request);
    if (is_for(request, "csinodes.storage.k8s.io") && shown_name(request) != node) {
      return forbid(request, node_text(node) + "can only access CSINode with the same name as the requesting node");
    }
    return {};
  }

 private:
  [[nodiscard]] std::string node_of_pod(const std::string& ns, const std::string& name) const {
    const auto pod = objects_.find(api::res("pods"), ns, name);
    return pod ? std::string(str(at(pod->parse(), "spec"), "nodeName")) : "";
  }

  [[nodiscard]] Status check_pod(std::string_view node, const AdmissionRequest& request) const {
    if (request.subresource == "status") {
      if (request.old_object == nullptr || str(at(*request.old_object, "spec"), "nodeName") != node) {
        return forbid(request,
                      node_text(node) + "can only update pod status for pods with spec.nodeName set to itself");
      }
      if (request.object != nullptr &&
          at(*request.object, "metadata", "labels") != at(*request.old_object, "metadata", "labels")) {
        return forbid(request, node_text(node) + "cannot update labels through pod status");
      }
      return {};
    }
    if (request.subresource == "eviction") {
      if (node_of_pod(request.ns, shown_name(request)) == node) return {};
      return forbid(request, "node " + std::string(node) + " can only evict pods with spec.nodeName set to itself");
    }
    if (!request.subresource.empty()) {
      return forbid(request, "unexpected pod subresource \"" + request.subresource +
                                 "\", only 'status' and 'eviction' are allowed");
    }
    if (request.operation == Operation::kCreate) return check_mirror_pod(node, request);
    if (request.operation == Operation::kDelete) {
      const bool own = request.old_object != nullptr ? str(at(*request.old_object, "spec"), "nodeName") == node
                                                     : node_of_pod(request.ns, request.name) == node;
      if (own) return {};
      return forbid(request, node_text(node) + "can only delete pods with spec.nodeName set to itself");
    }
    return forbid(request,
                  "unexpected operation \"UPDATE\", " + node_text(node) + "can only create and delete mirror pods");
  }

  [[nodiscard]] Status check_mirror_pod(std::string_view node, const AdmissionRequest& request) const {
    const Json& pod = *request.object;
    if (!has_annotation(pod, kMirrorAnnotation)) {
      return forbid(request, "pod does not have \"kubernetes.io/config.mirror\" annotation, " + node_text(node) +
                                 "can only create mirror pods");
    }
    if (str(at(pod, "spec"), "nodeName") != node) {
      return forbid(request, node_text(node) + "can only create pods with spec.nodeName set to itself");
    }
    const Json& owners = at(pod, "metadata", "ownerReferences");
    const Json owner = owners.is_array() && owners.size() == 1 ? owners[0] : Json::object();
    if (str(owner, "apiVersion") != "v1" || str(owner, "kind") != "Node" || str(owner, "name") != node) {
      return forbid(request, node_text(node) + "can only create pods with an owner reference set to itself");
    }
    if (!flag(owner, "controller")) {
      return forbid(request, node_text(node) + "can only create pods with a controller owner reference set to itself");
    }
    if (flag(owner, "blockOwnerDeletion")) {
      return forbid(request, node_text(node) + "must not set blockOwnerDeletion on an owner reference");
    }
    const auto self = objects_.find(api::res("nodes"), "", node);
    if (!self) return fail(Code::kNotFound, "nodes \"" + std::string(node) + "\" not found");
    if (self->uid() != str(owner, "uid")) {
      return forbid(request, "node " + std::string(node) + " UID mismatch: expected " + std::string(str(owner, "uid")) +
                                 " got " + self->uid());
    }
    if (refers_to_api_objects(at(pod, "spec"))) {
      return forbid(request, node_text(node) + "can not create pods that reference API objects");
    }
    return {};
  }

  [[nodiscard]] Status check_node(std::string_view node, const AdmissionRequest& request) const {
    const std::string requested = shown_name(request);
    if (requested != node)
      return forbid(request, node_text(node) + "is not allowed to modify node \"" + requested + "\"");
    if (request.object == nullptr) return {};
    const Json none;
    const bool update = request.operation == Operation::kUpdate && request.old_object != nullptr;
    const Json& old = update ? *request.old_object : none;
    if (at(*request.object, "spec", "configSource").is_object() &&
        at(*request.object, "spec", "configSource") != at(old, "spec", "configSource")) {
      return forbid(request, node_text(node) + "is not allowed to update configSource to a new non-nil configSource");
    }
    if (update && at(*request.object, "spec", "taints") != at(old, "spec", "taints")) {
      return forbid(request, node_text(node) + "is not allowed to modify taints");
    }
    if (update && at(*request.object, "metadata", "ownerReferences") != at(old, "metadata", "ownerReferences")) {
      return forbid(request, node_text(node) + "is not allowed to modify ownerReferences");
    }
    const auto labels =
        changed_forbidden_labels(at(*request.object, "metadata", "labels"), at(old, "metadata", "labels"));
    if (labels.empty()) return {};
    return forbid(request, update ? "is not allowed to modify labels: " + labels
                                  : node_text(node) + "is not allowed to set the following labels: " + labels);
  }

  [[nodiscard]] Status check_claim(std::string_view node, const AdmissionRequest& request) const {
    if (request.subresource != "status" || request.object == nullptr || request.old_object == nullptr) {
      return forbid(request, "may only update PVC status");
    }
    Json now = *request.object;
    Json before = *request.old_object;
    for (auto* claim : {&now, &before}) {
      for (const auto* field : {"resourceVersion", "managedFields"}) (*claim)["metadata"].erase(field);
      for (const auto* field : {"capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"}) {
        if (at(*claim, "status").is_object()) (*claim)["status"].erase(field);
      }
    }
    if (now == before) return {};
    return forbid(request,
                  node_text(node) + "is not allowed to update fields other than status.quantity and status.conditions");
  }

  // A node lets a volume on its own disk go, and that is all that it does with volumes.
  [[nodiscard]] static Status check_volume(std::string_view node, const AdmissionRequest& request) {
    if (request.object == nullptr || request.old_object == nullptr || !request.subresource.empty()) {
      return forbid(request, node_text(node) + "may only let persistent volumes on its own disk go");
    }
    Json now = *request.object;
    Json before = *request.old_object;
    const Json& kept = at(before, "metadata", "finalizers");
    if (kept.is_array()) {
      Json& finalizers = before["metadata"]["finalizers"];
      finalizers.erase(std::remove(finalizers.begin(), finalizers.end(), Json(api::kLocalPath)), finalizers.end());
    }
    for (auto* volume : {&now, &before}) {
      Json& metadata = (*volume)["metadata"];
      for (const auto* field : {"resourceVersion", "managedFields", "generation"}) metadata.erase(field);
      if (at(metadata, "finalizers").empty()) metadata.erase("finalizers");
    }
    const bool own = str(at(*request.old_object, "metadata", "labels"), api::kLocalPathNode) == node;
    const bool deleting = !str(at(*request.old_object, "metadata"), "deletionTimestamp").empty();
    if (own && deleting && now == before) return {};
    return forbid(request, node_text(node) + "may only let persistent volumes on its own disk go");
  }

  [[nodiscard]] static Status check_lease(std::string_view node, const AdmissionRequest& request) {
    if (request.ns != "kube-node-lease") {
      return forbid(request, "can only access leases in the \"kube-node-lease\" system namespace");
    }
    if (shown_name(request) == node) return {};
    return forbid(request, "can only access node lease with the same name as the requesting node");
  }

  const ObjectSource& objects_;
};

/// Whether a projected volume of the pod asks for a token for this audience ("": the API's).
bool pod_names_audience(const Json& pod, std::string_view audience) {
  if (audience.empty()) return true;
  for (const auto& volume : at(pod, "spec", "volumes")) {
    for (const auto& source : at(volume, "projected", "sources")) {
      if (source.contains("serviceAccountToken") && str(source["serviceAccountToken"], "audience") == audience)
        return true;
    }
  }
  return false;
}

}  // namespace

Status check_node_token_request(const User& user, const std::string& ns, const Json& token_request,
                                const ObjectSource& objects) {
  const std::string_view node = node_name_of(user);
  if (node.empty()) return {};
  const auto refuse = [&](const std::string& why) {
    return fail(Code::kForbidden, "serviceaccounts \"" + std::string(str(at(token_request, "metadata"), "name")) +
                                      "\" is forbidden: " + why);
  };
  const Json& ref = at(token_request, "spec", "boundObjectRef");
  if (str(ref, "apiVersion") != "v1" || str(ref, "kind") != "Pod" || str(ref, "name").empty()) {
    return refuse("node requested token not bound to a pod");
  }
  if (str(ref, "uid").empty()) return refuse("node requested token with a pod binding without a uid");
  const auto pod = objects.find(api::res("pods"), ns, str(ref, "name"));
  if (!pod) return fail(Code::kNotFound, "pods \"" + std::string(str(ref, "name")) + "\" not found");
  if (pod->uid() != str(ref, "uid")) {
    return refuse("the UID in the bound object reference (" + std::string(str(ref, "uid")) +
                  ") does not match the UID in record. The object might have been deleted and then recreated");
  }
  const Json json = pod->parse();
  if (str(at(json, "spec"), "nodeName") != node)
    return refuse("node requested token bound to a pod scheduled on a different node");
  const Json& audiences = at(token_request, "spec", "audiences");
  if (audiences.is_array() && audiences.size() > 1) return refuse("node may only request 0 or 1 audiences");
  const std::string_view audience = audiences.is_array() && !audiences.empty() ? str(audiences[0]) : "";
  if (pod_names_audience(json, audience)) return {};
  return refuse("audience \"" + std::string(audience) + "\" not found in pod spec volume, " + user.name +
                " is not authorized to request tokens for this audience");
}

PluginPtr node_restriction(const ObjectSource& objects) { return std::make_unique<NodeRestriction>(objects); }

}  // namespace brume::apiserver
