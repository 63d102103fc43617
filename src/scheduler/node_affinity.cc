// NodeAffinity: which nodes a pod wants, by their labels and names.
#include <algorithm>

#include "args.h"
#include "registry.h"

namespace brume::scheduler {

namespace {

bool any_matches(const std::vector<NodeSelectorTerm>& terms, const NodeInfo& node) {
  return std::any_of(terms.begin(), terms.end(),
                     [&](const NodeSelectorTerm& term) { return term.matches(*node.object); });
}

std::int64_t weigh(const std::vector<Preference>& preferences, const NodeInfo& node) {
  std::int64_t sum = 0;
  for (const auto& [weight, term] : preferences) {
    if (term.matches(*node.object)) sum += weight;  // an empty term prefers nothing
  }
  return sum;
}

// The node names that a term's metadata.name requirements leave, or nothing when it has none.
std::optional<std::set<std::string>> names_of(const NodeSelectorTerm& term) {
  std::optional<std::set<std::string>> out;
  for (const auto& field : term.fields) {
    if (field.key != "metadata.name" || field.op != NodeRequirement::Op::kIn) continue;
    const std::set<std::string> names(field.values.begin(), field.values.end());
    if (!out) {
      out = names;
    } else {
      std::erase_if(*out, [&](const std::string& name) { return !names.contains(name); });
    }
  }
  return out;
}

class NodeAffinity final : public Plugin {
 public:
  NodeAffinity(std::vector<NodeSelectorTerm> added, bool has_added, std::vector<Preference> added_preferences)
      : added_(std::move(added)), has_added_(has_added), added_preferences_(std::move(added_preferences)) {}

  std::string_view name() const override { return "NodeAffinity"; }
  Points points() const override { return point::kPreFilter | point::kFilter | point::kPreScore | point::kScore; }

  std::vector<EventInterest> events() override {
    return {{.resource = EventResource::kNode,
             .actions = action::kAdd | action::kUpdateNodeLabel,
             .hint = [this](const PodInfo& waiting, const Change& change) {
               if (has_added_ && !any_matches(added_, *change.node_after)) return false;
               if (!node_wanted(waiting, *change.node_after)) return false;
               return change.node_before == nullptr || has_added_ || !node_wanted(waiting, *change.node_before);
             }}};
  }

  PreFilterResult pre_filter(CycleState&, const PodInfo& pod) override {
    const auto& spec = *pod.spec;
    if (spec.nodes.empty() && !has_added_) return {Verdict::skipped(), {}};
    if (!spec.nodes.terms || spec.nodes.terms->empty()) return {};
    // Terms that all name their nodes need no search: DaemonSets' pods are such.
    std::set<std::string> names;
    for (const auto& term : *spec.nodes.terms) {
      auto wanted = names_of(term);
      if (!wanted) return {};
      names.merge(*wanted);
    }
    if (names.empty()) {
      static thread_local const ReasonId kReason = reason_id("pod affinity terms conflict");
      return {Verdict::unresolvable(kReason), {}};
    }
    return {.verdict = {}, .nodes = std::move(names)};
  }

  Verdict filter(CycleState&, const PodInfo& pod, const NodeInfo& node) override {
    static thread_local const ReasonId kEnforced = reason_id("node(s) didn't match scheduler-enforced node affinity");
    static thread_local const ReasonId kPod = reason_id("node(s) didn't match Pod's node affinity/selector");
    if (has_added_ && !any_matches(added_, node)) return Verdict::unresolvable(kEnforced);
    return node_wanted(pod, node) ? Verdict{} : Verdict::unresolvable(kPod);
  }

  Verdict pre_score(CycleState&, const PodInfo& pod, std::span<const NodeInfo* const>) override {
    return pod.spec->preferred.empty() && added_preferences_.empty() ? Verdict::skipped() : Verdict{};
  }

  void score(CycleState&, const PodInfo& pod, std::span<const NodeInfo* const> nodes,
             std::span<std::int64_t> scores) override {
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      scores[i] = weigh(added_preferences_, *nodes[i]) + weigh(pod.spec->preferred, *nodes[i]);
    }
  }

  void normalize(CycleState&, const PodInfo&, std::span<const NodeInfo* const>,
                 std::span<std::int64_t> scores) override {
    normalize_by_max(scores, false);
  }

 private:
  std::vector<NodeSelectorTerm> added_;
  bool has_added_;
  std::vector<Preference> added_preferences_;
};

}  // namespace

bool node_wanted(const PodInfo& pod, const NodeInfo& node) { return pod.spec->nodes.matches(*node.object); }

PluginResult make_node_affinity(const Json& args, Handle&) {
  BRUME_CHECK(only_fields(args, "args", {"apiVersion", "kind", "addedAffinity"}));
  const auto& added = at(args, "addedAffinity");
  const std::string path = "args.addedAffinity";
  constexpr std::string_view kRequired = "requiredDuringSchedulingIgnoredDuringExecution";
  constexpr std::string_view kPreferred = "preferredDuringSchedulingIgnoredDuringExecution";
  BRUME_CHECK(only_fields(added, path, {kRequired, kPreferred}));
  const auto& required = at(added, kRequired);
  BRUME_CHECK(only_fields(required, path + "." + std::string(kRequired), {"nodeSelectorTerms"}));
  auto terms = decode_terms(at(required, "nodeSelectorTerms"));
  std::vector<Preference> preferences;
  BRUME_TRY(const Json* const preferred, list(added, path, kPreferred));
  for (const auto& entry : *preferred) {
    const std::string here = path + "." + std::string(kPreferred) + "[" + std::to_string(preferences.size()) + "]";
    BRUME_CHECK(only_fields(entry, here, {"weight", "preference"}));
    BRUME_TRY(const auto weight, integer(entry, here, "weight", 0, 1, 100));
    preferences.push_back({.weight = weight, .term = decode_term(at(entry, "preference"))});
  }
  return std::make_unique<NodeAffinity>(std::move(terms), required.is_object(), std::move(preferences));
}

}  // namespace brume::scheduler
