// pods/eviction: a deletion that asks the pod's PodDisruptionBudget first.
#include <algorithm>

#include "brume/api/selector.h"
#include "brume/api/validation.h"
#include "brume/apiserver/registry.h"
#include "brume/base/task.h"
#include "errors.h"
#include "registry_impl.h"

namespace brume::apiserver {

using Impl = Registry::Impl;

namespace {

constexpr int kRetrySeconds = 10;                // what a client is told to wait for the budget's controller
constexpr int kEvictionTries = 20;               // of pods and budgets that others write meanwhile, as Kubernetes
constexpr std::size_t kMaxDisruptedPods = 2000;  // evictions that the budget's controller has not confirmed
constexpr std::string_view kAllowed = "DisruptionAllowed";

const api::Resource& budgets() { return api::res("poddisruptionbudgets.policy"); }

Json success() {
  return Json{
      {"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", Json::object()}, {"status", "Success"}, {"code", 201}};
}

Error over_budget(std::string why, int retry_after_seconds) {
  return {.code = Code::kTooManyRequests,
          .message = "Cannot evict pod as it would violate the pod's disruption budget.",
          .causes = {{"DisruptionBudget", std::move(why), ""}},
          .retry_after_seconds = retry_after_seconds};
}

Error still_processed(const std::string& budget) {
  return over_budget("The disruption budget " + budget + " is still being processed by the server.", kRetrySeconds);
}

const Json& condition_of(const Json& status, std::string_view type) {
  static const Json kNone;
  for (const Json& condition : at(status, "conditions")) {
    if (str(condition, "type") == type) return condition;
  }
  return kNone;
}

// Why a budget that allows none allows none.
std::string no_disruption_left(const std::string& name, const Json& status) {
  const auto desired = num(status, "desiredHealthy");
  const auto healthy = num(status, "currentHealthy");
  const Json& condition = condition_of(status, kAllowed);
  const std::string message(str(condition, "message"));
  const std::string reason(str(condition, "reason"));
  const bool explained = str(condition, "status") == "False" && !message.empty();
  if (explained && reason == "SyncFailed") {
    return "The disruption budget " + name +
           " does not allow evicting pods currently because it failed sync: " + message;
  }
  if (healthy <= desired) {
    return "The disruption budget " + name + " needs " + std::to_string(desired) + " healthy pods and has " +
           std::to_string(healthy) + " currently";
  }
  const std::string refusal = "The disruption budget " + name + " does not allow evicting pods currently";
  return explained ? refusal + " (" + reason + "): " + message : refusal;
}

// The budget with one disruption less, given to the pod.
Result<Json> spent(const Json& budget, const std::string& pod, WallTime now) {
  const std::string name(str(at(budget, "metadata"), "name"));
  const Json& status = at(budget, "status");
  if (num(status, "observedGeneration") < num(at(budget, "metadata"), "generation")) return fail(still_processed(name));
  const auto allowed = num(status, "disruptionsAllowed");
  const auto refuse = [&](std::string_view why) {
    return fail(Code::kForbidden,
                "poddisruptionbudget.policy " + go_quote(name) + " is forbidden: " + std::string(why));
  };
  if (allowed < 0) return refuse("pdb disruptions allowed is negative");
  if (at(status, "disruptedPods").size() > kMaxDisruptedPods) {
    return refuse("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
  }
  if (allowed == 0) return fail(over_budget(no_disruption_left(name, status), 0));
  Json next = budget;
  Json& left = next["status"];
  left["disruptionsAllowed"] = allowed - 1;
  left["disruptedPods"][pod] = format_rfc3339(now);
  if (allowed > 1) return next;
  for (Json& condition : left["conditions"]) {
    if (str(condition, "type") != kAllowed) continue;
    if (str(condition, "status") != "False") condition["lastTransitionTime"] = format_rfc3339(now);
    condition["status"] = "False";
    condition["reason"] = "InsufficientPods";
    condition["message"] = "";
    condition["observedGeneration"] = num(left, "observedGeneration");
  }
  return next;
}

// Pods whose going disturbs no one.
bool ignores_budget(const Json& pod) {
  const auto phase = str(at(pod, "status"), "phase");
  return phase == "Succeeded" || phase == "Failed" || phase == "Pending" ||
         at(pod, "metadata").contains("deletionTimestamp");
}

// A pod that is not ready is none of the budget's healthy ones. By default (IfHealthyBudget) it may go while those are
// enough: an application that is disrupted already keeps what could yet become ready.
bool costs_nothing(const Json& pod, const Json& budget) {
  if (str(condition_of(at(pod, "status"), "Ready"), "status") == "True") return false;
  const auto desired = num(at(budget, "status"), "desiredHealthy");
  const bool enough = desired > 0 && num(at(budget, "status"), "currentHealthy") >= desired;
  return enough || str(at(budget, "spec"), "unhealthyPodEvictionPolicy") == "AlwaysAllow";
}

// A pending pod may become ready, and then counts, between the look at it and its deletion.
bool may_become_ready(const Json& pod) {
  return str(at(pod, "status"), "phase") == "Pending" && !at(pod, "metadata").contains("deletionTimestamp");
}

Result<DeleteRequest> delete_request(const std::string& pod, const Json& options) {
  if (flag(options, "ignoreStoreReadErrorWithClusterBreakingPotential")) {
    const std::string field = "deleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential";
    const std::string why = "Invalid value: true: can not be set for pod eviction, try after removing the option";
    return fail(Error{.code = Code::kInvalid,
                      .message = "Eviction.policy " + go_quote(pod) + " is invalid: " + field + ": " + why,
                      .causes = {{"FieldValueInvalid", why, field}}});
  }
  DeleteRequest request;
  if (at(options, "gracePeriodSeconds").is_number()) request.grace_period_seconds = num(options, "gracePeriodSeconds");
  if (at(options, "orphanDependents").is_boolean()) request.orphan_dependents = flag(options, "orphanDependents");
  request.propagation_policy = str(options, "propagationPolicy");
  request.uid = str(at(options, "preconditions"), "uid");
  request.resource_version = str(at(options, "preconditions"), "resourceVersion");
  return request;
}

// The pod with the condition that tells why it goes; preconditions are checked first.
Result<Json> marked(const Json& pod, const DeleteRequest& request, WallTime now) {
  const Json& metadata = at(pod, "metadata");
  const auto differs = [&](std::string_view what, const std::string& wanted, std::string_view is,
                           std::string_view happened) {
    // Kubernetes names the kind here, not the resource.
    return fail(Code::kConflict, "Operation cannot be fulfilled on Pod \"" + std::string(str(metadata, "name")) +
                                     "\": the " + std::string(what) + " in the precondition (" + wanted +
                                     ") does not match the " + std::string(what) + " in record (" + std::string(is) +
                                     "). The object might have been " + std::string(happened));
  };
  if (!request.uid.empty() && request.uid != str(metadata, "uid")) {
    return differs("UID", request.uid, str(metadata, "uid"), "deleted and then recreated");
  }
  if (!request.resource_version.empty() && request.resource_version != str(metadata, "resourceVersion")) {
    return differs("ResourceVersion", request.resource_version, str(metadata, "resourceVersion"), "modified");
  }
  Json next = pod;
  set_condition(next["status"], "DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting", now);
  return next;
}

}  // namespace

// Takes one disruption from the budget; an error says why there is none.
Task<Status> Impl::take_disruption(api::ObjectPtr budget, std::string pod, WriteContext context) {
  Update update{.subresource = "status",
                .change = [pod, now = clock.now()](const Json& old) { return spent(old, pod, now); },
                .internal = true};
  auto done = co_await modify(*stored(budgets()), budget->ns(), budget->name(), std::move(update), std::move(context));
  if (done) co_return Status{};
  if (done.error().code != Code::kConflict) co_return fail(std::move(done).error());
  co_return fail(
      Error{.code = Code::kTimeout,
            .message = "Timeout: couldn't update PodDisruptionBudget " + go_quote(budget->name()) + " due to conflicts",
            .retry_after_seconds = kRetrySeconds});
}

// The one budget that selects the pod; null when there is none.
Result<api::ObjectPtr> Impl::budget_of(const api::Object& pod) const {
  api::ObjectPtr found;
  for (const api::ObjectPtr& budget : stored(budgets())->cache->all(pod.ns())) {
    const auto selector = api::LabelSelector::from_json(at(budget->parse(), "spec", "selector"));
    if (!selector || !selector->matches(pod.labels())) continue;
    if (found) return fail(several_budgets());
    found = budget;
  }
  return found;
}

Task<Status> Impl::mark_and_remove(std::string ns, std::string name, DeleteRequest request, WriteContext context) {
  const Stored* pods = stored(api::res("pods"));
  if (!context.dry_run) {
    Update update{.subresource = "status",
                  .change = [request, now = clock.now()](const Json& old) { return marked(old, request, now); },
                  .internal = true};
    auto changed = co_await modify(*pods, ns, name, std::move(update), context);
    if (!changed) co_return fail(std::move(changed).error());
    if (!request.resource_version.empty()) request.resource_version = std::to_string((*changed)->resource_version());
  }
  auto done = co_await remove(*pods, std::move(ns), std::move(name), std::move(request), std::move(context));
  if (!done) co_return fail(std::move(done).error());
  co_return Status{};
}

// Evicts a pod whose going disturbs no one; false when its budget has to be asked.
Task<Result<bool>> Impl::evict_freely(api::ObjectPtr pod, DeleteRequest request, WriteContext context) {
  for (int attempt = 1;; ++attempt) {
    const Json json = pod->parse();
    if (!ignores_budget(json)) co_return false;
    DeleteRequest now = request;
    if (now.resource_version.empty() && may_become_ready(json)) {
      now.resource_version = std::to_string(pod->resource_version());
    }
    auto done = co_await mark_and_remove(pod->ns(), pod->name(), std::move(now), context);
    if (done) co_return true;
    const bool again = done.error().code == Code::kConflict && request.resource_version.empty();
    if (!again || attempt == kEvictionTries) co_return fail(std::move(done).error());
    const auto next = stored(api::res("pods"))->cache->find(pod->ns(), pod->name());
    if (!next) co_return fail(not_found(api::res("pods"), pod->name()));
    pod = next;
  }
}

Task<Status> Impl::evict_pod(api::ObjectPtr pod, DeleteRequest request, WriteContext context) {
  BRUME_CO_TRY(const bool gone, co_await evict_freely(pod, request, context));
  if (gone) co_return Status{};
  const auto present = stored(api::res("pods"))->cache->find(pod->ns(), pod->name());
  if (!present) co_return fail(not_found(api::res("pods"), pod->name()));
  pod = present;
  BRUME_CO_TRY(const api::ObjectPtr budget, budget_of(*pod));
  const bool own_revision = !request.resource_version.empty();
  const bool free = budget && costs_nothing(pod->parse(), budget->parse());
  if (free) {
    request.resource_version = std::to_string(pod->resource_version());  // it must not become ready meanwhile
  } else if (budget) {
    BRUME_CO_CHECK(co_await take_disruption(budget, pod->name(), context));
  }
  auto done = co_await mark_and_remove(pod->ns(), pod->name(), std::move(request), std::move(context));
  if (!done && free && !own_revision && done.error().code == Code::kConflict) {
    co_return fail(still_processed(budget->name()));
  }
  co_return done;
}

Task<Result<Json>> Impl::evict(std::string ns, std::string name, Json body, WriteContext context) {
  const Stored* pods = stored(api::res("pods"));
  if (str(at(body, "metadata"), "name") != name) {
    co_return fail(Code::kBadRequest, "name in URL does not match name in Eviction object");
  }
  BRUME_CO_TRY(DeleteRequest request, delete_request(name, at(body, "deleteOptions")));
  context.dry_run = context.dry_run || !at(body, "deleteOptions", "dryRun").empty();
  BRUME_CO_CHECK(co_await admit("eviction", ns, name, body, context));
  api::ObjectPtr pod = pods->cache->find(ns, name);
  if (!pod) co_return fail(not_found(*pods->resource, name));
  BRUME_CO_CHECK(co_await evict_pod(std::move(pod), std::move(request), std::move(context)));
  co_return success();
}

}  // namespace brume::apiserver
