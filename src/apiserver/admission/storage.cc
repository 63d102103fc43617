// What admission does to volume claims: default class, protection, growth.
#include <algorithm>

#include "brume/api/quantity.h"
#include "plugins.h"

namespace brume::apiserver {
namespace {

constexpr std::string_view kOldClassAnnotation = "volume.beta.kubernetes.io/storage-class";

const api::Resource& classes() { return api::res("storageclasses.storage.k8s.io"); }

bool is_default(const Json& storage_class) {
  return annotation(storage_class, "storageclass.kubernetes.io/is-default-class") == "true" ||
         annotation(storage_class, "storageclass.beta.kubernetes.io/is-default-class") == "true";
}

class DefaultStorageClass : public AdmissionPlugin {
 public:
  explicit DefaultStorageClass(const ObjectSource& objects) : objects_(objects) {}

  Status mutate(AdmissionRequest& request) const override {
    if (!creates(request, "persistentvolumeclaims") || has_annotation(*request.object, kOldClassAnnotation)) return {};
    Json& spec = spec_of(*request.object);
    // "" is a choice too: no class.
    if (!at(spec, "storageClassName").is_null()) return {};
    const auto chosen = newest_default(objects_, classes(), is_default);
    if (chosen) spec["storageClassName"] = chosen->name();
    return {};
  }

 private:
  const ObjectSource& objects_;
};

class StorageObjectInUseProtection : public AdmissionPlugin {
 public:
  Status mutate(AdmissionRequest& request) const override {
    if (creates(request, "persistentvolumeclaims")) add(*request.object, "kubernetes.io/pvc-protection");
    if (creates(request, "persistentvolumes")) add(*request.object, "kubernetes.io/pv-protection");
    return {};
  }

 private:
  static void add(Json& object, std::string_view finalizer) {
    Json& list = array_in(object["metadata"], "finalizers");
    if (std::ranges::find(list, Json(finalizer)) == list.end()) list.push_back(finalizer);
  }
};

api::Quantity requested_storage(const Json& claim) {
  return api::quantity_or_zero(str(at(claim, "spec", "resources", "requests"), "storage"));
}

class PersistentVolumeClaimResize : public AdmissionPlugin {
 public:
  explicit PersistentVolumeClaimResize(const ObjectSource& objects) : objects_(objects) {}

  Status validate(const AdmissionRequest& request) const override {
    if (request.operation != Operation::kUpdate || !is_for(request, "persistentvolumeclaims")) return {};
    if (request.object == nullptr || request.old_object == nullptr) return {};
    if (requested_storage(*request.object) <= requested_storage(*request.old_object)) return {};
    if (str(at(*request.old_object, "status"), "phase") != "Bound") {
      return forbid(request, "Only bound persistent volume claims can be expanded");
    }
    const Json& old = *request.old_object;
    const std::string name(has_annotation(old, kOldClassAnnotation) ? annotation(old, kOldClassAnnotation)
                                                                    : str(at(old, "spec"), "storageClassName"));
    const auto storage_class = name.empty() ? nullptr : objects_.find(classes(), "", name);
    if (storage_class && flag(storage_class->parse(), "allowVolumeExpansion")) return {};
    return forbid(
        request,
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support "
        "resize");
  }

 private:
  const ObjectSource& objects_;
};

}  // namespace

PluginPtr default_storage_class(const ObjectSource& objects) { return std::make_unique<DefaultStorageClass>(objects); }
PluginPtr storage_object_in_use_protection() { return std::make_unique<StorageObjectInUseProtection>(); }
PluginPtr persistent_volume_claim_resize(const ObjectSource& objects) {
  return std::make_unique<PersistentVolumeClaimResize>(objects);
}

}  // namespace brume::apiserver
