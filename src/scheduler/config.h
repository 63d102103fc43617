// KubeSchedulerConfiguration, and the profiles that it makes.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "brume/base/json.h"
#include "brume/base/result.h"
#include "brume/scheduler/scheduler.h"
#include "profile.h"
#include "queue.h"

namespace brume::scheduler {

/// Plugins that a profile turns on, in this order, and off, at one point or (multiPoint) at all of a plugin's points.
struct PluginSet {
  struct Enabled {
    std::string name;
    std::int64_t weight = 0;  ///< 0: 1, whatever the default plugin of that name weighs, as with kube-scheduler
  };
  std::vector<Enabled> enabled = {};
  std::vector<std::string> disabled = {};  ///< "*": all of the defaults
};

/// One profile as its author wrote it, before the default plugins are put in.
struct ProfileConfig {
  std::string scheduler_name = "default-scheduler";
  std::optional<std::int64_t> percentage_of_nodes_to_score = {};
  PluginSet multi_point = {};
  std::array<PluginSet, point::kCount> points = {};  ///< by the point's place
  std::map<std::string, Json> args = {};             ///< by plugin
};

struct Config {
  std::vector<ProfileConfig> profiles = {};
  std::int64_t percentage_of_nodes_to_score = 0;  ///< of profiles that say none; 0: by the size of the cluster
  QueueOptions queue = {};
};

/// The name of a point in a configuration: preEnqueue, queueSort, ...; by its place.
extern const std::array<std::string_view, point::kCount> kPointNames;

/// The profile that packs nodes full, for pods that name it as their scheduler.
inline constexpr std::string_view kBinPacking = "bin-packing";

/// default-scheduler with kube-scheduler's plugins and weights, and bin-packing.
Config default_config();
/// Puts the plugins of one profile together. kInvalid, in one line, for plugins and arguments that are wrong.
Result<std::unique_ptr<Profile>> build_profile(const ProfileConfig& config, const Config& whole, Handle handle);

}  // namespace brume::scheduler
