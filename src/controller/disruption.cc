// PodDisruptionBudgets: how many of the pods that a budget selects may be evicted now. The eviction sub-resource spends
// what status.disruptionsAllowed says and names its pods in status.disruptedPods; this controller counts anew.
#include <algorithm>
#include <map>
#include <optional>

#include "brume/api/selector.h"
#include "deployment_util.h"
#include "make.h"

namespace brume::controller {

namespace {

/// How long a pod of status.disruptedPods counts as gone although nobody has deleted it.
constexpr auto kDeletionTimeout = std::chrono::minutes(2);
/// How long a pod may carry the condition DisruptionTarget without being deleted.
constexpr auto kStaleAfter = std::chrono::minutes(2);
/// Queue keys of pods, beside those of budgets: no namespace has a blank in its name.
constexpr std::string_view kPodKey = "pod ";

/// As Go prints a *metav1.LabelSelector, which is how people know the event's text.
std::string selector_text(const Json& selector) {
  std::string labels, expressions;
  for (const auto& [key, value] : at(selector, "matchLabels").items())
    labels += key + ": " + std::string(str(value)) + ",";
  for (const auto& requirement : at(selector, "matchExpressions")) {
    std::string values;
    for (const auto& value : at(requirement, "values")) values += (values.empty() ? "" : " ") + std::string(str(value));
    expressions += "LabelSelectorRequirement{Key:" + std::string(str(requirement, "key")) +
                   ",Operator:" + std::string(str(requirement, "operator")) + ",Values:[" + values + "],},";
  }
  return "&LabelSelector{MatchLabels:map[string]string{" + labels + "},MatchExpressions:[]LabelSelectorRequirement{" +
         expressions + "},}";
}

/// What a budget's pods add up to.
struct Tally {
  std::int64_t expected = 0, desired = 0, healthy = 0;
  Json disrupted = Json::object();  // pod name to when its eviction was granted
  std::optional<WallTime> recheck;  // when the first of them counts again
  bool unmanaged = false;
};

class DisruptionController final : public Controller {
 public:
  explicit DisruptionController(Context& context);

 private:
  struct Scale {
    std::string uid;
    std::int64_t replicas = 0;
  };

  void synced() override;
  void pod_changed(const ObjectPtr& old, const ObjectPtr& now);
  std::vector<ObjectPtr> enqueue_budgets(const ObjectPtr& pod);
  std::optional<WallTime::duration> stale_in(const ObjectPtr& pod);

  Task<Status> reconcile(std::string key) override;
  Task<Status> clean_pod(std::string key);
  Task<Status> count(ObjectPtr budget, Json value, Tally& tally);
  Task<Status> count_expected(ObjectPtr budget, Json spec, std::vector<ObjectPtr> pods, Tally& tally);
  Task<Result<std::int64_t>> expected_scale(std::vector<ObjectPtr> pods, Tally& tally);
  Task<Result<Scale>> scale_of(ObjectPtr pod);
  std::optional<Scale> known_scale(const ObjectPtr& pod, const api::OwnerReference& owner);
  void count_healthy(const ObjectPtr& budget, const Json& granted, const std::vector<ObjectPtr>& pods, Tally& tally);
  Task<Status> report(ObjectPtr budget, Json value, const Tally& tally);
  Task<Status> report_failure(ObjectPtr budget, Json value, std::string why);
  Task<Status> write(ObjectPtr budget, Json value);

