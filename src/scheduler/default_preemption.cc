// DefaultPreemption: makes room for a pod that fits nowhere by sending away pods of lower priority.
#include <algorithm>
#include <limits>
#include <unordered_set>

#include "args.h"
#include "brume/base/log.h"
#include "brume/base/random.h"
#include "brume/base/task.h"
#include "brume/client/helpers.h"
#include "brume/client/parallel.h"
#include "disruption_budgets.h"
#include "profile.h"
#include "registry.h"

namespace brume::scheduler {

namespace {

using Code = Verdict::Code;

/// Victims whose deletions are asked for at a time.
constexpr std::size_t kParallel = 16;
constexpr auto kAfterFailure = std::chrono::seconds(1);  // podInitialBackoffSeconds

/// What it would take to place the pod on one node.
struct Candidate {
  const NodeInfo* node = nullptr;
  std::vector<PodPtr> victims = {};  ///< the most important first
  std::int64_t violations = 0;       ///< victims whose disruption budget has none left
};

/// Pods without a start time count as started now.
std::int64_t started(const PodInfo& pod) {
  return pod.started == 0 ? std::numeric_limits<std::int64_t>::max() : pod.started;
}

bool more_important(const PodPtr& a, const PodPtr& b) {
  if (a->priority() != b->priority()) return a->priority() > b->priority();
  return started(*a) < started(*b);
}

/// Of the victims of the highest priority, when the first started.
std::int64_t earliest_start(const Candidate& candidate) {
  auto out = std::numeric_limits<std::int64_t>::max();
  for (const auto& victim : candidate.victims) {
    if (victim->priority() == candidate.victims.front()->priority()) out = std::min(out, started(*victim));
  }
  return out;
}

std::int64_t priority_sum(const Candidate& candidate) {
  std::int64_t out = 0;
  // Shifted to be positive, so that more victims never make a smaller sum.
  for (const auto& victim : candidate.victims) out += victim->priority() + (std::int64_t{1} << 31);
  return out;
}

/// Whether `a` harms less than `b`: fewer budgets violated, less important victims, fewer, and shorter ago started.
bool better(const Candidate& a, const Candidate& b) {
  if (a.violations != b.violations) return a.violations < b.violations;
  const auto highest_a = a.victims.front()->priority();
  const auto highest_b = b.victims.front()->priority();
  if (highest_a != highest_b) return highest_a < highest_b;
  const auto sum_a = priority_sum(a);
  const auto sum_b = priority_sum(b);
  if (sum_a != sum_b) return sum_a < sum_b;
  if (a.victims.size() != b.victims.size()) return a.victims.size() < b.victims.size();
  return earliest_start(a) > earliest_start(b);
}

/// It is going because the scheduler sent it away.
bool leaving_for_preemption(const PodInfo& pod) {
  if (!pod.object->deleting()) return false;
  const Json value = pod.object->parse();
  const Json& condition = client::find_condition(at(value, "status"), "DisruptionTarget");
  return str(condition, "status") == "True" && str(condition, "reason") == "PreemptionByScheduler";
}

PostFilterResult refused(const std::string& why) {
  return {.verdict = Verdict::unschedulable(passing_reason("preemption: " + why))};
}

class DefaultPreemption final : public Plugin {
 public:
  DefaultPreemption(Handle& handle, std::int64_t percentage, std::int64_t absolute)
      : handle_(handle), budgets_(handle.informers), percentage_(percentage), absolute_(absolute) {}

  std::string_view name() const override { return "DefaultPreemption"; }
  Points points() const override { return point::kPreEnqueue | point::kPostFilter; }
  // Whatever lets the pod in is the business of the plugins that rejected it.
  std::vector<EventInterest> events() override { return {}; }

  // Until its victims have been told to go, another try would only choose others.
  Verdict pre_enqueue(const PodInfo& pod) override {
    static thread_local const ReasonId kBusy = reason_id("waiting for the preemption for this pod to be finished");
    return preempting_.contains(pod.uid()) ? Verdict::unresolvable(kBusy) : Verdict{};
  }

  PostFilterResult post_filter(CycleState& state, const PodPtr& pod, const Diagnosis& diagnosis) override {
    if (!pod->spec->may_preempt) return refused("not eligible due to preemptionPolicy=Never.");
    if (waits_for_victims(*pod, diagnosis)) {
      return refused("not eligible due to a terminating pod on the nominated node.");
    }
    Diagnosis trials;
    trials.nodes = diagnosis.nodes;
    static thread_local const ReasonId kNoHelp = reason_id("Preemption is not helpful for scheduling");
    trials.absent = Verdict::unresolvable(kNoHelp);
    const auto candidates = find(state, *pod, promising(diagnosis), trials);
    if (candidates.empty()) {
      auto out = refused(trials.message());
      out.node = "";
      return out;
    }
    const auto& best = *std::min_element(candidates.begin(), candidates.end(), better);
    carry_out(pod, best);
    return {.verdict = {}, .node = best.node->name};
  }

