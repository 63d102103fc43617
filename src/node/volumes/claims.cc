#include "volumes/claims.h"

#include <algorithm>

#include "brume/api/local_path.h"
#include "brume/client/volumes.h"

namespace brume::node {

namespace {

bool uses(const Json& pod, const char* field, std::string_view volume) {
  for (const char* list : {"initContainers", "containers", "ephemeralContainers"}) {
    for (const Json& container : at(pod, "spec", list)) {
      for (const Json& use : at(container, field)) {
        if (str(use, "name") == volume) return true;
      }
    }
  }
  return false;
}

}  // namespace

std::string ClaimVolume::name() const { return std::string(str(at(volume, "metadata"), "name")); }

bool ClaimVolume::block() const { return str(at(volume, "spec"), "volumeMode") == "Block"; }

bool ClaimVolume::alone() const {
  const Json& modes = at(volume, "spec", "accessModes");
  return std::any_of(modes.begin(), modes.end(), [](const Json& mode) { return str(mode) == "ReadWriteOncePod"; });
}

Status check_claim(const api::Object& claim) {
  const auto& kept = claim.finalizers();
  if (claim.deleting() && std::find(kept.begin(), kept.end(), client::kClaimProtection) == kept.end()) {
    return fail(Code::kServiceUnavailable, "PVC is being deleted");
  }
  const auto view = client::decode_claim(claim);
  if (view.phase != "Bound") return fail(Code::kServiceUnavailable, "PVC is not bound");
  if (view.volume_name.empty()) return fail(Code::kServiceUnavailable, "PVC has empty pvc.Spec.VolumeName");
  return {};
}

Status check_volume(const api::Object& volume, const api::Object& claim, const api::Object* node) {
  const auto view = client::decode_volume(volume);
  if (!view.claim) {
    return fail(Code::kServiceUnavailable,
                "found PV object " + volume.name() +
                    " but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim");
  }
  if (view.claim->uid != claim.uid()) {
    return fail(Code::kServiceUnavailable, "found PV object " + volume.name() + " but its pv.Spec.ClaimRef.UID " +
                                               view.claim->uid + " does not point to claim.UID " + claim.uid());
  }
  if (view.nodes && (node == nullptr || !view.allows(*node))) {
    return fail(Code::kForbidden, "no matching NodeSelectorTerms");
  }
  return {};
}

Status check_volume_mode(const Json& pod, std::string_view volume, bool block) {
  const char* wrong = block ? "volumeMounts" : "volumeDevices";
  if (!uses(pod, wrong, volume)) return {};
  return fail(Code::kInvalid, "volume " + std::string(volume) + " has volumeMode " + (block ? "Block" : "Filesystem") +
                                  ", but is specified in " + wrong);
}

Result<std::string> local_path_of(const Json& volume, const NodeOptions& options) {
  const Json& metadata = at(volume, "metadata");
  if (str(at(metadata, "annotations"), client::kProvisionedBy) != api::kLocalPath ||
      str(at(metadata, "labels"), api::kLocalPathNode) != options.node_name) {
    return std::string();
  }
  // Named after the claim that it was made for, which need not be the one that has it now. Names of volumes have no
  // '_', so that none can mean another's directory.
  const std::string_view path = str(at(volume, "spec", "local"), "path");
  const std::string entry = "/" + std::string(str(metadata, "name")) + "_";
  const auto lies_in = [&](const std::string& storage) {
    return !storage.empty() && path.starts_with(storage + entry) &&
           path.find('/', storage.size() + entry.size()) == std::string_view::npos;
  };
  if (lies_in(options.storage_dir()) || lies_in(options.storage_path)) return options.storage_dir();
  return fail(Code::kInvalid, "the volume's directory does not begin with " + options.storage_dir() + entry);
}

}  // namespace brume::node
