#include "api/validation/metadata.h"

#include <algorithm>

#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

const Path kMetadata("metadata");

// generateName gets a suffix, so a dash at its end does no harm.
std::string without_trailing_dash(std::string_view name) {
  std::string out(name);
  if (out.size() > 1 && out.back() == '-') out.replace(out.size() - 2, 2, "a");
  return out;
}

void check_owner_references(Errors& errors, const Json& list) {
  const Path path = kMetadata / "ownerReferences";
  std::string first_controller;
  for (const Json& owner : items(list)) {
    const auto api_version = str(owner, "apiVersion");
    const auto slash = api_version.find('/');
    if ((slash == std::string_view::npos ? api_version : api_version.substr(slash + 1)).empty()) {
      errors.invalid(path / "apiVersion", api_version, "version must not be empty");
    }
    for (const char* key : {"kind", "name", "uid"}) {
      if (str(owner, key).empty()) errors.invalid(path / key, str(owner, key), "must not be empty");
    }
    if (api_version == "v1" && str(owner, "kind") == "Event") {
      errors.invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner");
    }
    if (!flag(owner, "controller")) continue;
    const std::string name = std::string(str(owner, "kind")) + "/" + std::string(str(owner, "name"));
    if (first_controller.empty()) {
      first_controller = name;
    } else {
      errors.invalid(path, list,
                     "Only one reference can have Controller set to true. Found \"true\" in references for " +
                         first_controller + " and " + name);
    }
  }
}

void check_finalizers(Errors& errors, const Json& list) {
  const Path path = kMetadata / "finalizers";
  bool orphan = false;
  bool foreground = false;
  for (const Json& finalizer : items(list)) {
    check_format(errors, path, str(finalizer), qualified_name);
    orphan |= str(finalizer) == "orphan";
    foreground |= str(finalizer) == "foregroundDeletion";
  }
  if (orphan && foreground) {
    errors.invalid(path, list, "finalizer orphan and foregroundDeletion cannot be both set");
  }
}

void check_managed_fields(Errors& errors, const Json& list) {
  std::size_t i = 0;
  for (const Json& entry : items(list)) {
    const Path path = (kMetadata / "managedFields")[i++];
    const auto operation = str(entry, "operation");
    if (operation != "Apply" && operation != "Update") {
      errors.invalid(path / "operation", operation, "must be `Apply` or `Update`");
    }
    const auto type = str(entry, "fieldsType");
    if (!type.empty() && type != "FieldsV1") errors.invalid(path / "fieldsType", type, "must be `FieldsV1`");
    if (str(entry, "manager").size() > 128) errors.too_long(path / "manager", 128);
    if (str(entry, "subresource").size() > 256) errors.too_long(path / "subresource", 256);
  }
}

void check_common(Errors& errors, const Json& metadata) {
  check_labels(errors, kMetadata / "labels", at(metadata, "labels"));
  check_annotations(errors, kMetadata / "annotations", at(metadata, "annotations"));
  check_owner_references(errors, at(metadata, "ownerReferences"));
}

void check_no_new_finalizers(Errors& errors, const Json& metadata, const Json& old) {
  std::vector<std::string> added;
  const auto& before = items(at(old, "finalizers"));
  for (const Json& finalizer : items(at(metadata, "finalizers"))) {
    if (std::find(before.begin(), before.end(), finalizer) == before.end()) added.push_back(quote(str(finalizer)));
  }
  if (added.empty()) return;
  std::sort(added.begin(), added.end());
  errors.forbidden(kMetadata / "finalizers",
                   "no new finalizers can be added if the object is being deleted, found new finalizers []string{" +
                       join(added, ", ") + "}");
}

}  // namespace

void check_metadata(Errors& errors, const Json& metadata, bool namespaced, Format name_format) {
  if (const auto prefix = str(metadata, "generateName"); !prefix.empty()) {
    errors.invalid_each(kMetadata / "generateName", prefix, name_format(without_trailing_dash(prefix)));
  }
  if (const auto name = str(metadata, "name"); name.empty()) {
    errors.required(kMetadata / "name", "name or generateName is required");
  } else {
    check_format(errors, kMetadata / "name", name, name_format);
  }
  const auto ns = str(metadata, "namespace");
  if (!namespaced) {
    if (!ns.empty()) errors.forbidden(kMetadata / "namespace", "not allowed on this type");
  } else if (ns.empty()) {
    errors.required(kMetadata / "namespace");
  } else {
    check_format(errors, kMetadata / "namespace", ns, dns1123_label);
  }
  check_not_negative(errors, kMetadata / "generation", at(metadata, "generation"));
  check_common(errors, metadata);
  check_finalizers(errors, at(metadata, "finalizers"));
  check_managed_fields(errors, at(metadata, "managedFields"));
}

void check_metadata_update(Errors& errors, const Json& metadata, const Json& old) {
  if (has(old, "deletionTimestamp")) check_no_new_finalizers(errors, metadata, old);
  if (num(metadata, "generation") < num(old, "generation")) {
    errors.invalid(kMetadata / "generation", num(metadata, "generation"), "must not be decremented");
  }
  for (const char* key :
       {"name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"}) {
    check_immutable(errors, kMetadata / key, at(metadata, key), at(old, key));
  }
  check_common(errors, metadata);
  check_managed_fields(errors, at(metadata, "managedFields"));
}

}  // namespace brume::api::validation
