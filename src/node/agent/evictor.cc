#include "agent/evictor.h"

#include <algorithm>

#include "brume/base/log.h"
#include "pod/pod.h"

namespace brume::node {

namespace {

// Looking at every file of a large pod may cost this part of one CPU, and its limits wait no longer than this.
constexpr int kMeasuringShare = 100;
constexpr std::chrono::minutes kMeasuringRest{2};
// How long an evicted pod may take to leave the disk before another has to go (the kubelet's podCleanupTimeout).
constexpr std::chrono::seconds kLeaving{30};

struct Measured {
  std::string uid;
  PodDisk disk;
  std::chrono::steady_clock::duration took{};
};

using PodsToMeasure = std::vector<std::pair<std::string, PodPaths>>;

Task<std::vector<Measured>> measure_all(PodsToMeasure pods, std::shared_ptr<std::atomic<bool>> stopped) {
  co_return co_await run_blocking([pods = std::move(pods), stopped] {
    std::vector<Measured> out;
    for (const auto& [uid, paths] : pods) {
      const auto begun = std::chrono::steady_clock::now();
      PodDisk disk = measure(paths, *stopped);
      if (*stopped) break;
      out.push_back({uid, std::move(disk), std::chrono::steady_clock::now() - begun});
    }
    return out;
  });
}

}  // namespace

Task<void> Evictor::stop() {
  *stopped_ = true;
  co_await group_.stop();
}

void Evictor::check(const Pressure& pressure) {
  if (busy_) return;
  busy_ = true;
  group_.spawn("eviction", pass(pressure));
}

Task<void> Evictor::pass(Pressure pressure) {
  if (!pressure.memory_short && !pressure.disk_short) told_.clear();
  // Memory does not wait until every file was looked at.
  if (pressure.memory_short) co_await relieve(*pressure.memory_short);
  const bool evicted = co_await enforce_limits();
  if (!evicted && !pressure.memory_short && pressure.disk_short) co_await relieve(*pressure.disk_short);
  busy_ = false;
}

bool Evictor::waits_for_the_last() const {
  if (leaving_.empty() || parts_.clock.steady() >= leaving_until_) return false;
  for (const PodWorker* worker : parts_.pods()) {
    if (worker->uid() == leaving_) return !worker->torn_down();
  }
  return false;
}

PodWorker* Evictor::find(const std::string& uid) const {
  for (PodWorker* worker : parts_.pods()) {
    if (worker->uid() == uid && worker->evictable()) return worker;
  }
  return nullptr;
}

Task<bool> Evictor::enforce_limits() {
  const auto now = parts_.clock.steady();
  PodsToMeasure limited;
  std::map<std::string, std::chrono::steady_clock::time_point> later;
  for (const PodWorker* worker : parts_.pods()) {
    if (!worker->evictable() || is_critical(worker->pod()) || !has_disk_limit(worker->pod())) continue;
    const auto rests = measure_after_.find(worker->uid());
    if (rests != measure_after_.end() && now < rests->second) {
      later.insert(*rests);
    } else {
      limited.emplace_back(worker->uid(), worker->disk_paths());
    }
  }
  measure_after_ = std::move(later);
  if (limited.empty()) co_return false;
  const auto measured = co_await measure_all(std::move(limited), stopped_);
  bool any = false;
  for (const Measured& one : measured) {
    const auto rest = std::min<std::chrono::steady_clock::duration>(kMeasuringShare * one.took, kMeasuringRest);
    measure_after_[one.uid] = parts_.clock.steady() + rest;
    PodWorker* worker = find(one.uid);
    if (worker == nullptr) continue;
    const auto message = exceeded_disk_limit(worker->pod(), one.disk);
    if (!message) continue;
    worker->evict(*message, false);
    any = true;
  }
  co_return any;
}

Task<void> Evictor::relieve(Shortage shortage) {
  if (waits_for_the_last()) co_return;
  if (told_ != shortage.resource) {
    told_ = shortage.resource;
    parts_.events.event(parts_.node, true, "EvictionThresholdMet", "Attempting to reclaim " + shortage.resource);
  }
  const bool memory = shortage.resource == "memory";
  if (!memory) co_await parts_.remove_images();
  std::vector<Candidate> candidates;
  if (memory) {
    candidates = co_await memory_candidates();
  } else {
    candidates = co_await disk_candidates(shortage.resource);
  }
  // All of this took its time.
  auto read = parts_.read_pressure;
  const Pressure now = co_await run_blocking([read] { return read(); });
  const auto& still = memory ? now.memory_short : now.disk_short;
  if (!still || still->resource != shortage.resource) co_return;
  const Candidate* first = first_to_evict(candidates, still->resource);
  if (first == nullptr) {
    log::warn("the node is short of a resource, and no pod may be evicted", {{"resource", still->resource}});
    co_return;
  }
  PodWorker* worker = find(first->uid);
  if (worker == nullptr) co_return;
  log::warn("evicting a pod for the node's sake", {{"pod", pod_text(*first->pod)}, {"resource", still->resource}});
  worker->evict(eviction_message(*still, *first), true);
  leaving_ = first->uid;
  leaving_until_ = parts_.clock.steady() + kLeaving;
}

Task<std::vector<Candidate>> Evictor::disk_candidates(std::string resource) {
  PodsToMeasure all;
  for (const PodWorker* worker : parts_.pods()) {
    if (worker->evictable()) all.emplace_back(worker->uid(), worker->disk_paths());
  }
  const auto measured = co_await measure_all(std::move(all), stopped_);
  std::vector<Candidate> out;
  for (const Measured& one : measured) {
    const PodWorker* worker = find(one.uid);
    if (worker == nullptr) continue;
    const auto amount = [&](const linux_os::TreeUsage& usage) {
      return resource == "inodes" ? usage.inodes : usage.bytes;
    };
    Candidate candidate{one.uid, std::make_shared<const Json>(worker->pod()), {}};
    for (const auto& [name, usage] : one.disk.containers) candidate.use[name] = amount(usage);
    for (const auto& [name, usage] : one.disk.empty_dirs) candidate.use[""] += amount(usage);
    out.push_back(std::move(candidate));
  }
  co_return out;
}

Task<std::vector<Candidate>> Evictor::memory_candidates() {
  std::vector<Candidate> out;
  std::vector<std::pair<std::string, std::string>> containers;  // id and name, by position in `out`
  std::vector<std::size_t> owners;
  for (const PodWorker* worker : parts_.pods()) {
    if (!worker->evictable()) continue;
    out.push_back({worker->uid(), std::make_shared<const Json>(worker->pod()), {}});
    for (const ContainerRun& run : worker->runs()) {
      if (run.state != ContainerRun::State::kRunning) continue;
      containers.emplace_back(run.id, run.name);
      owners.push_back(out.size() - 1);
    }
  }
  for (std::size_t i = 0; i < containers.size(); ++i) {
    Candidate& owner = out[owners[i]];
    const auto used = co_await parts_.runtime.memory_use(owner.uid, containers[i].first);
    if (const auto has = used.value_or(std::nullopt)) {
      owner.use[containers[i].second] = static_cast<std::int64_t>(has->working_set);
    }
  }
  co_return out;
}

}  // namespace brume::node
