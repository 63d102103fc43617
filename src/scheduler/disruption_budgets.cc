#include "disruption_budgets.h"

#include "brume/base/json.h"

namespace brume::scheduler {

DisruptionBudgets::DisruptionBudgets(client::InformerFactory& informers)
    : informer_(informers.informer("poddisruptionbudgets.policy")) {
  const auto changed = [this](const ObjectPtr&) { stale_ = true; };
  informer_.add_handler(
      {.added = changed, .updated = [this](const ObjectPtr&, const ObjectPtr&) { stale_ = true; }, .deleted = changed});
}

const std::vector<DisruptionBudgets::Budget>& DisruptionBudgets::budgets() {
  if (!stale_) return budgets_;
  stale_ = false;
  budgets_.clear();
  informer_.each([&](const ObjectPtr& object) {
    const Json value = object->parse();
    auto selector = api::LabelSelector::from_json(at(value, "spec", "selector"));
    // One that selects everything protects nothing here, as kube-scheduler has it.
    if (!selector || selector->empty() || selector->selects_nothing()) return;
    Budget made{.ns = object->ns(),
                .selector = std::move(*selector),
                .allowed = num(at(value, "status"), "disruptionsAllowed")};
    const Json& disrupted = at(value, "status", "disruptedPods");
    if (disrupted.is_object()) {
      for (const auto& [pod, when] : disrupted.items()) made.disrupted.insert(pod);
    }
    budgets_.push_back(std::move(made));
  });
  return budgets_;
}

std::pair<std::vector<PodPtr>, std::vector<PodPtr>> DisruptionBudgets::split(const std::vector<PodPtr>& pods) {
  std::pair<std::vector<PodPtr>, std::vector<PodPtr>> out;
  const auto& all = budgets();
  if (all.empty()) {
    out.second = pods;
    return out;
  }
  std::vector<std::int64_t> left;
  left.reserve(all.size());
  for (const auto& budget : all) left.push_back(budget.allowed);
  for (const auto& pod : pods) {
    bool violated = false;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto& budget = all[i];
      if (pod->object->labels().empty() || budget.ns != pod->ns() || !budget.selector.matches(pod->object->labels()) ||
          budget.disrupted.contains(pod->name())) {
        continue;
      }
      if (--left[i] < 0) violated = true;
    }
    (violated ? out.first : out.second).push_back(pod);
  }
  return out;
}

}  // namespace brume::scheduler
