// PodTopologySpread: pods of a kind are to be on many nodes and in many zones, evenly.
#include <algorithm>
#include <cmath>
#include <limits>

#include "args.h"
#include "registry.h"
#include "spread_defaults.h"

namespace brume::scheduler {

namespace {

constexpr std::string_view kHostName = "kubernetes.io/hostname";
constexpr std::string_view kZone = "topology.kubernetes.io/zone";
constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

/// How many matching pods each domain of one constraint has, counting the nodes that the constraint counts.
struct DomainCounts {
  const SpreadConstraint* constraint = nullptr;  ///< in the vector beside it
  const Topology* topology = nullptr;
  std::vector<std::int64_t> pods = {};  ///< by domain
  std::vector<bool> present = {};       ///< by domain: it has a node that counts
  std::int64_t domains = 0;
  bool self = false;                ///< the pod itself matches
  mutable std::int64_t least = -1;  ///< of the domains that are present; -1: to be found

  [[nodiscard]] std::int64_t least_pods() const {
    if (domains < constraint->min_domains) return 0;
    if (least >= 0) return least;
    least = kUnlimited;
    for (std::size_t i = 0; i < pods.size(); ++i) {
      if (present[i]) least = std::min(least, pods[i]);
    }
    return least;
  }
};

bool node_counts(const SpreadConstraint& constraint, const PodInfo& pod, const NodeInfo& node) {
  return !(constraint.honor_affinity && !node_wanted(pod, node)) &&
         !(constraint.honor_taints && node_repels(pod, node));
}

class PodTopologySpread final : public Plugin {
 public:
  PodTopologySpread(Handle& handle, std::vector<SpreadConstraint> defaults, bool system)
      : nodes_(handle.nodes),
        tallies_(handle.nodes.tallies()),
        defaults_(std::move(defaults)),
        system_defaults_(system) {
    if (!defaults_.empty()) own_selectors_ = std::make_unique<OwnSelectors>(handle.informers);
  }

  std::string_view name() const override { return "PodTopologySpread"; }
  Points points() const override { return point::kPreFilter | point::kFilter | point::kPreScore | point::kScore; }

  std::vector<EventInterest> events() override {
    return {{.resource = EventResource::kPod,
             .actions = action::kAdd | action::kUpdatePodLabel | action::kUpdatePodToleration | action::kDelete,
             .hint = [this](const PodInfo& waiting, const Change& change) { return pod_matters(waiting, change); }},
            {.resource = EventResource::kNode,
             .actions = action::kAdd | action::kDelete | action::kUpdateNodeLabel | action::kUpdateNodeTaint,
             .hint = [this](const PodInfo& waiting, const Change& change) { return node_matters(waiting, change); }}};
  }

  PreFilterResult pre_filter(CycleState& state, const PodInfo& pod) override {
    Required required;
    required.own = constraints(pod, true);
    if (required.own.empty()) return {.verdict = Verdict::skipped()};
    for (const auto& constraint : required.own) required.counts.push_back(count(pod, constraint, required.own, true));
    state.put(required_, std::move(required));
    return {};
  }

  bool follows_pods() const override { return true; }
  void add_pod(CycleState& state, const PodInfo& pod, const PodInfo& other, const NodeInfo& node) override {
    follow(*state.find(required_), pod, other, node, 1);
  }
  void remove_pod(CycleState& state, const PodInfo& pod, const PodInfo& other, const NodeInfo& node) override {
    follow(*state.find(required_), pod, other, node, -1);
  }

  Verdict filter(CycleState& state, const PodInfo&, const NodeInfo& node) override {
    static thread_local const ReasonId kMissing =
        reason_id("node(s) didn't match pod topology spread constraints (missing required label)");
    static thread_local const ReasonId kSkew = reason_id("node(s) didn't match pod topology spread constraints");
    for (const auto& counts : state.find(required_)->counts) {
      const auto domain = counts.topology->domain(node.index);
      if (domain == Topology::kNone) return Verdict::unresolvable(kMissing);
      const auto place = static_cast<std::size_t>(domain);
      const auto there = place < counts.pods.size() ? counts.pods[place] : 0;
      const auto skew = there + (counts.self ? 1 : 0) - counts.least_pods();
      if (skew > counts.constraint->max_skew) return Verdict::unschedulable(kSkew);
    }
    return {};
  }