 private:
  /// Victims chosen before are still about to leave the node that the pod is nominated to.
  [[nodiscard]] bool waits_for_victims(const PodInfo& pod, const Diagnosis& diagnosis) const {
    const auto* node = handle_.nodes.find(handle_.nominations.node_of(pod.uid()));
    if (node == nullptr || diagnosis.of(node).code == Code::kUnresolvable) return false;
    return std::any_of(node->pods.begin(), node->pods.end(), [&](const PodPtr& other) {
      return other->priority() < pod.priority() && leaving_for_preemption(*other);
    });
  }

  /// Nodes where the pod might fit if others went.
  [[nodiscard]] std::vector<const NodeInfo*> promising(const Diagnosis& diagnosis) const {
    std::vector<const NodeInfo*> out;
    if (diagnosis.absent.code == Code::kUnschedulable) {
      out.assign(handle_.nodes.nodes().begin(), handle_.nodes.nodes().end());
      return out;
    }
    for (const auto& [node, verdict] : diagnosis.answers) {
      if (verdict.code == Code::kUnschedulable) out.push_back(node);
    }
    return out;
  }

  std::vector<Candidate> find(CycleState& state, const PodInfo& pod, const std::vector<const NodeInfo*>& nodes,
                              Diagnosis& trials) {
    std::vector<Candidate> out;
    if (nodes.empty()) return out;
    const auto count = static_cast<std::int64_t>(nodes.size());
    const auto enough = std::min(count, std::max(count * percentage_ / 100, absolute_));
    const auto offset = static_cast<std::size_t>(random_u64() % nodes.size());
    bool harmless = false;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const auto* node = nodes[(offset + i) % nodes.size()];
      Candidate candidate{.node = node};
      const auto verdict = select_victims(state, pod, candidate);
      if (!verdict.ok()) {
        trials.answers.push_back({node, verdict});
        continue;
      }
      harmless |= candidate.violations == 0;
      out.push_back(std::move(candidate));
      if (harmless && static_cast<std::int64_t>(out.size()) >= enough) break;
    }
    return out;
  }

  /// The fewest pods of the node whose going lets the pod in. `state` is afterwards what it was before.
  Verdict select_victims(CycleState& state, const PodInfo& pod, Candidate& candidate) {
    static thread_local const ReasonId kNobody = reason_id("No preemption victims found for incoming pod");
    auto& profile = *handle_.profile;
    std::vector<PodPtr> lower;
    for (const auto& other : candidate.node->pods) {
      if (other->priority() < pod.priority()) lower.push_back(other);
    }
    if (lower.empty()) return Verdict::unresolvable(kNobody);
    NodeInfo trial = *candidate.node;
    const auto take = [&](const PodPtr& other) {
      trial.remove(other->uid());
      profile.remove_pod(state, pod, *other, trial);
    };
    const auto give_back = [&](const PodPtr& other) {
      trial.place(other);
      profile.add_pod(state, pod, *other, trial);
    };
    for (const auto& other : lower) take(other);
    const auto without = profile.filter(state, pod, trial);
    if (!without.ok()) {
      for (const auto& other : lower) give_back(other);
      return without;
    }
    std::sort(lower.begin(), lower.end(), more_important);
    // Those may stay with whom the pod fits too; whose budget is used up is asked first.
    auto [violating, others] = budgets_.split(lower);
    const auto keep = [&](const PodPtr& other) {
      give_back(other);
      if (profile.filter(state, pod, trial).ok()) return true;
      take(other);
      candidate.victims.push_back(other);
      return false;
    };
    for (const auto& other : violating) {
      if (!keep(other)) ++candidate.violations;
    }
    for (const auto& other : others) keep(other);
    for (const auto& victim : candidate.victims) give_back(victim);
    std::sort(candidate.victims.begin(), candidate.victims.end(), more_important);
    if (candidate.victims.empty()) {
      return Verdict::error("expected at least one victim pod on node \"" + candidate.node->name + "\"");
    }
    return {};
  }

