#include <algorithm>
#include <array>

#include "api/printing/printer.h"

namespace brume::api::printing {

namespace {

constexpr TableColumn kAttributes = col("VolumeAttributesClass", "The class of its changeable attributes.");
constexpr TableColumn kMode = wide_col("VolumeMode", "Filesystem or Block.");
constexpr std::array kVolumeColumns = {kNameColumn,
                                       col("Capacity", "How much it holds."),
                                       col("Access Modes", "How it can be mounted."),
                                       col("Reclaim Policy", "What happens to it after its claim."),
                                       col("Status", "Whether it is free."),
                                       col("Claim", "Who has it."),
                                       col("StorageClass", "Its class."),
                                       kAttributes,
                                       col("Reason", "Why it is in that state."),
                                       kAgeColumn,
                                       kMode};
constexpr std::array kClaimColumns = {kNameColumn,
                                      col("Status", "Whether it has a volume."),
                                      col("Volume", "Which volume it has."),
                                      col("Capacity", "How much it holds."),
                                      col("Access Modes", "How it can be mounted."),
                                      col("StorageClass", "Its class."),
                                      kAttributes,
                                      kAgeColumn,
                                      kMode};
constexpr std::array kClassColumns = {kNameColumn,
                                      col("Provisioner", "Who makes its volumes."),
                                      col("ReclaimPolicy", "What happens to a volume after its claim."),
                                      col("VolumeBindingMode", "When a claim gets its volume."),
                                      col("AllowVolumeExpansion", "Whether claims can grow."),
                                      kAgeColumn};
constexpr std::array kAttributesClassColumns = {kNameColumn, col("DriverName", "The CSI driver."), kAgeColumn};
constexpr std::array kAttachmentColumns = {kNameColumn,
                                           TableColumn{"Attacher", "string", "name", "Who attaches the volume."},
                                           col("PV", "The volume."),
                                           col("Node", "Where to."),
                                           bool_col("Attached", "Whether it is done."),
                                           kAgeColumn};
constexpr std::array kCsiNodeColumns = {kNameColumn, number_col("Drivers", "CSI drivers on the node."), kAgeColumn};
constexpr std::array kCsiDriverColumns = {kNameColumn,
                                          bool_col("AttachRequired", "Whether volumes must be attached."),
                                          bool_col("PodInfoOnMount", "Whether it is told about the pod."),
                                          bool_col("StorageCapacity", "Whether it reports capacity."),
                                          col("TokenRequests", "Audiences of the tokens it gets."),
                                          bool_col("RequiresRepublish", "Whether mounts are renewed."),
                                          col("Modes", "Volume life cycles it can do."),
                                          kAgeColumn};
constexpr std::array kCapacityColumns = {kNameColumn, col("StorageClassName", "Its class."),
                                         col("Capacity", "Room left.")};

std::string access_modes(const Json& list) {
  constexpr std::array<std::array<std::string_view, 2>, 4> kShort = {
      {{"ReadWriteOnce", "RWO"}, {"ReadOnlyMany", "ROX"}, {"ReadWriteMany", "RWX"}, {"ReadWriteOncePod", "RWOP"}}};
  const auto& modes = list_of(list);
  std::string out;
  for (const auto& [mode, text] : kShort) {
    if (std::none_of(modes.begin(), modes.end(), [&](const Json& item) { return str(item) == mode; })) continue;
    out.append(out.empty() ? "" : ",").append(text);
  }
  return out;
}

// The annotation of the time before the field wins, as in Kubernetes.
std::string class_of(const Json& object) {
  return or_else(str(at(object, "metadata", "annotations"), "volume.beta.kubernetes.io/storage-class"),
                 str(at(object, "spec"), "storageClassName"));
}

std::string phase_of(const Json& object) {
  return str(at(object, "metadata"), "deletionTimestamp").empty() ? std::string(str(at(object, "status"), "phase"))
                                                                  : "Terminating";
}

void volume_row(Json& cells, const Json& object, WallTime now) {
  const Json& spec = at(object, "spec");
  const Json& claim = at(spec, "claimRef");
  std::string claim_text;
  if (claim.is_object()) claim_text.append(str(claim, "namespace")).append("/").append(str(claim, "name"));
  add_cells(cells, name_of(object), or_else(number_text(at(spec, "capacity", "storage")), "0"),
            access_modes(at(spec, "accessModes")), str(spec, "persistentVolumeReclaimPolicy"), phase_of(object),
            claim_text, class_of(object), or_else(str(spec, "volumeAttributesClassName"), "<unset>"),
            str(at(object, "status"), "reason"), age_of(object, now), or_else(str(spec, "volumeMode"), "<unset>"));
}

void claim_row(Json& cells, const Json& object, WallTime now) {
  const Json& spec = at(object, "spec");
  const Json& status = at(object, "status");
  const auto volume = str(spec, "volumeName");
  add_cells(cells, name_of(object), phase_of(object), volume,
            volume.empty() ? std::string() : or_else(number_text(at(status, "capacity", "storage")), "0"),
            volume.empty() ? std::string() : access_modes(at(status, "accessModes")), class_of(object),
            or_else(str(spec, "volumeAttributesClassName"), "<unset>"), age_of(object, now),
            or_else(str(spec, "volumeMode"), "<unset>"));
}

void class_row(Json& cells, const Json& object, WallTime now) {
  std::string name(name_of(object));
  const Json& annotations = at(object, "metadata", "annotations");
  if (str(annotations, "storageclass.kubernetes.io/is-default-class") == "true" ||
      str(annotations, "storageclass.beta.kubernetes.io/is-default-class") == "true") {
    name += " (default)";
  }
  add_cells(cells, name, str(object, "provisioner"), or_else(str(object, "reclaimPolicy"), "Delete"),
            or_else(str(object, "volumeBindingMode"), "Immediate"), flag(object, "allowVolumeExpansion"),
            age_of(object, now));
}

void attributes_class_row(Json& cells, const Json& object, WallTime now) {
  add_cells(cells, name_of(object), str(object, "driverName"), age_of(object, now));
}

void attachment_row(Json& cells, const Json& object, WallTime now) {
  const Json& spec = at(object, "spec");
  add_cells(cells, name_of(object), str(spec, "attacher"), str(at(spec, "source"), "persistentVolumeName"),
            str(spec, "nodeName"), flag(at(object, "status"), "attached"), age_of(object, now));
}

void csi_node_row(Json& cells, const Json& object, WallTime now) {
  add_cells(cells, name_of(object), list_of(at(object, "spec", "drivers")).size(), age_of(object, now));
}

void csi_driver_row(Json& cells, const Json& object, WallTime now) {
  const Json& spec = at(object, "spec");
  std::string audiences = at(spec, "tokenRequests").is_array() ? "" : "<unset>";
  for (const Json& request : list_of(at(spec, "tokenRequests"))) {
    audiences.append(audiences.empty() ? "" : ",").append(str(request, "audience"));
  }
  add_cells(cells, name_of(object), flag(spec, "attachRequired", true), flag(spec, "podInfoOnMount"),
            flag(spec, "storageCapacity"), audiences, flag(spec, "requiresRepublish"),
            or_else(joined(at(spec, "volumeLifecycleModes")), "<none>"), age_of(object, now));
}

void capacity_row(Json& cells, const Json& object, WallTime /*now*/) {
  add_cells(cells, name_of(object), str(object, "storageClassName"),
            or_else(number_text(at(object, "capacity")), "<unset>"));
}

constexpr std::array kPrinters = {
    Printer{"", "persistentvolumes", kVolumeColumns, volume_row},
    Printer{"", "persistentvolumeclaims", kClaimColumns, claim_row},
    Printer{"storage.k8s.io", "storageclasses", kClassColumns, class_row},
    Printer{"storage.k8s.io", "volumeattributesclasses", kAttributesClassColumns, attributes_class_row},
    Printer{"storage.k8s.io", "volumeattachments", kAttachmentColumns, attachment_row},
    Printer{"storage.k8s.io", "csinodes", kCsiNodeColumns, csi_node_row},
    Printer{"storage.k8s.io", "csidrivers", kCsiDriverColumns, csi_driver_row},
    Printer{"storage.k8s.io", "csistoragecapacities", kCapacityColumns, capacity_row},
};

}  // namespace

std::span<const Printer> storage_printers() { return kPrinters; }

}  // namespace brume::api::printing