  Verdict pre_score(CycleState& state, const PodInfo& pod, std::span<const NodeInfo* const> nodes) override {
    Preferred preferred;
    preferred.own = constraints(pod, false);
    if (preferred.own.empty()) return Verdict::skipped();
    // With the system's defaults a node without zones is as good as others.
    const bool need_all = !pod.spec->spread.empty() || !system_defaults_;
    std::vector<const Topology*> topologies;
    for (const auto& constraint : preferred.own) topologies.push_back(&tallies_.topology(constraint.topology_key));
    preferred.ignored.assign(nodes.size(), false);
    std::size_t kept = nodes.size();
    for (std::size_t i = 0; need_all && i < nodes.size(); ++i) {
      const bool lacks = std::any_of(topologies.begin(), topologies.end(), [&](const Topology* topology) {
        return topology->domain(nodes[i]->index) == Topology::kNone;
      });
      preferred.ignored[i] = lacks;
      if (lacks) --kept;
    }
    for (std::size_t c = 0; c < preferred.own.size(); ++c) {
      const auto& constraint = preferred.own[c];
      const bool host = constraint.topology_key == kHostName;
      preferred.weights.push_back(
          std::log(static_cast<double>((host ? kept : domains_of(*topologies[c], nodes, preferred.ignored)) + 2)));
      preferred.counts.push_back(host ? by_node(constraint, *topologies[c])
                                      : count(pod, constraint, preferred.own, need_all));
    }
    state.put(preferred_, std::move(preferred));
    return {};
  }

  void score(CycleState& state, const PodInfo&, std::span<const NodeInfo* const> nodes,
             std::span<std::int64_t> scores) override {
    const auto& preferred = *state.find(preferred_);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (preferred.ignored[i]) continue;
      double sum = 0;
      for (std::size_t c = 0; c < preferred.counts.size(); ++c) {
        const auto& counts = preferred.counts[c];
        const auto domain = counts.topology->domain(nodes[i]->index);
        if (domain == Topology::kNone) continue;
        const auto place = static_cast<std::size_t>(domain);
        const auto there = place < counts.pods.size() ? counts.pods[place] : 0;
        sum += static_cast<double>(there) * preferred.weights[c] + static_cast<double>(counts.constraint->max_skew - 1);
      }
      scores[i] = std::llround(sum);
    }
  }

