#include "agent/eviction.h"

#include <algorithm>

#include "brume/api/pod_resources.h"
#include "brume/base/json.h"
#include "pod/pod.h"

namespace brume::node {

namespace {

using linux_os::TreeUsage;

constexpr std::int64_t kCriticalPriority = 2'000'000'000;  // system-cluster-critical
constexpr const char* kStorage = "ephemeral-storage";

void add(TreeUsage& sum, const TreeUsage& more) {
  sum.bytes += more.bytes;
  sum.inodes += more.inodes;
}

TreeUsage usage_of(const std::string& path, const std::atomic<bool>& stop) {
  return linux_os::tree_usage(path, &stop).value_or(TreeUsage());
}

bool on_disk(const Json& volume) {
  return volume.contains("emptyDir") && str(at(volume, "emptyDir"), "medium").empty();
}

std::int64_t total(const Use& use) {
  std::int64_t sum = 0;
  for (const auto& [container, amount] : use) sum += amount;
  return sum;
}

// How much more than it has asked for; no pod asks for inodes.
std::int64_t excess(const Candidate& candidate, std::string_view resource) {
  const api::Amounts asked = api::pod_requests(at(*candidate.pod, "spec"));
  const auto it = asked.find(resource);
  return total(candidate.use) - (it == asked.end() ? 0 : it->second.value());
}

}  // namespace

TreeUsage PodDisk::total() const {
  TreeUsage sum;
  for (const auto& [name, usage] : containers) add(sum, usage);
  for (const auto& [name, usage] : empty_dirs) add(sum, usage);
  return sum;
}

PodDisk measure(const PodPaths& paths, const std::atomic<bool>& stop) {
  PodDisk out;
  for (const auto& [name, trees] : paths.containers) {
    for (const std::string& tree : trees) add(out.containers[name], usage_of(tree, stop));
  }
  for (const auto& [name, tree] : paths.empty_dirs) out.empty_dirs[name] = usage_of(tree, stop);
  return out;
}

bool has_disk_limit(const Json& pod) {
  for (const Json& volume : at(pod, "spec", "volumes")) {
    if (on_disk(volume) && api::amount_of(at(volume, "emptyDir"), "sizeLimit").sign() > 0) return true;
  }
  return api::pod_limits(at(pod, "spec")).contains(kStorage);
}

std::optional<std::string> exceeded_disk_limit(const Json& pod, const PodDisk& used) {
  for (const Json& volume : at(pod, "spec", "volumes")) {
    const std::string name(str(volume, "name"));
    const auto found = used.empty_dirs.find(name);
    if (!on_disk(volume) || found == used.empty_dirs.end()) continue;
    const api::Quantity limit = api::amount_of(at(volume, "emptyDir"), "sizeLimit");
    if (limit.sign() > 0 && found->second.bytes > limit.value()) {
      return "Usage of EmptyDir volume \"" + name + "\" exceeds the limit \"" + limit.to_string() + "\". ";
    }
  }
  const api::Amounts limits = api::pod_limits(at(pod, "spec"));
  if (const auto limit = limits.find(kStorage); limit != limits.end() && used.total().bytes > limit->second.value()) {
    return "Pod ephemeral local storage usage exceeds the total limit of containers " + limit->second.to_string() +
           ". ";
  }
  for (const Json& container : at(pod, "spec", "containers")) {
    const std::string name(str(container, "name"));
    const api::Quantity limit = api::amount_of(at(container, "resources", "limits"), kStorage);
    const auto found = used.containers.find(name);
    if (limit.is_zero() || found == used.containers.end() || found->second.bytes <= limit.value()) continue;
    return "Container " + name + " exceeded its local ephemeral storage limit \"" + limit.to_string() + "\". ";
  }
  return std::nullopt;
}

bool is_critical(const Json& pod) {
  return at(pod, "metadata", "annotations").contains("kubernetes.io/config.mirror") ||
         num(at(pod, "spec"), "priority") >= kCriticalPriority;
}

const Candidate* first_to_evict(const std::vector<Candidate>& candidates, std::string_view resource) {
  const Candidate* first = nullptr;
  const auto before = [&](const Candidate& a, const Candidate& b) {
    const auto over_a = excess(a, resource);
    const auto over_b = excess(b, resource);
    if ((over_a > 0) != (over_b > 0)) return over_a > 0;
    const auto priority_a = num(at(*a.pod, "spec"), "priority");
    const auto priority_b = num(at(*b.pod, "spec"), "priority");
    return priority_a != priority_b ? priority_a < priority_b : over_a > over_b;
  };
  for (const Candidate& candidate : candidates) {
    if (is_critical(*candidate.pod)) continue;
    if (first == nullptr || before(candidate, *first)) first = &candidate;
  }
  return first;
}

std::string eviction_message(const Shortage& shortage, const Candidate& candidate) {
  std::string out = "The node was low on resource: " + shortage.resource +
                    ". Threshold quantity: " + shortage.threshold + ", available: " + shortage.available + ". ";
  if (shortage.resource == "inodes") return out;
  for (const ContainerEntry& entry : containers_of(*candidate.pod)) {
    const std::string name(str(*entry.spec, "name"));
    const auto used = candidate.use.find(name);
    if (entry.kind == ContainerKind::kEphemeral || used == candidate.use.end()) continue;
    const api::Quantity asked = api::amount_of(at(*entry.spec, "resources", "requests"), shortage.resource);
    if (used->second <= asked.value()) continue;
    out += "Container " + name + " was using " + bytes_text(used->second) + ", request is " + asked.to_string() +
           ", has larger consumption of " + shortage.resource + ". ";
  }
  return out;
}

}  // namespace brume::node
