// Add-ons: manifests that the binary carries and applies at start.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/client/client.h"

namespace brume::cmd {

/// The text of manifests/addons/dns.yaml.
std::string_view dns_manifest();
/// The text of manifests/addons/local-storage.yaml.
std::string_view local_storage_manifest();

/// Applies every document of a manifest, with ${NAME} replaced from `values`. An object that carries the annotation of
/// the same manifest already is left alone, so that what a user changed stays until an upgrade brings another manifest.
/// The first error is returned after all were tried.
Task<Status> apply_manifest(client::Client& client, std::string manifest, std::map<std::string, std::string> values);

/// Deletes the objects of a manifest that apply_manifest() made; those of the same names that a user made stay.
Task<Status> remove_manifest(client::Client& client, std::string manifest, std::map<std::string, std::string> values);

}  // namespace brume::cmd