  // Fewer pods are better.
  void normalize(CycleState& state, const PodInfo&, std::span<const NodeInfo* const>,
                 std::span<std::int64_t> scores) override {
    const auto& ignored = state.find(preferred_)->ignored;
    std::int64_t least = kUnlimited;
    std::int64_t most = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (ignored[i]) continue;
      least = std::min(least, scores[i]);
      most = std::max(most, scores[i]);
    }
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (ignored[i]) {
        scores[i] = 0;
      } else {
        scores[i] = most == 0 ? kMaxScore : kMaxScore * (most + least - scores[i]) / most;
      }
    }
  }

 private:
  struct Required {
    std::vector<SpreadConstraint> own = {};
    std::vector<DomainCounts> counts = {};
  };
  struct Preferred {
    std::vector<SpreadConstraint> own = {};
    std::vector<DomainCounts> counts = {};
    std::vector<double> weights = {};  ///< by constraint: many domains make each count for more
    std::vector<bool> ignored = {};    ///< by node: it lacks a key
  };

  /// The pod's constraints, or the defaults over the pods that it belongs with.
  std::vector<SpreadConstraint> constraints(const PodInfo& pod, bool must) {
    std::vector<SpreadConstraint> out;
    if (!pod.spec->spread.empty()) {
      std::copy_if(pod.spec->spread.begin(), pod.spec->spread.end(), std::back_inserter(out),
                   [&](const SpreadConstraint& constraint) { return constraint.must == must; });
      return out;
    }
    const PodSelector* own = nullptr;
    for (const auto& constraint : defaults_) {
      if (constraint.must != must) continue;
      if (own == nullptr) own = own_selectors_->of(pod);
      if (own == nullptr) return out;
      out.push_back(constraint);
      out.back().pods = *own;
    }
    return out;
  }

  /// Pods that match, null when the selector is such that none is counted (as kube-scheduler takes an empty one).
  std::shared_ptr<Tally> tally_of(const SpreadConstraint& constraint) {
    if (constraint.pods.labels.empty() || constraint.pods.labels.selects_nothing()) return nullptr;
    const PodSelector* const selector = &constraint.pods;
    return tallies_.pods({&selector, 1}, false);
  }

  /// By domain, over the nodes that have all keys (if `need_all`) and that the constraint counts.
  DomainCounts count(const PodInfo& pod, const SpreadConstraint& constraint, const std::vector<SpreadConstraint>& all,
                     bool need_all) {
    DomainCounts out{.constraint = &constraint, .topology = &tallies_.topology(constraint.topology_key)};
    out.self = constraint.pods.labels.matches(pod.object->labels());
    const auto tally = tally_of(constraint);
    const auto& topology = *out.topology;
    const bool choosy = (constraint.honor_affinity && !pod.spec->nodes.empty()) || constraint.honor_taints;
    std::vector<const Topology*> keys;
    for (const auto& other : all) keys.push_back(&tallies_.topology(other.topology_key));
    const bool complete = !need_all || std::all_of(keys.begin(), keys.end(), [&](const Topology* key) {
      return key->nodes() == nodes_.nodes().size();
    });
    out.pods.assign(topology.size(), 0);
    out.present.assign(topology.size(), false);
    if (!choosy && complete) {
      // What is kept by domain anyway.
      if (tally) out.pods = tally->by_domain(topology);
      for (std::size_t i = 0; i < out.present.size(); ++i) out.present[i] = topology.nodes_in(i) > 0;
    } else {
      for (const auto* node : nodes_.nodes()) {
        const auto has = [&](const Topology* key) { return key->domain(node->index) != Topology::kNone; };
        if (!has(&topology) || (need_all && !std::all_of(keys.begin(), keys.end(), has))) continue;
        if (choosy && !node_counts(constraint, pod, *node)) continue;
        const auto place = static_cast<std::size_t>(topology.domain(node->index));
        out.present[place] = true;
        if (tally) out.pods[place] += tally->on(node->index);
      }
    }
    out.domains = std::count(out.present.begin(), out.present.end(), true);
    return out;
  }

  /// Of host names each node is asked for its own pods, whatever it counts for.
  DomainCounts by_node(const SpreadConstraint& constraint, const Topology& topology) {
    DomainCounts out{.constraint = &constraint, .topology = &topology};
    if (const auto tally = tally_of(constraint)) out.pods = tally->by_domain(topology);
    return out;
  }

  static std::size_t domains_of(const Topology& topology, std::span<const NodeInfo* const> nodes,
                                const std::vector<bool>& ignored) {
    std::vector<bool> seen(topology.size() + 1, false);  // the last: nodes without the label
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (ignored[i]) continue;
      const auto domain = topology.domain(nodes[i]->index);
      seen[domain == Topology::kNone ? topology.size() : static_cast<std::size_t>(domain)] = true;
    }
    return static_cast<std::size_t>(std::count(seen.begin(), seen.end(), true));
  }

  static void follow(Required& required, const PodInfo& pod, const PodInfo& other, const NodeInfo& node,
                     std::int64_t sign) {
    if (other.ns() != pod.ns() || other.object->deleting()) return;
    const bool has_all = std::all_of(required.counts.begin(), required.counts.end(), [&](const DomainCounts& counts) {
      return counts.topology->domain(node.index) != Topology::kNone;
    });
    if (!has_all) return;
    for (auto& counts : required.counts) {
      const auto& selector = counts.constraint->pods.labels;
      if (selector.empty() || !selector.matches(other.object->labels())) continue;
      if (!node_counts(*counts.constraint, pod, node)) continue;
      counts.pods[static_cast<std::size_t>(counts.topology->domain(node.index))] += sign;
      counts.least = -1;
    }
  }

  bool pod_matters(const PodInfo& waiting, const Change& change) {
    const auto& before = change.pod_before;
    const auto& after = change.pod_after;
    const auto& other = after ? *after : *before;
    const bool own = other.uid() == waiting.uid();
    if (!own && (change.resource != EventResource::kAssignedPod || other.ns() != waiting.ns())) return false;
    const auto required = constraints(waiting, true);
    const auto matched = [&](const PodInfo& pod) {
      return std::any_of(required.begin(), required.end(), [&](const SpreadConstraint& constraint) {
        return constraint.pods.labels.matches(pod.object->labels());
      });
    };
    if (!before || !after) return matched(other);
    if (own && (change.actions & action::kUpdatePodToleration) != 0 &&
        std::any_of(required.begin(), required.end(), [](const auto& constraint) { return constraint.honor_taints; })) {
      return true;
    }
    return std::any_of(required.begin(), required.end(), [&](const SpreadConstraint& constraint) {
      const auto& labels = constraint.pods.labels;
      return labels.matches(before->object->labels()) != labels.matches(after->object->labels());
    });
  }

  bool node_matters(const PodInfo& waiting, const Change& change) {
    const auto required = constraints(waiting, true);
    const auto has_all = [&](const NodeInfo* node) {
      return node != nullptr && std::all_of(required.begin(), required.end(), [&](const SpreadConstraint& constraint) {
               return node->label(constraint.topology_key) != nullptr;
             });
    };
    const bool before = has_all(change.node_before);
    const bool after = has_all(change.node_after);
    if (change.node_before == nullptr || change.node_after == nullptr || before != after) return before || after;
    if (!after) return false;
    if ((change.actions & action::kUpdateNodeTaint) != 0) return true;
    return std::any_of(required.begin(), required.end(), [&](const SpreadConstraint& constraint) {
      return *change.node_before->label(constraint.topology_key) != *change.node_after->label(constraint.topology_key);
    });
  }

  NodeCache& nodes_;
  Tallies& tallies_;
  std::vector<SpreadConstraint> defaults_;
  bool system_defaults_;
  std::unique_ptr<OwnSelectors> own_selectors_;
  StateSlot<Required> required_;
  StateSlot<Preferred> preferred_;
};

