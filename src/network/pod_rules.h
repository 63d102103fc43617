// The rules that pods need whether or not there are services: table "brume-pods".
#pragma once

#include "address_pool.h"
#include "brume/network/pod_links.h"
#include "packet.h"
#include "rule_table.h"

namespace brume::network {

inline constexpr const char* kPodTable = "brume-pods";

/// Masquerading out of the cluster, hairpin, martians, and the maps that host ports go into.
Fragment pod_base_rules(const FamilyTraits& family, const PodLinksOptions& options);
/// What one pod adds: its hairpin entry and its host ports.
Fragment pod_rules(const Lease& lease);

}  // namespace brume::network
