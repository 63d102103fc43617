// Whether a pod's requests fit, and how well.
#include <algorithm>
#include <array>
#include <cmath>

#include "plugins.h"

namespace brume::scheduler {

namespace {

using Kind = Verdict::Kind;

constexpr std::array<const char*, Resources::kBasicCount> kBasicNames = {"cpu", "memory", "ephemeral-storage"};

class FitFilter final : public FilterPlugin {
 public:
  std::string_view name() const override { return "NodeResourcesFit"; }

  Verdict filter(const CycleState&, const PodInfo& pod, const NodeInfo& node) const override {
    Verdict out;
    if (node.pods + 1 > node.allowed_pods) {
      static thread_local const ReasonId kTooMany = reason_id("Too many pods");
      out.add(kTooMany, Kind::kUnschedulable);
    }
    const auto& wanted = pod.footprint.requests;
    for (std::size_t i = 0; i < wanted.basic.size(); ++i) {
      check(wanted.basic[i], node.allocatable.basic[i], node.requested.basic[i], kBasicNames[i], out);
    }
    for (const auto& [id, amount] : wanted.extended) {
      const auto offered = node.allocatable.extended_of(id);
      const auto taken = node.requested.extended_of(id);
      if (amount > offered - taken) check(amount, offered, taken, resource_name(id), out);
    }
    return out;
  }

 private:
  // What the empty node could not hold will not fit when others go.
  static void check(std::int64_t wanted, std::int64_t offered, std::int64_t taken, std::string_view what,
                    Verdict& out) {
    if (wanted <= 0 || wanted <= offered - taken) return;
    out.add(reason_id("Insufficient " + std::string(what)),
            wanted > offered ? Kind::kUnresolvable : Kind::kUnschedulable);
  }
};

class FitScore final : public ScorePlugin {
 public:
  explicit FitScore(Strategy strategy) : strategy_(strategy) {}
  std::string_view name() const override { return "NodeResourcesFit"; }

  std::int64_t score(const CycleState&, const PodInfo& pod, const NodeInfo& node) const override {
    std::int64_t sum = 0;
    std::int64_t count = 0;
    for (const auto resource : {Resources::kCpu, Resources::kMemory}) {
      const auto offered = node.allocatable.basic[resource];
      if (offered == 0) continue;
      const auto taken = node.scoring.basic[resource] + pod.footprint.scoring.basic[resource];
      sum += share(taken, offered);
      ++count;
    }
    return count == 0 ? 0 : sum / count;
  }

 private:
  [[nodiscard]] std::int64_t share(std::int64_t taken, std::int64_t offered) const {
    if (strategy_ == Strategy::kMostAllocated) return std::min(taken, offered) * kMaxScore / offered;
    return taken > offered ? 0 : (offered - taken) * kMaxScore / offered;
  }
  Strategy strategy_;
};

/// Prefers nodes whose CPU and memory are used to the same degree.
class BalanceScore final : public ScorePlugin {
 public:
  std::string_view name() const override { return "NodeResourcesBalancedAllocation"; }
  bool scores(const PodInfo& pod) const override {
    return pod.footprint.requests.basic[Resources::kCpu] > 0 || pod.footprint.requests.basic[Resources::kMemory] > 0;
  }

  std::int64_t score(const CycleState&, const PodInfo& pod, const NodeInfo& node) const override {
    const double cpu = fraction(pod, node, Resources::kCpu);
    const double memory = fraction(pod, node, Resources::kMemory);
    // The standard deviation of two values is half their distance.
    return static_cast<std::int64_t>((1 - std::abs(cpu - memory) / 2) * static_cast<double>(kMaxScore));
  }

 private:
  static double fraction(const PodInfo& pod, const NodeInfo& node, Resources::Basic resource) {
    const auto offered = node.allocatable.basic[resource];
    if (offered == 0) return 1;
    const auto taken = node.requested.basic[resource] + pod.footprint.requests.basic[resource];
    return std::min(1.0, static_cast<double>(taken) / static_cast<double>(offered));
  }
};

}  // namespace

std::unique_ptr<FilterPlugin> make_fit_filter() { return std::make_unique<FitFilter>(); }
std::unique_ptr<ScorePlugin> make_fit_score(Strategy strategy) { return std::make_unique<FitScore>(strategy); }
std::unique_ptr<ScorePlugin> make_balance_score() { return std::make_unique<BalanceScore>(); }

}  // namespace brume::scheduler
