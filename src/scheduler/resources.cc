#include "resources.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <map>

#include "brume/api/quantity.h"
#include "brume/base/json.h"

namespace brume::scheduler {

namespace {

// kube-scheduler's DefaultMilliCPURequest and DefaultMemoryRequest.
constexpr std::int64_t kDefaultMilliCpu = 100;
constexpr std::int64_t kDefaultMemory = 200LL * 1024 * 1024;

/// Names that have an id when those nobody uses are looked for first.
constexpr std::size_t kFirstSweep = 256;

struct Names {
  std::map<std::string, std::uint32_t, std::less<>> ids;
  std::deque<std::string> names;  // by id; empty: free
  std::vector<bool> lasting;      // by id
  std::vector<std::uint32_t> free;
  std::size_t sweep_at = kFirstSweep;
};

Names& names() {
  thread_local Names table;  // one loop schedules; tests may have several, each with ids of its own
  return table;
}

api::Quantity quantity(const Json& value) {
  if (value.is_string()) return api::quantity_or_zero(str(value));
  return value.is_number() ? api::quantity_or_zero(dump_json(value)) : api::Quantity();
}

}  // namespace

std::uint32_t resource_id(std::string_view name) {
  auto& table = names();
  auto it = table.ids.find(name);
  if (it != table.ids.end()) return it->second;
  if (table.free.empty()) {
    table.free.push_back(static_cast<std::uint32_t>(table.names.size()));
    table.names.emplace_back();
    table.lasting.push_back(false);
  }
  const auto id = table.free.back();
  table.free.pop_back();
  table.names[id] = name;
  table.ids.emplace(std::string(name), id);
  return id;
}

std::uint32_t lasting_resource_id(std::string_view name) {
  const auto id = resource_id(name);
  names().lasting[id] = true;
  return id;
}

const std::string& resource_name(std::uint32_t id) { return names().names.at(id); }

std::size_t resource_names() { return names().ids.size(); }

bool resource_names_pile_up() { return names().ids.size() >= names().sweep_at; }

void sweep_resource_names(const std::function<void(const std::function<void(const Resources&)>&)>& each_live) {
  auto& table = names();
  std::vector<bool> live = table.lasting;
  each_live([&live](const Resources& amounts) {
    for (const auto& [id, amount] : amounts.extended) live[id] = true;
  });
  std::erase_if(table.ids, [&](const auto& entry) {
    const auto id = entry.second;
    if (live[id]) return false;
    table.names[id].clear();
    table.free.push_back(id);
    return true;
  });
  table.sweep_at = std::max(kFirstSweep, 2 * table.ids.size());
}

std::int64_t Resources::extended_of(std::uint32_t id) const {
  const auto it = std::lower_bound(extended.begin(), extended.end(), id,
                                   [](const auto& entry, std::uint32_t wanted) { return entry.first < wanted; });
  return it != extended.end() && it->first == id ? it->second : 0;
}

void Resources::set_extended(std::uint32_t id, std::int64_t amount) {
  auto it = std::lower_bound(extended.begin(), extended.end(), id,
                             [](const auto& entry, std::uint32_t wanted) { return entry.first < wanted; });
  const bool there = it != extended.end() && it->first == id;
  if (amount == 0) {
    if (there) extended.erase(it);
  } else if (there) {
    it->second = amount;
  } else {
    extended.insert(it, {id, amount});
  }
}

namespace {

using Extended = std::vector<std::pair<std::uint32_t, std::int64_t>>;

// Far more than a node can have, and little enough for the sum over a node's pods. A pod that asks for more asks for
// this.
constexpr std::int64_t kMostOfPod = std::int64_t{1} << 52;
// So that such a pod fits nowhere, whatever a node says that it has.
constexpr std::int64_t kMostOfNode = kMostOfPod - 1;

std::int64_t plus(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return a > 0 ? std::numeric_limits<std::int64_t>::max() : std::numeric_limits<std::int64_t>::min();
}

// Both lists are sorted: one pass over each.
template <typename Join>
Extended joined(const Extended& a, const Extended& b, Join join) {
  Extended out;
  out.reserve(std::max(a.size(), b.size()));
  for (auto x = a.begin(), y = b.begin(); x != a.end() || y != b.end();) {
    const bool left = y == b.end() || (x != a.end() && x->first <= y->first);
    const bool right = x == a.end() || (y != b.end() && y->first <= x->first);
    const auto id = left ? x->first : y->first;
    const auto amount = join(left ? x->second : 0, right ? y->second : 0);
    if (amount != 0) out.emplace_back(id, amount);
    x += left ? 1 : 0;
    y += right ? 1 : 0;
  }
  return out;
}

void limit(Resources& of, std::int64_t most) {
  for (auto& amount : of.basic) amount = std::min(amount, most);
  for (auto& [id, amount] : of.extended) amount = std::min(amount, most);
}

}  // namespace

void Resources::add(const Resources& other) {
  for (std::size_t i = 0; i < basic.size(); ++i) basic[i] = plus(basic[i], other.basic[i]);
  if (!other.extended.empty()) extended = joined(extended, other.extended, plus);
}

void Resources::subtract(const Resources& other) {
  for (std::size_t i = 0; i < basic.size(); ++i) basic[i] = plus(basic[i], -other.basic[i]);
  if (other.extended.empty()) return;
  extended = joined(extended, other.extended, [](std::int64_t a, std::int64_t b) { return plus(a, -b); });
}

void Resources::raise_to(const Resources& other) {
  for (std::size_t i = 0; i < basic.size(); ++i) basic[i] = std::max(basic[i], other.basic[i]);
  if (other.extended.empty()) return;
  extended = joined(extended, other.extended, [](std::int64_t a, std::int64_t b) { return std::max(a, b); });
}

Resources decode_resources(const Json& list) {
  Resources out;
  if (!list.is_object()) return out;
  for (const auto& [name, value] : list.items()) {
    if (name == "cpu") {
      out.basic[Resources::kCpu] = quantity(value).milli_value();
    } else if (name == "memory") {
      out.basic[Resources::kMemory] = quantity(value).value();
    } else if (name == "ephemeral-storage") {
      out.basic[Resources::kStorage] = quantity(value).value();
    } else if (name != "pods") {
      out.set_extended(resource_id(name), quantity(value).value());
    }
  }
  return out;
}

Resources decode_allocatable(const Json& list) {
  Resources out = decode_resources(list);
  limit(out, kMostOfNode);
  return out;
}

namespace {

const Json& status_of(const Json& pod_status, std::string_view list, std::string_view name) {
  static const Json kNone;
  for (const Json& status : at(pod_status, list)) {
    if (str(status, "name") == name) return status;
  }
  return kNone;
}

// `status` is of the container or of the pod as a whole: both say what they were granted and what they have.
void raise_to_status(Resources& out, const Json& status) {
  const Json& has = at(status, "resources");
  if (!has.is_object()) return;
  out.raise_to(decode_resources(at(has, "requests")));
  out.raise_to(decode_resources(at(status, "allocatedResources")));
}

// The node has said that it never can give what the spec asks for now: what the pod has counts.
bool resize_infeasible(const Json& pod_status) {
  for (const Json& condition : at(pod_status, "conditions")) {
    if (str(condition, "type") == "PodResizePending") return str(condition, "reason") == "Infeasible";
  }
  return false;
}

Resources container_requests(const Json& container, const Json& status, bool with_defaults, bool infeasible) {
  const auto& list = at(container, "resources", "requests");
  Resources out = infeasible && at(status, "resources").is_object() ? Resources() : decode_resources(list);
  raise_to_status(out, status);
  if (with_defaults) {
    if (!list.is_object() || !list.contains("cpu")) out.basic[Resources::kCpu] = kDefaultMilliCpu;
    if (!list.is_object() || !list.contains("memory")) out.basic[Resources::kMemory] = kDefaultMemory;
  }
  return out;
}

// Requests for the whole pod take the place of what its containers add up to (for CPU, memory and huge pages).
void apply_pod_level(const Json& spec, const Json& status, Resources& total) {
  const auto& list = at(spec, "resources", "requests");
  if (!list.is_object()) return;
  const bool infeasible = at(status, "resources").is_object() && resize_infeasible(status);
  Resources level = infeasible ? Resources() : decode_resources(list);
  raise_to_status(level, status);
  if (list.contains("cpu")) total.basic[Resources::kCpu] = level.basic[Resources::kCpu];
  if (list.contains("memory")) total.basic[Resources::kMemory] = level.basic[Resources::kMemory];
  for (const auto& [id, amount] : level.extended) total.set_extended(id, amount);
}

Resources total_requests(const Json& spec, const Json& status, bool with_defaults) {
  const bool infeasible = resize_infeasible(status);
  Resources running;
  const auto& containers = at(spec, "containers");
  if (containers.is_array()) {
    for (const auto& container : containers) {
      const Json& own = status_of(status, "containerStatuses", str(container, "name"));
      running.add(container_requests(container, own, with_defaults, infeasible));
    }
  }
  Resources sidecars;  // restartable init containers seen so far: they go on running
  Resources peak;
  const auto& init = at(spec, "initContainers");
  if (init.is_array()) {
    for (const auto& container : init) {
      const bool sidecar = str(container, "restartPolicy") == "Always";
      // What the status tells of others is over soon.
      const Json& own = status_of(status, sidecar ? "initContainerStatuses" : "", str(container, "name"));
      Resources step = container_requests(container, own, with_defaults, infeasible);
      if (sidecar) {
        sidecars.add(step);
        peak.raise_to(sidecars);
      } else {
        step.add(sidecars);
        peak.raise_to(step);
      }
    }
  }
  running.add(sidecars);
  running.raise_to(peak);
  apply_pod_level(spec, status, running);
  running.add(decode_resources(at(spec, "overhead")));
  limit(running, kMostOfPod);
  return running;
}

}  // namespace

Resources pod_requests(const Json& pod_spec, const Json& status) { return total_requests(pod_spec, status, false); }
Resources scoring_requests(const Json& pod_spec, const Json& status) { return total_requests(pod_spec, status, true); }

}  // namespace brume::scheduler
