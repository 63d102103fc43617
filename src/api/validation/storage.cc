// Persistent volumes, claims and storage classes.
#include <algorithm>

#include "api/validation/kinds.h"
#include "api/validation/pod.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

const Path kSpec("spec");

void check_access_modes(Errors& errors, const Path& path, const Json& list) {
  const auto& modes = items(list);
  if (modes.empty()) errors.required(path, "at least 1 access mode is required");
  bool alone = false;
  for (const Json& mode : modes) {
    check_enum(errors, path, str(mode), {"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"});
    alone |= str(mode) == "ReadWriteOncePod";
  }
  if (alone && modes.size() > 1) {
    errors.forbidden(path, "may not use ReadWriteOncePod with other access modes");
  }
}

void check_positive(Errors& errors, const Path& path, const Json& amount) {
  if (quantity_of(amount).sign() <= 0) {
    errors.invalid(path, quantity_of(amount).to_string(), "must be greater than zero");
  }
}

constexpr std::string_view kSources[] = {"hostPath",
                                         "gcePersistentDisk",
                                         "awsElasticBlockStore",
                                         "glusterfs",
                                         "flocker",
                                         "nfs",
                                         "rbd",
                                         "quobyte",
                                         "cephfs",
                                         "iscsi",
                                         "cinder",
                                         "fc",
                                         "flexVolume",
                                         "azureFile",
                                         "vsphereVolume",
                                         "photonPersistentDisk",
                                         "portworxVolume",
                                         "azureDisk",
                                         "scaleIO",
                                         "local",
                                         "storageos",
                                         "csi"};

void check_volume_source(Errors& errors, const Json& spec) {
  bool found = false;
  for (const auto key : kSources) {
    const Json& source = at(spec, key);
    if (!source.is_object()) continue;
    if (found) {
      errors.forbidden(kSpec / key, "may not specify more than 1 volume type");
      continue;
    }
    found = true;
    const Path here = kSpec / key;
    if (key == "hostPath" || key == "local") {
      if (str(source, "path").empty()) errors.required(here / "path");
      check_no_backsteps(errors, here / "path", str(source, "path"));
    } else if (key == "nfs") {
      if (str(source, "server").empty()) errors.required(here / "server");
      if (str(source, "path").empty()) errors.required(here / "path");
    } else if (key == "csi") {
      check_csi_driver_name(errors, here / "driver", str(source, "driver"));
      if (str(source, "volumeHandle").empty()) errors.required(here / "volumeHandle");
    }
    if (key == "local" && !at(spec, "nodeAffinity").is_object()) {
      errors.required(Path("metadata") / "annotations", "Local volume requires node affinity");
    }
    if (key == "hostPath" && str(source, "path") == "/" && str(spec, "persistentVolumeReclaimPolicy") == "Recycle") {
      errors.forbidden(kSpec / "persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'");
    }
  }
  if (!found) errors.required(kSpec, "must specify a volume type");
}

Json without(Json value, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (value.is_object()) value.erase(key);
  }
  return value;
}

}  // namespace

void create_volume(Errors& errors, const Json& object) {
  const Json& spec = at(object, "spec");
  check_access_modes(errors, kSpec / "accessModes", at(spec, "accessModes"));
  const Json& capacity = at(spec, "capacity");
  if (blank(capacity)) errors.required(kSpec / "capacity");
  if (!has(capacity, "storage") || capacity.size() > 1) {
    errors.not_supported(kSpec / "capacity", blank(capacity) ? "" : capacity.dump(), {"storage"});
  }
  if (capacity.is_object()) {
    for (const auto& [name, amount] : capacity.items()) check_positive(errors, (kSpec / "capacity").key(name), amount);
  }
  if (const auto policy = str(spec, "persistentVolumeReclaimPolicy"); !policy.empty()) {
    check_enum(errors, kSpec / "persistentVolumeReclaimPolicy", policy, {"Delete", "Recycle", "Retain"});
  }
  if (const Json& required = at(spec, "nodeAffinity", "required"); required.is_object()) {
    check_node_selector(errors, kSpec / "nodeAffinity" / "required", required);
  } else if (at(spec, "nodeAffinity").is_object()) {
    errors.required(kSpec / "nodeAffinity" / "required", "must specify required node constraints");
  }
  check_volume_source(errors, spec);
  if (const auto name = str(spec, "storageClassName"); !name.empty()) {
    check_format(errors, kSpec / "storageClassName", name, dns1123_subdomain);
  }
  if (const auto mode = str(spec, "volumeMode"); !mode.empty()) {
    check_enum(errors, kSpec / "volumeMode", mode, {"Block", "Filesystem"});
  }
}

void update_volume(Errors& errors, const Json& object, const Json& old) {
  create_volume(errors, object);
  for (const auto key : kSources) {
    if (same(at(at(object, "spec"), key), at(at(old, "spec"), key))) continue;
    errors.forbidden(kSpec / "persistentvolumesource", "spec.persistentvolumesource is immutable after creation");
    break;
  }
  check_immutable(errors, kSpec / "volumeMode", at(object, "spec", "volumeMode"), at(old, "spec", "volumeMode"));
  if (has(at(old, "spec"), "nodeAffinity")) {
    check_immutable(errors, kSpec / "nodeAffinity", at(object, "spec", "nodeAffinity"),
                    at(old, "spec", "nodeAffinity"));
  }
}

