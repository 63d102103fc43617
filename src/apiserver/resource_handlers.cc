// Requests on resources: parameters and bodies in, objects out.
#include "brume/api/decode.h"
#include "brume/api/schema.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "errors.h"
#include "protobuf.h"
#include "server_impl.h"

namespace brume::apiserver {

using Impl = ApiServer::Impl;

namespace {

constexpr std::string_view kNoSuchResource = "the server could not find the requested resource";

std::string media_type(const http::Request& request) {
  const auto header = request.headers.get("Content-Type");
  return to_lower(trim(header.substr(0, header.find(';'))));
}

Error not_allowed() {
  return {Code::kMethodNotAllowed, "the server does not allow this method on the requested resource"};
}

Status check_scope(const Call& call) {
  const api::Resource& resource = *call.resource;
  if (call.info.name.empty() && (call.info.verb == "update" || call.info.verb == "patch")) return fail(not_allowed());
  const bool in_namespace = !call.info.ns.empty() && resource.plural != "namespaces";
  if (!resource.namespaced && in_namespace) return fail(Code::kNotFound, std::string(kNoSuchResource));
  if (resource.namespaced && call.info.ns.empty()) {
    const std::string& verb = call.info.verb;
    if (verb == "create" || verb == "deletecollection") return fail(not_allowed());
    if (verb != "list" && verb != "watch") return fail(Code::kNotFound, std::string(kNoSuchResource));
  }
  return {};
}

Result<std::int64_t> number(const http::Query& query, std::string_view name) {
  if (query.get(name).empty()) return 0;
  const auto value = parse_int(query.get(name));
  if (!value) return fail(Code::kBadRequest, std::string(name) + ": Invalid value: " + go_quote(query.get(name)));
  return *value;
}

Result<ListQuery> list_query(const Call& call) {
  const http::Query& query = call.request.query;
  ListQuery out;
  if (call.resource->namespaced) out.ns = call.info.ns;
  out.label_selector = query.get("labelSelector");
  out.field_selector = query.get("fieldSelector");
  BRUME_TRY(out.limit, number(query, "limit"));
  out.continue_token = query.get("continue");
  out.resource_version = query.get("resourceVersion");
  out.resource_version_match = query.get("resourceVersionMatch");
  return out;
}

Answer list_answer(const Encoding& how, ListPage page) {
  http::Response answer = make_response(200, {});
  encode_list(how, std::move(page), answer);
  return answer;
}

// The failure, with a token for the rest of the list all the same.
Answer expired_page(const Call& call, const Error& error, std::string_view token) {
  http::Response answer = make_failure(call, error);
  if (auto status = parse_json(answer.body)) {
    (*status)["metadata"]["continue"] = resume_token(token);
    answer.body = dump_json(*status);
  }
  return answer;
}

}  // namespace

Result<Encoding> Impl::encoding(Call& call) const {
  const http::Query& query = call.request.query;
  const bool computed =
      call.info.verb == "create" && (!call.info.subresource.empty() || !registry.stores(*call.resource));
  const Offer offer{.shapes = !computed, .yaml = call.info.verb != "watch"};
  BRUME_TRY(Format format, negotiate(call.request.headers.get("Accept"), offer));
  call.yaml = format.yaml;
  Encoding out{.resource = call.resource, .format = std::move(format), .now = clock.now()};
  if (!query.get("includeObject").empty()) out.include_object = query.get("includeObject");
  return out;
}

Result<WriteContext> Impl::write_context(Call& call) const {
  const http::Query& query = call.request.query;
  WriteContext context;
  context.user = &call.user;
  context.warnings = &call.warnings;
  context.field_manager = query.get("fieldManager");
  context.validation = FieldValidation::kWarn;
  for (const auto value : query.get_all("dryRun")) {
    if (value != "All") {
      const std::string why = "Unsupported value: " + go_quote(value) + ": supported values: \"All\"";
      Error error{Code::kInvalid, "Options.meta.k8s.io \"\" is invalid: dryRun: " + why};
      error.causes.push_back({"FieldValueNotSupported", why, "dryRun"});
      return fail(std::move(error));
    }
    context.dry_run = true;
  }
  const auto validation = query.get("fieldValidation");
  if (validation == "Strict") {
    context.validation = FieldValidation::kStrict;
  } else if (validation == "Ignore") {
    context.validation = FieldValidation::kIgnore;
  } else if (!validation.empty() && validation != "Warn") {
    const std::string why =
        "Unsupported value: " + go_quote(validation) + ": supported values: \"\", \"Ignore\", \"Warn\", \"Strict\"";
    Error error{Code::kInvalid, "Options.meta.k8s.io \"\" is invalid: fieldValidation: " + why};
    error.causes.push_back({"FieldValueNotSupported", why, "fieldValidation"});
    return fail(std::move(error));
  }
  return context;
}

Task<Result<Json>> Impl::body(Call& call, WriteContext& context) {
  const std::string media = media_type(call.request);
  if (media == kProtobufMedia) {
    BRUME_CO_TRY(const std::string bytes, co_await call.exchange.read_body(options.max_body));
    co_return decode_protobuf(bytes);
  }
  const bool yaml = media == "application/yaml";
  if (!yaml && !media.empty() && media != "application/json") {
    co_return fail(Code::kUnsupportedMediaType,
                   "the body of the request was in an unknown format - accepted media types include: application/json, "
                   "application/yaml");
  }
  BRUME_CO_TRY(const std::string bytes, co_await call.exchange.read_body(options.max_body));
  BRUME_CO_TRY(api::Decoded decoded, api::decode(bytes, yaml ? api::MediaType::kYaml : api::MediaType::kJson));
  context.duplicate_fields = std::move(decoded.duplicate_fields);
  co_return std::move(decoded.value);
}

Task<Result<Answer>> Impl::serve_resource(Call& call) {
  const RequestInfo& info = call.info;
  if (info.bad || call.resource == nullptr) co_return fail(Code::kNotFound, std::string(kNoSuchResource));
  BRUME_CO_CHECK(check_scope(call));
  if (!info.subresource.empty()) {
    const api::Subresource* sub = call.resource->subresource(info.subresource);
    if (sub == nullptr) co_return fail(Code::kNotFound, std::string(kNoSuchResource));
    if (info.subresource == "proxy") co_return co_await serve_proxy(call);
    if (!info.rest.empty()) co_return fail(Code::kNotFound, std::string(kNoSuchResource));
    if (connects(call)) co_return co_await serve_node(call);
    if (std::find(sub->verbs.begin(), sub->verbs.end(), info.verb) == sub->verbs.end()) co_return fail(not_allowed());
  } else if (!call.resource->has_verb(info.verb)) {
    co_return fail(not_allowed());
  }
  if (info.verb == "get") co_return co_await get(call);
  if (info.verb == "list") co_return co_await list(call);
  if (info.verb == "watch") co_return co_await watch(call);
  if (info.verb == "create") co_return co_await create(call);
  if (info.verb == "update") co_return co_await update(call);
  if (info.verb == "patch") co_return co_await patch(call);
  if (info.verb == "delete") co_return co_await remove(call);
  if (info.verb == "deletecollection") co_return co_await remove_collection(call);
  co_return fail(not_allowed());
}

Task<Result<Answer>> Impl::get(Call& call) {
  BRUME_CO_TRY(const Encoding how, encoding(call));
  if (call.info.subresource == "scale") {
    BRUME_CO_TRY(const Json scale, registry.get_scale(*call.resource, call.info.ns, call.info.name));
    co_return make_response(200, dump_json(scale));
  }
  if (Computed* computed = registry.computed(*call.resource)) {
    BRUME_CO_TRY(const api::ObjectPtr made, co_await computed->get(*call.resource, call.info.ns, call.info.name));
    co_return make_response(200, encode_object(how, *made));
  }
  BRUME_CO_TRY(const api::ObjectPtr object, registry.get(*call.resource, call.info.ns, call.info.name));
  co_return make_response(200, encode_object(how, *object));
}

Task<Result<Answer>> Impl::list(Call& call) {
  BRUME_CO_TRY(const Encoding how, encoding(call));
  BRUME_CO_TRY(ListQuery query, list_query(call));
  if (!registry.stores(*call.resource) &&
      registry.computed(*call.resource) == nullptr) {  // componentstatuses: there are no components
    co_return list_answer(how, {});
  }
  const std::string token = query.continue_token;
  auto page = co_await registry.list(*call.resource, std::move(query));
  if (!page && page.error().code == Code::kExpired && !token.empty()) co_return expired_page(call, page.error(), token);
  if (!page) co_return fail(std::move(page).error());
  co_return list_answer(how, std::move(*page));
}

Task<Result<Answer>> Impl::create(Call& call) {
  BRUME_CO_TRY(const Encoding how, encoding(call));
  BRUME_CO_TRY(WriteContext context, write_context(call));
  BRUME_CO_TRY(Json object, co_await body(call, context));
  if (call.details.name.empty()) call.details.name = str(at(object, "metadata"), "name");
  const api::Resource& resource = *call.resource;
  if (!call.info.subresource.empty() || !registry.stores(resource)) {
    auto answer = co_await registry.create_subresource(resource, call.info.ns, call.info.name, call.info.subresource,
                                                       std::move(object), std::move(context));
    if (!answer) co_return fail(std::move(answer).error());
    co_return make_response(201, dump_json(*answer));
  }
  if (!call.info.name.empty()) co_return fail(not_allowed());
  auto created = co_await registry.create(resource, call.info.ns, std::move(object), std::move(context));
  if (!created) co_return fail(std::move(created).error());
  co_return make_response(201, encode_object(how, **created));
}

Task<Result<Answer>> Impl::update(Call& call) {
  BRUME_CO_TRY(const Encoding how, encoding(call));
  BRUME_CO_TRY(WriteContext context, write_context(call));
  BRUME_CO_TRY(Json object, co_await body(call, context));
  const RequestInfo& info = call.info;
  if (info.subresource == "scale") {
    auto scale =
        co_await registry.update_scale(*call.resource, info.ns, info.name, std::move(object), std::move(context));
    if (!scale) co_return fail(std::move(scale).error());
    co_return make_response(200, dump_json(*scale));
  }
  const bool fresh = !registry.get(*call.resource, info.ns, info.name).has_value();
  if (fresh && !info.subresource.empty()) co_return fail(not_found(*call.resource, info.name));
  auto updated = co_await registry.update(*call.resource, info.ns, info.name, info.subresource, std::move(object),
                                          std::move(context));
  if (!updated) co_return fail(std::move(updated).error());
  co_return make_response(fresh ? 201 : 200, encode_object(how, **updated));
}

Task<Result<Answer>> Impl::patch(Call& call) {
  BRUME_CO_TRY(const Encoding how, encoding(call));
  BRUME_CO_TRY(WriteContext context, write_context(call));
  const std::string media = media_type(call.request);
  PatchType type = PatchType::kMerge;
  if (media == "application/json-patch+json") {
    type = PatchType::kJson;
  } else if (media == "application/strategic-merge-patch+json") {
    type = PatchType::kStrategic;
  } else if (media != "application/merge-patch+json") {
    co_return fail(Code::kUnsupportedMediaType,
                   "the body of the request was in an unknown format - accepted media types include: "
                   "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json");
  }
  BRUME_CO_TRY(const std::string bytes, co_await call.exchange.read_body(options.max_body));
  BRUME_CO_TRY(api::Decoded decoded, api::decode(bytes, api::MediaType::kJson));
  context.duplicate_fields = std::move(decoded.duplicate_fields);
  const RequestInfo& info = call.info;
  if (info.subresource == "scale") {
    auto scale = co_await registry.patch_scale(*call.resource, info.ns, info.name, type, std::move(decoded.value),
                                               std::move(context));
    if (!scale) co_return fail(std::move(scale).error());
    co_return make_response(200, dump_json(*scale));
  }
  auto patched = co_await registry.patch(*call.resource, info.ns, info.name, info.subresource, type,
                                         std::move(decoded.value), std::move(context));
  if (!patched) co_return fail(std::move(patched).error());
  co_return make_response(200, encode_object(how, **patched));
}

// metav1.DeleteOptions, from the body or from parameters.
Task<Result<DeleteRequest>> Impl::delete_request(Call& call, WriteContext& context) {
  DeleteRequest request;
  Json json = Json::object();
  BRUME_CO_TRY(const std::string bytes, co_await call.exchange.read_body(options.max_body));
  if (!trim(bytes).empty()) {
    const std::string media = media_type(call.request);
    if (media == kProtobufMedia) {
      BRUME_CO_TRY(json, decode_protobuf(bytes));
    } else if (!media.empty() && media != "application/json" && media != "application/yaml") {
      co_return fail(Code::kUnsupportedMediaType,
                     "the body of the request was in an unknown format - accepted media types include: "
                     "application/json, application/yaml");
    } else {
      const bool yaml = media == "application/yaml";
      BRUME_CO_TRY(api::Decoded decoded, api::decode(bytes, yaml ? api::MediaType::kYaml : api::MediaType::kJson));
      json = std::move(decoded.value);
    }
    if (const api::Type* type = api::find_type("v1", "DeleteOptions")) BRUME_CO_CHECK(api::coerce(*type, json));
  }
  const http::Query& query = call.request.query;
  if (at(json, "gracePeriodSeconds").is_number()) {
    request.grace_period_seconds = num(json, "gracePeriodSeconds");
  } else if (query.has("gracePeriodSeconds")) {
    BRUME_CO_TRY(request.grace_period_seconds, number(query, "gracePeriodSeconds"));
  }
  request.propagation_policy =
      json.contains("propagationPolicy") ? str(json, "propagationPolicy") : query.get("propagationPolicy");
  if (at(json, "orphanDependents").is_boolean()) {
    request.orphan_dependents = flag(json, "orphanDependents");
  } else if (query.has("orphanDependents")) {
    request.orphan_dependents = truthy(query, "orphanDependents");
  }
  request.uid = str(at(json, "preconditions"), "uid");
  request.resource_version = str(at(json, "preconditions"), "resourceVersion");
  for (const Json& value : at(json, "dryRun")) context.dry_run = context.dry_run || str(value) == "All";
  co_return request;
}

Task<Result<Answer>> Impl::remove(Call& call) {
  BRUME_CO_TRY(const Encoding how, encoding(call));
  BRUME_CO_TRY(WriteContext context, write_context(call));
  BRUME_CO_TRY(DeleteRequest request, co_await delete_request(call, context));
  const RequestInfo& info = call.info;
  auto deleted = co_await registry.remove(*call.resource, info.ns, info.name, std::move(request), std::move(context));
  if (!deleted) co_return fail(std::move(deleted).error());
  static const std::vector<std::string_view> kReturned = {"namespaces",        "pods",
                                                          "services",          "serviceaccounts",
                                                          "persistentvolumes", "persistentvolumeclaims",
                                                          "storageclasses",    "podtemplates",
                                                          "resourcequotas",    "csidrivers",
                                                          "csinodes",          "volumeattachments"};
  const bool returned = std::find(kReturned.begin(), kReturned.end(), call.resource->plural) != kReturned.end();
  if (!deleted->gone || returned) {
    co_return make_response(200, encode_object(how, *deleted->object));
  }
  StatusDetails details = call.details;
  details.uid = deleted->object->uid();
  co_return make_response(200, status_success(details));
}

Task<Result<Answer>> Impl::remove_collection(Call& call) {
  BRUME_CO_TRY(const Encoding how, encoding(call));
  BRUME_CO_TRY(WriteContext context, write_context(call));
  BRUME_CO_TRY(ListQuery query, list_query(call));
  BRUME_CO_TRY(DeleteRequest request, co_await delete_request(call, context));
  auto page =
      co_await registry.remove_collection(*call.resource, std::move(query), std::move(request), std::move(context));
  if (!page) co_return fail(std::move(page).error());
  co_return list_answer(how, std::move(*page));
}

}  // namespace brume::apiserver
