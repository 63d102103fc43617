// The plugins that profiles are made of.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "brume/base/json_fwd.h"
#include "brume/base/result.h"
#include "framework.h"
#include "handle.h"

namespace brume::scheduler {

/// A plugin that a profile may name.
struct PluginKind {
  std::string_view name;
  std::int64_t weight;  ///< as a scorer, unless the profile says another
  /// `args` are of the profile's pluginConfig, null when it has none. An error names the field that is wrong.
  Result<std::unique_ptr<Plugin>> (*make)(const Json& args, Handle& handle);
};

/// All, in the order in which they run at each point (kube-scheduler's).
std::span<const PluginKind> plugin_kinds();
/// Adds a plugin that profiles may name; it is in none by default. Once, before any profile is built: by who builds
/// brume with plugins of their own, and by tests.
void register_plugin(const PluginKind& kind);
/// Null when there is none of this name.
const PluginKind* find_plugin(std::string_view name);

using PluginResult = Result<std::unique_ptr<Plugin>>;
PluginResult make_scheduling_gates(const Json& args, Handle& handle);
PluginResult make_priority_sort(const Json& args, Handle& handle);
PluginResult make_node_unschedulable(const Json& args, Handle& handle);
PluginResult make_node_name(const Json& args, Handle& handle);
PluginResult make_taint_toleration(const Json& args, Handle& handle);
PluginResult make_node_affinity(const Json& args, Handle& handle);
PluginResult make_node_ports(const Json& args, Handle& handle);
PluginResult make_node_resources_fit(const Json& args, Handle& handle);
PluginResult make_volume_restrictions(const Json& args, Handle& handle);
PluginResult make_node_volume_limits(const Json& args, Handle& handle);
PluginResult make_volume_binding(const Json& args, Handle& handle);
PluginResult make_volume_zone(const Json& args, Handle& handle);
PluginResult make_balanced_allocation(const Json& args, Handle& handle);
PluginResult make_image_locality(const Json& args, Handle& handle);
PluginResult make_pod_topology_spread(const Json& args, Handle& handle);
PluginResult make_inter_pod_affinity(const Json& args, Handle& handle);
PluginResult make_default_preemption(const Json& args, Handle& handle);
PluginResult make_default_binder(const Json& args, Handle& handle);

}  // namespace brume::scheduler
