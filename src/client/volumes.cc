#include "brume/client/volumes.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "brume/base/json.h"

namespace brume::client {

namespace {

constexpr std::size_t kLongestFileName = 255;  // NAME_MAX of Linux

std::vector<std::string> strings(const Json& list) {
  std::vector<std::string> out;
  if (!list.is_array()) return out;
  for (const auto& item : list) out.emplace_back(str(item));
  return out;
}

api::Quantity quantity(const Json& value) {
  return api::quantity_or_zero(value.is_number() ? value.dump() : std::string(str(value)));
}

// Not find(), which would stop at each quotation mark.
bool holds(std::string_view text, std::string_view part) {
  return ::memmem(text.data(), text.size(), part.data(), part.size()) != nullptr;
}

bool contains(const std::vector<std::string>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

bool has_all(const std::vector<std::string>& have, const std::vector<std::string>& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& mode) { return contains(have, mode); });
}

// What a volume must be whether it is kept for the claim or not.
bool suits(const VolumeChoice& choice, const ClaimView& claim) {
  return choice.view->capacity >= claim.request && choice.view->block == claim.block &&
         choice.view->attributes_class == claim.attributes_class && !choice.volume->deleting();
}

// The smallest of the volumes that are free for any claim.
struct Best {
  api::ObjectPtr volume;
  const VolumeView* view = nullptr;
  std::size_t modes = 0;

  void offer(const VolumeChoice& choice, std::size_t rank) {
    if (view != nullptr && (modes < rank || (modes == rank && view->capacity <= choice.view->capacity))) return;
    volume = choice.volume;
    view = choice.view;
    modes = rank;
  }
};

}  // namespace

std::string local_path_name(std::string_view volume, std::string_view ns, std::string_view claim) {
  auto name = std::string(volume).append("_").append(ns).append("_").append(claim);
  if (name.size() > kLongestFileName) name.resize(kLongestFileName);  // the volume's own name makes it unique
  return name;
}

bool VolumeView::is_for(const api::Object& object) const {
  if (!claim || claim->name != object.name() || claim->ns != object.ns()) return false;
  return claim->uid.empty() || claim->uid == object.uid();
}

bool VolumeView::allows(const api::Object& node) const {
  if (!nodes) return true;
  return std::any_of(nodes->begin(), nodes->end(), [&](const auto& term) { return term.matches(node); });
}

bool ClaimView::has_mode(std::string_view mode) const { return contains(modes, mode); }

bool ClassView::allows(const api::Object& node) const {
  if (topologies.empty()) return true;
  return std::any_of(topologies.begin(), topologies.end(), [&](const TopologyTerm& term) {
    return std::all_of(term.labels.begin(), term.labels.end(), [&](const NodeRequirement& requirement) {
      return requirement.matches(find_label(node.labels(), requirement.key));
    });
  });
}

VolumeView decode_volume(const api::Object& volume) {
  const Json value = volume.parse();
  const Json& annotations = at(value, "metadata", "annotations");
  const Json& spec = at(value, "spec");
  VolumeView out;
  out.storage_class =
      annotations.contains(kBetaStorageClass) ? str(annotations, kBetaStorageClass) : str(spec, "storageClassName");
  out.attributes_class = str(spec, "volumeAttributesClassName");
  out.phase = str(at(value, "status"), "phase");
  out.reclaim_policy = str(spec, "persistentVolumeReclaimPolicy");
  out.provisioned_by = str(annotations, kProvisionedBy);
  out.csi_driver = str(at(spec, "csi"), "driver");
  out.modes = strings(at(spec, "accessModes"));
  out.capacity = quantity(at(spec, "capacity", "storage"));
  out.block = str(spec, "volumeMode") == "Block";
  out.bound_by_controller = annotations.contains(kBoundByController);
  if (const Json& claim = at(spec, "claimRef"); claim.is_object()) {
    out.claim =
        ClaimRef{std::string(str(claim, "namespace")), std::string(str(claim, "name")), std::string(str(claim, "uid"))};
  }
  if (const Json& required = at(spec, "nodeAffinity", "required"); required.is_object()) {
    out.nodes = decode_terms(at(required, "nodeSelectorTerms"));
  }
  return out;
}

ClaimView decode_claim(const api::Object& claim) {
  const Json value = claim.parse();
  const Json& annotations = at(value, "metadata", "annotations");
  const Json& spec = at(value, "spec");
  ClaimView out;
  if (annotations.contains(kBetaStorageClass)) {
    out.storage_class = str(annotations, kBetaStorageClass);
  } else if (const Json& name = at(spec, "storageClassName"); name.is_string()) {
    out.storage_class = str(name);
  }
  out.attributes_class = str(spec, "volumeAttributesClassName");
  out.phase = str(at(value, "status"), "phase");
  out.volume_name = str(spec, "volumeName");
  out.selected_node = str(annotations, kSelectedNode);
  out.provisioner = annotations.contains(kStorageProvisioner) ? str(annotations, kStorageProvisioner)
                                                              : str(annotations, kBetaStorageProvisioner);
  out.modes = strings(at(spec, "accessModes"));
  out.request = quantity(at(spec, "resources", "requests", "storage"));
  if (const Json& selector = at(spec, "selector"); selector.is_object()) {
    auto parsed = api::LabelSelector::from_json(selector);
    out.selector = parsed ? *std::move(parsed) : api::LabelSelector::nothing();
  }
  out.block = str(spec, "volumeMode") == "Block";
  out.bind_completed = annotations.contains(kBindCompleted);
  out.bound_by_controller = annotations.contains(kBoundByController);
  return out;
}

