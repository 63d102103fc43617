// InterPodAffinity: pods that want, or do not want, to be near certain other pods.
#include <algorithm>

#include "args.h"
#include "registry.h"

namespace brume::scheduler {

namespace {

constexpr std::int64_t kMaxHardWeight = 100;

/// Amounts by domain of one topology key.
struct ByDomain {
  const Topology* topology = nullptr;
  std::vector<std::int64_t> amounts = {};

  [[nodiscard]] std::int64_t at(const NodeInfo& node) const {
    const auto domain = topology->domain(node.index);
    return domain == Topology::kNone || static_cast<std::size_t>(domain) >= amounts.size()
               ? 0
               : amounts[static_cast<std::size_t>(domain)];
  }
  void add(const NodeInfo& node, std::int64_t amount) {
    const auto domain = topology->domain(node.index);
    if (domain == Topology::kNone) return;
    if (static_cast<std::size_t>(domain) >= amounts.size()) amounts.resize(static_cast<std::size_t>(domain) + 1, 0);
    amounts[static_cast<std::size_t>(domain)] += amount;
  }
  void add_all(const std::vector<std::int64_t>& other, std::int64_t factor) {
    if (amounts.size() < other.size()) amounts.resize(other.size(), 0);
    for (std::size_t i = 0; i < other.size(); ++i) amounts[i] += other[i] * factor;
  }
};

/// One for each key that occurs; a few.
using ByKey = std::vector<ByDomain>;

ByDomain& of_key(ByKey& keys, const Topology& topology) {
  for (auto& have : keys) {
    if (have.topology == &topology) return have;
  }
  return keys.emplace_back(ByDomain{.topology = &topology});
}

bool matches_all(const std::vector<AffinityTerm>& terms, const PodInfo& pod, const Tallies& tallies) {
  const auto& labels = tallies.namespace_labels(pod.ns());
  return !terms.empty() && std::all_of(terms.begin(), terms.end(),
                                       [&](const AffinityTerm& term) { return term.pods.matches(pod, labels); });
}

class InterPodAffinity final : public Plugin {
 public:
  InterPodAffinity(NodeCache& nodes, std::int64_t hard_weight, bool ignore_preferred)
      : tallies_(nodes.tallies()), hard_weight_(hard_weight), ignore_preferred_(ignore_preferred) {}

  std::string_view name() const override { return "InterPodAffinity"; }
  Points points() const override { return point::kPreFilter | point::kFilter | point::kPreScore | point::kScore; }

  std::vector<EventInterest> events() override {
    return {
        {.resource = EventResource::kPod,
         .actions = action::kAdd | action::kUpdatePodLabel | action::kDelete,
         .hint = [this](const PodInfo& waiting, const Change& change) { return pod_matters(waiting, change); }},
        {.resource = EventResource::kNode, .actions = action::kAdd | action::kUpdateNodeLabel, .hint = node_matters}};
  }

  PreFilterResult pre_filter(CycleState& state, const PodInfo& pod) override {
    const auto& spec = *pod.spec;
    Demands demands;
    if (tallies_.carried(TermKind::kAntiAffinity)) {
      tallies_.each_carried(TermKind::kAntiAffinity, pod, [&](CarriedTerm& carried) {
        const auto& topology = tallies_.topology(carried.term.topology_key);
        of_key(demands.repelled, topology).add_all(carried.tally.by_domain(topology), 1);
      });
    }
    if (demands.repelled.empty() && spec.affinity.empty() && spec.anti_affinity.empty()) {
      return {.verdict = Verdict::skipped()};
    }
    if (!spec.affinity.empty()) {
      std::vector<const PodSelector*> all;
      for (const auto& term : spec.affinity) all.push_back(&term.pods);
      const auto tally = tallies_.pods(all, true);
      for (const auto& term : spec.affinity) demands.affinity.push_back(counted(*tally, term));
      demands.first_of_its_kind = matches_all(spec.affinity, pod, tallies_);
    }
    for (const auto& term : spec.anti_affinity) {
      const PodSelector* const selector = &term.pods;
      demands.anti_affinity.push_back(counted(*tallies_.pods({&selector, 1}, true), term));
    }
    state.put(demands_, std::move(demands));
    return {};
  }

