#include "rbac.h"

#include <algorithm>

#include "brume/base/json.h"
#include "brume/base/strings.h"

namespace brume::apiserver {
namespace {

struct Kinds {
  const api::Resource& cluster_roles = api::res("clusterroles.rbac.authorization.k8s.io");
  const api::Resource& roles = api::res("roles.rbac.authorization.k8s.io");
  const api::Resource& cluster_bindings = api::res("clusterrolebindings.rbac.authorization.k8s.io");
  const api::Resource& bindings = api::res("rolebindings.rbac.authorization.k8s.io");
};
const Kinds& kinds() {
  static const Kinds instance;
  return instance;
}

std::string role_key(std::string_view ns, std::string_view name) { return std::string(ns).append("/").append(name); }

bool expression_matches(const Json& expression, const api::Object& object) {
  const std::string_view key = str(expression, "key");
  const std::string_view op = str(expression, "operator");
  const auto& labels = object.labels();
  const auto label = std::ranges::find_if(labels, [&](const auto& pair) { return pair.first == key; });
  const bool present = label != labels.end();
  if (op == "Exists") return present;
  if (op == "DoesNotExist") return !present;
  const bool in =
      present && std::ranges::any_of(at(expression, "values"), [&](const Json& v) { return str(v) == label->second; });
  if (op == "In") return in;
  return op == "NotIn" && !in;
}

/// metav1.LabelSelector over an object's labels; an empty selector selects all, as in aggregationRule.
bool selects(const Json& selector, const api::Object& object) {
  for (const auto& [key, value] : at(selector, "matchLabels").items()) {
    if (object.label(key) != str(value)) return false;
  }
  return std::ranges::all_of(at(selector, "matchExpressions"),
                             [&](const Json& e) { return expression_matches(e, object); });
}

/// The key of a binding's subject in the index of grants, or "" for one that grants nothing.
std::string subject_key(const Json& subject, std::string_view binding_ns) {
  const std::string_view kind = str(subject, "kind");
  const std::string_view name = str(subject, "name");
  if (kind == "User") return "u:" + std::string(name);
  if (kind == "Group") return "g:" + std::string(name);
  if (kind != "ServiceAccount") return "";
  const std::string_view ns = str(subject, "namespace").empty() ? binding_ns : str(subject, "namespace");
  if (ns.empty()) return "";
  return std::string("u:system:serviceaccount:").append(ns).append(":").append(name);
}

std::string subject_text(const Json& subject) {
  std::string name(str(subject, "name"));
  if (str(subject, "kind") == "ServiceAccount") name += "/" + std::string(str(subject, "namespace"));
  return std::string(str(subject, "kind")) + " \"" + name + "\"";
}

}  // namespace

Rbac::Rbac(const ObjectSource& objects) : objects_(objects) {}

void Rbac::compile_roles(Compiled& into, const Compiled* previous) const {
  struct Aggregate {
    std::string key;
    Json selectors;
  };
  std::vector<Aggregate> aggregates;
  const auto cluster_roles = objects_.all(kinds().cluster_roles, "");
  const auto take = [&](const api::ObjectPtr& object) {
    Parsed parsed;
    // A change of one role must not parse all the others again.
    if (previous != nullptr) {
      if (auto known = previous->parsed.find(object.get()); known != previous->parsed.end()) parsed = known->second;
    }
    const std::string key = role_key(object->ns(), object->name());
    const bool aggregating = object->bytes().find("\"aggregationRule\"") != std::string::npos;
    if (!parsed.object || aggregating) {
      const Json json = object->parse();
      parsed = {object, std::make_shared<const PolicyRules>(parse_rules(at(json, "rules")))};
      const Json& selectors = at(json, "aggregationRule", "clusterRoleSelectors");
      if (selectors.is_array()) aggregates.push_back({key, selectors});
    }
    into.roles[key] = parsed.rules;
    into.parsed.emplace(object.get(), std::move(parsed));
  };
  for (const auto& object : cluster_roles) take(object);
  for (const auto& object : objects_.all(kinds().roles, "")) take(object);

  // view aggregates into edit and edit into admin, so repeat until no role grows: as deep as the chain is long.
  for (bool grown = true; grown;) {
    grown = false;
    for (const auto& aggregate : aggregates) {
      auto rules = std::make_shared<PolicyRules>(*into.roles[aggregate.key]);
      const std::size_t before = rules->size();
      for (const auto& object : cluster_roles) {
        if (role_key("", object->name()) == aggregate.key) continue;
        if (!std::ranges::any_of(aggregate.selectors, [&](const Json& s) { return selects(s, *object); })) continue;
        for (const auto& rule : *into.roles[role_key("", object->name())]) {
          if (std::ranges::find(*rules, rule) == rules->end()) rules->push_back(rule);
        }
      }
      grown = grown || rules->size() > before;
      if (rules->size() > before) into.roles[aggregate.key] = std::move(rules);
    }
  }
}

void Rbac::compile_bindings(Compiled& into) const {
  const auto take = [&](const api::ObjectPtr& object) {
    const Json json = object->parse();
    const Json& ref = at(json, "roleRef");
    const bool cluster_role = str(ref, "kind") == "ClusterRole";
    const auto rules = into.roles.find(role_key(cluster_role ? "" : object->ns(), str(ref, "name")));
    if (rules == into.roles.end()) return;  // a binding to a role that is not there grants nothing
    const Json& subjects = at(json, "subjects");
    if (!subjects.is_array()) return;
    for (const auto& subject : subjects) {
      const std::string key = subject_key(subject, object->ns());
      if (key.empty()) continue;
      std::string reason =
          "RBAC: allowed by " + std::string(object->ns().empty() ? "ClusterRoleBinding" : "RoleBinding") + " \"" +
          (object->ns().empty() ? object->name() : object->name() + "/" + object->ns()) + "\" of " +
          std::string(str(ref, "kind")) + " \"" + std::string(str(ref, "name")) + "\" to " + subject_text(subject);
      into.grants[key].push_back({object->ns(), rules->second, std::move(reason)});
    }
  };
  for (const auto& object : objects_.all(kinds().cluster_bindings, "")) take(object);
  for (const auto& object : objects_.all(kinds().bindings, "")) take(object);
}

std::shared_ptr<const Rbac::Compiled> Rbac::compiled() const {
  // Versions are read before the objects: a write in between makes the copy look older than it is, never newer.
  const std::array versions = {objects_.version(kinds().cluster_roles), objects_.version(kinds().roles),
                               objects_.version(kinds().cluster_bindings), objects_.version(kinds().bindings)};
  const std::lock_guard lock(mutex_);
  if (current_ && current_->versions == versions) return current_;
  auto next = std::make_shared<Compiled>();
  next->versions = versions;
  compile_roles(*next, current_.get());
  compile_bindings(*next);
  current_ = std::move(next);
  return current_;
}

Decision Rbac::authorize(const Attributes& attributes) const {
  const auto now = compiled();
  const auto try_key = [&](const std::string& key) -> const Grant* {
    const auto found = now->grants.find(key);
    if (found == now->grants.end()) return nullptr;
    for (const auto& grant : found->second) {
      if (!grant.ns.empty() && (!attributes.is_resource || grant.ns != attributes.ns)) continue;
      if (std::ranges::any_of(*grant.rules, [&](const PolicyRule& rule) { return rule.allows(attributes); }))
        return &grant;
    }
    return nullptr;
  };
  if (const auto* grant = try_key("u:" + attributes.user.name); grant != nullptr) return {true, grant->reason};
  for (const auto& group : attributes.user.groups) {
    if (const auto* grant = try_key("g:" + group); grant != nullptr) return {true, grant->reason};
  }
  return {};
}

PolicyRules Rbac::rules_for(const User& user, std::string_view ns) const {
  const auto now = compiled();
  PolicyRules out;
  const auto take_key = [&](const std::string& key) {
    const auto found = now->grants.find(key);
    if (found == now->grants.end()) return;
    for (const auto& grant : found->second) {
      if (grant.ns.empty() || grant.ns == ns) out.insert(out.end(), grant.rules->begin(), grant.rules->end());
    }
  };
  take_key("u:" + user.name);
  for (const auto& group : user.groups) take_key("g:" + group);
  return out;
}

std::shared_ptr<const PolicyRules> Rbac::role_rules(std::string_view ns, std::string_view name) const {
  const auto now = compiled();
  const auto found = now->roles.find(role_key(ns, name));
  return found == now->roles.end() ? nullptr : found->second;
}

}  // namespace brume::apiserver