void check_claim_spec(Errors& errors, const Path& path, const Json& spec, bool /*in_template*/) {
  check_access_modes(errors, path / "accessModes", at(spec, "accessModes"));
  check_label_selector(errors, path / "selector", at(spec, "selector"));
  const Json& request = at(spec, "resources", "requests", "storage");
  const Path here = (path / "resources").key("storage");
  if (request.is_null()) {
    errors.required(here);
  } else if (quantity_of(request).sign() <= 0) {
    errors.invalid(here, quantity_of(request).to_string(), "must be greater than zero");
  }
  if (const auto name = str(spec, "storageClassName"); !name.empty()) {
    check_format(errors, path / "storageClassName", name, dns1123_subdomain);
  }
  if (const auto mode = str(spec, "volumeMode"); !mode.empty()) {
    check_enum(errors, path / "volumeMode", mode, {"Block", "Filesystem"});
  }
  for (const char* key : {"dataSource", "dataSourceRef"}) {
    const Json& source = at(spec, key);
    if (!source.is_object()) continue;
    if (str(source, "name").empty()) errors.required(path / key / "name");
    if (str(source, "kind").empty()) errors.required(path / key / "kind");
    if (str(source, "apiGroup").empty() && str(source, "kind") != "PersistentVolumeClaim") {
      errors.invalid(path / key, str(source, "kind"),
                     "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
  }
}

void create_claim(Errors& errors, const Json& object) { check_claim_spec(errors, kSpec, at(object, "spec"), false); }

void update_claim(Errors& errors, const Json& object, const Json& old) {
  create_claim(errors, object);
  const Json& spec = at(object, "spec");
  const Json& before = at(old, "spec");
  Json now = without(spec, {"volumeAttributesClassName"});
  Json then = without(before, {"volumeAttributesClassName"});
  // The volume's name is set once, by whoever binds it.
  if (str(before, "volumeName").empty()) {
    now = without(std::move(now), {"volumeName"});
    then = without(std::move(then), {"volumeName"});
  }
  // A class can be given to a claim that was made before there was a default one.
  if (!has(before, "storageClassName")) now = without(std::move(now), {"storageClassName"});
  const bool bound = str(at(old, "status"), "phase") == "Bound";
  const Quantity asked = quantity_of(at(spec, "resources", "requests", "storage"));
  const Quantity had = quantity_of(at(before, "resources", "requests", "storage"));
  if (bound) {
    for (Json* side : {&now, &then}) {
      if (at(*side, "resources", "requests").is_object()) (*side)["resources"]["requests"].erase("storage");
    }
  }
  if (!same(now, then)) {
    errors.forbidden(
        kSpec,
        "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound "
        "claims");
  }
  if (bound && asked < had && asked < quantity_of(at(old, "status", "capacity", "storage"))) {
    errors.forbidden(kSpec / "resources" / "requests" / "storage", "field can not be less than status.capacity");
  } else if (bound && asked < had) {
    errors.forbidden(kSpec / "resources" / "requests" / "storage", "field can not be less than previous value");
  }
  if (has(before, "volumeMode"))
    check_immutable(errors, kSpec / "volumeMode", at(spec, "volumeMode"), at(before, "volumeMode"));
}

void create_storage_class(Errors& errors, const Json& object) {
  if (str(object, "provisioner").empty()) {
    errors.required(Path("provisioner"));
  } else {
    errors.invalid_each(Path("provisioner"), str(object, "provisioner"),
                        qualified_name(to_lower(str(object, "provisioner"))));
  }
  if (const auto policy = str(object, "reclaimPolicy"); !policy.empty()) {
    check_enum(errors, Path("reclaimPolicy"), policy, {"Delete", "Retain"});
  }
  if (const auto mode = str(object, "volumeBindingMode"); mode.empty()) {
    errors.required(Path("volumeBindingMode"));
  } else {
    check_enum(errors, Path("volumeBindingMode"), mode, {"Immediate", "WaitForFirstConsumer"});
  }
}

void update_storage_class(Errors& errors, const Json& object, const Json& old) {
  create_storage_class(errors, object);
  if (!same(at(object, "parameters"), at(old, "parameters"))) {
    errors.forbidden(Path("parameters"), "updates to parameters are forbidden.");
  }
  if (str(object, "provisioner") != str(old, "provisioner")) {
    errors.forbidden(Path("provisioner"), "updates to provisioner are forbidden.");
  }
  if (str(object, "reclaimPolicy") != str(old, "reclaimPolicy")) {
    errors.forbidden(Path("reclaimPolicy"), "updates to reclaimPolicy are forbidden.");
  }
  check_immutable(errors, Path("volumeBindingMode"), at(object, "volumeBindingMode"), at(old, "volumeBindingMode"));
}

}  // namespace brume::api::validation
