// A container's environment: service variables, envFrom, env with its sources.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "brume/api/object.h"
#include "brume/base/json.h"
#include "brume/base/result.h"
#include "spec/env_file.h"
#include "spec/fields.h"

namespace brume::node {

/// ConfigMaps and Secrets that a pod names, by name, as fetched; those that do not exist are absent.
struct PodObjects {
  std::map<std::string, Json, std::less<>> config_maps;
  std::map<std::string, Json, std::less<>> secrets;
};

/// Which ConfigMaps and Secrets a pod's env and volumes name.
struct ObjectNames {
  std::set<std::string> config_maps;
  std::set<std::string> secrets;
};
[[nodiscard]] ObjectNames named_objects(const Json& pod);

using EnvList = std::vector<std::pair<std::string, std::string>>;

/// {SVC}_SERVICE_HOST and its kin for the services (JSON objects) that the pod sees. Headless ones have none.
[[nodiscard]] EnvList service_env(const std::vector<Json>& services);

/// The environment of `container` in order, later ones winning over earlier ones of the same name. `files`: those that
/// it names, read. kNotFound or kInvalid with the kubelet's text when a ConfigMap, Secret, key or field is missing: the
/// container then waits with CreateContainerConfigError.
[[nodiscard]] Result<EnvList> make_env(const Json& pod, const Json& container, const PodObjects& objects,
                                       const EnvList& services, const PodRuntimeInfo& info, const EnvFiles& files = {});

/// command and args with $(VAR) expanded: what replaces the image's entrypoint and cmd (either may be empty).
struct CommandLine {
  std::vector<std::string> command;
  std::vector<std::string> args;
};
[[nodiscard]] CommandLine make_command(const Json& container, const EnvList& env);

}  // namespace brume::node
