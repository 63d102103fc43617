// VolumeZone: volumes with labels of a zone or region, which old provisioners set instead of a node affinity.
#include <algorithm>
#include <array>

#include "brume/base/strings.h"
#include "registry.h"
#include "volume_common.h"

namespace brume::scheduler {

namespace {

constexpr std::string_view kOldZone = "failure-domain.beta.kubernetes.io/zone";
constexpr std::string_view kOldRegion = "failure-domain.beta.kubernetes.io/region";
constexpr std::string_view kZone = "topology.kubernetes.io/zone";
constexpr std::string_view kRegion = "topology.kubernetes.io/region";
constexpr std::array kLabels = {kOldZone, kOldRegion, kZone, kRegion};

/// A label that the node must have, with one of these values.
struct Place {
  std::string_view label;
  std::vector<std::string> values;
  friend bool operator==(const Place&, const Place&) = default;
};

// A volume in several zones names them joined by "__".
std::vector<Place> places_of(const api::Object& volume) {
  std::vector<Place> out;
  for (const auto label : kLabels) {
    const auto* value = client::find_label(volume.labels(), label);
    if (value == nullptr) continue;
    Place place{.label = label, .values = {}};
    bool bad = false;
    for (std::size_t from = 0; from <= value->size();) {
      const auto to = std::min(value->find("__", from), value->size());
      auto zone = std::string(trim(std::string_view(*value).substr(from, to - from)));
      bad |= zone.empty();
      place.values.push_back(std::move(zone));
      from = to + 2;
    }
    if (!bad) out.push_back(std::move(place));
  }
  return out;
}

const std::string* value_on(const NodeInfo& node, std::string_view label) {
  if (const auto* value = node.label(label)) return value;
  if (label == kOldZone) return node.label(kZone);
  return label == kOldRegion ? node.label(kRegion) : nullptr;
}

class VolumeZone final : public Plugin {
 public:
  explicit VolumeZone(Handle& handle)
      : claims_(handle.informers.informer("persistentvolumeclaims")),
        volumes_(handle.informers.informer("persistentvolumes")),
        classes_(handle.informers.informer("storageclasses.storage.k8s.io")) {}

  std::string_view name() const override { return "VolumeZone"; }
  Points points() const override { return point::kPreFilter | point::kFilter; }

  std::vector<EventInterest> events() override {
    return {{.resource = EventResource::kStorageClass,
             .actions = action::kAdd,
             .hint = [](const PodInfo&, const Change& change) { return client::decode_class(*change.after).delayed; }},
            {.resource = EventResource::kNode, .actions = action::kAdd | action::kUpdateNodeLabel},
            own_claims(action::kAdd | action::kUpdate),
            {.resource = EventResource::kPersistentVolume,
             .actions = action::kAdd | action::kUpdate,
             .hint = [](const PodInfo&, const Change& change) {
               return !change.before || places_of(*change.before) != places_of(*change.after);
             }}};
  }

  PreFilterResult pre_filter(CycleState& state, const PodInfo& pod) override {
    std::vector<Place> places;
    for (const auto& volume : pod.spec->volumes) {
      if (volume.claim.empty() || volume.ephemeral) continue;
      if (auto problem = add(pod.ns(), volume.claim, places); !problem.empty()) {
        return {Verdict::unresolvable(passing_reason(problem)), {}};
      }
    }
    if (places.empty()) return {Verdict::skipped(), {}};
    state.put(places_, std::move(places));
    return {};
  }

  Verdict filter(CycleState& state, const PodInfo&, const NodeInfo& node) override {
    static thread_local const ReasonId kConflict = reason_id("node(s) had no available volume zone");
    const auto* places = state.find(places_);
    if (places == nullptr) return {};
    // A node that is in no zone at all is in a cluster without zones.
    const bool zoned = std::any_of(kLabels.begin(), kLabels.end(), [&](auto label) { return node.label(label); });
    if (!zoned) return {};
    for (const auto& place : *places) {
      const auto* value = value_on(node, place.label);
      if (value == nullptr || std::find(place.values.begin(), place.values.end(), *value) == place.values.end()) {
        return Verdict::unresolvable(kConflict);
      }
    }
    return {};
  }

 private:
  // What is wrong, or "".
  std::string add(const std::string& ns, const std::string& name, std::vector<Place>& places) const {
    const auto claim = claims_.get(ns, name);
    if (!claim) return not_found("persistentvolumeclaim", name);
    const auto view = client::decode_claim(*claim);
    if (view.volume_name.empty()) {
      if (view.class_name().empty()) return "PersistentVolumeClaim had no pv name and storageClass name";
      const auto storage_class = classes_.get(view.class_name());
      if (!storage_class) return not_found("storageclass.storage.k8s.io", view.class_name());
      return client::decode_class(*storage_class).delayed ? "" : "PersistentVolume had no name";
    }
    const auto volume = volumes_.get(view.volume_name);
    if (!volume) return not_found("persistentvolume", view.volume_name);
    for (auto& place : places_of(*volume)) places.push_back(std::move(place));
    return "";
  }

  client::Informer& claims_;
  client::Informer& volumes_;
  client::Informer& classes_;
  StateSlot<std::vector<Place>> places_;
};

}  // namespace

PluginResult make_volume_zone(const Json&, Handle& handle) { return std::make_unique<VolumeZone>(handle); }

}  // namespace brume::scheduler
