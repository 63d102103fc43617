// Sub-resources that are created: pods/binding, pods/eviction, and those that Reviews computes.
#include "brume/api/decode.h"
#include "brume/api/schema.h"
#include "brume/api/selector.h"
#include "brume/apiserver/registry.h"
#include "brume/base/task.h"
#include "errors.h"
#include "registry_impl.h"

namespace brume::apiserver {

using Impl = Registry::Impl;

namespace {

constexpr int kEvictionRetrySeconds = 10;

Json success() {
  return Json{{"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", Json::object()}, {"status", "Success"}};
}

Error budget_error(std::string_view pdb, std::string_view detail) {
  Error error{Code::kTooManyRequests, "Cannot evict pod as it would violate the pod's disruption budget."};
  error.retry_after_seconds = kEvictionRetrySeconds;
  error.causes.push_back({"DisruptionBudget",
                          detail.empty()
                              ? "The disruption budget " + std::string(pdb) + " is still being processed by the server."
                              : std::string(detail),
                          ""});
  return error;
}

bool pod_ready(const Json& pod) {
  for (const Json& condition : at(pod, "status", "conditions")) {
    if (str(condition, "type") == "Ready") return str(condition, "status") == "True";
  }
  return false;
}

// Pods whose going disturbs no one.
bool ignores_budget(const Json& pod) {
  const auto phase = str(at(pod, "status"), "phase");
  return phase == "Succeeded" || phase == "Failed" || phase == "Pending" ||
         at(pod, "metadata").contains("deletionTimestamp");
}

DeleteRequest delete_request(const Json& options) {
  DeleteRequest request;
  if (options.contains("gracePeriodSeconds") && options["gracePeriodSeconds"].is_number()) {
    request.grace_period_seconds = num(options, "gracePeriodSeconds");
  }
  request.propagation_policy = str(options, "propagationPolicy");
  request.uid = str(at(options, "preconditions"), "uid");
  request.resource_version = str(at(options, "preconditions"), "resourceVersion");
  return request;
}

// Names the node in the pod; the errors are conflicts, as the scheduler expects them.
Result<Json> bound(const Json& pod, const Json& binding, WallTime now) {
  const api::Resource& pods = api::res("pods");
  const std::string name(str(at(pod, "metadata"), "name"));
  const auto refuse = [&](const std::string& why) {
    return fail(Code::kConflict, "Operation cannot be fulfilled on pods/binding " + go_quote(name) + ": " + why);
  };
  const Json& wanted = at(binding, "metadata");
  if (const auto uid = str(wanted, "uid"); !uid.empty() && uid != str(at(pod, "metadata"), "uid")) {
    return fail(conflict(pods, name,
                         "Precondition failed: UID in precondition: " + std::string(uid) +
                             ", UID in object meta: " + std::string(str(at(pod, "metadata"), "uid"))));
  }
  if (const auto revision = str(wanted, "resourceVersion");
      !revision.empty() && revision != str(at(pod, "metadata"), "resourceVersion")) {
    return fail(modified(pods, name));
  }
  if (at(pod, "metadata").contains("deletionTimestamp")) {
    return refuse("pod " + name + " is being deleted, cannot be assigned to a host");
  }
  if (const auto node = str(at(pod, "spec"), "nodeName"); !node.empty()) {
    return refuse("pod " + name + " is already assigned to node " + go_quote(node));
  }
  if (!at(pod, "spec", "schedulingGates").empty())
    return refuse("pod " + name + " has non-empty .spec.schedulingGates");
  Json next = pod;
  next["spec"]["nodeName"] = at(binding, "target", "name");
  for (const char* key : {"annotations", "labels"}) {
    for (const auto& [label, value] : at(wanted, key).items()) next["metadata"][key][label] = value;
  }
  next["status"].erase("nominatedNodeName");
  set_condition(next["status"], "PodScheduled", "True", "", "", now);
  return next;
}

}  // namespace

Task<Result<Json>> Impl::bind(std::string ns, std::string name, Json body, WriteContext context) {
  const Stored* pods = stored(api::res("pods"));
  const std::string target(str(at(body, "target"), "name"));
  if (const auto given = str(at(body, "metadata"), "name"); !given.empty() && given != name) {
    co_return fail(Code::kBadRequest, "name in URL does not match name in Binding object");
  }
  if (target.empty()) co_return fail(Code::kInternal, "target.name: Required value");
  if (const auto kind = str(at(body, "target"), "kind"); !kind.empty() && kind != "Node") {
    co_return fail(Code::kInternal,
                   "target.kind: Unsupported value: " + go_quote(kind) + ": supported values: \"Node\", \"<empty>\"");
  }
  if (admission != nullptr) {
    AdmissionRequest request{.resource = pods->resource,
                             .subresource = "binding",
                             .ns = ns,
                             .name = name,
                             .object = &body,
                             .user = context.user,
                             .dry_run = context.dry_run,
                             .warnings = context.warnings};
    BRUME_CO_CHECK(co_await admission->mutate(request));
    BRUME_CO_CHECK(co_await admission->validate(request));
  }
  Update update{
      .subresource = "binding",
      .change = [body = std::move(body), now = clock.now()](const Json& old) { return bound(old, body, now); },
      .internal = true};
  auto done = co_await modify(*pods, std::move(ns), std::move(name), std::move(update), std::move(context));
  if (!done) co_return fail(std::move(done).error());
  co_return success();
}

// Takes one disruption from the pod's budget; an error says why there is none.
Task<Status> Impl::take_disruption(const Json& pod, WriteContext context) {
  const Stored* budgets = stored(api::res("poddisruptionbudgets.policy"));
  const std::string ns(str(at(pod, "metadata"), "namespace"));
  const std::string pod_name(str(at(pod, "metadata"), "name"));
  std::vector<api::ObjectPtr> matching;
  for (const api::ObjectPtr& budget : budgets->cache->all(ns)) {
    const auto selector = api::LabelSelector::from_json(at(budget->parse(), "spec", "selector"));
    if (selector && selector->matches_json(at(pod, "metadata", "labels"))) matching.push_back(budget);
  }
  if (matching.empty()) co_return Status{};
  if (matching.size() > 1) {
    co_return fail(Code::kInternal,
                   "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.");
  }
  const std::string name = matching[0]->name();
  const Json budget = matching[0]->parse();
  const Json& status = at(budget, "status");
  if (!pod_ready(pod)) {
    const bool always = str(at(budget, "spec"), "unhealthyPodEvictionPolicy") == "AlwaysAllow";
    const auto desired = num(status, "desiredHealthy");
    if (always || (desired > 0 && num(status, "currentHealthy") >= desired)) co_return Status{};
  }
  Update update{
      .subresource = "status",
      .change = [pod_name, name, now = clock.now()](const Json& old) -> Result<Json> {
        const Json& present = at(old, "status");
        if (num(present, "observedGeneration") < num(at(old, "metadata"), "generation"))
          return fail(budget_error(name, ""));
        const auto allowed = num(present, "disruptionsAllowed");
        if (allowed < 0) {
          return fail(forbidden(api::res("poddisruptionbudgets.policy"), name, "pdb disruptions allowed is negative"));
        }
        if (allowed == 0) {
          return fail(budget_error(name, "The disruption budget " + name + " needs " +
                                             std::to_string(num(present, "desiredHealthy")) + " healthy pods and has " +
                                             std::to_string(num(present, "currentHealthy")) + " currently"));
        }
        Json next = old;
        next["status"]["disruptionsAllowed"] = allowed - 1;
        next["status"]["disruptedPods"][pod_name] = format_rfc3339(now);
        return next;
      },
      .internal = true};
  auto done = co_await modify(*budgets, ns, name, std::move(update), std::move(context));
  if (!done) co_return fail(std::move(done).error());
  co_return Status{};
}

Task<Result<Json>> Impl::evict(std::string ns, std::string name, Json body, WriteContext context) {
  const Stored* pods = stored(api::res("pods"));
  if (const auto given = str(at(body, "metadata"), "name"); !given.empty() && given != name) {
    co_return fail(Code::kBadRequest, "name in URL does not match name in Eviction object");
  }
  const Json wanted = at(body, "deleteOptions");
  context.dry_run = context.dry_run || !at(wanted, "dryRun").empty();
  DeleteRequest request = delete_request(wanted);
  const api::ObjectPtr object = pods->cache->find(ns, name);
  if (!object) co_return fail(not_found(*pods->resource, name));
  const Json pod = object->parse();
  if (!ignores_budget(pod)) BRUME_CO_CHECK(co_await take_disruption(pod, context));
  if (!context.dry_run) {
    Update update{
        .subresource = "status",
        .change = [uid = request.uid, revision = request.resource_version,
                   now = clock.now()](const Json& old) -> Result<Json> {
          const Json& metadata = at(old, "metadata");
          const auto pod_name = str(metadata, "name");
          if (!uid.empty() && uid != str(metadata, "uid")) {
            return fail(conflict(api::res("pods"), pod_name,
                                 "the UID in the precondition (" + uid + ") does not match the UID in record (" +
                                     std::string(str(metadata, "uid")) +
                                     "). The object might have been deleted and then recreated"));
          }
          if (!revision.empty() && revision != str(metadata, "resourceVersion")) {
            return fail(conflict(api::res("pods"), pod_name,
                                 "the ResourceVersion in the precondition (" + revision +
                                     ") does not match the ResourceVersion in record (" +
                                     std::string(str(metadata, "resourceVersion")) +
                                     "). The object might have been modified"));
          }
          Json next = old;
          set_condition(next["status"], "DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting",
                        now);
          return next;
        },
        .internal = true};
    auto marked = co_await modify(*pods, ns, name, std::move(update), context);
    if (!marked) co_return fail(std::move(marked).error());
    if (!request.resource_version.empty()) request.resource_version = std::to_string((*marked)->resource_version());
  }
  auto done = co_await remove(*pods, ns, name, std::move(request), std::move(context));
  if (!done) co_return fail(std::move(done).error());
  Json answer = success();
  answer["code"] = 201;
  co_return answer;
}

Task<Result<Json>> Registry::create_subresource(const api::Resource& resource, std::string ns, std::string name,
                                                std::string subresource, Json body, WriteContext context) {
  const bool pods = resource.group.empty() && resource.plural == "pods";
  if (pods && subresource == "binding") {
    co_return co_await impl_->bind(std::move(ns), std::move(name), std::move(body), std::move(context));
  }
  if (resource.group.empty() && resource.plural == "bindings") {
    const std::string pod(str(at(body, "metadata"), "name"));
    co_return co_await impl_->bind(std::move(ns), pod, std::move(body), std::move(context));
  }
  if (pods && subresource == "eviction") {
    co_return co_await impl_->evict(std::move(ns), std::move(name), std::move(body), std::move(context));
  }
  if (impl_->reviews != nullptr && impl_->reviews->handles(resource, subresource)) {
    const User user = context.user != nullptr ? *context.user : User{};
    co_return co_await impl_->reviews->create(resource, std::move(subresource), std::move(ns), std::move(name),
                                              std::move(body), user);
  }
  co_return fail(Code::kMethodNotAllowed,
                 "create is not supported on resources of kind " +
                     go_quote(resource.group_resource() + (subresource.empty() ? "" : "/") + subresource));
}

}  // namespace brume::apiserver
