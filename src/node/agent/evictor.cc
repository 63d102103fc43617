#include "agent/evictor.h"

#include "brume/base/log.h"
#include "pod/pod.h"

namespace brume::node {

namespace {

// Looking at every file of large pods may cost this part of one CPU.
constexpr int kMeasuringShare = 100;

struct Measured {
  std::string uid;
  PodDisk disk;
};

std::vector<Measured> measure_all(const std::vector<std::pair<std::string, PodPaths>>& pods) {
  std::vector<Measured> out;
  for (const auto& [uid, paths] : pods) out.push_back({uid, measure(paths)});
  return out;
}

}  // namespace

void Evictor::check(const Pressure& pressure) {
  if (busy_) return;
  busy_ = true;
  group_.spawn("eviction", pass(pressure));
}

Task<void> Evictor::pass(Pressure pressure) {
  const bool evicted = co_await enforce_limits();
  if (!evicted && pressure.memory_short) {
    co_await relieve(*pressure.memory_short);
  } else if (!evicted && pressure.disk_short) {
    co_await relieve(*pressure.disk_short);
  }
  busy_ = false;
}

PodWorker* Evictor::find(const std::string& uid) const {
  for (PodWorker* worker : parts_.pods()) {
    if (worker->uid() == uid && worker->evictable()) return worker;
  }
  return nullptr;
}

Task<bool> Evictor::enforce_limits() {
  if (parts_.clock.steady() < measure_after_) co_return false;
  std::vector<std::pair<std::string, PodPaths>> limited;
  for (const PodWorker* worker : parts_.pods()) {
    if (worker->evictable() && !is_critical(worker->pod()) && has_disk_limit(worker->pod()))
      limited.emplace_back(worker->uid(), worker->disk_paths());
  }
  if (limited.empty()) co_return false;
  const auto begun = parts_.clock.steady();
  const auto measured = co_await run_blocking([limited] { return measure_all(limited); });
  measure_after_ = begun + kMeasuringShare * (parts_.clock.steady() - begun);
  bool any = false;
  for (const Measured& one : measured) {
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
  parts_.events.event(parts_.node, true, "EvictionThresholdMet", "Attempting to reclaim " + shortage.resource);
  const bool memory = shortage.resource == "memory";
  if (!memory) {
    co_await parts_.remove_images();
    auto read = parts_.read_pressure;
    const Pressure now = co_await run_blocking([read] { return read(); });
    if (!now.disk_short) co_return;
    shortage = *now.disk_short;
  }
  std::vector<Candidate> candidates;
  if (memory) {
    candidates = co_await memory_candidates();
  } else {
    candidates = co_await disk_candidates(shortage.resource);
  }
  const Candidate* first = first_to_evict(candidates, shortage.resource);
  if (first == nullptr) {
    log::warn("the node is short of a resource, and no pod may be evicted", {{"resource", shortage.resource}});
    co_return;
  }
  log::warn("evicting a pod for the node's sake", {{"pod", pod_text(*first->pod)}, {"resource", shortage.resource}});
  if (PodWorker* worker = find(first->uid)) worker->evict(eviction_message(shortage, *first), true);
}

Task<std::vector<Candidate>> Evictor::disk_candidates(std::string resource) {
  std::vector<std::pair<std::string, PodPaths>> all;
  for (const PodWorker* worker : parts_.pods()) {
    if (worker->evictable()) all.emplace_back(worker->uid(), worker->disk_paths());
  }
  const auto measured = co_await run_blocking([all] { return measure_all(all); });
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
    const auto used = co_await parts_.runtime.memory_usage(owner.uid, containers[i].first);
    if (const auto bytes = used.value_or(std::nullopt)) {
      owner.use[containers[i].second] = static_cast<std::int64_t>(*bytes);
    }
  }
  co_return out;
}

}  // namespace brume::node
