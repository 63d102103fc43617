#include "resource_metrics.h"

#include <algorithm>
#include <set>

#include "brume/api/quantity.h"
#include "brume/apiserver/filter.h"
#include "brume/base/go_duration.h"
#include "brume/base/json.h"
#include "brume/base/log.h"
#include "brume/base/parallel.h"
#include "brume/base/task.h"
#include "errors.h"

namespace brume::apiserver {

namespace {

constexpr std::string_view kGroup = "metrics.k8s.io";
/// Requests within this time share a sample.
constexpr auto kFresh = std::chrono::seconds(1);
/// Between the two samples of a request that finds none of an earlier one.
constexpr auto kApart = std::chrono::seconds(1);
/// A node that did not answer is left alone for so long.
constexpr auto kAfterFailure = std::chrono::seconds(5);
/// Samples are kept for so long after the last request.
constexpr auto kKeep = std::chrono::minutes(5);
/// How often a request looks whether another one has its answer.
constexpr auto kWaitForOther = std::chrono::milliseconds(10);
constexpr std::size_t kNodesAtOnce = 16;

std::uint64_t count(const Json& value, const char* key) {
  const Json& found = at(value, key);
  return found.is_number_integer() ? found.get<std::uint64_t>() : 0;
}

Json usage(std::int64_t nanocores, std::int64_t bytes) {
  return {{"cpu", api::Quantity::from_nano(nanocores).to_string()},
          {"memory", api::Quantity(bytes, api::Quantity::Format::kBinarySi).to_string()}};
}

Json metrics_head(const api::Resource& resource, const api::Object& object, WallTime now) {
  Json metadata{{"name", object.name()}, {"creationTimestamp", format_rfc3339(now)}};
  if (resource.namespaced) metadata["namespace"] = object.ns();
  for (const auto& [key, value] : object.labels()) metadata["labels"][key] = value;
  return {{"kind", resource.kind}, {"apiVersion", resource.api_version()}, {"metadata", std::move(metadata)}};
}

std::string node_of(const api::Resource& resource, const api::Object& object) {
  return resource.namespaced ? api::field_value(object, "spec.nodeName") : object.name();
}

/// The core resource that the metrics are about.
const api::Resource& subject_of(const api::Resource& resource) {
  return api::res(resource.namespaced ? "pods" : "nodes");
}

}  // namespace

ResourceMetrics::ResourceMetrics(const ObjectSource& objects, Clock& clock, Fetch fetch)
    : objects_(objects), clock_(clock), fetch_(std::move(fetch)) {}

bool ResourceMetrics::serves(const api::Resource& resource) const { return resource.group == kGroup; }

// Objects ---------------------------------------------------------------------------------------------------------

Task<Result<api::ObjectPtr>> ResourceMetrics::get(const api::Resource& resource, std::string ns, std::string name) {
  const api::Resource& subject = subject_of(resource);
  const api::ObjectPtr object = objects_.find(subject, ns, name);
  if (!object) co_return fail(not_found(subject, name));
  BRUME_CO_TRY(const auto found, co_await all(resource, {object}));
  if (!found.empty()) co_return found.front();
  const std::string what = resource.namespaced ? "podmetrics" : "nodemetrics";
  const std::string subject_name = resource.namespaced ? ns + "/" + name : name;
  co_return fail(Code::kNotFound, what + "." + std::string(kGroup) + " " + go_quote(subject_name) + " not found");
}

Task<Result<ListPage>> ResourceMetrics::list(const api::Resource& resource, ListQuery query) {
  BRUME_CO_TRY(const Filter filter, Filter::parse(resource, query.ns, query.label_selector, query.field_selector));
  std::vector<api::ObjectPtr> objects = objects_.all(subject_of(resource), query.ns);
  std::erase_if(objects, [&](const api::ObjectPtr& object) { return !filter.matches(*object); });
  ListPage page;
  BRUME_CO_TRY(page.items, co_await all(resource, std::move(objects)));
  co_return page;
}

// The metrics of those objects that have any.
Task<Result<std::vector<api::ObjectPtr>>> ResourceMetrics::all(const api::Resource& resource,
                                                               std::vector<api::ObjectPtr> objects) {
  std::set<std::string> names;
  for (const auto& object : objects) names.insert(node_of(resource, *object));
  std::vector<std::string> nodes;
  for (const auto& name : names) {
    if (is_ready(name)) nodes.push_back(name);
  }
  Samples samples;
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): for_each_parallel keeps it
  const auto sample_one = [this, &nodes, &samples](std::size_t i) -> Task<void> {
    samples[nodes[i]] = co_await sample(nodes[i]);
  };
  co_await for_each_parallel(nodes.size(), sample_one, kNodesAtOnce);
  std::vector<api::ObjectPtr> out;
  for (const auto& object : objects) {
    const auto found = samples.find(node_of(resource, *object));
    if (found == samples.end() || !found->second) continue;
    const Sample& sample = *found->second;
    Json value = metrics_head(resource, *object, clock_.now());
    std::vector<Use> uses;
    if (!resource.namespaced) {
      if (!sample.node) continue;
      uses.push_back(*sample.node);
      value["usage"] = usage(sample.node->nanocores, sample.node->bytes);
    } else {
      const auto pod = sample.pods.find(object->uid());
      if (pod == sample.pods.end()) continue;
      uses = pod->second;
      for (const Use& use : uses) {
        value["containers"].push_back(Json{{"name", use.name}, {"usage", usage(use.nanocores, use.bytes)}});
      }
    }
    const auto first = std::ranges::min_element(uses, {}, &Use::at);
    value["timestamp"] = format_rfc3339(first->at);
    value["window"] = format_go_duration(std::ranges::max(uses, {}, &Use::window).window);
    BRUME_CO_TRY(api::ObjectPtr made, api::Object::from_json(value));
    out.push_back(std::move(made));
  }
  co_return out;
}

