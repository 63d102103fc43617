#include "authz.h"

namespace brume::apiserver {
namespace {

constexpr std::string_view kMasters = "system:masters";

std::string in_quotes(std::string_view text) { return "\"" + std::string(text) + "\""; }

}  // namespace

Decision ChainAuthorizer::authorize(const Attributes& attributes) const {
  if (attributes.user.in_group(kMasters)) return {true, ""};
  Decision by_node = node_.authorize(attributes);
  if (by_node.allowed) return by_node;
  Decision by_rbac = rbac_.authorize(attributes);
  if (by_rbac.allowed || by_node.reason.empty()) return by_rbac;
  return by_node;
}

PolicyRules ChainAuthorizer::rules_for(const User& user, std::string_view ns) const {
  PolicyRules rules = rbac_.rules_for(user, ns);
  if (!user.in_group(kMasters)) return rules;
  rules.push_back(
      {.verbs = {"*"}, .api_groups = {"*"}, .resources = {"*"}, .resource_names = {}, .non_resource_urls = {}});
  rules.push_back(
      {.verbs = {"*"}, .api_groups = {}, .resources = {}, .resource_names = {}, .non_resource_urls = {"*"}});
  return rules;
}

Error forbidden_error(const Attributes& attributes, const Decision& decision) {
  std::string message;
  const std::string user = "User " + in_quotes(attributes.user.name);
  if (!attributes.is_resource) {
    message = "forbidden: " + user + " cannot " + attributes.verb + " path " + in_quotes(attributes.path);
  } else {
    std::string resource = attributes.resource;
    if (!attributes.subresource.empty()) resource += "/" + attributes.subresource;
    message = attributes.resource + (attributes.group.empty() ? "" : "." + attributes.group);
    if (!attributes.name.empty()) message += " " + in_quotes(attributes.name);
    message += " is forbidden: " + user + " cannot " + attributes.verb + " resource " + in_quotes(resource) +
               " in API group " + in_quotes(attributes.group);
    message += attributes.ns.empty() ? " at the cluster scope" : " in the namespace " + in_quotes(attributes.ns);
  }
  if (!decision.reason.empty()) message += ": " + decision.reason;
  return {Code::kForbidden, std::move(message)};
}

}  // namespace brume::apiserver
