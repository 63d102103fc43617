// Persistent volumes, claims and storage classes.
#include <algorithm>

#include "api/validation/kinds.h"
#include "api/validation/pod.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

const Path kSpec("spec");

void check_access_modes(Errors& errors, const Path& path, const Json& list) {
  bool alone = false;
  bool with_others = false;
  for (const Json& mode : items(list)) {
    const std::size_t before = errors.size();
    check_enum(errors, path, str(mode), {"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"});
    if (str(mode) == "ReadWriteOncePod") {
      alone = true;
    } else if (errors.size() == before) {
      with_others = true;
    }
  }
  if (alone && with_others) errors.forbidden(path, "may not use ReadWriteOncePod with other access modes");
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

// Whether a path without ".." is just another way to write "/".
bool is_root(std::string_view path) {
  return path.starts_with('/') && path.find_first_not_of("/.") == std::string_view::npos;
}

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
    if (key == "hostPath") {
      check_host_path(errors, here, source);
    } else if (key == "local") {
      if (str(source, "path").empty()) {
        errors.required(here / "path");
      } else {
        check_no_backsteps(errors, here / "path", str(source, "path"));
      }
    } else if (key == "nfs") {
      if (str(source, "server").empty()) errors.required(here / "server");
      if (str(source, "path").empty()) errors.required(here / "path");
    } else if (key == "csi") {
      check_csi_driver_name(errors, here / "driver", str(source, "driver"));
      if (str(source, "volumeHandle").empty()) errors.required(here / "volumeHandle");
    }
    if (key == "local" && !at(spec, "nodeAffinity").is_object()) {
      errors.required(kSpec / "nodeAffinity", "Local volume requires node affinity");
    }
    if (key == "hostPath" && is_root(str(source, "path")) && str(spec, "persistentVolumeReclaimPolicy") == "Recycle") {
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
  if (items(at(spec, "accessModes")).empty()) errors.required(kSpec / "accessModes");
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
  if (const Json& attributes = at(spec, "volumeAttributesClassName"); attributes.is_string()) {
    const Path here = kSpec / "volumeAttributesClassName";
    if (str(attributes).empty()) {
      errors.required(here, "an empty string is disallowed");
    } else {
      check_format(errors, here, str(attributes), dns1123_subdomain);
    }
    if (!at(spec, "csi").is_object()) {
      errors.required(kSpec / "csi", "has to be specified when using volumeAttributesClassName");
    }
  }
}

void update_volume(Errors& errors, const Json& object, const Json& old) {
  create_volume(errors, object);
  for (const auto key : kSources) {
    Json source = at(object, "spec", key);
    const Json& before = at(old, "spec", key);
    // A secret for expansion may be added later.
    if (key == "csi" && !has(before, "controllerExpandSecretRef"))
      source = without(source, {"controllerExpandSecretRef"});
    if (same(source, before)) continue;
    errors.forbidden(kSpec / "persistentvolumesource", "spec.persistentvolumesource is immutable after creation");
    break;
  }
  // These two paths lack "spec" in Kubernetes, too.
  check_immutable(errors, Path("volumeMode"), at(object, "spec", "volumeMode"), at(old, "spec", "volumeMode"));
  if (has(at(old, "spec"), "nodeAffinity")) {
    check_immutable(errors, Path("nodeAffinity"), at(object, "spec", "nodeAffinity"), at(old, "spec", "nodeAffinity"));
  }
  if (has(at(old, "spec"), "volumeAttributesClassName") && !has(at(object, "spec"), "volumeAttributesClassName")) {
    errors.forbidden(kSpec / "volumeAttributesClassName", "update from non-nil value to nil is forbidden");
  }
}

namespace {

void check_source(Errors& errors, const Path& path, const Json& source, bool old_group) {
  if (str(source, "name").empty()) errors.required(path / "name");
  if (str(source, "kind").empty()) errors.required(path / "kind");
  const auto group = str(source, "apiGroup");
  if (group.empty() && str(source, "kind") != "PersistentVolumeClaim") {
    errors.invalid(path, str(source, "kind"), "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
  }
  if (!group.empty() && !old_group) check_format(errors, path / "apiGroup", group, dns1123_subdomain);
}

// `old_group`: the claim had a source of some group before, whose form is not judged again.
void check_sources(Errors& errors, const Path& path, const Json& spec, bool old_group) {
  const Json& source = at(spec, "dataSource");
  const Json& ref = at(spec, "dataSourceRef");
  if (source.is_object()) check_source(errors, path / "dataSource", source, old_group);
  if (ref.is_object()) {
    check_source(errors, path / "dataSourceRef", ref, old_group);
    if (const auto ns = str(ref, "namespace"); !ns.empty()) {
      check_format(errors, path / "dataSourceRef" / "namespace", ns, dns1123_label);
    }
  }
  if (!source.is_object() || !ref.is_object()) return;
  const std::string shown = (path / "dataSource").to_string();
  if (!str(ref, "namespace").empty()) {
    errors.invalid(path, shown, "may not be specified when dataSourceRef.namespace is specified");
    return;
  }
  for (const char* field : {"apiGroup", "kind", "name"}) {
    if (same(at(source, field), at(ref, field))) continue;
    errors.invalid(path, shown, "must match dataSourceRef");
    break;
  }
}

void check_claim(Errors& errors, const Path& path, const Json& spec, bool old_group) {
  if (items(at(spec, "accessModes")).empty()) {
    errors.required(path / "accessModes", "at least 1 access mode is required");
  }
  check_label_selector(errors, path / "selector", at(spec, "selector"));
  check_access_modes(errors, path / "accessModes", at(spec, "accessModes"));
  const Json& request = at(spec, "resources", "requests", "storage");
  const Path here = (path / "resources").key("storage");
  if (request.is_null()) {
    errors.required(here);
  } else {
    check_positive(errors, here, request);
  }
  if (const auto name = str(spec, "storageClassName"); !name.empty()) {
    check_format(errors, path / "storageClassName", name, dns1123_subdomain);
  }
  if (has(spec, "volumeMode")) {
    check_enum(errors, path / "volumeMode", str(spec, "volumeMode"), {"Block", "Filesystem"});
  }
  check_sources(errors, path, spec, old_group);
  if (const auto name = str(spec, "volumeAttributesClassName"); !name.empty()) {
    check_format(errors, path / "volumeAttributesClassName", name, dns1123_subdomain);
  }
}

constexpr const char* kOldClass = "volume.beta.kubernetes.io/storage-class";

// Which changes of the class are no changes: from the annotation of old to the field, and from none to one.
bool class_may_change(const Json& object, const Json& old) {
  const Json& before = at(old, "metadata", "annotations", kOldClass);
  if (has(at(old, "spec"), "storageClassName") || !has(at(object, "spec"), "storageClassName")) return false;
  return !before.is_string() || str(before) == str(at(object, "spec"), "storageClassName");
}

}  // namespace

void check_claim_spec(Errors& errors, const Path& path, const Json& spec, bool /*in_template*/) {
  check_claim(errors, path, spec, false);
}

void create_claim(Errors& errors, const Json& object) { check_claim(errors, kSpec, at(object, "spec"), false); }

void update_claim(Errors& errors, const Json& object, const Json& old) {
  const Json& spec = at(object, "spec");
  const Json& before = at(old, "spec");
  check_claim(errors, kSpec, spec,
              has(at(before, "dataSource"), "apiGroup") || has(at(before, "dataSourceRef"), "apiGroup"));
  Json now = spec;
  Json then = before;
  const auto ignore = [&](const char* field) {
    now = without(std::move(now), {field});
    then = without(std::move(then), {field});
  };
  // The volume's name is set once, by whoever binds it.
  if (str(before, "volumeName").empty()) ignore("volumeName");
  const bool class_set = class_may_change(object, old);
  if (class_set) ignore("storageClassName");
  const Json& annotation = at(object, "metadata", "annotations", kOldClass);
  const Json& annotation_before = at(old, "metadata", "annotations", kOldClass);
  if (annotation_before.is_string() && class_set) {
    if (annotation.is_string())
      check_immutable(errors, Path("metadata") / "annotations" / kOldClass, annotation, annotation_before);
  } else if (!same(annotation, annotation_before)) {
    check_immutable(errors, Path("metadata") / "annotations" / kOldClass, annotation, annotation_before);
  }
  const bool bound = str(at(old, "status"), "phase") == "Bound";
  if (bound) {
    ignore("volumeAttributesClassName");
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
  const Quantity asked = quantity_of(at(spec, "resources", "requests", "storage"));
  const Quantity had = quantity_of(at(before, "resources", "requests", "storage"));
  // A growth that failed may be taken back (KEP-1790), but nothing shrinks.
  if (asked < had && asked <= quantity_of(at(old, "status", "capacity", "storage"))) {
    errors.forbidden(kSpec / "resources" / "requests" / "storage", "field can not be less than status.capacity");
  }
  check_immutable(errors, Path("volumeMode"), at(spec, "volumeMode"), at(before, "volumeMode"));
  if (has(at(old, "status"), "currentVolumeAttributesClassName") &&
      at(spec, "volumeAttributesClassName") != at(before, "volumeAttributesClassName") &&
      str(spec, "volumeAttributesClassName").empty()) {
    errors.forbidden(kSpec / "volumeAttributesClassName",
                     std::string("update to ") + (has(spec, "volumeAttributesClassName") ? "empty string" : "nil") +
                         " is forbidden when status.currentVolumeAttributesClassName is not nil");
  }
}

namespace {

constexpr std::size_t kMostParameters = 512;
constexpr std::size_t kParameterBytes = 256 << 10;  // keys and values together

void check_parameters(Errors& errors, const Json& parameters) {
  if (!parameters.is_object()) return;
  if (parameters.size() > kMostParameters) return errors.too_long(Path("parameters"), kMostParameters);
  std::size_t bytes = 0;
  for (const auto& [key, value] : parameters.items()) {
    if (key.empty()) errors.invalid(Path("parameters"), key, "field can not be empty.");
    bytes += key.size() + str(value).size();
  }
  if (bytes > kParameterBytes) errors.too_long(Path("parameters"), kParameterBytes);
}

void check_topologies(Errors& errors, const Json& terms) {
  std::vector<Json> seen;
  std::size_t i = 0;
  for (const Json& term : items(terms)) {
    const Path here = Path("allowedTopologies")[i++];
    Json by_key = Json::object();
    std::size_t n = 0;
    for (const Json& label : items(at(term, "matchLabelExpressions"))) {
      const Path at_label = (here / "matchLabelExpressions")[n++];
      Json values = Json::object();
      if (items(at(label, "values")).empty()) errors.required(at_label / "values");
      std::size_t v = 0;
      for (const Json& value : items(at(label, "values"))) {
        if (values.contains(str(value))) errors.duplicate((at_label / "values")[v], str(value));
        values[std::string(str(value))] = true;
        ++v;
      }
      check_label_key(errors, at_label / "key", str(label, "key"));
      const std::string key(str(label, "key"));
      if (by_key.contains(key)) errors.duplicate(at_label / "key", key);
      by_key[key] = std::move(values);
    }
    if (std::find(seen.begin(), seen.end(), by_key) != seen.end())
      errors.duplicate(here / "matchLabelExpressions", std::string_view());
    seen.push_back(std::move(by_key));
  }
}

}  // namespace

void create_storage_class(Errors& errors, const Json& object) {
  if (str(object, "provisioner").empty()) {
    errors.required(Path("provisioner"));
  } else {
    errors.invalid_each(Path("provisioner"), str(object, "provisioner"),
                        qualified_name(to_lower(str(object, "provisioner"))));
  }
  check_parameters(errors, at(object, "parameters"));
  if (const auto policy = str(object, "reclaimPolicy"); !policy.empty()) {
    check_enum(errors, Path("reclaimPolicy"), policy, {"Delete", "Retain"});
  }
  if (const auto mode = str(object, "volumeBindingMode"); mode.empty()) {
    errors.required(Path("volumeBindingMode"));
  } else {
    check_enum(errors, Path("volumeBindingMode"), mode, {"Immediate", "WaitForFirstConsumer"});
  }
  check_topologies(errors, at(object, "allowedTopologies"));
}

void update_storage_class(Errors& errors, const Json& object, const Json& old) {
  create_storage_class(errors, object);
  for (const char* field : {"parameters", "provisioner", "reclaimPolicy"}) {
    check_immutable(errors, Path(field), at(object, field), at(old, field));
  }
  check_immutable(errors, Path("volumeBindingMode"), at(object, "volumeBindingMode"), at(old, "volumeBindingMode"));
}

}  // namespace brume::api::validation
