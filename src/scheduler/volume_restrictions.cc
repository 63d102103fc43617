// VolumeRestrictions: claims that one pod alone may use (ReadWriteOncePod), and old disks that one node may write.
#include <algorithm>
#include <set>

#include "registry.h"
#include "volume_common.h"

namespace brume::scheduler {

namespace {

struct Alone {
  std::string ns;
  std::set<std::string> claims;  // of the pod, with ReadWriteOncePod
  std::int64_t users = 0;        // of them, among placed pods

  [[nodiscard]] std::int64_t used_by(const PodInfo& other) const {
    if (other.ns() != ns) return 0;
    const auto& volumes = other.spec->volumes;
    return std::count_if(volumes.begin(), volumes.end(),
                         [&](const PodVolume& volume) { return !volume.ephemeral && claims.contains(volume.claim); });
  }
};

bool exclusive(const PodInfo& pod) {
  const auto& volumes = pod.spec->volumes;
  return std::any_of(volumes.begin(), volumes.end(), [](const PodVolume& volume) { return !volume.exclusive.empty(); });
}

bool disks_clash(const PodInfo& a, const PodInfo& b) {
  for (const auto& mine : a.spec->volumes) {
    if (mine.exclusive.empty()) continue;
    for (const auto& theirs : b.spec->volumes) {
      if (mine.exclusive == theirs.exclusive && !(mine.read_only && theirs.read_only)) return true;
    }
  }
  return false;
}

class VolumeRestrictions final : public Plugin {
 public:
  explicit VolumeRestrictions(Handle& handle)
      : nodes_(handle.nodes), claims_(handle.informers.informer("persistentvolumeclaims")) {}

  std::string_view name() const override { return "VolumeRestrictions"; }
  Points points() const override { return point::kPreFilter | point::kFilter; }

  std::vector<EventInterest> events() override {
    return {{.resource = EventResource::kPod,
             .actions = action::kDelete,
             .hint =
                 [](const PodInfo& waiting, const Change& change) {
                   const auto& gone = *change.pod_before;
                   if (disks_clash(waiting, gone)) return true;
                   if (gone.ns() != waiting.ns()) return false;
                   for (const auto& mine : waiting.spec->volumes) {
                     for (const auto& theirs : gone.spec->volumes) {
                       if (!mine.claim.empty() && mine.claim == theirs.claim) return true;
                     }
                   }
                   return false;
                 }},
            {.resource = EventResource::kNode, .actions = action::kAdd},
            own_claims(action::kAdd)};
  }

  PreFilterResult pre_filter(CycleState& state, const PodInfo& pod) override {
    Alone alone{.ns = pod.ns(), .claims = {}};
    for (const auto& volume : pod.spec->volumes) {
      if (volume.claim.empty() || volume.ephemeral) continue;
      const auto claim = claims_.get(pod.ns(), volume.claim);
      if (!claim) return {Verdict::unresolvable(passing_reason(not_found("persistentvolumeclaim", volume.claim))), {}};
      if (client::decode_claim(*claim).has_mode("ReadWriteOncePod")) alone.claims.insert(volume.claim);
    }
    if (!alone.claims.empty()) {
      nodes_.each([&](const NodeInfo& node) {
        for (const auto& other : node.pods) alone.users += alone.used_by(*other);
      });
    }
    if (!exclusive(pod) && alone.users == 0) return {Verdict::skipped(), {}};
    state.put(alone_, std::move(alone));
    return {};
  }

  bool follows_pods() const override { return true; }
  void add_pod(CycleState& state, const PodInfo&, const PodInfo& other, const NodeInfo&) override {
    if (Alone* alone = state.find(alone_)) alone->users += alone->used_by(other);
  }
  void remove_pod(CycleState& state, const PodInfo&, const PodInfo& other, const NodeInfo&) override {
    if (Alone* alone = state.find(alone_)) alone->users -= alone->used_by(other);
  }

  Verdict filter(CycleState& state, const PodInfo& pod, const NodeInfo& node) override {
    static thread_local const ReasonId kDisk = reason_id("node(s) had no available disk");
    static thread_local const ReasonId kAlone = reason_id(
        "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another "
        "pod");
    if (exclusive(pod)) {
      for (const auto& other : node.pods) {
        if (disks_clash(pod, *other)) return Verdict::unschedulable(kDisk);
      }
    }
    const Alone* alone = state.find(alone_);
    return alone != nullptr && alone->users > 0 ? Verdict::unschedulable(kAlone) : Verdict{};
  }

 private:
  NodeCache& nodes_;
  client::Informer& claims_;
  StateSlot<Alone> alone_;
};

}  // namespace

PluginResult make_volume_restrictions(const Json&, Handle& handle) {
  return std::make_unique<VolumeRestrictions>(handle);
}

}  // namespace brume::scheduler
