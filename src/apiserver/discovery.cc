#include "discovery.h"

#include <vector>

#include "brume/api/openapi.h"
#include "brume/api/resources.h"
#include "brume/base/json.h"
#include "negotiate.h"

namespace brume::apiserver {

namespace {

constexpr std::string_view kAggregatedGroup = "apidiscovery.k8s.io";

std::string group_version(const api::Resource& resource) { return resource.api_version(); }

template <typename Range>
Json strings(const Range& range) {
  Json out = Json::array();
  for (const auto& item : range) out.push_back(item);
  return out;
}

Json legacy_entry(const api::Resource& resource) {
  Json entry{{"name", resource.plural},
             {"singularName", resource.singular},
             {"namespaced", resource.namespaced},
             {"kind", resource.kind},
             {"verbs", strings(resource.verbs)}};
  if (!resource.short_names.empty()) entry["shortNames"] = strings(resource.short_names);
  if (!resource.categories.empty()) entry["categories"] = strings(resource.categories);
  return entry;
}

Json legacy_subentry(const api::Resource& resource, const api::Subresource& sub) {
  Json entry{{"name", std::string(resource.plural) + "/" + std::string(sub.name)},
             {"singularName", ""},
             {"namespaced", resource.namespaced},
             {"kind", sub.kind},
             {"verbs", strings(sub.verbs)}};
  if (sub.group != resource.group || sub.version != resource.version) {
    entry["group"] = sub.group;
    entry["version"] = sub.version;
  }
  return entry;
}

Json response_kind(std::string_view group, std::string_view version, std::string_view kind) {
  return Json{{"group", group}, {"version", version}, {"kind", kind}};
}

Json aggregated_entry(const api::Resource& resource) {
  Json entry{{"resource", resource.plural},
             {"responseKind", response_kind(resource.group, resource.version, resource.kind)},
             {"scope", resource.namespaced ? "Namespaced" : "Cluster"},
             {"singularResource", resource.singular},
             {"verbs", strings(resource.verbs)}};
  if (!resource.short_names.empty()) entry["shortNames"] = strings(resource.short_names);
  if (!resource.categories.empty()) entry["categories"] = strings(resource.categories);
  for (const api::Subresource& sub : resource.subresources) {
    entry["subresources"].push_back(Json{{"subresource", sub.name},
                                         {"responseKind", response_kind(sub.group, sub.version, sub.kind)},
                                         {"verbs", strings(sub.verbs)}});
  }
  return entry;
}

Json version_entry(std::string_view group, std::string_view version) {
  return Json{{"groupVersion", std::string(group) + "/" + std::string(version)}, {"version", version}};
}

Json group_entry(std::string_view group, const std::vector<std::string_view>& versions) {
  Json entry{{"name", group}, {"preferredVersion", version_entry(group, versions[0])}};
  for (const auto version : versions) entry["versions"].push_back(version_entry(group, version));
  return entry;
}

using Groups = std::vector<std::pair<std::string_view, std::vector<std::string_view>>>;

// Groups and their versions in the order of the tables.
Groups groups() {
  Groups out;
  for (const api::Resource& resource : api::builtin_resources()) {
    auto group = std::find_if(out.begin(), out.end(), [&](const auto& entry) { return entry.first == resource.group; });
    if (group == out.end()) group = out.insert(out.end(), {resource.group, {}});
    auto& versions = group->second;
    if (std::find(versions.begin(), versions.end(), resource.version) == versions.end()) {
      versions.push_back(resource.version);
    }
  }
  return out;
}

}  // namespace

Discovery::Discovery(std::string server_address) {
  add_lists();
  add_groups(server_address);
  add_aggregated();
}

void Discovery::add_lists() {
  std::map<std::string, Json> lists;
  for (const api::Resource& resource : api::builtin_resources()) {
    Json& list = lists[group_version(resource)];
    if (list.is_null()) {
      list = Json{{"kind", "APIResourceList"}, {"groupVersion", group_version(resource)}, {"resources", Json::array()}};
      if (!resource.group.empty()) list["apiVersion"] = "v1";
    }
    list["resources"].push_back(legacy_entry(resource));
    for (const api::Subresource& sub : resource.subresources) {
      list["resources"].push_back(legacy_subentry(resource, sub));
    }
  }
  for (const auto& [name, list] : lists) {
    const std::string path = name.find('/') == std::string::npos ? "/api/" + name : "/apis/" + name;
    documents_[path].body = dump_json(list);
  }
}

void Discovery::add_groups(const std::string& server_address) {
  Json all{{"kind", "APIGroupList"}, {"apiVersion", "v1"}, {"groups", Json::array()}};
  for (const auto& [group, versions] : groups()) {
    if (group.empty()) continue;
    Json entry = group_entry(group, versions);
    all["groups"].push_back(entry);
    entry["kind"] = "APIGroup";
    entry["apiVersion"] = "v1";
    documents_["/apis/" + std::string(group)].body = dump_json(entry);
  }
  documents_["/apis"].body = dump_json(all);
  const Json core{{"kind", "APIVersions"},
                  {"versions", Json::array({"v1"})},
                  {"serverAddressByClientCIDRs",
                   Json::array({Json{{"clientCIDR", "0.0.0.0/0"}, {"serverAddress", server_address}}})}};
  documents_["/api"].body = dump_json(core);
}

void Discovery::add_aggregated() {
  for (const std::string_view version : {"v2", "v2beta1"}) {
    Json core{{"kind", "APIGroupDiscoveryList"},
              {"apiVersion", std::string(kAggregatedGroup) + "/" + std::string(version)},
              {"metadata", Json::object()},
              {"items", Json::array()}};
    Json rest = core;
    for (const auto& [group, versions] : groups()) {
      Json item{{"metadata", Json::object()}, {"versions", Json::array()}};
      if (!group.empty()) item["metadata"]["name"] = group;
      for (const std::string_view of : versions) {
        Json entry{{"version", of}, {"freshness", "Current"}, {"resources", Json::array()}};
        for (const api::Resource& resource : api::builtin_resources()) {
          if (resource.group == group && resource.version == of)
            entry["resources"].push_back(aggregated_entry(resource));
        }
        item["versions"].push_back(std::move(entry));
      }
      (group.empty() ? core : rest)["items"].push_back(std::move(item));
    }
    for (const auto& [path, json] : {std::pair("/api", &core), std::pair("/apis", &rest)}) {
      Document& document = documents_[std::string(path) + "#" + std::string(version)];
      document.body = dump_json(*json);
      document.etag = "\"" + api::openapi_hash(document.body) + "\"";
      document.content_type = "application/json;g=" + std::string(kAggregatedGroup) + ";v=" + std::string(version) +
                              ";as=APIGroupDiscoveryList";
    }
  }
}

const Discovery::Document* Discovery::find(std::string_view path, std::string_view accept) const {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  std::string key(path);
  if (path == "/api" || path == "/apis") {
    for (const MediaRange& range : parse_accept(accept)) {
      const bool aggregated = range.as == "APIGroupDiscoveryList" && range.group == kAggregatedGroup;
      if (aggregated && (range.version == "v2" || range.version == "v2beta1")) {
        key += "#" + range.version;
        break;
      }
      if (range.as.empty()) break;
    }
  }
  const auto it = documents_.find(key);
  return it == documents_.end() ? nullptr : &it->second;
}

}  // namespace brume::apiserver