  Informer& budgets_;
  Informer& pods_;
  Informer& replica_sets_;
  Informer& deployments_;
  Informer& replication_controllers_;
  Informer& stateful_sets_;
  client::Projection<api::LabelSelector> selectors_;
};

DisruptionController::DisruptionController(Context& context)
    : Controller(context, "controllermanager"),
      budgets_(watch("poddisruptionbudgets.policy")),
      pods_(use("pods")),
      replica_sets_(use("replicasets.apps")),
      deployments_(use("deployments.apps")),
      replication_controllers_(use("replicationcontrollers")),
      stateful_sets_(use("statefulsets.apps")),
      selectors_(budgets_, [](const Object& budget) {
        auto selector = api::LabelSelector::from_json(at(budget.parse(), "spec", "selector"));
        return selector ? *selector : api::LabelSelector::nothing();
      }) {
  pods_.add_handler({.added = [this](const ObjectPtr& now) { pod_changed(nullptr, now); },
                     .updated = [this](const ObjectPtr& old, const ObjectPtr& now) { pod_changed(old, now); },
                     .deleted = [this](const ObjectPtr& last) { enqueue_budgets(last); }});
}

// What to reconcile
// ----------------------------------------------------------------------------------------------------

void DisruptionController::synced() {
  pods_.each([this](const ObjectPtr& pod) { pod_changed(nullptr, pod); });
}

std::vector<ObjectPtr> DisruptionController::enqueue_budgets(const ObjectPtr& pod) {
  std::vector<ObjectPtr> found;
  if (budgets_.size() == 0) return found;
  for (const auto& budget : budgets_.list(pod->ns())) {
    if (!selectors_.of(budget).matches(pod->labels())) continue;
    enqueue(budget);
    found.push_back(budget);
  }
  return found;
}

void DisruptionController::pod_changed(const ObjectPtr& old, const ObjectPtr& now) {
  if (old && old->labels() != now->labels()) enqueue_budgets(old);
  const auto budgets = enqueue_budgets(now);
  if (budgets.size() > 1) {
    events_.warning(*now, "MultiplePodDisruptionBudgets",
                    "Pod \"" + now->ns() + "\"/\"" + now->name() +
                        "\" matches multiple PodDisruptionBudgets.  Chose \"" + budgets.front()->name() +
                        "\" arbitrarily.");
  }
  if (const auto wait = stale_in(now)) queue_.add_after(std::string(kPodKey) + now->key(), *wait);
}

// In what time the pod's condition DisruptionTarget is stale; nothing when it has none that can become so.
std::optional<WallTime::duration> DisruptionController::stale_in(const ObjectPtr& pod) {
  if (pod->deleting() || pod->bytes().find("DisruptionTarget\"") == std::string::npos) return {};
  if (context_.pods.decode(*pod).finished()) return {};
  const Json value = pod->parse();
  const auto& condition = client::find_condition(at(value, "status"), "DisruptionTarget");
  // The kubelet may take any time between the condition and the pod's end.
  if (str(condition, "status") != "True" || str(condition, "reason") == "TerminationByKubelet") return {};
  const auto since = parse_rfc3339(str(condition, "lastTransitionTime")).value_or(WallTime{});
  return std::max<WallTime::duration>(since + kStaleAfter - clock().now(), WallTime::duration::zero());
}

// Reconcile
// ------------------------------------------------------------------------------------------------------------

Task<Status> DisruptionController::reconcile(std::string key) {
  if (key.starts_with(kPodKey)) co_return co_await clean_pod(key.substr(kPodKey.size()));
  const auto budget = budgets_.get(key);
  if (!budget) co_return Status{};
  const Json value = budget->parse();
  Tally tally;
  auto counted = co_await count(budget, value, tally);
  if (!counted) co_return co_await report_failure(budget, value, counted.error().message);
  BRUME_CO_CHECK(co_await report(budget, value, tally));
  if (tally.recheck) queue_.add_after(key, *tally.recheck - clock().now());
  co_return Status{};
}

// Nothing came of the disruption: the condition must not stand for ever.
Task<Status> DisruptionController::clean_pod(std::string key) {
  const auto pod = pods_.get(key);
  if (!pod) co_return Status{};
  const auto wait = stale_in(pod);
  if (!wait) co_return Status{};
  if (*wait > WallTime::duration::zero()) {
    queue_.add_after(std::string(kPodKey) + key, *wait);
    co_return Status{};
  }
  Json value = pod->parse();
  Json condition = {{"type", "DisruptionTarget"}, {"status", "False"}, {"lastProbeTime", nullptr}};
  if (pod->generation() > 0) condition["observedGeneration"] = pod->generation();
  client::set_condition(value["status"], std::move(condition), clock().now());
  auto done =
      co_await client().update(pods_.resource(), pod->ns(), pod->name(), std::move(value), {.subresource = "status"});
  if (!done && done.error().code != Code::kNotFound) co_return fail(done.error());
  co_return Status{};
}

Task<Status> DisruptionController::count(ObjectPtr budget, Json value, Tally& tally) {
  const auto selector = api::LabelSelector::from_json(at(value, "spec", "selector"));
  if (!selector) {
    events_.warning(*budget, "NoPods", "Failed to get pods: " + selector.error().message);
    co_return fail(selector.error());
  }
  std::vector<ObjectPtr> pods;
  for (const auto& pod : pods_.list(budget->ns())) {
    if (selector->matches(pod->labels())) pods.push_back(pod);
  }
  if (pods.empty()) events_.normal(*budget, "NoPods", "No matching pods found");
  if (auto expected = co_await count_expected(budget, at(value, "spec"), pods, tally); !expected) {
    events_.warning(*budget, "CalculateExpectedPodCountFailed",
                    "Failed to calculate the number of expected pods: " + expected.error().message);
    co_return expected;
  }
  if (tally.unmanaged) {
    events_.warning(
        *budget, "UnmanagedPods",
        "Pods selected by this PodDisruptionBudget (selector: " + selector_text(at(value, "spec", "selector")) +
            ") were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, "
            "which may result in undefined behavior. To account for these pods please set "
            "\".spec.minAvailable\" field of the PDB to an integer value.");
  }
  count_healthy(budget, at(value, "status", "disruptedPods"), pods, tally);
  co_return Status{};
}

// How many pods there should be, and how many of those healthy. Percentages and maxUnavailable are of what the pods'
// controllers want, a plain minAvailable is of the pods that are there.
Task<Status> DisruptionController::count_expected(ObjectPtr budget, Json spec, std::vector<ObjectPtr> pods,
                                                  Tally& tally) {
  const bool most = spec.contains("maxUnavailable");
  const Json bound = at(spec, most ? "maxUnavailable" : "minAvailable");
  if (bound.is_null()) co_return Status{};
  if (!most && bound.is_number()) {
    tally.expected = static_cast<std::int64_t>(pods.size());
    tally.desired = bound.get<std::int64_t>();
    co_return Status{};
  }
  BRUME_CO_TRY(tally.expected, co_await expected_scale(std::move(pods), tally));
  const auto scaled = scaled_value(bound, tally.expected, true);
  tally.desired = most ? std::max<std::int64_t>(tally.expected - scaled, 0) : scaled;
  co_return Status{};
}

Task<Result<std::int64_t>> DisruptionController::expected_scale(std::vector<ObjectPtr> pods, Tally& tally) {
  std::map<std::string, std::string> seen;  // uid of a pod's controller to that of the one that scales it
  std::map<std::string, std::int64_t> replicas;
  for (const auto& pod : pods) {
    const auto* owner = pod->controller();
    if (owner == nullptr) {
      tally.unmanaged = true;
      continue;
    }
    if (seen.contains(owner->uid)) continue;
    BRUME_CO_TRY(Scale scale, co_await scale_of(pod));
    seen[owner->uid] = scale.uid;
    replicas[scale.uid] = scale.replicas;
  }
  std::int64_t sum = 0;
  for (const auto& [uid, count] : replicas) sum += count;
  co_return sum;
}

// From the copies: of the Deployment that stands above a ReplicaSet, or of the controller itself.
std::optional<DisruptionController::Scale> DisruptionController::known_scale(const ObjectPtr& pod,
                                                                             const api::OwnerReference& owner) {
  const auto of = [&](const Informer& informer, const api::OwnerReference& ref) -> ObjectPtr {
    const auto found = informer.get(pod->ns(), ref.name);
    return found && found->uid() == ref.uid ? found : nullptr;
  };
  ObjectPtr object;
  if (owner.kind == "ReplicaSet" && owner.api_version == "apps/v1") {
    object = of(replica_sets_, owner);
    const auto* above = object ? object->controller() : nullptr;
    if (above != nullptr && above->kind == "Deployment") object = of(deployments_, *above);
  } else if (owner.kind == "StatefulSet" && owner.api_version == "apps/v1") {
    object = of(stateful_sets_, owner);
  } else if (owner.kind == "ReplicationController" && owner.api_version == "v1") {
    object = of(replication_controllers_, owner);
  }
  if (!object) return {};
  return Scale{object->uid(), num(at(object->parse(), "spec"), "replicas", 1)};
}

// Of any kind that can be scaled; what is in no copy is asked for.
Task<Result<DisruptionController::Scale>> DisruptionController::scale_of(ObjectPtr pod) {
  const api::OwnerReference owner = *pod->controller();
  if (auto known = known_scale(pod, owner)) co_return *known;
  const auto* resource = api::find_kind(owner.api_version, owner.kind);
  if (resource == nullptr) {
    co_return fail(Code::kInternal,
                   "no matches for kind \"" + owner.kind + "\" in version \"" + owner.api_version + "\"");
  }
  if (resource->subresource("scale") == nullptr) {
    co_return fail(Code::kInternal, resource->group_resource() + " does not implement the scale subresource");
  }
  auto object = co_await client().get(*resource, pod->ns(), owner.name);
  if (!object && object.error().code != Code::kNotFound) co_return fail(object.error());
  if (!object || (*object)->uid() != owner.uid) {
    co_return fail(Code::kInternal, "found no controllers for pod \"" + pod->name() + "\"");
  }
  co_return Scale{owner.uid, num(at((*object)->parse(), "spec"), "replicas", 1)};
}

// `granted` is status.disruptedPods: those pods count as gone until they are, or until too long has passed.
void DisruptionController::count_healthy(const ObjectPtr& budget, const Json& granted,
                                         const std::vector<ObjectPtr>& pods, Tally& tally) {
  const auto now = clock().now();
  for (const auto& old : pods) {
    const auto pod = pods_.get(old->key());
    if (!pod || pod->uid() != old->uid() || pod->deleting()) continue;
    if (const auto since = parse_rfc3339(str(granted, pod->name()))) {
      const auto until = *since + kDeletionTimeout;
      if (until > now) {
        tally.disrupted[pod->name()] = granted[pod->name()];
        tally.recheck = tally.recheck ? std::min(*tally.recheck, until) : until;
        continue;
      }
      events_.warning(*pod, "NotDeleted", "Pod was expected by PDB " + budget->key() + " to be deleted but it wasn't");
    }
    tally.healthy += context_.pods.of(pod).ready ? 1 : 0;
  }
}

// Status
// ---------------------------------------------------------------------------------------------------------------

Task<Status> DisruptionController::report(ObjectPtr budget, Json value, const Tally& tally) {
  const Json before = at(value, "status");
  const auto spare = tally.healthy - tally.desired;
  const auto allowed = tally.expected > 0 && spare > 0 ? spare : 0;
  Json after = {{"currentHealthy", tally.healthy},
                {"desiredHealthy", tally.desired},
                {"expectedPods", tally.expected},
                {"disruptionsAllowed", allowed},
                {"observedGeneration", budget->generation()}};
  if (!tally.disrupted.empty()) after["disruptedPods"] = tally.disrupted;
  if (const auto& conditions = at(before, "conditions"); conditions.is_array()) after["conditions"] = conditions;
  // A condition that says so already keeps the generation that it was said for.
  const auto& present = client::find_condition(before, "DisruptionAllowed");
  const std::string_view reason = allowed > 0 ? "SufficientPods" : "InsufficientPods";
  const bool current = str(present, "reason") == reason && num(before, "observedGeneration") == budget->generation() &&
                       (num(before, "disruptionsAllowed") > 0) == (allowed > 0);
  if (!current) {
    client::set_condition(after,
                          {{"type", "DisruptionAllowed"},
                           {"status", allowed > 0 ? "True" : "False"},
                           {"reason", reason},
                           {"message", ""},
                           {"observedGeneration", budget->generation()}},
                          clock().now());
  }
  if (after == before) co_return Status{};
  value["status"] = std::move(after);
  co_return co_await write(budget, std::move(value));
}

// Nothing may be evicted while the count is not known.
Task<Status> DisruptionController::report_failure(ObjectPtr budget, Json value, std::string why) {
  Json& status = value["status"];
  const Json before = status;
  for (const char* field : {"currentHealthy", "desiredHealthy", "expectedPods"}) {
    if (!status.contains(field)) status[field] = 0;
  }
  status["disruptionsAllowed"] = 0;
  Json condition = {{"type", "DisruptionAllowed"}, {"status", "False"}, {"reason", "SyncFailed"}, {"message", why}};
  if (const auto seen = num(status, "observedGeneration"); seen > 0) condition["observedGeneration"] = seen;
  client::set_condition(status, std::move(condition), clock().now());
  if (status == before) co_return Status{};
  co_return co_await write(budget, std::move(value));
}

// With the revision read: an eviction granted meanwhile must not be undone.
Task<Status> DisruptionController::write(ObjectPtr budget, Json value) {
  auto done = co_await client().update(budgets_.resource(), budget->ns(), budget->name(), std::move(value),
                                       {.subresource = "status"});
  if (!done && done.error().code != Code::kNotFound) co_return fail(done.error());
  co_return Status{};
}

}  // namespace

std::unique_ptr<Controller> make_disruption(Context& context) {
  return std::make_unique<DisruptionController>(context);
}

}  // namespace brume::controller
