// Create, update and patch: the way of one object from a request's body to the store.
#include "brume/api/decode.h"
#include "brume/api/defaults.h"
#include "brume/api/patch.h"
#include "brume/api/schema.h"
#include "brume/api/validation.h"
#include "brume/apiserver/registry.h"
#include "brume/base/random.h"
#include "brume/base/task.h"
#include "errors.h"
#include "registry_impl.h"

namespace brume::apiserver {

using Impl = Registry::Impl;

namespace {

constexpr int kGenerateNameTries = 8;            // as Kubernetes since 1.30
constexpr std::size_t kMaxGeneratedPrefix = 58;  // 63, the length of a DNS label, less the suffix
constexpr std::size_t kSuffixLength = 5;

std::string cannot_be_handled(const api::Resource& resource, std::string_view why) {
  return std::string(resource.kind) + " in version " + go_quote(resource.version) + " cannot be handled as a " +
         std::string(resource.kind) + ": " + std::string(why);
}

bool always_has_status(const api::Resource& resource) {
  const api::Field* field = resource.type ? api::find_field(*resource.type, "status") : nullptr;
  return field != nullptr && field->always;
}

void keep_member(Json& target, const Json& source, const char* key) {
  const Json& value = at(source, key);
  if (value.is_null()) {
    target.erase(key);
  } else {
    target[key] = value;
  }
}

// What only the server sets, taken over from the stored object.
void keep_system_metadata(Json& metadata, const Json& old) {
  for (const char* key : {"uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation",
                          "resourceVersion", "generateName", "namespace", "selfLink"}) {
    keep_member(metadata, old, key);
  }
  metadata.erase("managedFields");
}

// Amounts of containers and of the whole pod. Containers that come, go or change their places are left to validation to
// refuse.
Json narrow_resize(Json next, const Json& body) {
  keep_member(next["spec"], at(body, "spec"), "resources");
  for (const char* list : {"containers", "initContainers"}) {
    const Json& wanted = at(body, "spec", list);
    if (at(next, "spec", list).empty() && wanted.empty()) continue;
    Json& containers = next["spec"][list];
    bool comparable = wanted.is_array() && containers.is_array() && wanted.size() == containers.size();
    for (std::size_t i = 0; comparable && i < containers.size(); ++i) {
      comparable = str(wanted[i], "name") == str(containers[i], "name");
    }
    if (!comparable) {
      keep_member(next["spec"], at(body, "spec"), list);
      continue;
    }
    for (std::size_t i = 0; i < containers.size(); ++i) {
      keep_member(containers[i], wanted[i], "resources");
      keep_member(containers[i], wanted[i], "resizePolicy");
    }
  }
  return next;
}

// The stored object with only that of `body` which the sub-resource may change.
Json narrow(std::string_view subresource, Json body, const Json& old) {
  Json next = old;
  if (subresource == "status" || subresource == "approval") {
    keep_member(next, body, "status");
    for (const char* key : {"labels", "annotations", "finalizers", "ownerReferences"}) {
      keep_member(next["metadata"], at(body, "metadata"), key);
    }
  } else if (subresource == "finalize") {
    keep_member(next["spec"], at(body, "spec"), "finalizers");
  } else if (subresource == "ephemeralcontainers") {
    keep_member(next["spec"], at(body, "spec"), "ephemeralContainers");
  } else if (subresource == "resize") {
    return narrow_resize(std::move(next), body);
  } else {
    return body;
  }
  return next;
}

// A patch that takes the last finalizer away leaves an empty list, which Kubernetes never shows.
void drop_empty_metadata(Json& object) {
  if (!object.is_object() || !at(object, "metadata").is_object()) return;
  Json& metadata = object["metadata"];
  for (const char* key : {"labels", "annotations", "finalizers", "ownerReferences"}) {
    if (metadata.contains(key) && metadata[key].empty()) metadata.erase(key);
  }
}

bool whole_object(std::string_view subresource) { return subresource.empty() || subresource == "scale"; }

Result<Json> apply_patch(const api::Resource& resource, PatchType type, const Json& patch, const Json& old,
                         const api::Type* schema) {
  Result<Json> next = fail(Code::kInternal, "");
  switch (type) {
    case PatchType::kJson: next = api::json_patch(old, patch); break;
    case PatchType::kMerge: next = api::merge_patch(old, patch); break;
    case PatchType::kStrategic: next = api::strategic_merge_patch(*schema, old, patch); break;
  }
  if (!next && next.error().code == Code::kInvalid) {
    return fail(Code::kInvalid, "the server rejected our request due to an error in our request");
  }
  if (next && !next->is_object()) {
    return fail(Code::kBadRequest, "the patch makes no object of " + resource.group_resource());
  }
  return next;
}

Json scale_of(const api::Object& object, const Json& json) {
  const Json& spec = at(json, "spec");
  const Json& metadata = at(json, "metadata");
  Json scale{{"kind", "Scale"}, {"apiVersion", "autoscaling/v1"}};
  for (const char* key : {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"}) {
    keep_member(scale["metadata"], metadata, key);
  }
  scale["spec"] = Json::object();
  if (const auto replicas = num(spec, "replicas"); replicas != 0) scale["spec"]["replicas"] = replicas;
  scale["status"]["replicas"] = num(at(json, "status"), "replicas");
  const auto selector = object.kind() == "ReplicationController" ? api::LabelSelector::from_map(at(spec, "selector"))
                                                                 : api::LabelSelector::from_json(at(spec, "selector"));
  if (auto selected = Result<api::LabelSelector>(selector)) {
    if (const std::string text = selected->to_string(); !text.empty()) scale["status"]["selector"] = text;
  }
  return scale;
}

// A write that begins again after a conflict tells its warnings once: those of the attempts before are taken back.
class WarningsOnce {
 public:
  explicit WarningsOnce(std::vector<std::string>* warnings)
      : warnings_(warnings), before_(warnings != nullptr ? warnings->size() : 0) {}
  void begin() {
    if (warnings_ != nullptr) warnings_->resize(before_);
  }

 private:
  std::vector<std::string>* warnings_;
  std::size_t before_;
};

}  // namespace

StrategyContext Impl::strategy_context(const WriteContext& context) {
  return {.user = context.user, .now = clock.now(), .services = &services, .warnings = context.warnings};
}

Status Impl::digest(const api::Resource& resource, Json& body, WriteContext& context, bool as_patch) const {
  const api::Type& type = *resource.type;
  if (context.validation != FieldValidation::kIgnore) {
    std::vector<std::string> faults = api::unknown_fields(type, body);
    faults.insert(faults.end(), context.duplicate_fields.begin(), context.duplicate_fields.end());
    if (!faults.empty() && context.validation == FieldValidation::kStrict) {
      std::string why = "strict decoding error: ";
      for (std::size_t i = 0; i < faults.size(); ++i) why += (i ? ", " : "") + faults[i];
      return fail(Code::kBadRequest, as_patch ? why : cannot_be_handled(resource, why));
    }
    if (context.warnings != nullptr) {
      for (std::string& fault : faults) context.warnings->push_back(std::move(fault));
    }
  }
  if (auto status = api::coerce(type, body); !status) {
    Error error = std::move(status).error();
    if (!as_patch && error.code == Code::kBadRequest) error.message = cannot_be_handled(resource, error.message);
    return fail(std::move(error));
  }
  api::apply_defaults(resource, body);
  drop_empty_metadata(body);
  return {};
}

Status Impl::check_identity(const Stored& stored, Json& body, std::string_view ns, std::string_view name) const {
  const api::Resource& resource = *stored.resource;
  if (!body.is_object()) return fail(Code::kBadRequest, cannot_be_handled(resource, "the body is no JSON object"));
  const std::string api_version = resource.api_version();
  if (const auto given = str(body, "apiVersion"); !given.empty() && given != api_version) {
    return fail(Code::kBadRequest, "the API version in the data (" + std::string(given) +
                                       ") does not match the expected API version (" + api_version + ")");
  }
  if (const auto given = str(body, "kind"); !given.empty() && given != resource.kind) {
    return fail(Code::kBadRequest, std::string(given) + " in version " + go_quote(resource.version) +
                                       " cannot be handled as a " + std::string(resource.kind));
  }
  body["apiVersion"] = api_version;
  body["kind"] = resource.kind;
  Json& metadata = body["metadata"];
  if (metadata.is_null()) metadata = Json::object();
  if (!metadata.is_object()) {
    return fail(Code::kBadRequest,
                cannot_be_handled(resource, "json: cannot unmarshal into Go struct field " +
                                                std::string(resource.kind) + ".metadata of type v1.ObjectMeta"));
  }
  if (resource.namespaced) {
    const auto given = str(metadata, "namespace");
    if (!given.empty() && given != ns) {
      return fail(Code::kBadRequest,
                  "the namespace of the provided object does not match the namespace sent on the request");
    }
    metadata["namespace"] = ns;
  }
  const auto given = str(metadata, "name");
  if (!name.empty() && !given.empty() && given != name) {
    return fail(Code::kBadRequest, "the name of the object (" + std::string(given) +
                                       ") does not match the name on the URL (" + std::string(name) + ")");
  }
  if (!name.empty()) metadata["name"] = name;
  return {};
}

// ---- create --------------------------------------------------------------------------------------------------------

Task<Result<Json>> Impl::prepare_create(const Stored& stored, Json body, const std::string& ns, WriteContext& context,
                                        StrategyContext& strategy) {
  const api::Resource& resource = *stored.resource;
  const StrategyFacts& facts = stored.strategy->facts();
  BRUME_CO_CHECK(check_identity(stored, body, ns, ""));
  if (!str(body["metadata"], "resourceVersion").empty()) {
    co_return fail(Code::kBadRequest, "resourceVersion should not be set on objects to be created");
  }
  BRUME_CO_CHECK(digest(resource, body, context, false));
  Json& metadata = body["metadata"];
  for (const char* key :
       {"deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields", "generation"}) {
    metadata.erase(key);
  }
  metadata["uid"] = new_uid();
  metadata["creationTimestamp"] = format_rfc3339(strategy.now);
  if (facts.generation) metadata["generation"] = 1;
  if (!facts.keeps_status_on_create && resource.subresource("status") != nullptr) {
    if (always_has_status(resource)) {
      body["status"] = Json::object();
    } else {
      body.erase("status");
    }
  }
  AdmissionRequest request{.operation = AdmissionRequest::Operation::kCreate,
                           .resource = &resource,
                           .subresource = {},
                           .ns = ns,
                           .name = std::string(str(metadata, "name")),
                           .object = &body,
                           .user = context.user,
                           .dry_run = context.dry_run,
                           .warnings = context.warnings};
  if (admission != nullptr) {
    BRUME_CO_CHECK(co_await admission->mutate(request));
    if (facts.graceful) api::apply_defaults(resource, body);  // what was put into the pod is defaulted too
  }
  // After the steps that change it, so that their refusals name what the user wrote, the same at each attempt.
  if (const auto prefix = str(body["metadata"], "generateName");
      !prefix.empty() && str(body["metadata"], "name").empty()) {
    request.name = std::string(prefix.substr(0, kMaxGeneratedPrefix)) + random_suffix(kSuffixLength);
    body["metadata"]["name"] = request.name;
  }
  BRUME_CO_CHECK(stored.strategy->prepare_create(body, strategy));
  if (auto causes = api::validate_create(resource, body); !causes.empty()) {
    co_return fail(api::invalid_error(resource, str(at(body, "metadata"), "name"), std::move(causes)));
  }
  if (admission != nullptr) BRUME_CO_CHECK(co_await admission->validate(request));
  BRUME_CO_TRY(strategy.room, quota.claim(request));
  co_return body;
}

Task<Result<api::ObjectPtr>> Impl::create(const Stored& stored, std::string ns, Json body, WriteContext context) {
  const bool generated =
      str(at(body, "metadata"), "name").empty() && !str(at(body, "metadata"), "generateName").empty();
  WarningsOnce warnings(context.warnings);
  for (int attempt = 1;; ++attempt) {
    warnings.begin();
    const bool last = !generated || attempt == kGenerateNameTries;
    StrategyContext strategy = strategy_context(context);
    Json copy = last ? std::move(body) : body;  // NOLINT(bugprone-use-after-move): the last round moves it
    auto object = co_await prepare_create(stored, std::move(copy), ns, context, strategy);
    Result<api::ObjectPtr> done = fail(Code::kInternal, "");
    if (!object) {
      done = fail(std::move(object).error());
    } else if (context.dry_run) {
      const std::string name(str(at(*object, "metadata"), "name"));
      const bool exists = stored.cache->find(stored.resource->namespaced ? ns : std::string(), name) != nullptr;
      done = exists ? fail(already_exists(*stored.resource, name)) : api::Object::from_json(*object);
    } else {
      done = co_await put(stored, std::move(*object), 0);
      if (done && strategy.room) co_await report_usage(*stored.resource, ns);
    }
    for (const auto& step : done && !context.dry_run ? strategy.commit : strategy.abort) step();
    if (done || last || done.error().code != Code::kAlreadyExists) co_return done;
  }
}

Task<Result<api::ObjectPtr>> Registry::create(const api::Resource& resource, std::string ns, Json body,
                                              WriteContext context) {
  BRUME_CO_TRY(const Stored* stored, impl_->require(resource));
  co_return co_await impl_->create(*stored, std::move(ns), std::move(body), std::move(context));
}

// ---- update --------------------------------------------------------------------------------------------------------

Task<Result<Json>> Impl::prepare_update(const Stored& stored, const Update& update, Json next, const Json& old,
                                        WriteContext& context, StrategyContext& strategy) {
  const api::Resource& resource = *stored.resource;
  const StrategyFacts& facts = stored.strategy->facts();
  const Json& old_metadata = at(old, "metadata");
  const std::string name(str(old_metadata, "name"));
  const std::string ns(str(old_metadata, "namespace"));
  BRUME_CO_CHECK(check_identity(stored, next, ns, name));
  if (const auto uid = str(at(next, "metadata"), "uid"); !uid.empty() && uid != str(old_metadata, "uid")) {
    co_return fail(conflict(resource, name,
                            "Precondition failed: UID in precondition: " + std::string(uid) +
                                ", UID in object meta: " + std::string(str(old_metadata, "uid"))));
  }
  const std::string revision(str(at(next, "metadata"), "resourceVersion"));
  if (revision.empty() && !facts.unconditional_update) {
    co_return fail(api::invalid_error(
        resource, name,
        {{"FieldValueInvalid", "Invalid value: 0: must be specified for an update", "metadata.resourceVersion"}}));
  }
  if (!revision.empty() && revision != "0" && revision != str(old_metadata, "resourceVersion")) {
    co_return fail(modified(resource, name));
  }
  BRUME_CO_CHECK(digest(resource, next, context, update.as_patch));
  next = narrow(update.subresource, std::move(next), old);
  keep_system_metadata(next["metadata"], old_metadata);
  const bool whole = whole_object(update.subresource);
  if (whole && resource.subresource("status") != nullptr) keep_member(next, old, "status");
  AdmissionRequest request{.operation = AdmissionRequest::Operation::kUpdate,
                           .resource = &resource,
                           .subresource = update.subresource,
                           .ns = ns,
                           .name = name,
                           .object = &next,
                           .old_object = &old,
                           .user = context.user,
                           .dry_run = context.dry_run,
                           .warnings = context.warnings};
  if (admission != nullptr) BRUME_CO_CHECK(co_await admission->mutate(request));
  BRUME_CO_CHECK(whole ? stored.strategy->prepare_update(next, old, strategy)
                       : stored.strategy->prepare_subresource(update.subresource, next, old, strategy));
  const bool keeps_spec = update.subresource == "status" || update.subresource == "approval";
  if (facts.generation && !keeps_spec && stored.strategy->new_generation(next, old)) {
    next["metadata"]["generation"] = num(old_metadata, "generation") + 1;
  }
  auto causes = keeps_spec                         ? api::validate_status_update(resource, next, old)
                : update.subresource == "finalize" ? std::vector<Cause>()
                                                   : api::validate_update(resource, next, old, update.subresource);
  if (!causes.empty()) co_return fail(api::invalid_error(resource, name, std::move(causes)));
  if (admission != nullptr) BRUME_CO_CHECK(co_await admission->validate(request));
  BRUME_CO_TRY(strategy.room, quota.claim(request));
  co_return next;
}

Task<Result<api::ObjectPtr>> Impl::modify(const Stored& stored, std::string ns, std::string name, Update update,
                                          WriteContext context) {
  const api::Resource& resource = *stored.resource;
  if (!resource.namespaced) ns.clear();
  WarningsOnce warnings(context.warnings);
  for (int attempt = 1;; ++attempt) {
    warnings.begin();
    const api::ObjectPtr before = stored.cache->find(ns, name);
    if (!before) co_return fail(not_found(resource, name));
    const Json old = before->parse();
    auto changed = update.change(old);
    if (!changed) co_return fail(std::move(changed).error());
    StrategyContext strategy = strategy_context(context);
    Result<Json> next = std::move(changed);
    if (!update.internal) {
      next = co_await prepare_update(stored, update, std::move(*next), old, context, strategy);
    }
    Result<api::ObjectPtr> done = fail(Code::kInternal, "");
    bool written = false;
    if (!next) {
      done = fail(std::move(next).error());
    } else if (const Json& metadata = at(*next, "metadata");
               metadata.contains("deletionTimestamp") && at(metadata, "finalizers").empty() &&
               num(metadata, "deletionGracePeriodSeconds") == 0 && stored.strategy->may_go(*next)) {
      done = co_await erase(stored, before, context);
    } else if (*next == old) {
      done = before;
    } else if (context.dry_run) {
      done = api::Object::from_json(*next);
    } else {
      done = co_await put(stored, std::move(*next), before->resource_version());
      written = done.has_value();
      if (written && strategy.room) co_await report_usage(resource, ns);
    }
    for (const auto& step : written ? strategy.commit : strategy.abort) step();
    const bool again = !done && done.error().code == Code::kConflict && update.retry && attempt < kConflictRetries &&
                       stored.cache->find(ns, name) != before;
    if (!again) co_return done;
  }
}

Task<Result<api::ObjectPtr>> Registry::update(const api::Resource& resource, std::string ns, std::string name,
                                              std::string subresource, Json body, WriteContext context) {
  BRUME_CO_TRY(const Stored* stored, impl_->require(resource));
  BRUME_CO_CHECK(impl_->check_identity(*stored, body, ns, name));
  const bool conditional = !str(at(body, "metadata"), "resourceVersion").empty();
  if (subresource.empty() && stored->strategy->facts().create_on_update && !conditional &&
      str(at(body, "metadata"), "uid").empty() &&
      !stored->cache->find(resource.namespaced ? ns : std::string(), name)) {
    co_return co_await impl_->create(*stored, std::move(ns), std::move(body), std::move(context));
  }
  Impl::Update update{.subresource = std::move(subresource),
                      .change = [body = std::move(body)](const Json& /*old*/) -> Result<Json> { return body; },
                      .retry = !conditional};
  co_return co_await impl_->modify(*stored, std::move(ns), std::move(name), std::move(update), std::move(context));
}

Task<Result<api::ObjectPtr>> Registry::patch(const api::Resource& resource, std::string ns, std::string name,
                                             std::string subresource, PatchType type, Json patch,
                                             WriteContext context) {
  BRUME_CO_TRY(const Stored* stored, impl_->require(resource));
  Impl::Update update{.subresource = std::move(subresource),
                      .change = [&resource, type, patch = std::move(patch)](
                                    const Json& old) { return apply_patch(resource, type, patch, old, resource.type); },
                      .as_patch = true};
  co_return co_await impl_->modify(*stored, std::move(ns), std::move(name), std::move(update), std::move(context));
}

// ---- scale ---------------------------------------------------------------------------------------------------------

Result<Json> Registry::get_scale(const api::Resource& resource, std::string_view ns, std::string_view name) const {
  BRUME_TRY(const api::ObjectPtr object, get(resource, ns, name));
  return scale_of(*object, object->parse());
}

namespace {

// The change of the whole object that a Scale asks for. `edit` makes the wanted Scale of the present one.
Impl::Change scale_change(const api::Resource& resource, std::function<Result<Json>(const Json& scale)> edit) {
  return [&resource, edit = std::move(edit)](const Json& old) -> Result<Json> {
    BRUME_TRY(const api::ObjectPtr object, api::Object::from_json(old));
    BRUME_TRY(Json scale, edit(scale_of(*object, old)));
    if (const api::Type* type = api::find_type("autoscaling/v1", "Scale")) BRUME_CHECK(api::coerce(*type, scale));
    const std::int64_t replicas = num(at(scale, "spec"), "replicas");
    if (replicas < 0) {
      const std::string why = "Invalid value: " + std::to_string(replicas) + ": must be greater than or equal to 0";
      Error error{Code::kInvalid,
                  "Scale.autoscaling " + go_quote(object->name()) + " is invalid: spec.replicas: " + why};
      error.causes.push_back({"FieldValueInvalid", why, "spec.replicas"});
      return fail(std::move(error));
    }
    const auto revision = str(at(scale, "metadata"), "resourceVersion");
    if (!revision.empty() && revision != str(at(old, "metadata"), "resourceVersion")) {
      return fail(modified(resource, object->name()));
    }
    Json next = old;
    next["spec"]["replicas"] = replicas;
    return next;
  };
}

}  // namespace

Task<Result<Json>> Registry::update_scale(const api::Resource& resource, std::string ns, std::string name, Json body,
                                          WriteContext context) {
  BRUME_CO_TRY(const Stored* stored, impl_->require(resource));
  const bool conditional = !str(at(body, "metadata"), "resourceVersion").empty();
  auto edit = [body = std::move(body)](const Json& /*scale*/) -> Result<Json> { return body; };
  Impl::Update update{.subresource = "scale", .change = scale_change(resource, std::move(edit)), .retry = !conditional};
  context.validation = FieldValidation::kIgnore;
  auto done = co_await impl_->modify(*stored, std::move(ns), std::move(name), std::move(update), std::move(context));
  if (!done) co_return fail(std::move(done).error());
  co_return scale_of(**done, (*done)->parse());
}

Task<Result<Json>> Registry::patch_scale(const api::Resource& resource, std::string ns, std::string name,
                                         PatchType type, Json patch, WriteContext context) {
  BRUME_CO_TRY(const Stored* stored, impl_->require(resource));
  const api::Type* schema = api::find_type("autoscaling/v1", "Scale");
  auto edit = [&resource, type, schema, patch = std::move(patch)](const Json& scale) {
    return apply_patch(resource, type, patch, scale, schema);
  };
  Impl::Update update{.subresource = "scale", .change = scale_change(resource, std::move(edit)), .as_patch = true};
  context.validation = FieldValidation::kIgnore;
  auto done = co_await impl_->modify(*stored, std::move(ns), std::move(name), std::move(update), std::move(context));
  if (!done) co_return fail(std::move(done).error());
  co_return scale_of(**done, (*done)->parse());
}

}  // namespace brume::apiserver