// Samples ---------------------------------------------------------------------------------------------------------

// Nobody waits for a node that is known to be gone.
bool ResourceMetrics::is_ready(std::string_view node) const {
  const api::ObjectPtr object = node.empty() ? nullptr : objects_.find(api::res("nodes"), "", node);
  if (!object) return false;
  for (const Json& condition : at(object->parse(), "status", "conditions")) {
    if (str(condition, "type") == "Ready") return str(condition, "status") == "True";
  }
  return false;
}

ResourceMetrics::Turn ResourceMetrics::take_turn(const std::string& node) {
  const std::lock_guard lock(mutex_);
  const auto now = clock_.steady();
  forget_idle(now);
  NodeState& state =
      nodes_.try_emplace(node, NodeState{.history = {}, .last = nullptr, .taken = now, .next = {}}).first->second;
  if (state.next && now < *state.next) return {.mine = false, .known = state.last};
  if (state.asking) return {};
  state.asking = true;
  return {.mine = true, .known = {}};
}

void ResourceMetrics::end_turn(const std::string& node) {
  const std::lock_guard lock(mutex_);
  if (const auto found = nodes_.find(node); found != nodes_.end()) found->second.asking = false;
}

// Requests that come together, on whatever loops, share one sample: twenty autoscalers ask in the same moment.
Task<ResourceMetrics::SamplePtr> ResourceMetrics::sample(std::string node) {
  Turn turn = take_turn(node);
  while (!turn.mine) {
    if (turn.known) co_return *turn.known;
    co_await clock_.sleep(kWaitForOther);
    turn = take_turn(node);
  }
  struct End {
    ResourceMetrics* self;
    const std::string& node;
    ~End() { self->end_turn(node); }
  } const end{this, node};
  SamplePtr first = co_await ask(node);
  if (!first || first->complete) co_return first;
  co_await clock_.sleep(kApart);
  SamplePtr second = co_await ask(node);
  const std::lock_guard lock(mutex_);
  NodeState& state = nodes_[node];
  // What is still missing is missing for those who ask now, too: they share this one.
  if (second && !state.next) state.next = state.taken + kFresh;
  co_return second;
}

Task<ResourceMetrics::SamplePtr> ResourceMetrics::ask(std::string node) {
  const auto summary = co_await fetch_(node);
  const std::lock_guard lock(mutex_);
  NodeState& state = nodes_[node];
  state.taken = clock_.steady();
  if (!summary) {
    log::warn("a node does not tell what its pods use", {{"node", node}, {"error", summary.error().message}});
    state.last = nullptr;
    state.next = state.taken + kAfterFailure;
    co_return nullptr;
  }
  state.last = digest(state.history, *summary);
  state.next = state.last->complete ? std::optional(state.taken + kFresh) : std::nullopt;
  co_return state.last;
}

// The rates of a Summary, whose counters become the base of later ones.
ResourceMetrics::SamplePtr ResourceMetrics::digest(RateHistory& history, const Json& summary) {
  auto out = std::make_shared<Sample>();
  std::map<std::string, RateHistory::Reading> readings;
  const auto measure = [&](const std::string& key, const Json& stats, std::optional<WallTime> began) {
    std::optional<Use> use;
    const Json& cpu = at(stats, "cpu");
    const auto time = parse_rfc3339(str(cpu, "time"));
    if (!time || !at(cpu, "usageCoreNanoSeconds").is_number() || !at(stats, "memory", "workingSetBytes").is_number()) {
      return use;
    }
    const RateHistory::Reading now{*time, count(cpu, "usageCoreNanoSeconds")};
    readings[key] = now;
    const auto rate = history.rate(key, now, began);
    // What has just begun has no rate for a moment: nobody is kept waiting for it.
    if (!rate && (!began || *time - *began >= kApart)) out->complete = false;
    if (!rate) return use;
    use = Use{.name = std::string(str(stats, "name")),
              .at = *time,
              .window = rate->window,
              .nanocores = static_cast<std::int64_t>(rate->per_second),
              .bytes = static_cast<std::int64_t>(count(at(stats, "memory"), "workingSetBytes"))};
    return use;
  };
  out->node = measure("", at(summary, "node"), std::nullopt);
  for (const Json& pod : at(summary, "pods")) {
    const std::string uid(str(at(pod, "podRef"), "uid"));
    std::vector<Use> uses;
    bool whole = true;
    for (const Json& container : at(pod, "containers")) {
      // A container that was started anew begins at zero.
      const auto started = str(container, "startTime");
      const std::string key = uid + "/" + std::string(str(container, "name")) + "/" + std::string(started);
      auto use = measure(key, container, parse_rfc3339(started));
      whole = whole && use;
      if (use) uses.push_back(std::move(*use));
    }
    if (whole && !uses.empty()) out->pods.emplace(uid, std::move(uses));
  }
  const auto when = parse_rfc3339(str(at(summary, "node", "cpu"), "time"));
  history.add(when.value_or(clock_.now()), std::move(readings));
  return out;
}

void ResourceMetrics::forget_idle(Steady now) {
  std::erase_if(nodes_, [now](const auto& entry) { return !entry.second.asking && entry.second.taken + kKeep < now; });
}

}  // namespace brume::apiserver
