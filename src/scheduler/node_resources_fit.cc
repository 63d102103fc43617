// NodeResourcesFit: whether a pod's requests fit, and how full its node would be.
#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "node_resources.h"
#include "registry.h"

namespace brume::scheduler {

Result<std::vector<WeighedResource>> decode_weighed(const Json& args, const std::string& path) {
  std::vector<WeighedResource> out;
  BRUME_TRY(const Json* const resources, list(args, path, "resources"));
  std::size_t i = 0;
  for (const auto& entry : *resources) {
    const std::string here = path + ".resources[" + std::to_string(i++) + "]";
    BRUME_CHECK(only_fields(entry, here, {"name", "weight"}));
    BRUME_TRY(const auto given, integer(entry, here, "weight", 1, 0, 100));
    const auto weight = std::max<std::int64_t>(1, given);
    const auto name = str(entry, "name");
    if (name.empty()) return invalid(here + ".name", "must be given");
    WeighedResource made{.basic = -1, .weight = weight};
    if (name == "cpu") {
      made.basic = Resources::kCpu;
    } else if (name == "memory") {
      made.basic = Resources::kMemory;
    } else if (name == "ephemeral-storage") {
      made.basic = Resources::kStorage;
    } else {
      made.extended = lasting_resource_id(name);
    }
    out.push_back(made);
  }
  if (out.empty()) out = {{.basic = Resources::kCpu}, {.basic = Resources::kMemory}};
  return out;
}

namespace {

using Code = Verdict::Code;

/// What an unused share of kMaxScore is worth at most in a shape (KubeSchedulerConfiguration's scores go to ten).
constexpr std::int64_t kMaxShapeScore = 10;

enum class Strategy : std::uint8_t { kLeastAllocated, kMostAllocated, kRequestedToCapacityRatio };

struct ShapePoint {
  std::int64_t utilization;  ///< percent
  std::int64_t score;        ///< 0 to kMaxScore
};

struct FitArgs {
  std::set<std::string, std::less<>> ignored;
  std::set<std::string, std::less<>> ignored_groups;
  Strategy strategy = Strategy::kLeastAllocated;
  std::vector<WeighedResource> resources;
  std::vector<ShapePoint> shape;
};

class NodeResourcesFit final : public Plugin {
 public:
  explicit NodeResourcesFit(FitArgs args) : args_(std::move(args)) {}
  std::string_view name() const override { return "NodeResourcesFit"; }
  Points points() const override { return point::kPreFilter | point::kFilter | point::kPreScore | point::kScore; }

  std::vector<EventInterest> events() override {
    return {{.resource = EventResource::kPod,
             .actions = action::kDelete | action::kUpdatePodScaleDown,
             .hint = [](const PodInfo& waiting, const Change& change) { return freed(waiting, change); }},
            {.resource = EventResource::kNode,
             .actions = action::kAdd | action::kUpdateNodeAllocatable,
             .hint = [this](const PodInfo& waiting, const Change& change) { return grew(waiting, change); }}};
  }

  Verdict filter(CycleState&, const PodInfo& pod, const NodeInfo& node) override { return fits(pod, node); }

  void score(CycleState&, const PodInfo& pod, std::span<const NodeInfo* const> nodes,
             std::span<std::int64_t> scores) override {
    const auto& wanted = *pod.footprint;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      std::int64_t sum = 0;
      std::int64_t weights = 0;
      for (const auto& resource : args_.resources) {
        const auto offered = resource.of(nodes[i]->allocatable);
        const auto asked = resource.of(wanted.scoring);
        if (offered == 0 || (resource.basic < 0 && asked == 0)) continue;
        const auto worth = share(resource.of(nodes[i]->scoring) + asked, offered);
        // A shape's worthless resources do not count; the other strategies' do.
        if (args_.strategy == Strategy::kRequestedToCapacityRatio && worth <= 0) continue;
        sum += worth * resource.weight;
        weights += resource.weight;
      }
      scores[i] = weights == 0 ? 0 : divide(sum, weights);
    }
  }

 private:
  [[nodiscard]] std::int64_t divide(std::int64_t sum, std::int64_t weights) const {
    if (args_.strategy != Strategy::kRequestedToCapacityRatio) return sum / weights;
    return std::llround(static_cast<double>(sum) / static_cast<double>(weights));
  }

