// DisruptionBudgets: which pods' going a PodDisruptionBudget would not allow.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "brume/api/selector.h"
#include "brume/client/informer.h"
#include "types.h"

namespace brume::scheduler {

/// Owner: the scheduler's loop.
class DisruptionBudgets {
 public:
  explicit DisruptionBudgets(client::InformerFactory& informers);

  /// The pods whose going, one after another in this order, would exceed a budget; and the others.
  std::pair<std::vector<PodPtr>, std::vector<PodPtr>> split(const std::vector<PodPtr>& pods);

 private:
  struct Budget {
    std::string ns;
    api::LabelSelector selector;
    std::int64_t allowed = 0;
    std::set<std::string> disrupted = {};  ///< pods whose going is counted already
  };
  const std::vector<Budget>& budgets();

  client::Informer& informer_;
  std::vector<Budget> budgets_;
  bool stale_ = true;
};

}  // namespace brume::scheduler
