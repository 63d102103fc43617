// KubeSchedulerConfiguration v1 from a file's text.
#include "config.h"

#include <algorithm>
#include <limits>
#include <set>

#include "args.h"
#include "brume/api/decode.h"
#include "registry.h"

namespace brume::scheduler {

namespace {

constexpr std::string_view kApiVersion = "kubescheduler.config.k8s.io/v1";
constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();

Result<std::string> plugin_name(const Json& entry, const std::string& path, bool star) {
  std::string name(str(entry, "name"));
  if (star && name == "*") return name;
  if (name.empty()) return invalid(path + ".name", "must be given");
  if (find_plugin(name) == nullptr) return invalid(path + ".name", "there is no plugin \"" + name + "\"");
  return name;
}

Result<PluginSet> decode_set(const Json& value, const std::string& path) {
  PluginSet out;
  BRUME_CHECK(only_fields(value, path, {"enabled", "disabled"}));
  BRUME_TRY(const Json* const enabled, list(value, path, "enabled"));
  for (const auto& entry : *enabled) {
    const std::string here = path + ".enabled[" + std::to_string(out.enabled.size()) + "]";
    BRUME_CHECK(only_fields(entry, here, {"name", "weight"}));
    BRUME_TRY(auto name, plugin_name(entry, here, false));
    BRUME_TRY(const auto weight, integer(entry, here, "weight", 0, 0, kMaxInt32));
    const bool again = std::any_of(out.enabled.begin(), out.enabled.end(),
                                   [&](const PluginSet::Enabled& have) { return have.name == name; });
    if (again) return invalid(here, "\"" + name + "\" is enabled twice");
    out.enabled.push_back({.name = std::move(name), .weight = weight});
  }
  BRUME_TRY(const Json* const disabled, list(value, path, "disabled"));
  for (const auto& entry : *disabled) {
    const std::string here = path + ".disabled[" + std::to_string(out.disabled.size()) + "]";
    BRUME_CHECK(only_fields(entry, here, {"name", "weight"}));
    BRUME_TRY(auto name, plugin_name(entry, here, true));
    out.disabled.push_back(std::move(name));
  }
  return out;
}

Status decode_plugins(const Json& value, const std::string& path, ProfileConfig& out) {
  if (value.is_null()) return {};
  if (!value.is_object()) return invalid(path, "must be a map");
  for (const auto& [key, set] : value.items()) {
    const std::string here = path + "." + key;
    if (key == "multiPoint") {
      BRUME_TRY(out.multi_point, decode_set(set, here));
      continue;
    }
    const auto it = std::find(kPointNames.begin(), kPointNames.end(), key);
    if (it == kPointNames.end()) return invalid(path, "unknown field \"" + key + "\"");
    BRUME_TRY(out.points[static_cast<std::size_t>(it - kPointNames.begin())], decode_set(set, here));
  }
  return {};
}

Status decode_args(const Json& profile, const std::string& path, ProfileConfig& out) {
  BRUME_TRY(const Json* const entries, list(profile, path, "pluginConfig"));
  std::size_t i = 0;
  for (const auto& entry : *entries) {
    const std::string here = path + ".pluginConfig[" + std::to_string(i++) + "]";
    BRUME_CHECK(only_fields(entry, here, {"name", "args"}));
    BRUME_TRY(const auto name, plugin_name(entry, here, false));
    const auto& args = at(entry, "args");
    const auto kind = str(args, "kind");
    if (!kind.empty() && kind != name + "Args") {
      return invalid(here + ".args.kind", "must be " + name + "Args, not \"" + std::string(kind) + "\"");
    }
    if (!out.args.emplace(name, args).second) return invalid(here, "\"" + name + "\" is configured twice");
  }
  return {};
}

Result<ProfileConfig> decode_profile(const Json& value, const std::string& path, bool only) {
  BRUME_CHECK(only_fields(value, path, {"schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"}));
  ProfileConfig out;
  if (const auto name = str(value, "schedulerName"); !name.empty()) {
    out.scheduler_name = name;
  } else if (!only) {
    return invalid(path + ".schedulerName", "must be given");
  }
  if (!at(value, "percentageOfNodesToScore").is_null()) {
    BRUME_TRY(out.percentage_of_nodes_to_score, integer(value, path, "percentageOfNodesToScore", 0, 0, 100));
  }
  BRUME_CHECK(decode_plugins(at(value, "plugins"), path + ".plugins", out));
  BRUME_CHECK(decode_args(value, path, out));
  return out;
}

Status decode_profiles(const Json& value, Config& out) {
  BRUME_TRY(const Json* const profiles, list(value, "scheduler configuration", "profiles"));
  std::set<std::string> names;
  for (const auto& entry : *profiles) {
    const std::string path = "profiles[" + std::to_string(out.profiles.size()) + "]";
    BRUME_TRY(auto profile, decode_profile(entry, path, profiles->size() == 1));
    if (!names.insert(profile.scheduler_name).second) {
      return invalid(path + ".schedulerName", "\"" + profile.scheduler_name + "\" is taken by another profile");
    }
    out.profiles.push_back(std::move(profile));
  }
  // The built-in ones: the default if there is no other, and the one that packs.
  for (auto& profile : default_config().profiles) {
    if (profile.scheduler_name == kBinPacking ? !names.contains(std::string(kBinPacking)) : names.empty()) {
      out.profiles.push_back(std::move(profile));
    }
  }
  return {};
}

Status decode_backoff(const Json& value, QueueOptions& out) {
  const std::string path = "scheduler configuration";
  BRUME_TRY(const auto first, integer(value, path, "podInitialBackoffSeconds", 1, 1, kMaxInt32));
  BRUME_TRY(const auto most, integer(value, path, "podMaxBackoffSeconds", 10, 1, kMaxInt32));
  if (most < first) {
    return invalid(path + ".podMaxBackoffSeconds", "must be no less than podInitialBackoffSeconds");
  }
  out.first_backoff = std::chrono::seconds(first);
  out.max_backoff = std::chrono::seconds(most);
  return {};
}

}  // namespace

Result<std::shared_ptr<const Config>> read_config(std::string_view text) {
  BRUME_TRY(const auto decoded, api::decode(text, api::MediaType::kYaml));
  const auto& value = decoded.value;
  const std::string path = "scheduler configuration";
  if (!decoded.duplicate_fields.empty()) return invalid(path, decoded.duplicate_fields.front());
  if (str(value, "apiVersion") != kApiVersion || str(value, "kind") != "KubeSchedulerConfiguration") {
    return invalid(path, "must be a KubeSchedulerConfiguration of " + std::string(kApiVersion));
  }
  // Those about leader election, connections and profiling are of a process of its own, which this scheduler is not.
  BRUME_CHECK(only_fields(value, path,
                          {"apiVersion", "kind", "parallelism", "leaderElection", "clientConnection", "enableProfiling",
                           "enableContentionProfiling", "percentageOfNodesToScore", "podInitialBackoffSeconds",
                           "podMaxBackoffSeconds", "profiles", "extenders", "delayCacheUntilActive"}));
  if (!at(value, "extenders").empty()) return invalid(path + ".extenders", "extenders are not supported");
  auto out = std::make_shared<Config>();
  BRUME_CHECK(integer(value, path, "parallelism", 16, 1, kMaxInt32));
  BRUME_TRY(out->percentage_of_nodes_to_score, integer(value, path, "percentageOfNodesToScore", 0, 0, 100));
  BRUME_CHECK(decode_backoff(value, out->queue));
  BRUME_CHECK(decode_profiles(value, *out));
  return std::shared_ptr<const Config>(std::move(out));
}

}  // namespace brume::scheduler