// kube-scheduler's systemDefaultConstraints.
std::vector<SpreadConstraint> system_defaults() {
  return {{.max_skew = 3, .topology_key = std::string(kHostName), .must = false},
          {.max_skew = 5, .topology_key = std::string(kZone), .must = false}};
}

Result<SpreadConstraint> decode_default(const Json& entry, const std::string& here) {
  BRUME_CHECK(only_fields(
      entry, here,
      {"maxSkew", "topologyKey", "whenUnsatisfiable", "minDomains", "nodeAffinityPolicy", "nodeTaintsPolicy"}));
  SpreadConstraint out;
  BRUME_TRY(out.max_skew, integer(entry, here, "maxSkew", 0, 1, std::numeric_limits<std::int32_t>::max()));
  if (at(entry, "maxSkew").is_null()) return invalid(here + ".maxSkew", "must be greater than zero");
  BRUME_TRY(out.min_domains, integer(entry, here, "minDomains", 1, 1, std::numeric_limits<std::int32_t>::max()));
  out.topology_key = str(entry, "topologyKey");
  if (out.topology_key.empty()) return invalid(here + ".topologyKey", "can not be empty");
  const auto action = str(entry, "whenUnsatisfiable");
  if (action != "DoNotSchedule" && action != "ScheduleAnyway") {
    return invalid(here + ".whenUnsatisfiable", "must be DoNotSchedule or ScheduleAnyway");
  }
  out.must = action == "DoNotSchedule";
  out.honor_affinity = str(entry, "nodeAffinityPolicy") != "Ignore";
  out.honor_taints = str(entry, "nodeTaintsPolicy") == "Honor";
  return out;
}

}  // namespace

PluginResult make_pod_topology_spread(const Json& args, Handle& handle) {
  BRUME_CHECK(only_fields(args, "args", {"apiVersion", "kind", "defaultConstraints", "defaultingType"}));
  BRUME_TRY(const Json* const entries, list(args, "args", "defaultConstraints"));
  const auto type = str(args, "defaultingType");
  if (!type.empty() && type != "System" && type != "List") {
    return invalid("args.defaultingType", "must be System or List, not \"" + std::string(type) + "\"");
  }
  if (type == "List") {
    std::vector<SpreadConstraint> defaults;
    for (const auto& entry : *entries) {
      BRUME_TRY(auto made, decode_default(entry, "args.defaultConstraints[" + std::to_string(defaults.size()) + "]"));
      defaults.push_back(std::move(made));
    }
    return std::make_unique<PodTopologySpread>(handle, std::move(defaults), false);
  }
  if (!entries->empty()) return invalid("args.defaultConstraints", "when .defaultingType is System, must be empty");
  return std::make_unique<PodTopologySpread>(handle, system_defaults(), true);
}

}  // namespace brume::scheduler
