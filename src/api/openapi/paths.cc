// Paths and operations.
#include <array>

#include "api/openapi/builder.h"
#include "brume/base/strings.h"

namespace brume::api::openapi {

namespace {

struct Parameter {
  std::string_view name, type;
};

constexpr std::array<Parameter, 3> kWrite = {
    {{"dryRun", "string"}, {"fieldManager", "string"}, {"fieldValidation", "string"}}};
constexpr std::array<Parameter, 4> kPatch = {
    {{"dryRun", "string"}, {"fieldManager", "string"}, {"fieldValidation", "string"}, {"force", "boolean"}}};
constexpr std::array<Parameter, 4> kDelete = {{{"dryRun", "string"},
                                               {"gracePeriodSeconds", "integer"},
                                               {"orphanDependents", "boolean"},
                                               {"propagationPolicy", "string"}}};
constexpr std::array<Parameter, 10> kList = {{{"allowWatchBookmarks", "boolean"},
                                              {"continue", "string"},
                                              {"fieldSelector", "string"},
                                              {"labelSelector", "string"},
                                              {"limit", "integer"},
                                              {"resourceVersion", "string"},
                                              {"resourceVersionMatch", "string"},
                                              {"sendInitialEvents", "boolean"},
                                              {"timeoutSeconds", "integer"},
                                              {"watch", "boolean"}}};
constexpr std::array<std::string_view, 4> kPatchTypes = {"application/json-patch+json", "application/merge-patch+json",
                                                         "application/strategic-merge-patch+json",
                                                         "application/apply-patch+yaml"};
constexpr std::array<std::string_view, 2> kMediaTypes = {"application/json", "application/yaml"};

// One operation to be written.
struct Verb {
  std::string_view verb;    // of the API: get, list, create, ...
  std::string_view method;  // of HTTP
  std::string_view action;  // x-kubernetes-action
  std::string_view word;    // begins the operation's id
};

constexpr std::array<Verb, 7> kVerbs = {{{"get", "get", "get", "read"},
                                         {"list", "get", "list", "list"},
                                         {"create", "post", "post", "create"},
                                         {"update", "put", "put", "replace"},
                                         {"patch", "patch", "patch", "patch"},
                                         {"delete", "delete", "delete", "delete"},
                                         {"deletecollection", "delete", "deletecollection", "deleteCollection"}}};

const Verb& verb_of(std::string_view name) {
  for (const Verb& verb : kVerbs) {
    if (verb.verb == name) return verb;
  }
  return kVerbs[0];
}

// "rbac.authorization.k8s.io" is RbacAuthorization in operation ids.
std::string group_word(std::string_view group) {
  if (group.empty()) return "Core";
  if (group.ends_with(".k8s.io")) group.remove_suffix(7);
  std::string out;
  for (auto part : split(group, '.')) {
    std::string word(part);
    if (!word.empty() && word[0] >= 'a' && word[0] <= 'z') word[0] = static_cast<char>(word[0] - 32);
    out += word;
  }
  return out;
}

std::string upper_first(std::string_view text) {
  std::string out(text);
  if (!out.empty() && out[0] >= 'a' && out[0] <= 'z') out[0] = static_cast<char>(out[0] - 32);
  return out;
}

class PathWriter {
 public:
  PathWriter(Version version, const Resource& resource, const CustomResource* custom, Schemas& schemas, Json& paths)
      : v3_(version == Version::kV3), resource_(resource), custom_(custom), schemas_(schemas), paths_(paths) {}

  void write() {
    auto base = (resource_.group.empty() ? "/api/" : "/apis/") + resource_.api_version();
    std::string collection =
        base + (resource_.namespaced ? "/namespaces/{namespace}/" : "/") + std::string(resource_.plural);
    std::string item = collection + "/{name}";
    for (auto name : resource_.verbs) {
      const Verb& verb = verb_of(name);
      if (name == "watch") continue;  // a parameter of list
      bool whole = name == "list" || name == "create" || name == "deletecollection";
      add(whole ? collection : item, !whole, verb, object_schema(name == "list"), "");
    }
    if (resource_.namespaced && resource_.has_verb("list")) {
      add(base + '/' + std::string(resource_.plural), false, verb_of("list"), object_schema(true), "ForAllNamespaces");
    }
    for (const Subresource& sub : resource_.subresources) write_subresource(item, sub);
  }

 private:
  void write_subresource(const std::string& item, const Subresource& sub) {
    auto path = item + '/' + std::string(sub.name);
    Json schema;
    bool same = sub.kind == resource_.kind && sub.version == resource_.version && sub.group == resource_.group;
    if (same) {
      schema = object_schema(false);
    } else {
      auto api_version =
          sub.group.empty() ? std::string(sub.version) : std::string(sub.group) + '/' + std::string(sub.version);
      if (const Type* type = find_type(api_version, sub.kind)) schema = schemas_.ref(*type);
    }
    gvk_ = {{"group", sub.group}, {"kind", sub.kind}, {"version", sub.version}};
    for (auto name : sub.verbs) {
      Verb verb = verb_of(name);
      bool connect = schema.is_null();
      if (connect) {
        verb.action = "connect";
        verb.word = "connect";
      }
      add(path, true, verb, connect ? Json{{"type", "string"}} : schema, upper_first(sub.name));
    }
    gvk_ = Json();
  }

