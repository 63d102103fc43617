#include "registry.h"

#include <algorithm>
#include <array>
#include <vector>

namespace brume::scheduler {

std::span<const PluginKind> plugin_kinds() {
  static constexpr std::array kKinds = {
      PluginKind{"SchedulingGates", 0, make_scheduling_gates},
      PluginKind{"PrioritySort", 0, make_priority_sort},
      PluginKind{"NodeUnschedulable", 0, make_node_unschedulable},
      PluginKind{"NodeName", 0, make_node_name},
      PluginKind{"TaintToleration", 3, make_taint_toleration},
      PluginKind{"NodeAffinity", 2, make_node_affinity},
      PluginKind{"NodePorts", 0, make_node_ports},
      PluginKind{"NodeResourcesFit", 1, make_node_resources_fit},
      PluginKind{"VolumeRestrictions", 0, make_volume_restrictions},
      PluginKind{"NodeVolumeLimits", 0, make_node_volume_limits},
      PluginKind{"VolumeBinding", 0, make_volume_binding},
      PluginKind{"VolumeZone", 0, make_volume_zone},
      PluginKind{"PodTopologySpread", 2, make_pod_topology_spread},
      PluginKind{"InterPodAffinity", 2, make_inter_pod_affinity},
      PluginKind{"DefaultPreemption", 0, make_default_preemption},
      PluginKind{"NodeResourcesBalancedAllocation", 1, make_balanced_allocation},
      PluginKind{"ImageLocality", 1, make_image_locality},
      PluginKind{"DefaultBinder", 0, make_default_binder},
  };
  return kKinds;
}

namespace {

std::vector<PluginKind>& registered() {
  static std::vector<PluginKind> kinds;
  return kinds;
}

const PluginKind* find_in(std::span<const PluginKind> kinds, std::string_view name) {
  const auto it = std::find_if(kinds.begin(), kinds.end(), [&](const PluginKind& kind) { return kind.name == name; });
  return it == kinds.end() ? nullptr : &*it;
}

}  // namespace

void register_plugin(const PluginKind& kind) { registered().push_back(kind); }

const PluginKind* find_plugin(std::string_view name) {
  const auto* built_in = find_in(plugin_kinds(), name);
  return built_in != nullptr ? built_in : find_in(registered(), name);
}

}  // namespace brume::scheduler