  void carry_out(const PodPtr& pod, const Candidate& candidate) {
    std::vector<PodPtr> victims;
    for (const auto& victim : candidate.victims) {
      if (!victim->object->deleting()) victims.push_back(victim);
    }
    if (victims.empty()) return;
    // They may find that the room is taken now; another node may do.
    const auto nominated = handle_.nominations.on(candidate.node->name);
    for (const auto& other : nominated) {
      if (other->priority() >= pod->priority()) continue;
      handle_.nominations.remove(other->uid());
      handle_.reporter.report(other, {.nominated_node = std::string()});
      handle_.activate(other->uid());
    }
    preempting_.insert(pod->uid());
    handle_.tasks.spawn("preempt", preempt(this, pod, candidate.node->name, std::move(victims)));
  }

  static Task<void> preempt(DefaultPreemption* self, PodPtr pod, std::string node, std::vector<PodPtr> victims) {
    bool failed = false;
    // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): awaited below, while it is here
    const std::function<Task<void>(std::size_t)> send_one = [&](std::size_t i) -> Task<void> {
      const auto done = co_await self->send_away(pod, victims[i], node);
      if (done) co_return;
      failed = true;
      log::warn("a pod could not be preempted", {{"pod", victims[i]->key()}, {"error", done.error().message}});
    };
    co_await client::for_each_parallel(victims.size(), send_one, kParallel);
    // Whoever refuses to let a victim go will refuse again.
    if (failed) co_await self->handle_.clock().sleep(kAfterFailure);
    self->preempting_.erase(pod->uid());
    // Their going brings the pod back, unless that was while it was held back here.
    const bool gone = std::none_of(victims.begin(), victims.end(), [&](const PodPtr& victim) {
      return self->handle_.nodes.node_of(victim->uid()) != nullptr;
    });
    if (failed || gone) {
      self->handle_.activate(pod->uid());
    } else {
      self->handle_.release(pod->uid());
    }
  }

  Task<Status> send_away(PodPtr pod, PodPtr victim, std::string node) {
    std::string message = "Preempted by pod " + pod->uid() + " on node " + node;
    if (handle_.waiting.reject(victim->uid(), name(), "preempted")) {
      message += " (in kube-scheduler memory).";
    } else {
      auto deleted = co_await remove(pod, victim);
      // Whoever has deleted it meanwhile did it for us.
      if (!deleted && deleted.error().code == brume::Code::kNotFound) co_return Status{};
      if (!deleted) co_return deleted;
    }
    handle_.events.normal(*victim->object, "Preempted", std::move(message));
    co_return Status{};
  }

  Task<Status> remove(PodPtr pod, PodPtr victim) {
    const auto& pods = api::res("pods");
    Json condition = {{"type", "DisruptionTarget"},
                      {"status", "True"},
                      {"reason", "PreemptionByScheduler"},
                      {"message", pod->spec->scheduler + ": preempting to accommodate a higher priority pod"},
                      {"lastProbeTime", nullptr},
                      {"lastTransitionTime", format_rfc3339(handle_.clock().now())}};
    if (const auto generation = victim->object->generation(); generation > 0) {
      condition["observedGeneration"] = generation;
    }
    Json patch = {{"metadata", {{"uid", victim->uid()}}},
                  {"status", {{"conditions", Json::array({std::move(condition)})}}}};
    auto marked = co_await handle_.client().patch(pods, victim->ns(), victim->name(), client::PatchType::kStrategic,
                                                  std::move(patch), {.subresource = "status"});
    if (!marked) co_return fail(std::move(marked).error());
    co_return co_await handle_.client().remove(pods, victim->ns(), victim->name(), {.uid = victim->uid()});
  }

  Handle& handle_;
  DisruptionBudgets budgets_;
  std::int64_t percentage_;
  std::int64_t absolute_;
  std::unordered_set<std::string> preempting_;  // uids of pods whose victims are being told to go
};

}  // namespace

PluginResult make_default_preemption(const Json& args, Handle& handle) {
  BRUME_CHECK(
      only_fields(args, "args", {"apiVersion", "kind", "minCandidateNodesPercentage", "minCandidateNodesAbsolute"}));
  BRUME_TRY(const auto percentage, integer(args, "args", "minCandidateNodesPercentage", 10, 0, 100));
  BRUME_TRY(const auto absolute,
            integer(args, "args", "minCandidateNodesAbsolute", 100, 0, std::numeric_limits<std::int32_t>::max()));
  if (percentage == 0 && absolute == 0) {
    return invalid("args", "both minCandidateNodesPercentage and minCandidateNodesAbsolute cannot be zero");
  }
  return std::make_unique<DefaultPreemption>(handle, percentage, absolute);
}

}  // namespace brume::scheduler
