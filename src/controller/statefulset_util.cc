#include "statefulset_util.h"

#include <algorithm>
#include <limits>

#include "brume/base/strings.h"
#include "history.h"

namespace brume::controller {

std::optional<std::pair<std::string, std::int64_t>> parse_pod_name(std::string_view name) {
  const auto dash = name.rfind('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto digits = name.substr(dash + 1);
  const auto ordinal = parse_int(digits);
  // web-007 and web--1 are nobody's names.
  if (!ordinal || *ordinal > std::numeric_limits<std::int32_t>::max() || std::to_string(*ordinal) != digits) {
    return std::nullopt;
  }
  return std::pair{std::string(name.substr(0, dash)), *ordinal};
}

// The set
// ----------------------------------------------------------------------------------------------------------------

std::optional<std::int64_t> StatefulSet::max_unavailable() const {
  const auto& most = at(rolling_update(), "maxUnavailable");
  if (most.is_null()) return std::nullopt;
  return std::max<std::int64_t>(scaled_value(most, replicas(), false), 1);
}

ClaimRetention StatefulSet::retention() const {
  const auto& policy = at(spec(), "persistentVolumeClaimRetentionPolicy");
  return {.when_deleted = str(policy, "whenDeleted") == "Delete", .when_scaled = str(policy, "whenScaled") == "Delete"};
}

std::string StatefulSet::claim_name(const Json& claim_template, std::int64_t ordinal) const {
  return std::string(str(at(claim_template, "metadata"), "name")) + "-" + pod_name(ordinal);
}

// Its pods
// ---------------------------------------------------------------------------------------------------------------

PodClaims decode_pod_claims(const Object& pod) {
  PodClaims out;
  const Json value = pod.parse();
  const auto& volumes = at(value, "spec", "volumes");
  if (!volumes.is_array()) return out;
  for (const auto& volume : volumes) {
    const auto claim = str(at(volume, "persistentVolumeClaim"), "claimName");
    if (!claim.empty()) out.emplace_back(str(volume, "name"), claim);
  }
  return out;
}

namespace {

bool identity_matches(const Object& pod) { return pod.label(kPodNameLabel) == pod.name(); }

bool storage_matches(const StatefulSet& set, std::int64_t ordinal, const PodClaims& claims) {
  const auto& templates = set.claim_templates();
  if (!templates.is_array()) return true;
  return std::all_of(templates.begin(), templates.end(), [&](const Json& claim_template) {
    const std::pair wanted{std::string(str(at(claim_template, "metadata"), "name")),
                           set.claim_name(claim_template, ordinal)};
    return std::find(claims.begin(), claims.end(), wanted) != claims.end();
  });
}

}  // namespace

Member member_of(const StatefulSet& set, const ObjectPtr& pod, const PodView& view, const PodClaims& claims,
                 WallTime now) {
  const auto parsed = parse_pod_name(pod->name());
  Member member{.ordinal = parsed ? parsed->second : -1, .pod = pod, .phase = view.phase};
  member.revision = pod->label(kRevisionLabel);
  member.ready = view.phase == PodPhase::kRunning && view.ready;
  member.available = view.available(set.min_ready_seconds(), now);
  member.in_order = identity_matches(*pod) && storage_matches(set, member.ordinal, claims);
  return member;
}

Json make_pod(const StatefulSet& set, const Json& pod_template, const std::string& revision, std::int64_t ordinal) {
  Json pod = pod_from_template(*set.object, pod_template);
  const auto name = set.pod_name(ordinal);
  pod["metadata"]["name"] = name;
  update_identity(set, ordinal, pod);
  pod["metadata"]["labels"][std::string(kRevisionLabel)] = revision;
  pod["spec"]["hostname"] = name;
  pod["spec"]["subdomain"] = std::string(str(set.spec(), "serviceName"));
  update_storage(set, ordinal, pod);
  return pod;
}

bool made_from_current(const StatefulSet& set, std::int64_t ordinal) {
  if (!set.rolling_update().is_null()) return ordinal < set.start() + set.partition();
  return set.rolling() && ordinal < set.start() + num(at(set.value, "status"), "currentReplicas");
}

bool update_identity(const StatefulSet& set, std::int64_t ordinal, Json& pod) {
  Json& labels = pod["metadata"]["labels"];
  const Json before = labels;
  labels[std::string(kPodNameLabel)] = set.pod_name(ordinal);
  labels[std::string(kPodIndexLabel)] = std::to_string(ordinal);
  return labels != before;
}

bool update_storage(const StatefulSet& set, std::int64_t ordinal, Json& pod) {
  const auto& templates = set.claim_templates();
  if (templates.empty()) return false;
  Json volumes = Json::array();
  const auto named = [&volumes](std::string_view name) {
    return std::any_of(volumes.begin(), volumes.end(),
                       [name](const Json& volume) { return str(volume, "name") == name; });
  };
  for (const auto& claim_template : templates) {
    volumes.push_back({{"name", std::string(str(at(claim_template, "metadata"), "name"))},
                       {"persistentVolumeClaim", {{"claimName", set.claim_name(claim_template, ordinal)}}}});
  }
  const Json before = at(pod, "spec", "volumes");
  if (before.is_array()) {
    for (const auto& volume : before) {
      if (!named(str(volume, "name"))) volumes.push_back(volume);
    }
  }
  if (volumes == before) return false;
  pod["spec"]["volumes"] = std::move(volumes);
  return true;
}

// Updates
// ----------------------------------------------------------------------------------------------------------------

namespace {

bool outdated(const Member& member, const std::string& update_revision) {
  return member.revision != update_revision && !member.deleting();
}

}  // namespace

std::vector<std::size_t> pods_to_update(const StatefulSet& set, const std::vector<Member>& replicas,
                                        const std::string& update_revision) {
  std::vector<std::size_t> out;
  const auto lowest = static_cast<std::size_t>(set.partition());
  const auto most = set.max_unavailable();
  if (!most) {
    for (auto i = replicas.size(); i-- > lowest;) {
      if (outdated(replicas[i], update_revision)) return {i};
      if (replicas[i].unavailable()) break;
    }
    return out;
  }
  auto room = *most - std::count_if(replicas.begin(), replicas.end(), [](const Member& m) { return m.unavailable(); });
  for (auto i = replicas.size(); i-- > lowest && room > 0;) {
    if (!outdated(replicas[i], update_revision)) continue;
    out.push_back(i);
    --room;
  }
  return out;
}

// Status
// ----------------------------------------------------------------------------------------------------------------

void count_members(const std::vector<Member>& members, const std::string& current_revision,
                   const std::string& update_revision, MemberCounts& counts) {
  for (const auto& member : members) {
    if (!member.there()) continue;
    ++counts.replicas;
    if (member.ready) {
      ++counts.ready;
      counts.available += member.available ? 1 : 0;
    }
    if (member.deleting()) continue;
    counts.current += member.revision == current_revision ? 1 : 0;
    counts.updated += member.revision == update_revision ? 1 : 0;
  }
}

}  // namespace brume::controller