  Json object_schema(bool list) {
    if (custom_ != nullptr) return list ? schemas_.ref_custom_list(*custom_) : schemas_.ref_custom(*custom_);
    if (!list) return schemas_.ref(*resource_.type);
    const Type* type = find_type(resource_.api_version(), std::string(resource_.kind) + "List");
    return type == nullptr ? Json::object() : schemas_.ref(*type);
  }

  Json parameter(std::string_view name, std::string_view type, std::string_view in) const {
    Json out = {{"name", name}, {"in", in}};
    if (in == "path") out["required"] = true;
    (v3_ ? out["schema"] : out)["type"] = type;
    return out;
  }

  template <typename List>
  void query(Json& operation, const List& parameters) const {
    for (const Parameter& item : parameters)
      operation["parameters"].push_back(parameter(item.name, item.type, "query"));
  }

  template <typename List>
  void body(Json& operation, const Json& schema, const List& media) const {
    if (!v3_) {
      operation["parameters"].push_back({{"name", "body"}, {"in", "body"}, {"required", true}, {"schema", schema}});
      operation["consumes"] = media;
      return;
    }
    Json content = Json::object();
    for (auto type : media) content[std::string(type)] = {{"schema", schema}};
    operation["requestBody"] = {{"content", std::move(content)}};
  }

  Json response(std::string_view description, const Json& schema) const {
    if (!v3_) return {{"description", description}, {"schema", schema}};
    Json content = Json::object();
    for (auto type : kMediaTypes) content[std::string(type)] = {{"schema", schema}};
    return {{"description", description}, {"content", std::move(content)}};
  }

  void add(const std::string& path, bool named, const Verb& verb, const Json& schema, std::string_view suffix) {
    Json& item = paths_[path];
    if (item.is_null()) {
      item = Json::object();
      if (named) item["parameters"].push_back(parameter("name", "string", "path"));
      if (path.find("{namespace}") != std::string::npos) {
        item["parameters"].push_back(parameter("namespace", "string", "path"));
      }
      item["parameters"].push_back(parameter("pretty", "string", "query"));
    }
    item[std::string(verb.method)] = operation(path, verb, schema, suffix);
  }

  Json operation(const std::string& path, const Verb& verb, const Json& schema, std::string_view suffix) {
    constexpr std::string_view kStatus = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
    Json out = {{"parameters", Json::array()}};
    bool in_namespace = path.find("{namespace}") != std::string::npos;
    auto group = group_word(resource_.group);
    out["operationId"] = std::string(verb.word) + group + upper_first(resource_.version) +
                         (in_namespace ? "Namespaced" : "") + std::string(resource_.kind) + std::string(suffix);
    auto tag = group + '_' + std::string(resource_.version);
    tag[0] = static_cast<char>(tag[0] | 32);
    out["tags"] = Json::array({tag});
    out["x-kubernetes-action"] = verb.action;
    out["x-kubernetes-group-version-kind"] =
        gvk_.is_null() ? Json{{"group", resource_.group}, {"kind", resource_.kind}, {"version", resource_.version}}
                       : gvk_;
    if (!v3_) out["produces"] = kMediaTypes;
    Json answer = schema;
    if (verb.action == "list") query(out, kList);
    if (verb.action == "post" || verb.action == "put") {
      query(out, kWrite);
      body(out, schema, kMediaTypes);
    } else if (verb.action == "patch") {
      query(out, kPatch);
      body(out, Json{{"type", "object"}}, kPatchTypes);
    } else if (verb.action == "delete" || verb.action == "deletecollection") {
      query(out, kDelete);
      if (verb.action == "deletecollection") query(out, kList);
      body(out, schemas_.ref("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"), kMediaTypes);
      if (!v3_) out["parameters"].back()["required"] = false;
      answer = schemas_.ref(kStatus);
    }
    out["responses"] = {{"200", response("OK", answer)}, {"401", {{"description", "Unauthorized"}}}};
    if (verb.action == "post" || verb.action == "put" || verb.action == "patch") {
      out["responses"]["201"] = response("Created", answer);
    }
    if (out["parameters"].empty()) out.erase("parameters");
    return out;
  }

  bool v3_;
  const Resource& resource_;
  const CustomResource* custom_;
  Schemas& schemas_;
  Json& paths_;
  Json gvk_;  // of the sub-resource being written
};

}  // namespace

void add_paths(Version version, const Resource& resource, const CustomResource* custom, Schemas& schemas, Json& paths) {
  PathWriter(version, resource, custom, schemas, paths).write();
}

}  // namespace brume::api::openapi