ClassView decode_class(const api::Object& storage_class) {
  const Json value = storage_class.parse();
  const Json& annotations = at(value, "metadata", "annotations");
  ClassView out;
  out.provisioner = str(value, "provisioner");
  out.reclaim_policy = str(value, "reclaimPolicy").empty() ? "Delete" : str(value, "reclaimPolicy");
  out.delayed = str(value, "volumeBindingMode") == "WaitForFirstConsumer";
  out.expandable = flag(value, "allowVolumeExpansion");
  out.is_default = str(annotations, "storageclass.kubernetes.io/is-default-class") == "true" ||
                   str(annotations, "storageclass.beta.kubernetes.io/is-default-class") == "true";
  out.mount_options = !at(value, "mountOptions").empty();
  const Json& terms = at(value, "allowedTopologies");
  if (!terms.is_array()) return out;
  for (const auto& term : terms) {
    ClassView::TopologyTerm made;
    const Json& labels = at(term, "matchLabelExpressions");
    if (labels.is_array()) {
      for (const auto& label : labels) {
        made.labels.push_back({.key = std::string(str(label, "key")),
                               .op = NodeRequirement::Op::kIn,
                               .values = strings(at(label, "values"))});
      }
    }
    out.topologies.push_back(std::move(made));
  }
  return out;
}

api::ObjectPtr default_class(const std::vector<api::ObjectPtr>& classes) {
  api::ObjectPtr chosen;
  for (const auto& object : classes) {
    if (!decode_class(*object).is_default) continue;
    if (!chosen || object->creation_timestamp() > chosen->creation_timestamp() ||
        (object->creation_timestamp() == chosen->creation_timestamp() && object->name() < chosen->name())) {
      chosen = object;
    }
  }
  return chosen;
}

api::ObjectPtr find_volume(const api::Object& claim, const ClaimView& view, const std::vector<VolumeChoice>& volumes,
                           const MatchOptions& options) {
  Best kept;
  Best free;
  for (const auto& choice : volumes) {
    const VolumeView& volume = *choice.view;
    if (options.taken && options.taken(choice.volume->name())) continue;
    if (volume.claim && !volume.is_for(claim)) continue;
    if (!suits(choice, view)) continue;
    // Without a node the volumes are gone through by their sets of modes, the smallest set first.
    if (options.node == nullptr && !has_all(volume.modes, view.modes)) continue;
    const std::size_t rank = options.node == nullptr ? volume.modes.size() : 0;
    const bool reachable = options.node == nullptr || volume.allows(*options.node);
    if (volume.is_for(claim)) {
      if (!reachable) return nullptr;
      if (options.node != nullptr) return choice.volume;
      if (kept.view == nullptr || rank < kept.modes) kept.offer(choice, rank);
      continue;
    }
    if (options.node == nullptr && options.delayed) continue;
    if (volume.phase != "Available" || !reachable || volume.storage_class != view.class_name()) continue;
    if (view.selector && !view.selector->matches(choice.volume->labels())) continue;
    if (options.node != nullptr && !has_all(volume.modes, view.modes)) continue;
    free.offer(choice, rank);
  }
  if (kept.view != nullptr && (free.view == nullptr || kept.modes <= free.modes)) return kept.volume;
  return free.volume;
}

std::string unfit(const api::Object& volume, const VolumeView& volume_view, const ClaimView& claim_view) {
  if (volume.deleting()) return "the volume is marked for deletion \"" + volume.name() + "\"";
  if (volume_view.capacity.value() < claim_view.request.value()) return "requested PV is too small";
  if (volume_view.storage_class != claim_view.class_name()) return "storageClassName does not match";
  if (volume_view.attributes_class != claim_view.attributes_class) return "volumeAttributesClassName does not match";
  if (volume_view.block != claim_view.block) return "incompatible volumeMode";
  if (!has_all(volume_view.modes, claim_view.modes)) return "incompatible accessMode";
  return "";
}

std::string claim_of(std::string_view pod_name, const Json& volume) {
  if (const Json& source = at(volume, "persistentVolumeClaim"); source.is_object()) {
    return std::string(str(source, "claimName"));
  }
  if (!at(volume, "ephemeral").is_object()) return "";
  return std::string(pod_name).append("-").append(str(volume, "name"));
}

std::string foreign_claim(const api::Object& pod, const api::Object& claim) {
  const auto* owner = claim.controller();
  if (pod.ns() == claim.ns() && owner != nullptr && owner->uid == pod.uid()) return "";
  return "PVC " + claim.key() + " was not created for pod " + pod.key() + " (pod is not owner)";
}

void index_by_claim(const api::Object& pod, std::vector<std::string>& values) {
  // Most pods have no claim, and a look at the bytes is cheaper than a DOM.
  if (!holds(pod.bytes(), "\"persistentVolumeClaim\"") && !holds(pod.bytes(), "\"ephemeral\"")) return;
  const Json value = pod.parse();
  const Json& volumes = at(value, "spec", "volumes");
  if (!volumes.is_array()) return;
  std::set<std::string> claims;
  for (const auto& volume : volumes) {
    if (auto claim = claim_of(pod.name(), volume); !claim.empty()) claims.insert(std::move(claim));
  }
  for (const auto& claim : claims) values.push_back(pod.ns() + "/" + claim);
}

}  // namespace brume::client
