#include "node_authorizer.h"

#include <algorithm>
#include <functional>

#include "brume/api/local_path.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "rbac_defaults.h"
#include "rbac_tables.h"

namespace brume::apiserver {
namespace {

constexpr std::string_view kNodeUser = "system:node:";
constexpr std::string_view kLeaseNamespace = "kube-node-lease";
constexpr std::string_view kProvisionedBy = "pv.kubernetes.io/provisioned-by";

Decision allow() { return {true, ""}; }
Decision deny(std::string why) { return {false, std::move(why)}; }

bool one_of(std::string_view verb, std::initializer_list<std::string_view> verbs) {
  return std::ranges::find(verbs, verb) != verbs.end();
}

/// Whether a selector of fields or labels pins `key` to `node`.
bool selects_node(std::string_view selector, std::string_view key, std::string_view node) {
  return std::ranges::any_of(split(selector, ','), [&](std::string_view term) {
    term = trim(term);
    if (!term.starts_with(key)) return false;
    term.remove_prefix(key.size());
    if (!term.starts_with('=')) return false;
    term.remove_prefix(term.starts_with("==") ? 2 : 1);
    return term == node;
  });
}

using Match = std::function<bool(const Json&)>;

bool any(const Json& array, const Match& match) { return array.is_array() && std::ranges::any_of(array, match); }

bool any_container(const Json& spec, const Match& match) {
  return any(at(spec, "containers"), match) || any(at(spec, "initContainers"), match) ||
         any(at(spec, "ephemeralContainers"), match);
}

/// env[].valueFrom.<key_ref>.name and envFrom[].<source>.name
bool env_refers(const Json& spec, std::string_view key_ref, std::string_view source, std::string_view name) {
  return any_container(spec, [&](const Json& container) {
    return any(at(container, "env"), [&](const Json& e) { return str(at(e, "valueFrom", key_ref), "name") == name; }) ||
           any(at(container, "envFrom"), [&](const Json& e) { return str(at(e, source), "name") == name; });
  });
}

/// The secrets that volume plugins other than `secret` itself name (secretRef, nodePublishSecretRef).
bool volume_refers_to_secret(const Json& volume, std::string_view name) {
  if (str(at(volume, "secret"), "secretName") == name || str(at(volume, "azureFile"), "secretName") == name)
    return true;
  if (str(at(volume, "csi", "nodePublishSecretRef"), "name") == name) return true;
  for (const auto* plugin : {"cephfs", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos", "cinder"}) {
    if (str(at(volume, plugin, "secretRef"), "name") == name) return true;
  }
  return any(at(volume, "projected", "sources"), [&](const Json& s) { return str(at(s, "secret"), "name") == name; });
}

bool volume_refers_to_config_map(const Json& volume, std::string_view name) {
  return str(at(volume, "configMap"), "name") == name || any(at(volume, "projected", "sources"), [&](const Json& s) {
           return str(at(s, "configMap"), "name") == name;
         });
}

bool volume_refers_to_claim(const Json& pod, const Json& volume, std::string_view name) {
  if (str(at(volume, "persistentVolumeClaim"), "claimName") == name) return true;
  if (!volume.contains("ephemeral")) return false;
  // A generic ephemeral volume's claim is named after pod and volume.
  return std::string(str(at(pod, "metadata"), "name")).append("-").append(str(volume, "name")) == name;
}

}  // namespace

std::string_view node_name_of(const User& user) {
  if (!user.name.starts_with(kNodeUser) || !user.in_group("system:nodes")) return {};
  return std::string_view(user.name).substr(kNodeUser.size());
}

bool pod_refers_to(const Json& pod, std::string_view plural, std::string_view name) {
  const Json& spec = at(pod, "spec");
  const Json& volumes = at(spec, "volumes");
  if (name.empty()) return false;
  if (plural == "serviceaccounts") return str(spec, "serviceAccountName") == name;
  if (plural == "secrets") {
    return any(at(spec, "imagePullSecrets"), [&](const Json& s) { return str(s, "name") == name; }) ||
           env_refers(spec, "secretKeyRef", "secretRef", name) ||
           any(volumes, [&](const Json& v) { return volume_refers_to_secret(v, name); });
  }
  if (plural == "configmaps") {
    return env_refers(spec, "configMapKeyRef", "configMapRef", name) ||
           any(volumes, [&](const Json& v) { return volume_refers_to_config_map(v, name); });
  }
  if (plural == "persistentvolumeclaims") {
    return any(volumes, [&](const Json& v) { return volume_refers_to_claim(pod, v, name); });
  }
  return false;
}

NodeAuthorizer::NodeAuthorizer(const ObjectSource& objects) : objects_(objects) {
  for (const auto& rule : defaults::node_rules()) rules_.push_back(defaults::expand(rule));
}

bool NodeAuthorizer::uses(std::string_view node, std::string_view ns, std::string_view plural,
                          std::string_view name) const {
  const std::string node_text = "\"" + std::string(node) + "\"";
  // An ephemeral claim's name is put together from parts and stands nowhere in the pod.
  const std::string name_text = plural == "persistentvolumeclaims" ? "" : "\"" + std::string(name) + "\"";
  for (const auto& object : objects_.all(api::res("pods"), ns)) {
    if (object->bytes().find(node_text) == std::string::npos || object->bytes().find(name_text) == std::string::npos)
      continue;
    const Json pod = object->parse();
    if (str(at(pod, "spec"), "nodeName") == node && pod_refers_to(pod, plural, name)) return true;
  }
  return false;
}

bool NodeAuthorizer::has_relation(std::string_view node, const Attributes& wish) const {
  if (wish.resource == "pods") {
    const auto pod = objects_.find(api::res("pods"), wish.ns, wish.name);
    return pod && str(at(pod->parse(), "spec"), "nodeName") == node;
  }
  if (wish.resource == "volumeattachments") {
    const auto attachment = objects_.find(api::res("volumeattachments.storage.k8s.io"), "", wish.name);
    return attachment && str(at(attachment->parse(), "spec"), "nodeName") == node;
  }
  if (wish.resource == "persistentvolumes") {
    // Reached through the claim that it is bound to.
    const auto volume = objects_.find(api::res("persistentvolumes"), "", wish.name);
    if (!volume) return false;
    const Json json = volume->parse();
    const Json& claim = at(json, "spec", "claimRef");
    return claim.is_object() && uses(node, str(claim, "namespace"), "persistentvolumeclaims", str(claim, "name"));
  }
  return !wish.ns.empty() && uses(node, wish.ns, wish.resource, wish.name);
}

Decision NodeAuthorizer::related(std::string_view node, const Attributes& wish) const {
  if (wish.name.empty()) return deny("No Object name found");
  if (has_relation(node, wish)) return allow();
  return deny("no relationship found between node '" + std::string(node) + "' and this object");
}

Decision NodeAuthorizer::read_related(std::string_view node, const Attributes& wish, bool list_too) const {
  if (!one_of(wish.verb, {"get"}) && !(list_too && one_of(wish.verb, {"list", "watch"}))) {
    return deny(list_too ? "can only read resources of this type" : "can only get individual resources of this type");
  }
  if (!wish.subresource.empty()) return deny(list_too ? "cannot read subresource" : "cannot get subresource");
  if (list_too && wish.ns.empty()) return deny("can only read namespaced object of this type");
  return related(node, wish);
}

Decision NodeAuthorizer::pods(std::string_view node, const Attributes& wish) const {
  if (wish.subresource == "status" && one_of(wish.verb, {"update", "patch"})) return allow();  // narrowed by admission
  if (wish.subresource == "eviction" && wish.verb == "create") return allow();                 // likewise
  if (!wish.subresource.empty()) return deny("");
  if (one_of(wish.verb, {"create", "delete"})) return allow();  // mirror pods; narrowed by admission
  if (wish.verb == "get") return related(node, wish);
  if (!one_of(wish.verb, {"list", "watch"})) return deny("");
  if (wish.field_selector && selects_node(*wish.field_selector, "spec.nodeName", node)) return allow();
  if (!wish.name.empty()) return related(node, wish);
  return deny("can only list/watch pods with spec.nodeName field selector");
}

// A directory that the built-in provisioner made on this node's disk. Nobody but a cluster's administrators and that
// provisioner can make a volume or label one, and another kind of volume, which may name secrets, is never one.
bool NodeAuthorizer::on_own_disk(std::string_view node, const std::string& name) const {
  const auto volume = objects_.find(api::res("persistentvolumes"), "", name);
  if (!volume || volume->label(api::kLocalPathNode) != node) return false;
  const Json json = volume->parse();
  return str(at(json, "metadata", "annotations"), kProvisionedBy) == api::kLocalPath &&
         at(json, "spec", "local").is_object();
}

// Beside the volumes of its pods, which it reads through their claims as in Kubernetes, a node sees those on its own
// disk: no pod uses them any more when their directories are to go, and before it deletes one it reads the volume
// again. It lets them go when the directory is gone (admission sees to it that it changes nothing else).
Decision NodeAuthorizer::volumes(std::string_view node, const Attributes& wish) const {
  if (one_of(wish.verb, {"list", "watch"}) && wish.label_selector &&
      selects_node(*wish.label_selector, api::kLocalPathNode, node)) {
    return allow();
  }
  if (wish.subresource.empty() && one_of(wish.verb, {"get", "update", "patch"}) && on_own_disk(node, wish.name)) {
    return allow();
  }
  return read_related(node, wish, false);
}

Decision NodeAuthorizer::by_resource(std::string_view node, const Attributes& wish) const {
  const std::string& resource = wish.resource;
  const std::string name(node);
  if (wish.group.empty() && (resource == "secrets" || resource == "configmaps")) return read_related(node, wish, true);
  if (wish.group.empty() && resource == "persistentvolumeclaims") {
    if (wish.subresource != "status") return read_related(node, wish, false);
    return one_of(wish.verb, {"update", "patch"}) ? related(node, wish) : deny("can only get/update/patch this type");
  }
  if (wish.group.empty() && resource == "persistentvolumes") return volumes(node, wish);
  if (wish.group == "storage.k8s.io" && resource == "volumeattachments") return read_related(node, wish, false);
  if (wish.group.empty() && resource == "serviceaccounts") {
    if (wish.verb == "get" && wish.subresource.empty()) return read_related(node, wish, true);
    if (wish.verb != "create" || wish.name.empty())
      return deny("can only create tokens for individual service accounts");
    if (wish.subresource != "token") return deny("can only create token subresource of serviceaccount");
    return related(node, wish);
  }
  const bool lease = wish.group == "coordination.k8s.io" && resource == "leases";
  if (lease || (wish.group == "storage.k8s.io" && resource == "csinodes")) {
    const std::string what = lease ? "node lease" : "CSINode";
    if (!one_of(wish.verb, {"get", "create", "update", "patch", "delete"})) {
      return deny("can only get, create, update, patch, or delete a " + what);
    }
    if (lease && wish.ns != kLeaseNamespace)
      return deny("can only access leases in the \"kube-node-lease\" system namespace");
    if (!lease && !wish.subresource.empty()) return deny("cannot authorize CSINode subresources");
    // Of a create the name is in the body, which admission sees.
    if (wish.verb != "create" && wish.name != node) {
      return deny("can only access " + what + " with the same name as the requesting node");
    }
    return allow();
  }
  if (wish.group.empty() && resource == "nodes") {
    if (wish.subresource == "status") return one_of(wish.verb, {"update", "patch"}) ? allow() : deny("");
    if (!wish.subresource.empty()) return deny("");
    if (one_of(wish.verb, {"create", "update", "patch"})) return allow();  // narrowed by admission
    if (!one_of(wish.verb, {"get", "list", "watch"})) return deny("");
    if (wish.name == node) return allow();
    if (wish.name.empty()) return deny("node '" + name + "' cannot read all nodes, only its own Node object");
    return deny("node '" + name + "' cannot read '" + wish.name + "', only its own Node object");
  }
  if (wish.group.empty() && resource == "pods") return pods(node, wish);
  // Dynamic resource allocation has no objects that this authorizer could relate to a node yet.
  if (wish.group == "resource.k8s.io") return deny("no relationship found between node '" + name + "' and this object");
  return by_rules(wish);
}

Decision NodeAuthorizer::by_rules(const Attributes& wish) const {
  return {std::ranges::any_of(rules_, [&](const PolicyRule& rule) { return rule.allows(wish); }), ""};
}

Decision NodeAuthorizer::authorize(const Attributes& attributes) const {
  const std::string_view node = node_name_of(attributes.user);
  if (node.empty()) return {};
  return attributes.is_resource ? by_resource(node, attributes) : by_rules(attributes);
}

}  // namespace brume::apiserver
