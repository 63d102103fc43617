// PolicyRule: matching, covering, printing.
#include <algorithm>

#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "rbac.h"

namespace brume::apiserver {
namespace {

using Strings = std::vector<std::string>;

bool has(const Strings& list, std::string_view value) { return std::ranges::find(list, value) != list.end(); }
bool has_or_all(const Strings& list, std::string_view value) { return has(list, "*") || has(list, value); }

bool resource_matches(const Strings& list, std::string_view resource, std::string_view subresource) {
  if (has(list, "*")) return true;
  if (subresource.empty()) return has(list, resource);
  const std::string whole = std::string(resource) + "/" + std::string(subresource);
  const std::string any_parent = "*/" + std::string(subresource);
  return has(list, whole) || has(list, any_parent);
}

bool url_matches(const Strings& list, std::string_view path) {
  return std::ranges::any_of(list, [&](std::string_view url) {
    if (url == "*" || url == path) return true;
    return url.ends_with('*') && path.starts_with(url.substr(0, url.size() - 1));
  });
}

Strings strings_of(const Json& array) {
  Strings out;
  if (!array.is_array()) return out;
  for (const auto& item : array) out.emplace_back(str(item));
  return out;
}

void append_list(std::string& out, std::string_view name, const Strings& values) {
  if (values.empty()) return;
  if (out.size() > 1) out.append(", ");
  out.append(name).append(":[");
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out.append(", ");
    append_json_string(out, values[i]);
  }
  out.push_back(']');
}

/// `wanted` taken apart into rules of one verb and one group, resource and name, or one URL.
PolicyRules take_apart(const PolicyRules& wanted) {
  PolicyRules out;
  for (const auto& rule : wanted) {
    for (const auto& verb : rule.verbs) {
      for (const auto& url : rule.non_resource_urls) {
        out.push_back(
            {.verbs = {verb}, .api_groups = {}, .resources = {}, .resource_names = {}, .non_resource_urls = {url}});
      }
      for (const auto& group : rule.api_groups) {
        for (const auto& resource : rule.resources) {
          PolicyRule one{.verbs = {verb},
                         .api_groups = {group},
                         .resources = {resource},
                         .resource_names = {},
                         .non_resource_urls = {}};
          if (rule.resource_names.empty()) out.push_back(one);
          for (const auto& name : rule.resource_names) {
            one.resource_names = {name};
            out.push_back(one);
          }
        }
      }
    }
  }
  return out;
}

}  // namespace

bool PolicyRule::allows(const Attributes& attributes) const {
  if (!has_or_all(verbs, attributes.verb)) return false;
  if (!attributes.is_resource) return url_matches(non_resource_urls, attributes.path);
  return has_or_all(api_groups, attributes.group) &&
         resource_matches(resources, attributes.resource, attributes.subresource) &&
         (resource_names.empty() || has(resource_names, attributes.name));
}

bool PolicyRule::covers(const PolicyRule& other) const {
  if (!has_or_all(verbs, other.verbs.front())) return false;
  if (!other.non_resource_urls.empty()) return url_matches(non_resource_urls, other.non_resource_urls.front());
  const std::string_view whole = other.resources.front();
  const auto slash = whole.find('/');
  const std::string_view sub = slash == std::string_view::npos ? "" : whole.substr(slash + 1);
  const bool names_covered =
      resource_names.empty() || (!other.resource_names.empty() && has(resource_names, other.resource_names.front()));
  return has_or_all(api_groups, other.api_groups.front()) && resource_matches(resources, whole.substr(0, slash), sub) &&
         names_covered;
}

std::string PolicyRule::text() const {
  std::string out = "{";
  append_list(out, "APIGroups", api_groups);
  append_list(out, "Resources", resources);
  append_list(out, "ResourceNames", resource_names);
  append_list(out, "NonResourceURLs", non_resource_urls);
  append_list(out, "Verbs", verbs);
  return out + "}";
}

PolicyRules parse_rules(const Json& rules) {
  PolicyRules out;
  if (!rules.is_array()) return out;
  for (const auto& rule : rules) {
    out.push_back({.verbs = strings_of(at(rule, "verbs")),
                   .api_groups = strings_of(at(rule, "apiGroups")),
                   .resources = strings_of(at(rule, "resources")),
                   .resource_names = strings_of(at(rule, "resourceNames")),
                   .non_resource_urls = strings_of(at(rule, "nonResourceURLs"))});
  }
  return out;
}

Json rules_to_json(const PolicyRules& rules) {
  Json out = Json::array();
  for (const auto& rule : rules) {
    Json one = Json::object();
    if (!rule.api_groups.empty()) one["apiGroups"] = rule.api_groups;
    if (!rule.resources.empty()) one["resources"] = rule.resources;
    if (!rule.resource_names.empty()) one["resourceNames"] = rule.resource_names;
    if (!rule.non_resource_urls.empty()) one["nonResourceURLs"] = rule.non_resource_urls;
    one["verbs"] = rule.verbs;
    out.push_back(std::move(one));
  }
  return out;
}

PolicyRules missing_rules(const PolicyRules& held, const PolicyRules& wanted) {
  PolicyRules missing;
  for (auto& one : take_apart(wanted)) {
    if (std::ranges::any_of(held, [&](const PolicyRule& rule) { return rule.covers(one); })) continue;
    const auto same = std::ranges::find_if(missing, [&](const PolicyRule& other) {
      return other.api_groups == one.api_groups && other.resources == one.resources &&
             other.resource_names == one.resource_names && other.non_resource_urls == one.non_resource_urls;
    });
    if (same == missing.end())
      missing.push_back(std::move(one));
    else if (!has(same->verbs, one.verbs.front()))
      same->verbs.push_back(one.verbs.front());
  }
  std::ranges::sort(missing, {}, &PolicyRule::text);
  return missing;
}

}  // namespace brume::apiserver