  bool follows_pods() const override { return true; }
  void add_pod(CycleState& state, const PodInfo& pod, const PodInfo& other, const NodeInfo& node) override {
    follow(*state.find(demands_), pod, other, node, 1);
  }
  void remove_pod(CycleState& state, const PodInfo& pod, const PodInfo& other, const NodeInfo& node) override {
    follow(*state.find(demands_), pod, other, node, -1);
  }

  Verdict filter(CycleState& state, const PodInfo&, const NodeInfo& node) override {
    static thread_local const ReasonId kAffinity = reason_id("node(s) didn't match pod affinity rules");
    static thread_local const ReasonId kAntiAffinity = reason_id("node(s) didn't match pod anti-affinity rules");
    static thread_local const ReasonId kExisting =
        reason_id("node(s) didn't satisfy existing pods anti-affinity rules");
    const auto& demands = *state.find(demands_);
    if (!near_enough(demands, node)) return Verdict::unresolvable(kAffinity);
    for (const auto& term : demands.anti_affinity) {
      if (term.at(node) > 0) return Verdict::unschedulable(kAntiAffinity);
    }
    for (const auto& key : demands.repelled) {
      if (key.at(node) > 0) return Verdict::unschedulable(kExisting);
    }
    return {};
  }

  Verdict pre_score(CycleState& state, const PodInfo& pod, std::span<const NodeInfo* const>) override {
    const auto& spec = *pod.spec;
    const bool has_preferences = !spec.preferred_affinity.empty() || !spec.preferred_anti_affinity.empty();
    if (ignore_preferred_ && !has_preferences) return Verdict::skipped();
    ByKey worth;
    const auto own = [&](const std::vector<AffinityTerm>& terms, std::int64_t sign) {
      for (const auto& term : terms) {
        const PodSelector* const selector = &term.pods;
        const auto tally = tallies_.pods({&selector, 1}, true);
        if (tally->total() == 0) continue;
        const auto& topology = tallies_.topology(term.topology_key);
        of_key(worth, topology).add_all(tally->by_domain(topology), sign * term.weight);
      }
    };
    const auto theirs = [&](TermKind kind, std::int64_t factor) {
      if (factor == 0 || !tallies_.carried(kind)) return;
      tallies_.each_carried(kind, pod, [&](CarriedTerm& carried) {
        const auto& topology = tallies_.topology(carried.term.topology_key);
        of_key(worth, topology).add_all(carried.tally.by_domain(topology), factor);
      });
    };
    own(spec.preferred_affinity, 1);
    own(spec.preferred_anti_affinity, -1);
    theirs(TermKind::kAffinity, hard_weight_);
    theirs(TermKind::kPreferred, 1);
    theirs(TermKind::kPreferredAnti, -1);
    if (worth.empty()) return Verdict::skipped();
    state.put(worth_, std::move(worth));
    return {};
  }

  void score(CycleState& state, const PodInfo&, std::span<const NodeInfo* const> nodes,
             std::span<std::int64_t> scores) override {
    for (const auto& key : *state.find(worth_)) {
      for (std::size_t i = 0; i < nodes.size(); ++i) scores[i] += key.at(*nodes[i]);
    }
  }

  void normalize(CycleState&, const PodInfo&, std::span<const NodeInfo* const>,
                 std::span<std::int64_t> scores) override {
    const auto [least, most] = std::minmax_element(scores.begin(), scores.end());
    const auto from = *least;
    const auto width = *most - from;
    for (auto& score : scores) {
      const auto share = width == 0 ? 0.0 : static_cast<double>(score - from) / static_cast<double>(width);
      score = static_cast<std::int64_t>(static_cast<double>(kMaxScore) * share);
    }
  }

 private:
  /// What a pod's required terms, and the placed pods' against it, come to.
  struct Demands {
    ByKey repelled = {};                       ///< placed pods whose anti-affinity means this pod
    std::vector<ByDomain> affinity = {};       ///< by term: pods that match all terms
    std::vector<ByDomain> anti_affinity = {};  ///< by term: pods that match it
    bool first_of_its_kind = false;            ///< the pod matches its own affinity terms
  };