  [[nodiscard]] std::int64_t share(std::int64_t taken, std::int64_t offered) const {
    switch (args_.strategy) {
      case Strategy::kLeastAllocated: return taken > offered ? 0 : (offered - taken) * kMaxScore / offered;
      case Strategy::kMostAllocated: return std::min(taken, offered) * kMaxScore / offered;
      case Strategy::kRequestedToCapacityRatio: return by_shape(taken > offered ? 100 : taken * 100 / offered);
    }
    return 0;
  }

  // Straight lines between the points, level beyond the first and last.
  [[nodiscard]] std::int64_t by_shape(std::int64_t utilization) const {
    const auto& shape = args_.shape;
    for (std::size_t i = 0; i < shape.size(); ++i) {
      if (utilization > shape[i].utilization) continue;
      if (i == 0) return shape[0].score;
      const auto& from = shape[i - 1];
      return from.score + (shape[i].score - from.score) * (utilization - from.utilization) /
                              (shape[i].utilization - from.utilization);
    }
    return shape.back().score;
  }

  [[nodiscard]] bool ignored(std::string_view resource) const {
    if (args_.ignored.empty() && args_.ignored_groups.empty()) return false;
    // Extended resources alone: huge pages and what is Kubernetes' own cannot be ignored.
    if (resource.find('/') == std::string_view::npos || resource.find("kubernetes.io/") != std::string_view::npos) {
      return false;
    }
    return args_.ignored.contains(resource) || args_.ignored_groups.contains(resource.substr(0, resource.find('/')));
  }

  [[nodiscard]] Verdict fits(const PodInfo& pod, const NodeInfo& node) const {
    Verdict out;
    if (static_cast<std::int64_t>(node.pods.size()) + 1 > node.allowed_pods) {
      static thread_local const ReasonId kTooMany = reason_id("Too many pods");
      out.add(Code::kUnschedulable, kTooMany);
    }
    const auto& wanted = pod.footprint->requests;
    static thread_local const std::array<ReasonId, Resources::kBasicCount> kInsufficient = {
        reason_id("Insufficient cpu"), reason_id("Insufficient memory"), reason_id("Insufficient ephemeral-storage")};
    for (std::size_t i = 0; i < wanted.basic.size(); ++i) {
      const auto offered = node.allocatable.basic[i];
      if (lacks(wanted.basic[i], offered, node.requested.basic[i])) {
        out.add(gravity(wanted.basic[i], offered), kInsufficient[i]);
      }
    }
    for (const auto& [id, amount] : wanted.extended) {
      const auto offered = node.allocatable.extended_of(id);
      if (!lacks(amount, offered, node.requested.extended_of(id)) || ignored(resource_name(id))) continue;
      // Users name these: the text is kept for this pod alone. Beyond the last reason only the gravity counts.
      const bool told = out.count < Verdict::kMaxReasons;
      out.add(gravity(amount, offered),
              told ? passing_reason("Insufficient " + resource_name(id)) : out.reasons.front());
    }
    return out;
  }

  static bool lacks(std::int64_t wanted, std::int64_t offered, std::int64_t taken) {
    return wanted > 0 && wanted > offered - taken;
  }

  // What the empty node could not hold will not fit when others go.
  static Code gravity(std::int64_t wanted, std::int64_t offered) {
    return wanted > offered ? Code::kUnresolvable : Code::kUnschedulable;
  }

  /// A pod went, or asks for less of something that `waiting` asks for.
  static bool freed(const PodInfo& waiting, const Change& change) {
    if (!change.pod_after) return change.resource == EventResource::kAssignedPod;
    if (change.pod_after->uid() == waiting.uid()) return true;
    if (change.resource != EventResource::kAssignedPod) return false;
    const auto& before = change.pod_before->footprint->requests;
    const auto& after = change.pod_after->footprint->requests;
    const auto& wanted = waiting.footprint->requests;
    for (std::size_t i = 0; i < wanted.basic.size(); ++i) {
      if (wanted.basic[i] > 0 && before.basic[i] > after.basic[i]) return true;
    }
    return std::any_of(wanted.extended.begin(), wanted.extended.end(), [&](const auto& entry) {
      return before.extended_of(entry.first) > after.extended_of(entry.first);
    });
  }

