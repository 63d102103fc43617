#include "plugin.h"

namespace brume::apiserver {

bool is_for(const AdmissionRequest& request, std::string_view group_resource) {
  if (request.resource == nullptr || !request.subresource.empty()) return false;
  const auto dot = group_resource.find('.');
  if (request.resource->plural != group_resource.substr(0, dot)) return false;
  return request.resource->group == (dot == std::string_view::npos ? "" : group_resource.substr(dot + 1));
}

bool creates(const AdmissionRequest& request, std::string_view group_resource) {
  return request.operation == Operation::kCreate && request.object != nullptr && is_for(request, group_resource);
}

std::string shown_name(const AdmissionRequest& request) {
  if (!request.name.empty()) return request.name;
  if (request.object == nullptr) return "";
  const Json& metadata = at(*request.object, "metadata");
  const std::string_view name = str(metadata, "name");
  return std::string(name.empty() ? str(metadata, "generateName") : name);
}

std::unexpected<Error> forbid(const AdmissionRequest& request, const std::string& why) {
  return fail(Code::kForbidden,
              request.resource->group_resource() + " \"" + shown_name(request) + "\" is forbidden: " + why);
}

Json& spec_of(Json& object) {
  Json& spec = object["spec"];
  if (!spec.is_object()) spec = Json::object();
  return spec;
}

std::string_view annotation(const Json& object, std::string_view key) {
  return str(at(object, "metadata", "annotations"), key);
}

bool has_annotation(const Json& object, std::string_view key) {
  const Json& annotations = at(object, "metadata", "annotations");
  return annotations.is_object() && annotations.contains(key);
}

api::ObjectPtr newest_default(const ObjectSource& objects, const api::Resource& resource,
                              bool (*is_default)(const Json& object)) {
  api::ObjectPtr chosen;
  for (const auto& object : objects.all(resource, "")) {
    if (!is_default(object->parse())) continue;
    if (!chosen || object->creation_timestamp() > chosen->creation_timestamp() ||
        (object->creation_timestamp() == chosen->creation_timestamp() && object->name() < chosen->name())) {
      chosen = object;
    }
  }
  return chosen;
}

Json& array_in(Json& object, std::string_view key) {
  Json& list = object[std::string(key)];
  if (!list.is_array()) list = Json::array();
  return list;
}

}  // namespace brume::apiserver