  ByDomain counted(Tally& tally, const AffinityTerm& term) {
    const auto& topology = tallies_.topology(term.topology_key);
    return {.topology = &topology, .amounts = tally.by_domain(topology)};
  }

  // Each term has a pod in the node's domain; or no such pod is anywhere and this is the first of its kind, which else
  // nobody could ever place.
  static bool near_enough(const Demands& demands, const NodeInfo& node) {
    bool all = true;
    for (const auto& term : demands.affinity) {
      if (term.topology->domain(node.index) == Topology::kNone) return false;
      if (term.at(node) <= 0) all = false;
    }
    if (all) return true;
    const bool nowhere = std::all_of(demands.affinity.begin(), demands.affinity.end(), [](const ByDomain& term) {
      return std::all_of(term.amounts.begin(), term.amounts.end(), [](std::int64_t amount) { return amount <= 0; });
    });
    return nowhere && demands.first_of_its_kind;
  }

  void follow(Demands& demands, const PodInfo& pod, const PodInfo& other, const NodeInfo& node, std::int64_t sign) {
    const auto& spec = *pod.spec;
    const auto& labels = tallies_.namespace_labels(pod.ns());
    for (const auto& term : other.spec->anti_affinity) {
      if (!term.pods.matches(pod, labels)) continue;
      of_key(demands.repelled, tallies_.topology(term.topology_key)).add(node, sign);
    }
    if (matches_all(spec.affinity, other, tallies_)) {
      for (auto& term : demands.affinity) term.add(node, sign);
    }
    const auto& other_labels = tallies_.namespace_labels(other.ns());
    for (std::size_t i = 0; i < spec.anti_affinity.size(); ++i) {
      if (spec.anti_affinity[i].pods.matches(other, other_labels)) demands.anti_affinity[i].add(node, sign);
    }
  }

  [[nodiscard]] bool pod_matters(const PodInfo& waiting, const Change& change) const {
    const auto& before = change.pod_before;
    const auto& after = change.pod_after;
    if (before && after && after->uid() == waiting.uid()) return true;
    if (change.resource != EventResource::kAssignedPod) return false;
    const auto& affinity = waiting.spec->affinity;
    const auto& anti = waiting.spec->anti_affinity;
    if (before && after) {
      return (!matches_all(affinity, *before, tallies_) && matches_all(affinity, *after, tallies_)) ||
             (matches_all(anti, *before, tallies_) && !matches_all(anti, *after, tallies_));
    }
    if (after) return matches_all(affinity, *after, tallies_);
    return matches_all(anti, *before, tallies_) || matches_all(before->spec->anti_affinity, waiting, tallies_);
  }

  // A node came into or left a domain that a term of the pod is about.
  static bool node_matters(const PodInfo& waiting, const Change& change) {
    const auto label = [](const NodeInfo* node, const AffinityTerm& term) {
      return node != nullptr ? node->label(term.topology_key) : nullptr;
    };
    for (const auto& term : waiting.spec->affinity) {
      const auto* now = label(change.node_after, term);
      const auto* before = label(change.node_before, term);
      if (now != nullptr && (before == nullptr || *before != *now)) return true;
    }
    for (const auto& term : waiting.spec->anti_affinity) {
      if (change.node_before == nullptr) return true;
      const auto* now = label(change.node_after, term);
      const auto* before = label(change.node_before, term);
      if (before != nullptr && (now == nullptr || *before != *now)) return true;
    }
    return waiting.spec->affinity.empty() && waiting.spec->anti_affinity.empty();
  }

  Tallies& tallies_;
  std::int64_t hard_weight_;
  bool ignore_preferred_;
  StateSlot<Demands> demands_;
  StateSlot<ByKey> worth_;
};

}  // namespace

PluginResult make_inter_pod_affinity(const Json& args, Handle& handle) {
  BRUME_CHECK(
      only_fields(args, "args", {"apiVersion", "kind", "hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"}));
  BRUME_TRY(const auto weight, integer(args, "args", "hardPodAffinityWeight", 1, 0, kMaxHardWeight));
  return std::make_unique<InterPodAffinity>(handle.nodes, weight, flag(args, "ignorePreferredTermsOfExistingPods"));
}

}  // namespace brume::scheduler
