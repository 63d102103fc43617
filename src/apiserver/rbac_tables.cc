#include "rbac_tables.h"

#include "brume/base/json.h"
#include "brume/base/strings.h"

namespace brume::apiserver::defaults {
namespace {

constexpr std::string_view kGroup = "rbac.authorization.k8s.io";

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> out;
  if (text.empty()) return out;
  for (const auto word : split(text, ' ')) out.emplace_back(word);
  return out;
}

Json head(std::string_view kind, std::string_view ns, std::string_view name) {
  Json object = {{"apiVersion", std::string(kGroup) + "/v1"},
                 {"kind", kind},
                 {"metadata",
                  {{"name", name},
                   {"labels", {{"kubernetes.io/bootstrapping", "rbac-defaults"}}},
                   {"annotations", {{"rbac.authorization.kubernetes.io/autoupdate", "true"}}}}}};
  if (!ns.empty()) object["metadata"]["namespace"] = ns;
  return object;
}

std::string aggregate_label(std::string_view to) { return std::string(kGroup) + "/aggregate-to-" + std::string(to); }

Json subject_object(std::string_view text) {
  const auto equals = text.find('=');
  const auto kind = text.substr(0, equals);
  const auto name = text.substr(equals + 1);
  if (kind == "sa") {
    const auto slash = name.find('/');
    return {{"kind", "ServiceAccount"}, {"name", name.substr(slash + 1)}, {"namespace", name.substr(0, slash)}};
  }
  return {{"kind", kind == "user" ? "User" : "Group"}, {"name", name}, {"apiGroup", kGroup}};
}

}  // namespace

PolicyRule expand(const Rule& row) {
  PolicyRule rule{.verbs = words(row.verbs),
                  .api_groups = words(row.groups),
                  .resources = words(row.resources),
                  .resource_names = words(row.names),
                  .non_resource_urls = words(row.urls)};
  for (auto& group : rule.api_groups) {
    if (group == "core") group.clear();
  }
  return rule;
}

Json role_object(const Role& row) {
  Json role = head(row.ns.empty() ? "ClusterRole" : "Role", row.ns, row.name);
  PolicyRules rules;
  for (const auto& rule : row.rules) rules.push_back(expand(rule));
  role["rules"] = rules_to_json(rules);
  for (const std::string& target : words(row.aggregate_to))
    role["metadata"]["labels"][aggregate_label(target)] = "true";
  if (!row.aggregates.empty()) {
    const Json selector = {{"matchLabels", {{aggregate_label(row.aggregates), "true"}}}};
    role["aggregationRule"] = {{"clusterRoleSelectors", Json::array({selector})}};
  }
  return role;
}

Json binding_object(const Binding& row) {
  Json binding = head(row.ns.empty() ? "ClusterRoleBinding" : "RoleBinding", row.ns, row.name);
  binding["roleRef"] = {{"apiGroup", kGroup},
                        {"kind", row.ns.empty() ? "ClusterRole" : "Role"},
                        {"name", row.role.empty() ? row.name : row.role}};
  Json subjects = Json::array();
  for (const auto& subject : words(row.subjects)) subjects.push_back(subject_object(subject));
  if (!subjects.empty()) binding["subjects"] = std::move(subjects);
  return binding;
}

}  // namespace brume::apiserver::defaults
