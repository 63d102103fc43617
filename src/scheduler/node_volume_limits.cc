// NodeVolumeLimits: how many volumes of a CSI driver a node can have, as its CSINode says.
#include <map>

#include "brume/base/json.h"
#include "registry.h"
#include "volume_common.h"

namespace brume::scheduler {

namespace {

constexpr std::string_view kByNode = "node";  // attachments

using Volumes = std::map<std::string, std::string>;  // a volume's unique name to its driver

std::map<std::string, std::int64_t> limits_of(const api::Object& csi_node) {
  std::map<std::string, std::int64_t> out;
  const Json value = csi_node.parse();
  const Json& drivers = at(value, "spec", "drivers");
  if (!drivers.is_array()) return out;
  for (const auto& driver : drivers) {
    const Json& count = at(driver, "allocatable", "count");
    if (count.is_number()) out[std::string(str(driver, "name"))] = count.get<std::int64_t>();
  }
  return out;
}

class NodeVolumeLimits final : public Plugin {
 public:
  explicit NodeVolumeLimits(Handle& handle)
      : claims_(handle.informers.informer("persistentvolumeclaims")),
        volumes_(handle.informers.informer("persistentvolumes")),
        classes_(handle.informers.informer("storageclasses.storage.k8s.io")),
        csi_nodes_(handle.informers.informer("csinodes.storage.k8s.io")),
        attachments_(handle.informers.informer("volumeattachments.storage.k8s.io")) {
    attachments_.add_index(kByNode, [](const api::Object& attachment, std::vector<std::string>& values) {
      values.push_back(api::field_value(attachment, "spec.nodeName"));
    });
  }

  std::string_view name() const override { return "NodeVolumeLimits"; }
  Points points() const override { return point::kPreFilter | point::kFilter; }

  std::vector<EventInterest> events() override {
    return {{.resource = EventResource::kCsiNode, .actions = action::kAdd},
            {.resource = EventResource::kCsiNode,
             .actions = action::kUpdate,
             .hint =
                 [](const PodInfo&, const Change& change) {
                   const auto before = limits_of(*change.before);
                   for (const auto& [driver, limit] : limits_of(*change.after)) {
                     const auto it = before.find(driver);
                     if (limit > (it == before.end() ? 0 : it->second)) return true;
                   }
                   return false;
                 }},
            {.resource = EventResource::kPod,
             .actions = action::kDelete,
             .hint = [](const PodInfo&, const Change& change) { return has_claims(*change.pod_before); }},
            own_claims(action::kAdd),
            {.resource = EventResource::kVolumeAttachment,
             .actions = action::kDelete,
             .hint = [](const PodInfo& waiting, const Change&) { return has_claims(waiting); }}};
  }

  PreFilterResult pre_filter(CycleState&, const PodInfo& pod) override {
    return {has_claims(pod) ? Verdict{} : Verdict::skipped(), {}};
  }

  Verdict filter(CycleState&, const PodInfo& pod, const NodeInfo& node) override {
    static thread_local const ReasonId kTooMany = reason_id("node(s) exceed max volume count");
    Volumes wanted;
    if (auto problem = collect(pod, true, wanted); !problem.empty()) {
      return Verdict::unresolvable(passing_reason(problem));
    }
    if (wanted.empty()) return {};
    const auto csi_node = csi_nodes_.get(node.name);
    const auto limits = csi_node ? limits_of(*csi_node) : std::map<std::string, std::int64_t>{};
    if (limits.empty()) return {};
    Volumes attached;
    for (const auto& other : node.pods) (void)collect(*other, false, attached);
    add_attachments(node.name, attached);
    std::map<std::string, std::int64_t> counts;
    for (const auto& [volume, driver] : attached) {
      ++counts[driver];
      wanted.erase(volume);
    }
    std::map<std::string, std::int64_t> more;
    for (const auto& [volume, driver] : wanted) ++more[driver];
    for (const auto& [driver, count] : more) {
      const auto limit = limits.find(driver);
      if (limit != limits.end() && counts[driver] + count > limit->second) return Verdict::unschedulable(kTooMany);
    }
    return {};
  }

 private:
  // The pod's CSI volumes. What is wrong with a pod that waits, or "".
  std::string collect(const PodInfo& pod, bool waits, Volumes& out) const {
    for (const auto& volume : pod.spec->volumes) {
      if (volume.claim.empty()) continue;
      const auto claim = claims_.get(pod.ns(), volume.claim);
      if (!claim) {
        if (!waits) continue;
        return "looking up PVC " + pod.ns() + "/" + volume.claim + ": " +
               not_found("persistentvolumeclaim", volume.claim);
      }
      if (volume.ephemeral) {
        if (auto why = client::foreign_claim(*pod.object, *claim); !why.empty()) return why;
      }
      const auto view = client::decode_claim(*claim);
      const auto bound = view.volume_name.empty() ? nullptr : volumes_.get(view.volume_name);
      if (bound) {
        const auto driver = api::field_value(*bound, "spec.csi.driver");
        const auto handle = api::field_value(*bound, "spec.csi.volumeHandle");
        if (!driver.empty() && !handle.empty()) out[driver + "/" + handle] = driver;
        continue;
      }
      // Not made yet: it will be one more of its class's driver.
      const auto storage_class = view.class_name().empty() ? nullptr : classes_.get(view.class_name());
      if (!storage_class) continue;
      const auto driver = client::decode_class(*storage_class).provisioner;
      out[driver + "/to-be-made-" + claim->key()] = driver;
    }
    return "";
  }

  void add_attachments(const std::string& node, Volumes& out) const {
    for (const auto& attachment : attachments_.index(kByNode, node)) {
      const auto driver = api::field_value(*attachment, "spec.attacher");
      const auto name = api::field_value(*attachment, "spec.source.persistentVolumeName");
      const auto volume = name.empty() ? nullptr : volumes_.get(name);
      if (!volume || driver.empty()) continue;
      const auto handle = api::field_value(*volume, "spec.csi.volumeHandle");
      if (!handle.empty()) out[driver + "/" + handle] = driver;
    }
  }

  client::Informer& claims_;
  client::Informer& volumes_;
  client::Informer& classes_;
  client::Informer& csi_nodes_;
  client::Informer& attachments_;
};

}  // namespace

PluginResult make_node_volume_limits(const Json&, Handle& handle) { return std::make_unique<NodeVolumeLimits>(handle); }

}  // namespace brume::scheduler
