// VolumeBinding: a pod's claims have their volumes, or can have them, where the pod goes.
#include "args.h"
#include "registry.h"
#include "volume_binder.h"
#include "volume_common.h"

namespace brume::scheduler {

namespace {

constexpr std::int64_t kBindTimeout = 600;  // seconds, kube-scheduler's default

class VolumeBinding final : public Plugin {
 public:
  VolumeBinding(Handle& handle, std::chrono::seconds timeout) : binder_(handle, timeout) {}

  std::string_view name() const override { return "VolumeBinding"; }
  Points points() const override { return point::kPreFilter | point::kFilter | point::kReserve | point::kPreBind; }

  std::vector<EventInterest> events() override {
    return {{.resource = EventResource::kStorageClass,
             .actions = action::kAdd | action::kUpdate,
             .hint =
                 [](const PodInfo&, const Change& change) {
                   if (!change.before) return true;
                   return at(change.before->parse(), "allowedTopologies") !=
                          at(change.after->parse(), "allowedTopologies");
                 }},
            own_claims(action::kAdd | action::kUpdate),
            {.resource = EventResource::kPersistentVolume, .actions = action::kAdd | action::kUpdate},
            {.resource = EventResource::kNode, .actions = action::kAdd | action::kUpdateNodeLabel},
            {.resource = EventResource::kCsiDriver, .actions = action::kUpdate},
            {.resource = EventResource::kCsiStorageCapacity, .actions = action::kAdd | action::kUpdate}};
  }

  PreFilterResult pre_filter(CycleState& state, const PodInfo& pod) override {
    if (!has_claims(pod)) return {Verdict::skipped(), {}};
    auto claims = binder_.look_up(pod);
    if (!claims) return {Verdict::unresolvable(passing_reason(claims.error().message)), {}};
    if (claims->immediate) {
      static thread_local const ReasonId kReason = reason_id("pod has unbound immediate PersistentVolumeClaims");
      return {Verdict::unresolvable(kReason), {}};
    }
    state.put(claims_, *std::move(claims));
    return {};
  }

  Verdict filter(CycleState& state, const PodInfo&, const NodeInfo& node) override {
    static thread_local const ReasonId kNodeConflict =
        reason_id("node(s) didn't match PersistentVolume's node affinity");
    static thread_local const ReasonId kNoVolume =
        reason_id("node(s) didn't find available persistent volumes to bind");
    static thread_local const ReasonId kNoSpace = reason_id("node(s) did not have enough free storage");
    static thread_local const ReasonId kGone =
        reason_id("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");
    PodClaims* claims = state.find(claims_);
    if (claims == nullptr) return {};
    const auto reasons = binder_.find(*claims, node);
    Verdict out;
    const auto add = [&](bool is, ReasonId reason) {
      if (is) out.add(Verdict::Code::kUnresolvable, reason);
    };
    add(reasons.node_conflict, kNodeConflict);
    add(reasons.no_volume, kNoVolume);
    add(reasons.no_space, kNoSpace);
    add(reasons.volume_gone, kGone);
    return out;
  }

  Verdict reserve(CycleState& state, const PodInfo&, const std::string& node) override {
    if (VolumePlan* plan = plan_for(state, node)) binder_.assume(*plan, node);
    return {};
  }

  void unreserve(CycleState& state, const PodInfo&, const std::string& node) override {
    if (const VolumePlan* plan = plan_for(state, node)) binder_.revert(*plan);
  }

  Verdict pre_bind_pre_flight(CycleState& state, const PodInfo&, const std::string& node) override {
    const VolumePlan* plan = plan_for(state, node);
    return plan == nullptr || plan->empty() ? Verdict::skipped() : Verdict{};
  }

  Task<Verdict> pre_bind(std::shared_ptr<CycleState> state, PodPtr pod, std::string node) override {
    auto bound = co_await binder_.bind(*plan_for(*state, node), pod, node);
    co_return bound ? Verdict{} : Verdict::error(bound.error().message);
  }

 private:
  VolumePlan* plan_for(CycleState& state, const std::string& node) {
    PodClaims* claims = state.find(claims_);
    if (claims == nullptr) return nullptr;
    const auto it = claims->plans.find(node);
    return it == claims->plans.end() ? nullptr : &it->second;
  }

  VolumeBinder binder_;
  StateSlot<PodClaims> claims_;
};

}  // namespace

PluginResult make_volume_binding(const Json& args, Handle& handle) {
  BRUME_CHECK(only_fields(args, "args", {"apiVersion", "kind", "bindTimeoutSeconds"}));
  BRUME_TRY(const auto timeout,
            integer(args, "args", "bindTimeoutSeconds", kBindTimeout, 0, INT64_MAX / 1'000'000'000));
  return std::make_unique<VolumeBinding>(handle, std::chrono::seconds(timeout));
}

}  // namespace brume::scheduler
