#include "horizontal_pod_autoscaler_replicas.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <set>

#include "brume/base/json.h"
#include "brume/client/helpers.h"

namespace brume::controller {

namespace {

/// Usage in terms of the target: 1 is right on it.
struct Ratio {
  double ratio = 0;
  std::int64_t utilization = 0;
  std::int64_t average = 0;
};
using RatioOf = std::function<Result<Ratio>(const PodMetrics&)>;

/// Pods by whether their metrics count.
struct Groups {
  std::int64_t ready = 0;
  std::set<std::string> unready, missing, ignored;
};

/// Sums and products of amounts that users and metrics APIs choose, each of up to 63 bits.
__extension__ using Wide = __int128;

std::int64_t narrowed(Wide value) {
  using Limits = std::numeric_limits<std::int64_t>;
  return static_cast<std::int64_t>(std::clamp<Wide>(value, Limits::min(), Limits::max()));
}

std::int64_t to_replicas(double value) {
  constexpr double kMost = std::numeric_limits<std::int32_t>::max();
  return static_cast<std::int64_t>(std::min(std::ceil(value), kMost));
}

// Whether a pod's processor time says nothing yet about how busy it is.
bool cpu_is_unready(const ScaledPod& pod, const PodMetric& metric, const Readiness& readiness) {
  if (pod.ready.empty() || !pod.started) return true;
  const bool ready = pod.ready != "False";
  if (*pod.started + readiness.cpu_initialization_period > readiness.now) {
    // Starting, perhaps: the whole window must lie after the last change of readiness.
    return !ready || metric.at < pod.ready_since + metric.window;
  }
  // It never became ready.
  return !ready && *pod.started + readiness.initial_readiness_delay > pod.ready_since;
}

Groups group_pods(const PodSet& set, const PodMetrics& metrics) {
  Groups out;
  for (const ScaledPod* pod : set.pods) {
    const auto metric = metrics.find(pod->name);
    if (pod->deleting || pod->phase == PodPhase::kFailed) {
      out.ignored.insert(pod->name);
    } else if (pod->phase == PodPhase::kPending) {
      out.unready.insert(pod->name);
    } else if (metric == metrics.end()) {
      out.missing.insert(pod->name);
    } else if (set.resource == "cpu" && cpu_is_unready(*pod, metric->second, set.readiness)) {
      out.unready.insert(pod->name);
    } else {
      ++out.ready;
    }
  }
  return out;
}

void put_all(PodMetrics& metrics, const std::set<std::string>& names,
             const std::function<std::int64_t(const std::string&)>& value) {
  for (const std::string& name : names) metrics[name] = PodMetric{.at = {}, .window = {}, .value = value(name)};
}

std::int64_t nothing(const std::string& /*pod*/) { return 0; }

// What is not known counts against scaling: pods without metrics as busy when fewer would do (`missing_down` says how
// busy), and as idle, like those that are not ready, when more are needed.
Result<Proposal> weigh(const PodSet& set, PodMetrics metrics, std::int64_t current, Tolerances tolerances,
                       const RatioOf& ratio_of, const std::function<std::int64_t(const std::string&)>& missing_down) {
  const Groups groups = group_pods(set, metrics);
  for (const auto* names : {&groups.ignored, &groups.unready}) {
    for (const std::string& name : *names) metrics.erase(name);
  }
  if (metrics.empty()) {
    return fail(Code::kInternal, "did not receive metrics for targeted pods (pods might be unready)");
  }
  BRUME_TRY(const Ratio known, ratio_of(metrics));
  Proposal out{.replicas = current, .utilization = known.utilization, .average = known.average};
  const bool grows = known.ratio > 1.0;
  const bool unready_count = !groups.unready.empty() && grows;
  if (!unready_count && groups.missing.empty()) {
    if (!tolerances.within(known.ratio)) out.replicas = to_replicas(known.ratio * static_cast<double>(groups.ready));
    return out;
  }
  if (known.ratio < 1.0) put_all(metrics, groups.missing, missing_down);
  if (grows) put_all(metrics, groups.missing, nothing);
  if (unready_count) put_all(metrics, groups.unready, nothing);
  BRUME_TRY(const Ratio guessed, ratio_of(metrics));
  const bool turned = (known.ratio < 1.0 && guessed.ratio > 1.0) || (grows && guessed.ratio < 1.0);
  if (tolerances.within(guessed.ratio) || turned) return out;
  const std::int64_t replicas = to_replicas(guessed.ratio * static_cast<double>(metrics.size()));
  const bool wrong_way = (guessed.ratio < 1.0 && replicas > current) || (guessed.ratio > 1.0 && replicas < current);
  if (!wrong_way) out.replicas = replicas;
  return out;
}

Error no_pods() { return {Code::kInternal, "no pods returned by selector while calculating replica count"}; }

Result<std::int64_t> request_of(const ScaledPod& pod, std::string_view resource, std::string_view container) {
  if (pod.pod_level && container.empty()) {
    const auto found = pod.pod_level->find(resource);
    if (found != pod.pod_level->end()) return found->second.milli_value();
    return fail(Code::kInternal, "missing pod-level request for " + std::string(resource) + " in Pod " + pod.name);
  }
  Wide sum = 0;
  for (const ScaledPod::Container& one : pod.containers) {
    if (!container.empty() && one.name != container) continue;
    const auto found = one.requests.find(resource);
    if (found == one.requests.end()) {
      return fail(Code::kInternal,
                  "missing request for " + std::string(resource) + " in container " + one.name + " of Pod " + pod.name);
    }
    sum += found->second.milli_value();
    if (!container.empty()) return narrowed(sum);
  }
  if (!container.empty()) {
    return fail(Code::kInternal, "container " + std::string(container) + " not found in Pod " + pod.name);
  }
  return narrowed(sum);
}

PodPhase phase_of(std::string_view text) {
  return text == "Running"     ? PodPhase::kRunning
         : text == "Succeeded" ? PodPhase::kSucceeded
         : text == "Failed"    ? PodPhase::kFailed
         : text == "Unknown"   ? PodPhase::kUnknown
                               : PodPhase::kPending;
}

}  // namespace

ScaledPod decode_scaled_pod(const api::Object& pod) {
  const Json value = pod.parse();
  const Json& spec = at(value, "spec");
  const Json& status = at(value, "status");
  ScaledPod out;
  out.name = pod.name();
  out.deleting = pod.deleting();
  out.phase = phase_of(str(status, "phase"));
  const Json& ready = client::find_condition(status, "Ready");
  out.ready = str(ready, "status");
  out.ready_since = parse_rfc3339(str(ready, "lastTransitionTime")).value_or(WallTime{});
  out.started = parse_rfc3339(str(status, "startTime"));
  for (const char* list : {"containers", "initContainers"}) {
    const bool init = std::string_view(list) == "initContainers";
    for (const Json& container : at(spec, list)) {
      if (init && str(container, "restartPolicy") != "Always") continue;
      out.containers.push_back({.name = std::string(str(container, "name")),
                                .requests = api::amounts_of(at(container, "resources", "requests"))});
    }
  }
  const auto whole = api::amounts_of(at(spec, "resources", "requests"));
  const bool has_some =
      std::ranges::any_of(whole, [](const auto& amount) { return api::is_pod_level_resource(amount.first); });
  if (has_some) out.pod_level = api::pod_requests(spec);
  return out;
}

Result<std::map<std::string, std::int64_t>> requests_of(const PodSet& set, std::string_view container) {
  std::map<std::string, std::int64_t> out;
  for (const ScaledPod* pod : set.pods) {
    BRUME_TRY(out[pod->name], request_of(*pod, set.resource, container));
  }
  return out;
}

Result<Proposal> utilization_replicas(const PodSet& set, PodMetrics metrics, std::string_view container,
                                      std::int64_t current, std::int64_t target, Tolerances tolerances) {
  if (set.pods.empty()) return fail(no_pods());
  const auto requests = requests_of(set, container);
  const RatioOf ratio_of = [&](const PodMetrics& counted) -> Result<Ratio> {
    if (!requests) return fail(requests.error());
    Wide used = 0, requested = 0;
    std::int64_t pods = 0;
    for (const auto& [name, metric] : counted) {
      const auto request = requests->find(name);
      if (request == requests->end()) continue;  // of a pod that is gone
      used += metric.value;
      requested += request->second;
      ++pods;
    }
    if (requested == 0) return fail(Code::kInternal, "no metrics returned matched known pods");
    const std::int64_t utilization = narrowed(used * 100 / requested);
    return Ratio{static_cast<double>(utilization) / static_cast<double>(target), utilization, narrowed(used / pods)};
  };
  // Above a target of more than all that was requested, a pod without metrics is taken to be right on the target.
  const std::int64_t busy = std::max<std::int64_t>(100, target);
  return weigh(set, std::move(metrics), current, tolerances, ratio_of,
               [&](const std::string& pod) { return narrowed(Wide{requests->at(pod)} * busy / 100); });
}

Result<Proposal> average_replicas(const PodSet& set, PodMetrics metrics, std::int64_t current, std::int64_t target,
                                  Tolerances tolerances) {
  if (set.pods.empty()) return fail(no_pods());
  const RatioOf ratio_of = [target](const PodMetrics& counted) -> Result<Ratio> {
    Wide used = 0;
    for (const auto& [name, metric] : counted) used += metric.value;
    const std::int64_t average = narrowed(used / static_cast<std::int64_t>(counted.size()));
    return Ratio{static_cast<double>(average) / static_cast<double>(target), 0, average};
  };
  return weigh(set, std::move(metrics), current, tolerances, ratio_of, [target](const std::string&) { return target; });
}

Result<std::int64_t> value_replicas(const std::vector<const ScaledPod*>& pods, std::int64_t current, std::int64_t usage,
                                    std::int64_t target, Tolerances tolerances) {
  const double ratio = static_cast<double>(usage) / static_cast<double>(target);
  // From zero there is nothing to compare with.
  if (current == 0) return to_replicas(ratio);
  if (tolerances.within(ratio)) return current;
  if (pods.empty()) return fail(wrap(no_pods(), "unable to calculate ready pods"));
  const auto ready = std::ranges::count_if(
      pods, [](const ScaledPod* pod) { return pod->phase == PodPhase::kRunning && pod->ready == "True"; });
  return to_replicas(ratio * static_cast<double>(ready));
}

Proposal value_per_pod_replicas(std::int64_t current, std::int64_t usage, std::int64_t target, Tolerances tolerances) {
  Proposal out{.replicas = current, .utilization = 0, .average = usage};
  const double wanted = static_cast<double>(usage) / static_cast<double>(target);
  if (current == 0 || !tolerances.within(wanted / static_cast<double>(current))) out.replicas = to_replicas(wanted);
  // What has run over is not divided: nobody knows how large it is.
  if (current > 0 && usage < std::numeric_limits<std::int64_t>::max()) {
    out.average = usage / current + (usage % current > 0 ? 1 : 0);
  }
  return out;
}

std::int64_t saturating_sum(const std::vector<std::int64_t>& values) {
  return narrowed(std::accumulate(values.begin(), values.end(), Wide{0}));
}

}  // namespace brume::controller
