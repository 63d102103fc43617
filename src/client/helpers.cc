#include "brume/client/helpers.h"

#include <algorithm>

#include "brume/base/json.h"
#include "brume/base/task.h"

namespace brume::client {

namespace {

Error nothing_there() { return {Code::kNotFound, "the server could not find the requested resource"}; }

}  // namespace

Task<Result<Json>> Client::get_subresource(const Resource& /*resource*/, std::string /*ns*/, std::string /*name*/,
                                           std::string /*subresource*/) {
  co_return fail(nothing_there());
}

Task<Result<Json>> Client::get_raw(std::string /*path*/) { co_return fail(nothing_there()); }

ObjectReference ObjectReference::to(const api::Object& object) {
  return {.api_version = object.api_version(),
          .kind = object.kind(),
          .ns = object.ns(),
          .name = object.name(),
          .uid = object.uid(),
          .resource_version = std::to_string(object.resource_version()),
          .field_path = {}};
}

Json ObjectReference::to_json() const {
  Json out = Json::object();
  const auto put = [&out](const char* key, const std::string& value) {
    if (!value.empty()) out[key] = value;
  };
  put("apiVersion", api_version);
  put("kind", kind);
  put("namespace", ns);
  put("name", name);
  put("uid", uid);
  put("resourceVersion", resource_version);
  put("fieldPath", field_path);
  return out;
}

Json controller_reference(const api::Object& owner) {
  return {{"apiVersion", owner.api_version()},
          {"kind", owner.kind()},
          {"name", owner.name()},
          {"uid", owner.uid()},
          {"controller", true},
          {"blockOwnerDeletion", true}};
}

Json to_json(const api::OwnerReference& owner) {
  Json out = {{"apiVersion", owner.api_version}, {"kind", owner.kind}, {"name", owner.name}, {"uid", owner.uid}};
  if (owner.controller) out["controller"] = true;
  if (owner.block_owner_deletion) out["blockOwnerDeletion"] = true;
  return out;
}

bool controlled_by(const api::Object& object, std::string_view uid) {
  const auto* owner = object.controller();
  return owner != nullptr && owner->uid == uid;
}

const Json& find_condition(const Json& status, std::string_view type) {
  static const Json kNull;
  const auto& conditions = at(status, "conditions");
  if (!conditions.is_array()) return kNull;
  for (const auto& condition : conditions) {
    if (str(condition, "type") == type) return condition;
  }
  return kNull;
}

bool condition_true(const Json& status, std::string_view type) {
  return str(find_condition(status, type), "status") == "True";
}

bool set_condition(Json& status, Json condition, WallTime now) {
  if (!status.is_object()) status = Json::object();
  auto& conditions = status["conditions"];
  if (!conditions.is_array()) conditions = Json::array();
  auto same = std::find_if(conditions.begin(), conditions.end(),
                           [&](const Json& c) { return str(c, "type") == str(condition, "type"); });
  if (same == conditions.end()) {
    if (!condition.contains("lastTransitionTime")) condition["lastTransitionTime"] = format_rfc3339(now);
    conditions.push_back(std::move(condition));
    return true;
  }
  if (!condition.contains("lastTransitionTime")) {
    const bool moved = str(*same, "status") != str(condition, "status") || !same->contains("lastTransitionTime");
    condition["lastTransitionTime"] = moved ? Json(format_rfc3339(now)) : (*same)["lastTransitionTime"];
  }
  if (*same == condition) return false;
  *same = std::move(condition);
  return true;
}

void remove_condition(Json& status, std::string_view type) {
  auto it = status.find("conditions");
  if (it == status.end() || !it->is_array()) return;
  it->erase(std::remove_if(it->begin(), it->end(), [&](const Json& c) { return str(c, "type") == type; }), it->end());
}

Task<Result<ObjectPtr>> retry_on_conflict(Client& client, const api::Resource& resource, std::string ns,
                                          std::string name, std::function<bool(Json&)> change, WriteOptions options) {
  constexpr int kAttempts = 5;
  for (int attempt = 1;; ++attempt) {
    BRUME_CO_TRY(ObjectPtr object, co_await client.get(resource, ns, name));
    Json body = object->parse();
    if (!change(body)) co_return object;
    auto written = co_await client.update(resource, ns, name, std::move(body), options);
    if (written || written.error().code != Code::kConflict || attempt == kAttempts) co_return written;
  }
}

Task<Result<List>> list_all(Client& client, const api::Resource& resource, ListOptions options) {
  if (options.limit == 0) options.limit = 500;
  List whole;
  while (true) {
    BRUME_CO_TRY(List page, co_await client.list(resource, options));
    whole.resource_version = page.resource_version;
    whole.items.insert(whole.items.end(), page.items.begin(), page.items.end());
    if (page.continue_token.empty()) co_return whole;
    options.continue_token = page.continue_token;
  }
}

}  // namespace brume::client
