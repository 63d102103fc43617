// Volumes of a pod: one source each, and each source's own rules.
#include <algorithm>
#include <array>
#include <set>

#include "api/validation/pod.h"
#include "brume/base/strings.h"

namespace brume::api::validation {

namespace {

constexpr std::string_view kFileMode = "must be a number between 0 and 0777 (octal), both inclusive";

void check_mode(Errors& errors, const Path& path, const Json& mode) {
  if (mode.is_number() && (mode.get<std::int64_t>() < 0 || mode.get<std::int64_t>() > 0777)) {
    errors.invalid(path, mode, kFileMode);
  }
}

void require(Errors& errors, const Path& path, const Json& source, std::string_view key) {
  if (blank(at(source, key))) errors.required(path / key);
}

void check_key_to_path(Errors& errors, const Path& path, const Json& item) {
  require(errors, path, item, "key");
  require(errors, path, item, "path");
  check_local_path(errors, path / "path", str(item, "path"));
  check_mode(errors, path / "mode", at(item, "mode"));
}

void check_items(Errors& errors, const Path& path, const Json& source) {
  std::size_t i = 0;
  for (const Json& item : items(at(source, "items"))) check_key_to_path(errors, (path / "items")[i++], item);
}

void check_downward_file(Errors& errors, const Path& path, const Json& file) {
  require(errors, path, file, "path");
  check_local_path(errors, path / "path", str(file, "path"));
  const Json& field = at(file, "fieldRef");
  const Json& resource = at(file, "resourceFieldRef");
  if (field.is_object()) {
    check_field_ref(errors, path / "fieldRef", field, true);
    if (resource.is_object()) {
      errors.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
    }
  } else if (resource.is_object()) {
    check_resource_field_ref(errors, path / "resourceFieldRef", resource, true);
  } else {
    errors.required(path, "one of fieldRef and resourceFieldRef is required");
  }
  check_mode(errors, path / "mode", at(file, "mode"));
}

// ---- projected volumes ----

using Paths = std::set<std::string_view>;

void claim_path(Errors& errors, const Path& path, Paths& taken, std::string_view file, std::string_view shown_value) {
  if (!file.empty() && !taken.insert(file).second) errors.invalid(path, shown_value, "conflicting duplicate paths");
}

void check_projected_keys(Errors& errors, const Path& path, const Path& here, const Json& source, Paths& taken) {
  require(errors, here, source, "name");
  std::size_t i = 0;
  for (const Json& item : items(at(source, "items"))) {
    check_key_to_path(errors, (here / "items")[i++], item);
    claim_path(errors, path, taken, str(item, "path"), str(source, "name"));
  }
}

void check_projected_token(Errors& errors, const Path& path, const Path& here, const Json& token) {
  constexpr std::int64_t kLeast = 600;
  const Json& seconds = at(token, "expirationSeconds");
  if (seconds.is_number() && seconds.get<std::int64_t>() < kLeast) {
    errors.invalid(here / "expirationSeconds", seconds, "may not specify a duration less than 10 minutes");
  }
  if (seconds.is_number() && seconds.get<std::int64_t>() > (std::int64_t{1} << 32)) {
    errors.invalid(here / "expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds");
  }
  if (str(token, "path").empty()) {
    errors.required(path / "path");
  } else {
    check_local_path(errors, path / "path", str(token, "path"));
  }
}

void check_projected_bundle(Errors& errors, const Path& path, const Path& here, const Json& bundle, Paths& taken) {
  const bool by_name = has(bundle, "name");
  const bool by_signer = has(bundle, "signerName");
  if (by_name && by_signer) {
    errors.invalid(here, bundle, "only one of name and signerName may be used");
  } else if (by_name) {
    if (str(bundle, "name").empty()) errors.required(here / "name", "must be a valid object name");
    if (has(bundle, "labelSelector")) {
      errors.invalid(here / "labelSelector", at(bundle, "labelSelector"),
                     "labelSelector must be unset if name is specified");
    }
  } else if (by_signer) {
    if (str(bundle, "signerName").empty()) errors.required(here / "signerName", "must be a valid signer name");
    check_label_selector(errors, here / "labelSelector", at(bundle, "labelSelector"));
  } else {
    errors.required(here, "either name or signerName must be specified");
  }
  require(errors, here, bundle, "path");
  check_local_path(errors, here / "path", str(bundle, "path"));
  claim_path(errors, path, taken, str(bundle, "path"), str(bundle, "path"));
}

void check_projected_certificate(Errors& errors, const Path& path, const Path& here, const Json& certificate,
                                 Paths& taken) {
  require(errors, here, certificate, "signerName");
  check_enum(errors, here / "keyType", str(certificate, "keyType"),
             {"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"});
  const Json& seconds = at(certificate, "maxExpirationSeconds");
  if (seconds.is_number() && seconds.get<std::int64_t>() < 3600) {
    errors.invalid(here / "maxExpirationSeconds", seconds, "if provided, maxExpirationSeconds must be >= 3600");
  }
  bool any = false;
  for (const char* key : {"credentialBundlePath", "keyPath", "certificateChainPath"}) {
    const auto file = str(certificate, key);
    if (file.empty()) continue;
    any = true;
    check_local_path(errors, here / key, file);
    claim_path(errors, path, taken, file, file);
  }
  if (!any) errors.required(here, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath");
}

void check_projected(Errors& errors, const Path& path, const Json& projected) {
  check_mode(errors, path / "defaultMode", at(projected, "defaultMode"));
  Paths taken;
  std::size_t i = 0;
  for (const Json& source : items(at(projected, "sources"))) {
    const Path here = (path / "sources")[i++];
    int kinds = 0;
    for (const char* key : {"secret", "configMap"}) {
      if (!has(source, key)) continue;
      ++kinds;
      check_projected_keys(errors, path, here / key, at(source, key), taken);
    }
    if (const Json& downward = at(source, "downwardAPI"); downward.is_object()) {
      ++kinds;
      for (const Json& file : items(at(downward, "items"))) {
        check_downward_file(errors, here / "downwardAPI", file);
        claim_path(errors, path, taken, str(file, "path"), str(file, "path"));
      }
    }
    if (const Json& token = at(source, "serviceAccountToken"); token.is_object()) {
      ++kinds;
      check_projected_token(errors, path, here / "serviceAccountToken", token);
    }
    if (const Json& bundle = at(source, "clusterTrustBundle"); bundle.is_object()) {
      ++kinds;
      check_projected_bundle(errors, path, here / "clusterTrustBundle", bundle, taken);
    }
    if (const Json& certificate = at(source, "podCertificate"); certificate.is_object()) {
      ++kinds;
      check_projected_certificate(errors, path, here / "podCertificate", certificate, taken);
    }
    if (kinds > 1) errors.forbidden(here, "may not specify more than 1 volume type per source");
  }
}

// ---- one function a source ----

void check_empty_dir(Errors& errors, const Path& path, const Json& source) {
  const Json& limit = at(source, "sizeLimit");
  if (!blank(limit) && quantity_of(limit).sign() < 0) {
    errors.forbidden(path / "sizeLimit", "SizeLimit field must be a valid resource quantity");
  }
}

}  // namespace

void check_host_path(Errors& errors, const Path& path, const Json& source) {
  if (str(source, "path").empty()) return errors.required(path / "path");
  check_no_backsteps(errors, path / "path", str(source, "path"));
  if (has(source, "type")) {
    check_enum(errors, path / "type", str(source, "type"),
               {"", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"});
  }
}

namespace {

void check_secret(Errors& errors, const Path& path, const Json& source) {
  require(errors, path, source, "secretName");
  check_mode(errors, path / "defaultMode", at(source, "defaultMode"));
  check_items(errors, path, source);
}
void check_config_map(Errors& errors, const Path& path, const Json& source) {
  require(errors, path, source, "name");
  check_mode(errors, path / "defaultMode", at(source, "defaultMode"));
  check_items(errors, path, source);
}
void check_downward(Errors& errors, const Path& path, const Json& source) {
  check_mode(errors, path / "defaultMode", at(source, "defaultMode"));
  for (const Json& file : items(at(source, "items"))) check_downward_file(errors, path, file);
}
void check_claim(Errors& errors, const Path& path, const Json& source) { require(errors, path, source, "claimName"); }
void check_nfs(Errors& errors, const Path& path, const Json& source) {
  require(errors, path, source, "server");
  require(errors, path, source, "path");
  if (const auto dir = str(source, "path"); !dir.empty() && !dir.starts_with('/')) {
    errors.invalid(path / "path", dir, "must be an absolute path");
  }
}
void check_git_repo(Errors& errors, const Path& path, const Json& source) {
  require(errors, path, source, "repository");
  check_descending_path(errors, path / "directory", str(source, "directory"));
}
void check_iscsi(Errors& errors, const Path& path, const Json& source) {
  require(errors, path, source, "targetPortal");
  require(errors, path, source, "iqn");
  if (const auto lun = num(source, "lun"); lun < 0 || lun > 255)
    errors.invalid(path / "lun", lun, range_message(0, 255));
}
void check_pd(Errors& errors, const Path& path, const Json& source) { require(errors, path, source, "pdName"); }
void check_ebs(Errors& errors, const Path& path, const Json& source) { require(errors, path, source, "volumeID"); }
void check_glusterfs(Errors& errors, const Path& path, const Json& source) {
  require(errors, path, source, "endpoints");
  require(errors, path, source, "path");
}
void check_monitors(Errors& errors, const Path& path, const Json& source) { require(errors, path, source, "monitors"); }
void check_flex(Errors& errors, const Path& path, const Json& source) { require(errors, path, source, "driver"); }
void check_azure_file(Errors& errors, const Path& path, const Json& source) {
  require(errors, path, source, "secretName");
  require(errors, path, source, "shareName");
}
void check_azure_disk(Errors& errors, const Path& path, const Json& source) {
  require(errors, path, source, "diskName");
  require(errors, path, source, "diskURI");
}
void check_vsphere(Errors& errors, const Path& path, const Json& source) {
  require(errors, path, source, "volumePath");
}
void check_photon(Errors& errors, const Path& path, const Json& source) { require(errors, path, source, "pdID"); }
void check_scale_io(Errors& errors, const Path& path, const Json& source) {
  for (const char* key : {"gateway", "system", "volumeName"}) require(errors, path, source, key);
}
void check_fc(Errors& errors, const Path& path, const Json& source) {
  const auto& names = items(at(source, "targetWWNs"));
  const auto& ids = items(at(source, "wwids"));
  if (names.empty() && ids.empty()) {
    errors.required(path / "targetWWNs", "must specify either targetWWNs or wwids, but not both");
  }
  if (!names.empty() && !ids.empty()) {
    errors.invalid(path / "targetWWNs", at(source, "targetWWNs"),
                   "targetWWNs and wwids can not be specified simultaneously");
  }
  if (names.empty()) return;
  if (!has(source, "lun")) return errors.required(path / "lun", "lun is required if targetWWNs is specified");
  if (const auto lun = num(source, "lun"); lun < 0 || lun > 255)
    errors.invalid(path / "lun", lun, range_message(0, 255));
}
void check_csi(Errors& errors, const Path& path, const Json& source) {
  check_csi_driver_name(errors, path / "driver", str(source, "driver"));
  if (const Json& secret = at(source, "nodePublishSecretRef"); secret.is_object()) {
    if (str(secret, "name").empty()) {
      errors.required(path / "nodePublishSecretRef" / "name");
    } else {
      check_format(errors, path / "name", str(secret, "name"), dns1123_subdomain);
    }
  }
}
void check_ephemeral(Errors& errors, const Path& path, const Json& source) {
  const Json& claim = at(source, "volumeClaimTemplate");
  if (!claim.is_object()) return errors.required(path / "volumeClaimTemplate");
  const Path here = path / "volumeClaimTemplate";
  const Json& metadata = at(claim, "metadata");
  check_annotations(errors, here / "metadata" / "annotations", at(metadata, "annotations"));
  check_labels(errors, here / "metadata" / "labels", at(metadata, "labels"));
  if (metadata.is_object()) {
    for (const auto& [key, value] : metadata.items()) {
      if (key == "annotations" || key == "labels" || blank(value)) continue;
      errors.forbidden(here / "metadata" / key, "cannot be set");
    }
  }
  check_claim_spec(errors, here / "spec", at(claim, "spec"), true);
}
void check_image(Errors& errors, const Path& path, const Json& source) {
  if (str(source, "reference").empty()) errors.required(path / "reference");
  check_enum(errors, path / "pullPolicy", str(source, "pullPolicy"), {"Always", "IfNotPresent", "Never"});
}
void check_nothing(Errors& /*errors*/, const Path& /*path*/, const Json& /*source*/) {}

struct SourceRule {
  std::string_view key;
  void (*check)(Errors&, const Path&, const Json&);
};
// In the order in which Kubernetes looks, so that of two sources the same one is called one too many.
constexpr std::array kSources = {
    SourceRule{"emptyDir", check_empty_dir},
    SourceRule{"hostPath", check_host_path},
    SourceRule{"gitRepo", check_git_repo},
    SourceRule{"gcePersistentDisk", check_pd},
    SourceRule{"awsElasticBlockStore", check_ebs},
    SourceRule{"secret", check_secret},
    SourceRule{"nfs", check_nfs},
    SourceRule{"iscsi", check_iscsi},
    SourceRule{"glusterfs", check_glusterfs},
    SourceRule{"flocker", check_nothing},
    SourceRule{"persistentVolumeClaim", check_claim},
    SourceRule{"rbd", check_monitors},
    SourceRule{"cinder", check_ebs},
    SourceRule{"cephfs", check_monitors},
    SourceRule{"quobyte", check_nothing},
    SourceRule{"downwardAPI", check_downward},
    SourceRule{"fc", check_fc},
    SourceRule{"flexVolume", check_flex},
    SourceRule{"configMap", check_config_map},
    SourceRule{"azureFile", check_azure_file},
    SourceRule{"vsphereVolume", check_vsphere},
    SourceRule{"photonPersistentDisk", check_photon},
    SourceRule{"portworxVolume", check_ebs},
    SourceRule{"azureDisk", check_azure_disk},
    SourceRule{"storageos", check_nothing},
    SourceRule{"projected", check_projected},
    SourceRule{"scaleIO", check_scale_io},
    SourceRule{"csi", check_csi},
    SourceRule{"ephemeral", check_ephemeral},
    SourceRule{"image", check_image},
};

void check_source(Errors& errors, const Path& path, const Json& volume, std::string_view pod_name) {
  bool found = false;
  for (const SourceRule& rule : kSources) {
    const Json& source = at(volume, rule.key);
    if (!source.is_object()) continue;
    if (found) {
      errors.forbidden(path / rule.key, "may not specify more than 1 volume type");
      continue;
    }
    found = true;
    rule.check(errors, path / rule.key, source);
    if (rule.key == "ephemeral" && !pod_name.empty() && !str(volume, "name").empty()) {
      const std::string claim = std::string(pod_name) + "-" + std::string(str(volume, "name"));
      for (const auto& message : dns1123_subdomain(claim)) {
        errors.invalid(path / "name", str(volume, "name"), "PVC name " + quote(claim) + ": " + message);
      }
    }
  }
  if (!found) errors.required(path, "must specify a volume type");
}

}  // namespace

void check_no_backsteps(Errors& errors, const Path& path, std::string_view value) {
  const auto parts = split(value, '/');
  if (std::find(parts.begin(), parts.end(), "..") != parts.end()) errors.invalid(path, value, "must not contain '..'");
}

void check_descending_path(Errors& errors, const Path& path, std::string_view value) {
  if (value.starts_with('/')) errors.invalid(path, value, "must be a relative path");
  check_no_backsteps(errors, path, value);
}

void check_local_path(Errors& errors, const Path& path, std::string_view value) {
  check_descending_path(errors, path, value);
  if (value.starts_with("..") && !value.starts_with("../") && value != "..") {
    errors.invalid(path, value, "must not start with '..'");
  }
}

void check_csi_driver_name(Errors& errors, const Path& path, std::string_view name) {
  if (name.empty()) errors.required(path);
  if (name.size() > 63) errors.too_long(path, 63);
  if (!name.empty()) errors.invalid_each(path, name, dns1123_subdomain(to_lower(name)));
}

Volumes check_volumes(Errors& errors, const Path& path, const Json& volumes, std::string_view pod_name) {
  Volumes sound;
  std::set<std::string> claims;  // those that ephemeral volumes will make
  for (const Json& volume : items(volumes)) {
    if (has(volume, "ephemeral") && !pod_name.empty()) {
      claims.insert(std::string(pod_name) + "-" + std::string(str(volume, "name")));
    }
  }
  std::size_t i = 0;
  for (const Json& volume : items(volumes)) {
    const Path here = path[i++];
    const auto name = str(volume, "name");
    const std::size_t before = errors.size();
    check_source(errors, here, volume, pod_name);
    if (name.empty()) {
      errors.required(here / "name");
    } else {
      check_format(errors, here / "name", name, dns1123_label);
    }
    if (sound.contains(name)) errors.duplicate(here / "name", name);
    if (errors.size() == before) sound.emplace(name, &volume);
    const auto claim = str(at(volume, "persistentVolumeClaim"), "claimName");
    if (!claim.empty() && claims.contains(std::string(claim))) {
      errors.invalid(here / "persistentVolumeClaim" / "claimName", claim,
                     "must not reference a PVC that gets created for an ephemeral volume");
    }
  }
  return sound;
}

}  // namespace brume::api::validation