  /// The node could hold `waiting` if it were empty, and could not as well before.
  [[nodiscard]] bool grew(const PodInfo& waiting, const Change& change) const {
    if (!fits(waiting, *change.node_after).ok()) return false;
    if (change.node_before == nullptr) return true;
    const auto& before = *change.node_before;
    const auto& after = *change.node_after;
    if (after.allowed_pods > before.allowed_pods) return true;
    const auto& wanted = waiting.footprint->requests;
    for (std::size_t i = 0; i < wanted.basic.size(); ++i) {
      if (wanted.basic[i] > 0 && after.allocatable.basic[i] > before.allocatable.basic[i]) return true;
    }
    return std::any_of(wanted.extended.begin(), wanted.extended.end(), [&](const auto& entry) {
      return after.allocatable.extended_of(entry.first) > before.allocatable.extended_of(entry.first);
    });
  }

  FitArgs args_;
};

Status decode_shape(const Json& strategy, const std::string& path, std::vector<ShapePoint>& out) {
  const std::string here = path + ".requestedToCapacityRatio";
  const auto& ratio = at(strategy, "requestedToCapacityRatio");
  BRUME_CHECK(only_fields(ratio, here, {"shape"}));
  BRUME_TRY(const Json* const points, list(ratio, here, "shape"));
  for (const auto& point : *points) {
    const std::string at_point = here + ".shape[" + std::to_string(out.size()) + "]";
    BRUME_CHECK(only_fields(point, at_point, {"utilization", "score"}));
    BRUME_TRY(const auto utilization, integer(point, at_point, "utilization", 0, 0, 100));
    BRUME_TRY(const auto score, integer(point, at_point, "score", 0, 0, kMaxShapeScore));
    if (!out.empty() && utilization <= out.back().utilization) {
      return invalid(at_point + ".utilization", "utilization values must be sorted in increasing order");
    }
    out.push_back({utilization, score * (kMaxScore / kMaxShapeScore)});
  }
  if (out.empty()) return invalid(here + ".shape", "at least one point must be specified");
  return {};
}

Status decode_names(const Json& args, std::string_view field, std::set<std::string, std::less<>>& out) {
  BRUME_TRY(const Json* const names, list(args, "args", field));
  for (const auto& name : *names) {
    if (!name.is_string()) return invalid("args." + std::string(field), "must be a list of strings");
    out.emplace(str(name));
  }
  return {};
}

Result<FitArgs> decode_fit_args(const Json& args) {
  FitArgs out;
  BRUME_CHECK(only_fields(args, "args",
                          {"apiVersion", "kind", "ignoredResources", "ignoredResourceGroups", "scoringStrategy"}));
  BRUME_CHECK(decode_names(args, "ignoredResources", out.ignored));
  BRUME_CHECK(decode_names(args, "ignoredResourceGroups", out.ignored_groups));
  for (const auto& group : out.ignored_groups) {
    if (group.find('/') != std::string::npos) {
      return invalid("args.ignoredResourceGroups", "resource group name can't contain '/': \"" + group + "\"");
    }
  }
  const auto& strategy = at(args, "scoringStrategy");
  const std::string path = "args.scoringStrategy";
  BRUME_CHECK(only_fields(strategy, path, {"type", "resources", "requestedToCapacityRatio"}));
  const auto type = str(strategy, "type");
  if (type == "MostAllocated") {
    out.strategy = Strategy::kMostAllocated;
  } else if (type == "RequestedToCapacityRatio") {
    out.strategy = Strategy::kRequestedToCapacityRatio;
    BRUME_CHECK(decode_shape(strategy, path, out.shape));
  } else if (!type.empty() && type != "LeastAllocated") {
    return invalid(path + ".type", "must be LeastAllocated, MostAllocated or RequestedToCapacityRatio, not \"" +
                                       std::string(type) + "\"");
  }
  BRUME_TRY(out.resources, decode_weighed(strategy, path));
  return out;
}

}  // namespace

PluginResult make_node_resources_fit(const Json& args, Handle&) {
  BRUME_TRY(auto decoded, decode_fit_args(args));
  return std::make_unique<NodeResourcesFit>(std::move(decoded));
}

}  // namespace brume::scheduler
