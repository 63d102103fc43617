// Delete: grace, finalizers, propagation, preconditions.
#include "brume/apiserver/registry.h"
#include "brume/base/task.h"
#include "errors.h"
#include "registry_impl.h"

namespace brume::apiserver {

using Impl = Registry::Impl;

namespace {

constexpr int kDeleteRetries = 16;
constexpr std::string_view kOrphan = "orphan";
constexpr std::string_view kForeground = "foregroundDeletion";

Status check_options(const DeleteRequest& request) {
  if (!request.propagation_policy.empty() && request.orphan_dependents) {
    return fail(Code::kInvalid, "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: " +
                                    go_quote(request.propagation_policy) +
                                    ": orphanDependents and deletionPropagation cannot be both set");
  }
  const std::string& policy = request.propagation_policy;
  if (!policy.empty() && policy != "Orphan" && policy != "Background" && policy != "Foreground") {
    const std::string why =
        "Unsupported value: " + go_quote(policy) + ": supported values: \"Background\", \"Foreground\", \"Orphan\"";
    Error error{Code::kInvalid, "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: " + why};
    error.causes.push_back({"FieldValueNotSupported", why, "propagationPolicy"});
    return fail(std::move(error));
  }
  return {};
}

Status check_preconditions(const api::Resource& resource, const api::Object& object, const DeleteRequest& request) {
  const auto failed = [&](std::string_view what, const std::string& wanted, const std::string& is) {
    return fail(conflict(resource, object.name(),
                         "Precondition failed: " + std::string(what) + " in precondition: " + wanted + ", " +
                             std::string(what) + " in object meta: " + is));
  };
  if (!request.uid.empty() && request.uid != object.uid()) return failed("UID", request.uid, object.uid());
  const std::string revision = std::to_string(object.resource_version());
  if (!request.resource_version.empty() && request.resource_version != revision) {
    return failed("ResourceVersion", request.resource_version, revision);
  }
  return {};
}

// metadata.finalizers once the propagation policy is written into them.
std::vector<std::string> finalizers_for(const api::Object& object, const DeleteRequest& request,
                                        GarbageDefault fallback) {
  bool orphan = false, foreground = false;
  if (fallback != GarbageDefault::kUnsupported) {
    const auto has = [&](std::string_view name) {
      return std::find(object.finalizers().begin(), object.finalizers().end(), name) != object.finalizers().end();
    };
    if (request.orphan_dependents) {
      orphan = *request.orphan_dependents;
    } else if (!request.propagation_policy.empty()) {
      orphan = request.propagation_policy == "Orphan";
      foreground = request.propagation_policy == "Foreground";
    } else {
      orphan = has(kOrphan) || (!has(kForeground) && fallback == GarbageDefault::kOrphan);
      foreground = has(kForeground);
    }
  }
  std::vector<std::string> out;
  for (const std::string& name : object.finalizers()) {
    if (name != kOrphan && name != kForeground) out.push_back(name);
  }
  if (orphan) out.emplace_back(kOrphan);
  if (foreground) out.emplace_back(kForeground);
  return out;
}

// How long a pod gets, as Kubernetes' pod strategy decides it.
std::int64_t pod_grace(const Json& pod, const DeleteRequest& request) {
  const Json& spec = at(pod, "spec");
  std::int64_t grace = request.grace_period_seconds.value_or(num(spec, "terminationGracePeriodSeconds", 30));
  if (str(spec, "nodeName").empty()) grace = 0;
  const auto phase = str(at(pod, "status"), "phase");
  if (phase == "Failed" || phase == "Succeeded") grace = 0;
  return grace < 0 ? 1 : grace;
}

struct Plan {
  enum class Do : std::uint8_t { kErase, kMark, kNothing };
  Do action = Do::kErase;
  Json next;  // of kMark
};

void mark(Json& object, WallTime when, std::int64_t grace) {
  Json& metadata = object["metadata"];
  if (!metadata.contains("deletionTimestamp") && num(metadata, "generation") > 0) {
    metadata["generation"] = num(metadata, "generation") + 1;
  }
  metadata["deletionTimestamp"] = format_rfc3339(when + std::chrono::seconds(grace));
  metadata["deletionGracePeriodSeconds"] = grace;
}

void set_finalizers(Json& object, const std::vector<std::string>& finalizers) {
  if (finalizers.empty()) {
    object["metadata"].erase("finalizers");
  } else {
    object["metadata"]["finalizers"] = finalizers;
  }
}

// A graceful object that is being deleted already: its grace can only shrink.
Plan plan_again(Json json, const DeleteRequest& request, bool has_finalizers) {
  const std::int64_t present = num(at(json, "metadata"), "deletionGracePeriodSeconds");
  if (present == 0) return {has_finalizers ? Plan::Do::kNothing : Plan::Do::kErase, {}};
  if (!request.grace_period_seconds || *request.grace_period_seconds >= present) return {Plan::Do::kNothing, {}};
  const std::int64_t grace = std::max<std::int64_t>(*request.grace_period_seconds, 0);
  if (grace == 0 && !has_finalizers) return {Plan::Do::kErase, {}};
  const auto ends = parse_rfc3339(str(at(json, "metadata"), "deletionTimestamp"));
  if (ends) mark(json, *ends - std::chrono::seconds(present), grace);
  return {Plan::Do::kMark, std::move(json)};
}

Plan plan(const Stored& stored, const api::Object& object, const DeleteRequest& request, WallTime now) {
  const StrategyFacts& facts = stored.strategy->facts();
  // Nothing holds most objects: do not parse those.
  const auto finalizers = finalizers_for(object, request, facts.garbage);
  const bool is_namespace = stored.resource->kind == "Namespace";
  if (!facts.graceful && !is_namespace && finalizers.empty()) return {Plan::Do::kErase, {}};
  Json json = object.parse();
  if (facts.graceful && object.deleting()) {
    return plan_again(std::move(json), request, !object.finalizers().empty());
  }
  const std::int64_t grace = facts.graceful ? pod_grace(json, request) : 0;
  if (object.deleting()) {
    const bool waits = !finalizers.empty() || !stored.strategy->may_go(json);
    if (!waits) return {Plan::Do::kErase, {}};
    if (finalizers == object.finalizers()) return {Plan::Do::kNothing, {}};
    set_finalizers(json, finalizers);
    return {Plan::Do::kMark, std::move(json)};
  }
  if (grace == 0 && finalizers.empty() && stored.strategy->may_go(json)) return {Plan::Do::kErase, {}};
  mark(json, now, grace);
  if (is_namespace) {
    json["metadata"].erase("deletionGracePeriodSeconds");
    json["status"]["phase"] = "Terminating";
  }
  set_finalizers(json, finalizers);
  return {Plan::Do::kMark, std::move(json)};
}

}  // namespace

Task<Result<Deleted>> Impl::remove(const Stored& stored, std::string ns, std::string name, DeleteRequest request,
                                   WriteContext context) {
  const api::Resource& resource = *stored.resource;
  if (!resource.namespaced) ns.clear();
  BRUME_CO_CHECK(check_options(request));
  for (int attempt = 1;; ++attempt) {
    const api::ObjectPtr object = stored.cache->find(ns, name);
    if (!object) co_return fail(not_found(resource, name));
    BRUME_CO_CHECK(check_preconditions(resource, *object, request));
    if (admission != nullptr) {
      const Json old = object->parse();
      AdmissionRequest gate{.operation = AdmissionRequest::Operation::kDelete,
                            .resource = &resource,
                            .subresource = {},
                            .ns = ns,
                            .name = name,
                            .old_object = &old,
                            .user = context.user,
                            .dry_run = context.dry_run,
                            .warnings = context.warnings};
      BRUME_CO_CHECK(co_await admission->mutate(gate));
      BRUME_CO_CHECK(co_await admission->validate(gate));
    }
    Plan todo = plan(stored, *object, request, clock.now());
    if (todo.action == Plan::Do::kNothing) co_return Deleted{object, false};
    Result<api::ObjectPtr> done = fail(Code::kInternal, "");
    const bool gone = todo.action == Plan::Do::kErase;
    if (gone) {
      done = co_await erase(stored, object, context);
    } else if (context.dry_run) {
      done = api::Object::from_json(todo.next);
    } else {
      done = co_await put(stored, std::move(todo.next), object->resource_version());
    }
    if (done) co_return Deleted{std::move(*done), gone};
    const bool again =
        done.error().code == Code::kConflict && attempt < kDeleteRetries && stored.cache->find(ns, name) != object;
    if (!again) co_return fail(std::move(done).error());
  }
}

Task<Result<Deleted>> Registry::remove(const api::Resource& resource, std::string ns, std::string name,
                                       DeleteRequest request, WriteContext context) {
  BRUME_CO_TRY(const Stored* stored, impl_->require(resource));
  co_return co_await impl_->remove(*stored, std::move(ns), std::move(name), std::move(request), std::move(context));
}

Task<Result<ListPage>> Registry::remove_collection(const api::Resource& resource, ListQuery which,
                                                   DeleteRequest request, WriteContext context) {
  BRUME_CO_TRY(const Stored* stored, impl_->require(resource));
  auto page = co_await list(resource, std::move(which));
  if (!page) co_return page;
  for (api::ObjectPtr& object : page->items) {
    auto done = co_await impl_->remove(*stored, object->ns(), object->name(), request, context);
    if (done) {
      object = done->object;
    } else if (done.error().code != Code::kNotFound) {
      co_return fail(std::move(done).error());
    }
  }
  co_return page;
}

}  // namespace brume::apiserver
